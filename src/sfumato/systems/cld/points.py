"""Critically-damped Langevin diffusion in the plane: spirals and a diamond of Gaussians.

The toy experiments of Dockhorn et al. 2022 (arXiv 2112.07068): a perceptron of position, velocity
and time, with the loss and the samplers of `cld.recipe`. As published, the score is not
mixed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from sfumato.data import PointName, points
from sfumato.model.fit import root_mean_square
from sfumato.nn import MLPConfig
from sfumato.systems.cld.recipe import DampedConfig, fit_damped
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """Critically-damped Langevin diffusion of a point set in the plane.

    Args:
        out: the run folder.
        data: name of the point set.
        n: number of points.
        damped: the diffusion and its loss.
        width: width of the perceptron.
        blocks: residual blocks of the perceptron.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/cld-points")
    data: PointName = PointName.MULTI_SWISS_ROLL
    n: int = 100_000
    damped: DampedConfig = DampedConfig(mixed=False)
    width: int = 128
    blocks: int = 4
    train: TrainConfig = TrainConfig(
        steps=10_000, batch=512, lr=2e-3, warmup=100, ema_half_life=200_000,
        log_every=100, sheet_every=2_000, checkpoint_every=2_000,
    )  # fmt: skip
    resume: bool = False


def run(config: Config) -> Path:
    """Train, without labels; returns the run folder. Raises as `sfumato.train.train`."""
    data = points(config.data, config.n, seed=config.train.seed)
    d = data.dimension
    network = MLPConfig(2 * d, d, width=config.width, blocks=config.blocks)
    model = config.damped.model(data.name, network, root_mean_square(data), ())
    return fit_damped("cld-points", config, model, data)
