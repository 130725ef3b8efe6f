"""A progress bar on stderr where there is a terminal; elsewhere a line if it will take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sfumato.files.progress import duration

_LONG = 20.0
"""Seconds that are announced."""


@contextmanager
def bar(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar for ``total`` pieces of work; yields the function that is told of finished ones.

    What will take more than twenty seconds is said after the first piece."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    disable = quiet or not console.is_terminal
    began, finished = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(what, total=total)

        def advance(done: int) -> None:
            nonlocal finished
            progress.advance(task, done)
            first, finished = finished == 0, finished + done
            if first and not quiet and 0 < finished < total:
                left = (time.monotonic() - began) / finished * (total - finished)
                if left > _LONG:
                    console.print(f"{what}: {total:,} take about {duration(left)}", markup=False)

        yield advance
