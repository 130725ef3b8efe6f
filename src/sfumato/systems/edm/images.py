"""Any folder or zip of images: an EDM model at a resolution of your choice.

EDM's process, preconditioning and law of the times, see `edm.recipe`; a small U-Net,
labels hidden one time in ten, Adam with warm-up and a cosine decay to zero, averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from sfumato.data import folder
from sfumato.errors import UsageError
from sfumato.model.fit import fit
from sfumato.nn import UNetConfig
from sfumato.systems.edm.recipe import edm_model, edm_times
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """A model of a folder or zip of images.

    Args:
        path: the folder or zip; its labels.csv, labels.json or subfolders become labels.
        out: the run folder.
        resolution: side of the images in pixels; a multiple of 4 for the default network.
        channels: 3 for colour, 1 for grey.
        skip_broken: go on without images that cannot be read.
        sigma_data: root mean square of the data; 0 measures it.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    path: Path = Path()
    out: Path = Path("runs/images")
    resolution: int = 32
    channels: Literal[1, 3] = 3
    skip_broken: bool = False
    sigma_data: float = 0.0
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            3, 3, channels=32, multipliers=(1, 2, 4), attention=(8,), resolution=32
        )
    )
    train: TrainConfig = TrainConfig(steps=20_000)
    resume: bool = False


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError: no path, or settings that do not fit together.
        SfumatoError: broken images (they are named), or see `sfumato.train.train`.
    """
    if config.path == Path():
        raise UsageError("which images? give the folder or zip with --path")
    data = folder(
        config.path,
        config.resolution,
        channels=config.channels,
        skip_broken=config.skip_broken,
    )
    model = edm_model(data, config.network, config.sigma_data)
    law = edm_times(model.sigma_data)
    return fit("images", config, model, data, law, config.train, config.out, config.resume)
