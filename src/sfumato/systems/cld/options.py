"""The options of the recipes; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from sfumato.data import PointName
from sfumato.nn import UNetConfig
from sfumato.train import TrainConfig


class Matching(Enum):
    """Which perturbation the score is matched to."""

    HYBRID = "hybrid"
    PLAIN = "plain"


class Weighting(Enum):
    """λ(t); the module's text has the equations."""

    REWEIGHTED_V2 = "reweightedv2"
    REWEIGHTED_V1 = "reweightedv1"
    LIKELIHOOD = "likelihood"


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


@final
@dataclass(frozen=True)
class DampedPoints:
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
