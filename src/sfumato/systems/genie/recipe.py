"""GENIE (Dockhorn et al. 2022, arXiv 2210.05475): a derivative head for a trained model.

The head learns d_γ ε̂, the derivative of the model's own noise estimate along its flow, by
distillation; the model itself does not change. `sfumato.solve.Taylor` then takes steps of second
order at the price of one evaluation and the head.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files.cards import find
from sfumato.loss import LogNormal
from sfumato.model.description import ModelConfig
from sfumato.model.fit import fit
from sfumato.model.known_data import training_data
from sfumato.model.load import load_model
from sfumato.systems.genie.derivative import LearnedDerivative, derivative_loss
from sfumato.systems.genie.model import Base, DerivativeModel
from sfumato.systems.genie.options import Config
from sfumato.train import Microbatch


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
