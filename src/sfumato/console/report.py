"""Figures as a table for people, and as a record that says how they were made."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.files.words import many

if TYPE_CHECKING:
    from sfumato.metrics import Score

Row = dict[str, Any]
_NARROW = 30
"""Characters that a metric's name has at least, beside its figures, on a narrow terminal."""


def table(title: str, rows: Sequence[Row]) -> None:
    """Print a line per metric and a column per setting; every metric with its features and n."""
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    made.add_column(title, overflow="fold")
    for row in rows:
        head = "" if row["steps"] is None else f"{row['solver']}, {many(row['steps'], 'step')}"
        made.add_column(head, justify="right", no_wrap=True)
    if rows[0]["steps"] is not None:
        made.add_row("network evaluations per sample", *(str(row["nfe"]) for row in rows))
        made.add_row("samples per second", *(f"{row['per_second']:g}" for row in rows))
    for i, score in enumerate(rows[0]["scores"]):
        figures = (row["scores"][i] for row in rows)
        made.add_row(_name(score), *(s.figure for s in figures))
    console = Console()
    wide = Measurement.get(console, console.options.update(max_width=10_000), made).maximum
    names = (title, *map(str, made.columns[0].cells))
    spare = max(0, max(map(len, names)) - _NARROW) if console.is_terminal else 0
    console.width = max(console.width, wide - spare)  # names are folded, a figure is never cut
    console.print(made)


def record(
    command: str, argv: Sequence[str], seed: int, settings: dict[str, Any], rows: Sequence[Row]
) -> dict[str, Any]:
    """Everything needed to do it again, and the figures."""
    from sfumato import __version__

    return {
        "command": shlex.join(["sfumato", *command.split(), *argv]),
        "sfumato": __version__,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "machine": machine(),
        "settings": settings,
        "results": [{**row, "scores": [s.as_dict() for s in row["scores"]]} for row in rows],
    }


def machine() -> dict[str, Any]:
    """The machine, as far as it bears on speed and on the last digits."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit(folder: Path | None = None) -> str | None:
    """The git commit of a folder (the current one by default), with "+" if files were changed."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return head + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path | None, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _name(score: Score) -> str:
    about = ", ".join(part for part in (score.features, f"n={score.n}", score.setting) if part)
    return f"{score.metric} ({about})"
