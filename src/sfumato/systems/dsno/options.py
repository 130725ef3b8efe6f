"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from sfumato.errors import UsageError
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """An operator that learns the trajectories of a trained model.

    Args:
        out: the run folder.
        model: name or folder of the teacher.
        trajectories: a set made from it by ``sfumato trajectories``.
        partial: learn from the finished part of an unfinished set.
        frames: how many times a step computes; several numbers take turns from step to step, and
            the first is what the model draws with.
        start: the angle at which the network takes up the trajectory, as a fraction of that of
            pure noise; 1 is the very beginning.
        modes: temporal modes that are kept.
        distance: between images; perceptual needs ``features``.
        features: name or folder of a classifier of such images.
        pixels: share of the pixels' own distance in the perceptual one.
        cap: the largest weight of a time.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/dsno")
    model: str = "fashion"
    trajectories: Path = Path("runs/trajectories")
    partial: bool = False
    frames: tuple[int, ...] = (4,)
    start: float = 0.75
    modes: int = 2
    distance: Literal["l1", "l2", "perceptual"] = "perceptual"
    features: str = "fashion-classifier"
    pixels: float = 1.0
    cap: float = 10.0
    train: TrainConfig = TrainConfig(
        steps=2_000, batch=64, lr=5e-4, warmup=100, label_dropout=0.0, levels=1,
        sheet_every=200, checkpoint_every=200,
    )  # fmt: skip
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1:
            raise UsageError(f"frames: expected numbers of at least 1, got {self.frames}")
        if not 0 < self.start <= 1:
            raise UsageError(f"start: expected a fraction in (0, 1], got {self.start}")
        if not self.cap >= 1:
            raise UsageError(f"cap: expected at least 1, got {self.cap}")
        if self.train.label_dropout or self.train.axis_dropout:
            raise UsageError(
                "train.label_dropout: a trajectory belongs to its label, which cannot be hidden; "
                "set label_dropout and axis_dropout to 0"
            )
