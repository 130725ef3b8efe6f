"""Where a training of something smaller than a model is, and one line that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


def duration(seconds: float) -> str:
    """Seconds as "3.5 days", "1 h 02 min", "3 min 05 s" or "7 s"."""
    s = round(seconds)
    if s >= 48 * 3600:
        return f"{s / 86400:.1f} days"
    if s >= 3600:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 60} min {s % 60:02d} s" if s >= 60 else f"{s} s"


@final
@dataclass(frozen=True)
class Progress:
    """Where a training is: steps done of steps, mean loss of late, seconds so far."""

    step: int
    steps: int
    loss: float
    seconds: float


def show(progress: Progress) -> None:
    """Print one line, with the time left."""
    left = progress.seconds / progress.step * (progress.steps - progress.step)
    print(
        f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}, {left:.0f} s left",
        flush=True,
    )
