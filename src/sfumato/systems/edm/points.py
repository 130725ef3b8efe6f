"""Two-dimensional point sets: a perceptron that trains in a minute and can be looked at.

The process is chosen from the table, each with the prediction and the law of times that suit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

from sfumato.console.options import choice
from sfumato.data import PointName, PointSet, points
from sfumato.denoise import Prediction
from sfumato.loss import TimeLaw
from sfumato.model.description import ModelConfig
from sfumato.model.fit import fit, root_mean_square
from sfumato.nn import MLPConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import Schedule
from sfumato.system import find, processes, resolve
from sfumato.train import TrainConfig


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
    kind: Annotated[str, choice(processes(), "process")] = "EDM"
    width: int = 128
    blocks: int = 3
    train: TrainConfig = TrainConfig(
        steps=5_000, batch=256, lr=2e-3, warmup=100, log_every=100, sheet_every=1_000
    )
    resume: bool = False


def point_model(data: PointSet, kind: str, width: int, blocks: int) -> tuple[ModelConfig, TimeLaw]:
    """A model that fits a point set under the process of that name, and the law of its times."""
    sigma_data = root_mean_square(data)
    entry = find("process", kind, processes())
    made = resolve(entry.make)()
    process: Process = Scheduled(made) if isinstance(made, Schedule) else made
    d = data.dimension
    model = ModelConfig(
        data=data.name,
        network=MLPConfig(
            in_features=process.k * d,
            out_features=d,
            width=width,
            blocks=blocks,
            labels=tuple(len(axis.values) for axis in data.axes),
        ),
        process=process,
        prediction=Prediction[entry.prediction],
        mixed=entry.mixed,
        sigma_data=sigma_data,
        axes=data.axes,
    )
    law: TimeLaw = entry.times(sigma_data)
    return model, law


def run(config: Config) -> Path:
    """Train; returns the run folder. Raises as `sfumato.train.train`."""
    data = points(config.name, config.n, seed=config.train.seed)
    model, law = point_model(data, config.kind, config.width, config.blocks)
    return fit("points", config, model, data, law, config.train, config.out, config.resume)
