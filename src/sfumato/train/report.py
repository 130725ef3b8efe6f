"""What a run says: lines of JSON, TensorBoard, and progress with the time left."""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from sfumato.files.atomic import write
from sfumato.files.progress import Progress, duration

LOG = "log.jsonl"


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last line that a kill cut short is left out."""
    lines = []
    path = run / LOG
    for text in path.read_text("utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


_EARLY, _MINUTE = 10.0, 60.0
"""Seconds until the first news, and between news, where lines of the log are further apart."""


@functools.cache
def _quiet_threads() -> None:
    """A full disk ends TensorBoard's thread; its next flush raises why, so no traceback too."""
    say = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        theirs = type(args.thread).__name__ == "_AsyncWriterThread"
        if not (theirs and isinstance(args.exc_value, OSError)):
            say(args)

    threading.excepthook = hook


@final
class Report:
    """Where one process's news go; only the main process of a run has any.

    Args:
        run: the run folder.
        step: the step the run starts at; later lines of an older log are cut off.
        steps: the last step.
        batch: images per step.
        quiet: nothing on the terminal.
        tensorboard: write TensorBoard files if it is installed.
        main: whether this process reports at all.
        progress: is told at each line of the log.
    """

    def __init__(
        self,
        run: Path,
        step: int,
        steps: int,
        batch: int,
        *,
        quiet: bool,
        tensorboard: bool,
        main: bool,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.run, self.step, self.steps, self.batch = run, step, steps, batch
        self.main, self._progress = main, progress
        self._console = Console(stderr=True, quiet=quiet or not main, highlight=False)
        self._began = self._last = time.monotonic()
        self._start, self._told = step, False
        self._paused = 0.0
        self._printed = -1e9
        self._bar: Bar | None = None
        self._board: Any = None
        if not main:
            return
        kept = [line for line in read_log(run) if line["step"] <= step]
        write(run / LOG, "".join(json.dumps(line) + "\n" for line in kept))
        self._log = open(run / LOG, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
        if tensorboard and re.search("[\udc80-\udcff]", str(run)):
            self.say(f"no TensorBoard files: it reads no folder whose name is not UTF-8, {run}")
        elif tensorboard and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            _quiet_threads()
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
        if self._console.is_terminal and not quiet:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[news]}"), console=self._console,
            )  # fmt: skip
            self._task = self._bar.add_task("training", total=steps, completed=step, news="")
            self._bar.start()

    def say(self, text: str) -> None:
        """One line on the terminal."""
        self._console.print(text, markup=False, soft_wrap=True)

    def pause(self, seconds: float) -> None:
        """Time that did not go into training (a sheet, a checkpoint)."""
        self._paused += seconds

    def advance(self, step: int) -> None:
        """A step is done. A run that will take long says so early, and each minute where it is."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
        now = time.monotonic()
        since = now - self._printed if self._told else now - self._began
        if not self.main or since < (_MINUTE if self._told else _EARLY):
            return
        each = (now - self._began) / (step - self._start)
        rest = each * (self.steps - step)
        if not self._told and rest > _MINUTE:
            self.say(
                f"{each:.2g} s a step: {self.steps - step:,} more steps take {duration(rest)}; "
                f"Ctrl-C stops, --resume {self.run} goes on"
            )
        elif self._told and self._bar is None and step < self.steps:
            self.say(f"step {step:,} of {self.steps:,}  {duration(rest)} left")
        self._told, self._printed = True, now
        if self._bar is not None:
            self._bar.update(self._task, news=f"{duration(rest)} left")

    def line(self, step: int, values: dict[str, Any]) -> None:
        """Write one line of the log, with images per second and the time left."""
        if not self.main:
            return
        now = time.monotonic()
        spent = max(now - self._last - self._paused, 1e-9)
        rate = (step - self.step) * self.batch / spent
        whole = (now - self._last) / max(step - self.step, 1) * (self.steps - step)
        self.step, self._last, self._paused = step, now, 0.0
        values = {
            "step": step,
            **values,
            "images_per_s": round(rate, 2),
            "time_left_s": round(whole, 1),
        }
        self._log.write(json.dumps(values) + "\n")
        self._log.flush()
        if self._board is not None:
            self._to_board(step, values)
        if self._progress is not None:
            loss = values.get("loss", math.nan)
            self._progress(Progress(step, self.steps, loss, self.elapsed()))
        losses = [f"{values[key]:.4f}" for key in values if key == "loss" or key.endswith("_loss")]
        words = [f"loss {' against '.join(losses)}"] if losses else []
        if "epsilon" in values:
            words.append(f"epsilon {values['epsilon']:.3f} of {values['budget']:g}")
        words += [f"{rate:,.0f} images/s", f"{duration(whole)} left"]
        news = "  ".join(words)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, news=news)
        elif now - self._printed > 10 or step == self.steps:
            self._printed = now
            self.say(f"step {step:,} of {self.steps:,}  {news}")

    def _to_board(self, step: int, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(key, value, step)
        for i, value in enumerate(values.get("loss_by_level", [])):
            if value is not None:
                self._board.add_scalar(f"loss_by_level/{i}", value, step)

    def elapsed(self) -> float:
        """Seconds since the run was started or resumed."""
        return time.monotonic() - self._began

    def close(self) -> None:
        """Stop the bar and close the files."""
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        if self.main:
            self._log.close()
