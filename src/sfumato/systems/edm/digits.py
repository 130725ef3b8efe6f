"""Handwritten digits, 28x28, ten classes.

EDM's process, preconditioning and law of the times, see `edm.recipe`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from sfumato.data import digits
from sfumato.model.fit import fit
from sfumato.nn import UNetConfig
from sfumato.systems.edm.recipe import edm_model, edm_times
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """A class-conditional model of handwritten digits.

    Args:
        out: the run folder.
        root: folder of the data set's files; that of the data folder when None.
        sigma_data: root mean square of the data; 0 measures it.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/digits")
    root: Path | None = None
    sigma_data: float = 0.0
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            1, 1, channels=16, multipliers=(1, 2, 4), blocks=(1, 2, 2), attention=(7,), dropout=0.1
        )
    )
    train: TrainConfig = TrainConfig(steps=2_500, lr=2e-3, warmup=200, sheet_every=500)
    resume: bool = False


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: the data is not there, or see `sfumato.train.train`.
    """
    data = digits("train", config.root)
    model = edm_model(data, config.network, config.sigma_data)
    law = edm_times(model.sigma_data)
    return fit("digits", config, model, data, law, config.train, config.out, config.resume)
