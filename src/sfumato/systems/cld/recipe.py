"""Critically-damped Langevin diffusion for images (Dockhorn et al. 2022, arXiv 2112.07068).

Data is coupled to velocities and only the velocities are disturbed by noise; the network predicts
that noise from position and velocity (its input has twice the data's channels) and corrects the
score of a normal velocity ("mixed score"). Trained by hybrid score matching; sampled by splitting
(`sfumato.solve.SSCS`).

The published law of the times is uniform. Here it is uniform in √t, as the quadratic grid that
sampling takes: a small network on a short run needs its examples where the data appears.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.damped import CriticallyDamped
from sfumato.data import ImageSet, LabelAxis, PointSet
from sfumato.denoise import Denoiser, Prediction
from sfumato.loss import Uniform
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import fit, root_mean_square
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.system import training_set
from sfumato.systems.cld.loss import damped_loss
from sfumato.systems.cld.options import Config, DampedConfig
from sfumato.train import Microbatch


def damped_model(
    damped: DampedConfig,
    data: str,
    network: UNetConfig | MLPConfig,
    sigma_data: float,
    axes: tuple[LabelAxis, ...],
) -> ModelConfig:
    """The model as it is saved: process, network, prediction and label axes."""
    return ModelConfig(
        data=data, network=network,
        process=CriticallyDamped(damped.beta0, damped.beta1, damped.mass_inv, damped.gamma),
        prediction=Prediction.VELOCITY_NOISE, sigma_data=sigma_data, axes=axes,
        mixed=damped.mixed,
    )  # fmt: skip


def fit_damped(recipe: str, config: Any, model: ModelConfig, data: ImageSet | PointSet) -> Path:
    """Train by score matching as ``config.damped`` says, times t^(1/power) uniform; see `fit`."""
    damped: DampedConfig = config.damped

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        return damped_loss(
            denoiser, part.x0, part.t, matching=damped.matching, weighting=damped.weighting,
            cond=part.cond, generator=part.generators,
        )  # fmt: skip

    law = Uniform(power=damped.power)
    return fit(recipe, config, model, data, law, config.train, config.out, config.resume, loss=loss)


def run(config: Config) -> Path:
    """Train; returns the run folder. Raises as `sfumato.train.train`."""
    data: ImageSet = training_set(config.data.value, root=config.root)
    network = with_labels(config.network, data.axes, data.resolution, data.channels)
    network = replace(network, in_channels=2 * data.channels)  # position and velocity
    scale = config.sigma_data or root_mean_square(data)
    model = damped_model(config.damped, data.name, network, scale, data.axes)
    return fit_damped("cld", config, model, data)
