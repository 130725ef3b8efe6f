"""Illustrated faces, 32x32, conditional on style and seven attributes: shipped as ``avatars``.

EDM's process, preconditioning and law of the times, see `edm.recipe`. Labels are hidden
all together one time in ten, for guidance, and each by itself as often, so that a sample may be
asked for by any subset of the attributes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from sfumato.data import avatars
from sfumato.model.fit import fit
from sfumato.nn import UNetConfig
from sfumato.systems.edm.recipe import edm_model, edm_times
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """A model of illustrated faces, conditional on their attributes.

    Args:
        out: the run folder.
        n: number of faces; they are drawn into the data folder the first time.
        resolution: side of the images in pixels; a multiple of 4 for the default network.
        root: folder of the drawn faces; the data folder when None.
        workers: processes that draw faces the first time.
        sigma_data: root mean square of the data; 0 measures it.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/avatars")
    n: int = 40_000
    resolution: int = 32
    root: Path | None = None
    workers: int = 1
    sigma_data: float = 0.0
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            3,
            3,
            channels=16,
            multipliers=(1, 2, 6),
            blocks=(1, 1, 2),
            attention=(8,),
            head_channels=0,
            resolution=32,
            resample_blocks=False,
        )
    )
    train: TrainConfig = TrainConfig(steps=4_000, batch=64, lr=1e-3, warmup=200, axis_dropout=0.1)
    resume: bool = False


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: the faces cannot be drawn, or see `sfumato.train.train`.
    """
    data = avatars("train", config.resolution, config.n, root=config.root, workers=config.workers)
    model = edm_model(data, config.network, config.sigma_data)
    law = edm_times(model.sigma_data)
    return fit("avatars", config, model, data, law, config.train, config.out, config.resume)
