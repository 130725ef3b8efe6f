"""Two-dimensional point sets: a perceptron that trains in a minute and can be looked at.

The process is chosen from the table, each with the prediction and the law of times that suit it.
"""

from __future__ import annotations

from pathlib import Path

from sfumato.data import PointSet, points
from sfumato.denoise import Prediction
from sfumato.loss import TimeLaw
from sfumato.model.description import ModelConfig
from sfumato.model.fit import fit, root_mean_square
from sfumato.nn import MLPConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import Schedule
from sfumato.system import find, processes, resolve
from sfumato.systems.edm.options import Points


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


def run(config: Points) -> Path:
    """Train; returns the run folder. Raises as `sfumato.train.train`."""
    data = points(config.name, config.n, seed=config.train.seed)
    model, law = point_model(data, config.kind, config.width, config.blocks)
    return fit("points", config, model, data, law, config.train, config.out, config.resume)
