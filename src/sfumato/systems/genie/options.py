"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from sfumato.train import TrainConfig


@final
class Target(Enum):
    """How the derivative that a head learns is computed."""

    EXACT = "exact"
    DIFFERENCE = "difference"


@final
@dataclass(frozen=True)
class Config:
    """A derivative head for a trained model.

    Args:
        out: the run folder.
        model: the trained model: a shipped one's name, or the folder of a model or a run.
        path: folder or zip of the images the model was trained on, if it was such.
        width: channels of the head.
        target: the derivative to learn, by a Jacobian-vector product ("exact") or by a central
            difference along the flow, which agrees to about two parts in a hundred and costs a
            third.
        published: show the head the true noise in training and weight by γ² alone, as the
            published code does; it is then shown other numbers when it samples.
        level_mean, level_std: ln(γ/σ_d) of the training noise is normal with these.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/genie")
    model: str = "fashion"
    path: Path | None = None
    width: int = 24
    target: Target = Target.DIFFERENCE
    published: bool = False
    level_mean: float = 0.5
    level_std: float = 1.6
    train: TrainConfig = TrainConfig(
        steps=2_500, batch=32, lr=2e-3, warmup=100, axis_dropout=0.1, sheet_every=500,
        checkpoint_every=250,
    )  # fmt: skip
    resume: bool = False
