"""GENIE (Dockhorn et al. 2022, arXiv 2210.05475): a derivative head for a trained model.

The head learns d_γ ε̂, the derivative of the model's own noise estimate along its flow, by
distillation; the model itself does not change. `sfumato.solve.Taylor` then takes steps of second
order at the price of one evaluation and the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast, final

from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files.cards import find
from sfumato.loss import LogNormal
from sfumato.model.description import ModelConfig
from sfumato.model.fit import fit
from sfumato.model.known_data import training_data
from sfumato.model.load import load_model
from sfumato.systems.genie.derivative import LearnedDerivative, Target, derivative_loss
from sfumato.systems.genie.model import Base, DerivativeModel
from sfumato.train import Microbatch, TrainConfig


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


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError: a model that takes no head, or whose data has no name.
        SfumatoError: the data is not there, or see `sfumato.train.train`.
    """
    backbone, described = load_model(find(config.model))
    if not isinstance(described, ModelConfig):
        raise UsageError(
            f"a derivative head needs a model that predicts noise levels' means; {config.model!r} "
            f"is a {type(described).__name__}"
        )
    model = DerivativeModel(
        described.data, described, Base.of(config.model), described.axes, config.width
    )
    data = training_data(described, config.path, find(config.model))
    denoiser = model.build(config.train.seed)
    denoiser.backbone.load_state_dict(backbone.state_dict())

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        return derivative_loss(
            cast(LearnedDerivative, denoiser), part.x0, part.t, cond=part.cond,
            generator=part.generators, target=config.target, published=config.published,
        )  # fmt: skip

    law = LogNormal(config.level_mean + math.log(described.sigma_data), config.level_std)
    return fit(
        "genie", config, model, data, law, config.train, config.out, config.resume,
        denoiser=denoiser,
        loss=loss,
    )  # fmt: skip
