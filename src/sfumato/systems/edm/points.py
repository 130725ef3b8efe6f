"""Two-dimensional point sets: a perceptron that trains in a minute and can be looked at.

The process is chosen: EDM, variance preserving, rectified flow, or critically damped Langevin
diffusion, each with the prediction that suits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from sfumato.data import PointName, PointSet, points
from sfumato.denoise import Prediction
from sfumato.loss import TimeLaw, Uniform
from sfumato.model.description import (
    CriticallyDampedConfig,
    ModelConfig,
    ProcessConfig,
    ScheduledConfig,
)
from sfumato.model.fit import fit, root_mean_square
from sfumato.nn import MLPConfig
from sfumato.schedule import EDM, RectifiedFlow, VPLinear
from sfumato.systems.edm.recipe import edm_times
from sfumato.train import TrainConfig


class Kind(Enum):
    """A process with the prediction that suits it."""

    EDM = "edm"
    VP = "vp"
    FLOW = "flow"
    DAMPED = "damped"

    def parts(self, sigma_data: float) -> tuple[ProcessConfig, Prediction, TimeLaw]:
        """The process, what the network predicts, and the law of the times."""
        match self:
            case Kind.EDM:
                return ScheduledConfig(EDM()), Prediction.EDM, edm_times(sigma_data)
            case Kind.VP:
                return ScheduledConfig(VPLinear()), Prediction.V, Uniform()
            case Kind.FLOW:
                return ScheduledConfig(RectifiedFlow()), Prediction.FLOW, Uniform(1e-4)
            case Kind.DAMPED:
                return CriticallyDampedConfig(), Prediction.VELOCITY_NOISE, Uniform()


@final
@dataclass(frozen=True)
class Config:
    """A model of a point set in the plane.

    Args:
        out: the run folder.
        name: name of the point set.
        n: number of points.
        kind: the process.
        width: width of the perceptron.
        blocks: residual blocks of the perceptron.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/points")
    name: PointName = PointName.SWISS_ROLL
    n: int = 20_000
    kind: Kind = Kind.EDM
    width: int = 128
    blocks: int = 3
    train: TrainConfig = TrainConfig(
        steps=5_000, batch=256, lr=2e-3, warmup=100, log_every=100, sheet_every=1_000
    )
    resume: bool = False


def point_model(data: PointSet, kind: Kind, width: int, blocks: int) -> tuple[ModelConfig, TimeLaw]:
    """A model that fits a point set, and the law of its times."""
    sigma_data = root_mean_square(data)
    process, prediction, law = kind.parts(sigma_data)
    d = data.dimension
    model = ModelConfig(
        data=data.name,
        network=MLPConfig(
            in_features=process.build().k * d,
            out_features=d,
            width=width,
            blocks=blocks,
            labels=tuple(len(axis.values) for axis in data.axes),
        ),
        process=process,
        prediction=prediction,
        mixed=kind is Kind.DAMPED,
        sigma_data=sigma_data,
        axes=data.axes,
    )
    return model, law


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: n out of range, or see `sfumato.train.train`.
    """
    data = points(config.name, config.n, seed=config.train.seed)
    model, law = point_model(data, config.kind, config.width, config.blocks)
    return fit("points", config, model, data, law, config.train, config.out, config.resume)
