"""Where a training of something smaller than a model is, and one line that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


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
