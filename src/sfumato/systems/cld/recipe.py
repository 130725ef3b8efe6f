"""Critically-damped Langevin diffusion for images (Dockhorn et al. 2022, arXiv 2112.07068).

Data is coupled to velocities and only the velocities are disturbed by noise; the network predicts
that noise from position and velocity (its input has twice the data's channels) and corrects the
score of a normal velocity ("mixed score"). Trained by hybrid score matching; sampled by splitting
(`sfumato.solve.SSCS`).

The published law of the times is uniform. Here it is uniform in √t, as the quadratic grid that
sampling takes: a small network on a short run needs its examples where the data appears.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, final

from torch import Tensor

from sfumato.damped import CriticallyDamped
from sfumato.data import ImageSet, LabelAxis, PointSet
from sfumato.denoise import Denoiser, Prediction
from sfumato.loss import Uniform
from sfumato.model.description import ModelConfig, with_labels
from sfumato.model.fit import fit, root_mean_square
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.system import training_set
from sfumato.systems.cld.loss import Matching, Weighting, damped_loss
from sfumato.train import Microbatch, TrainConfig


@final
@dataclass(frozen=True)
class DampedConfig:
    """The diffusion, and how its score is learned.

    Args:
        beta0, beta1: β(t) = β₀ + β₁ t.
        mass_inv: M⁻¹; velocities have variance M at the prior.
        gamma: velocities start with variance γM.
        mixed: the network corrects the score of a normal velocity.
        matching: integrate the initial velocity out (hybrid), or draw it (plain).
        weighting: of the loss over time.
        power: training times are uniform in t^(1/power); 1 is published, 2 the quadratic grid's.
    """

    beta0: float = 4.0
    beta1: float = 0.0
    mass_inv: float = 4.0
    gamma: float = 0.04
    mixed: bool = True
    matching: Matching = Matching.HYBRID
    weighting: Weighting = Weighting.REWEIGHTED_V2
    power: float = 2.0

    def model(
        self,
        data: str,
        network: UNetConfig | MLPConfig,
        sigma_data: float,
        axes: tuple[LabelAxis, ...],
    ) -> ModelConfig:
        """The model as it is saved: process, network, prediction and label axes."""
        return ModelConfig(
            data=data, network=network,
            process=CriticallyDamped(self.beta0, self.beta1, self.mass_inv, self.gamma),
            prediction=Prediction.VELOCITY_NOISE, sigma_data=sigma_data, axes=axes,
            mixed=self.mixed,
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


class TrainingImages(Enum):
    """Data sets of this recipe, 28x28."""

    FASHION = "fashion-mnist"
    DIGITS = "digits"


@final
@dataclass(frozen=True)
class Config:
    """Critically-damped Langevin diffusion, class-conditional, on 28x28 images.

    Args:
        out: the run folder.
        data: the data set.
        root: folder of the data set's files; the usual places when None.
        sigma_data: root mean square of the data; 0 measures it.
        damped: the diffusion and its loss.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/cld")
    data: TrainingImages = TrainingImages.FASHION
    root: Path | None = None
    sigma_data: float = 0.0
    damped: DampedConfig = DampedConfig()
    network: UNetConfig = UNetConfig(
        2, 1, channels=16, multipliers=(1, 4, 4), blocks=(1, 1, 2), attention=(7,),
        head_channels=0, resample_blocks=False, narrow_upsampling=True,
    )  # fmt: skip
    train: TrainConfig = TrainConfig(steps=3_000, batch=64, lr=1e-3, warmup=200)
    resume: bool = False


def run(config: Config) -> Path:
    """Train; returns the run folder. Raises as `sfumato.train.train`."""
    data: ImageSet = training_set(config.data.value, root=config.root)
    network = with_labels(config.network, data.axes, data.resolution, data.channels)
    network = replace(network, in_channels=2 * data.channels)  # position and velocity
    scale = config.sigma_data or root_mean_square(data)
    model = config.damped.model(data.name, network, scale, data.axes)
    return fit_damped("cld", config, model, data)
