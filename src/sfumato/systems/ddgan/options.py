"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, final

from sfumato.data import PointName
from sfumato.errors import UsageError
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.train import TrainConfig

NEARLY_DATA = 3e-3
"""The time whose noise level stands for that of data; there σ = 0.02, times the shift."""


@final
@dataclass(frozen=True)
class CriticConfig:
    """Sizes of a `Critic` of points with `features` coordinates.

    octaves: cosines and sines of each coordinate, of 1/2, 1, 2, ... cycles per unit; 0 has none.

    Raises ValueError if a size is out of range; see `MLPConfig` for those of the perceptron.
    """

    FOLLOWS: ClassVar = ("features", "labels")
    features: int = 2
    width: int = 128
    blocks: int = 2
    octaves: int = 4
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, low in (("features", 1), ("octaves", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} >= {low}, got {getattr(self, name)}")
        object.__setattr__(self, "labels", self.network.labels)

    @property
    def network(self) -> MLPConfig:
        """Sizes of the perceptron: both points and their waves in, one number out."""
        inputs = 2 * self.features * (1 + 2 * self.octaves)
        return MLPConfig(inputs, 1, self.width, self.blocks, self.labels)


@final
@dataclass(frozen=True)
class Config:
    """A denoising diffusion GAN.

    Args:
        out: the run folder.
        data: what to learn; ``points`` takes the set ``name``.
        name: name of the point set.
        n: number of points, or of avatars.
        root: folder of the data set's files; the usual places when None.
        denoising_steps: T.
        shift: σ/α of the process is multiplied by it (`sfumato.Shifted`): less than 1 places the
            steps lower, for data that is fine for its size.
        latent: width of z; 0 is a generator without it, whose steps are Gaussian.
        conditional: whether the labels are given to both players.
        model: name or folder of a trained denoiser to start from; its network is taken.
        network: sizes of both players' U-Nets; channels, resolution and labels follow the data.
        width: width of the generator's perceptron, for points.
        blocks: its residual blocks.
        critic: sizes of the discriminator, for points.
        relativistic: judge each fake against a real one, which drops fewer modes in the plane
            (docs/ddgan.md); without it, the published game.
        energy: weight of the energy score in the generator's loss, which keeps its draws as far
            apart as data is; 0, with ``nearest`` 0, is the published game.
        nearest: the time that the last step's pairs are compared at; 0 is data as it is, which a
            discriminator might tell by its exact black. Points are compared at 0.
        penalty: γ of R1.
        penalty_end: what γ falls to, geometrically, from 3/10 of the steps on to 9/10; 0 keeps it.
        penalty_every: steps from one R1 to the next.
        discriminator_lr: the discriminator's highest learning rate.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/ddgan")
    data: Literal["fashion", "avatars", "digits", "points"] = "fashion"
    name: PointName = PointName.GAUSSIANS_25
    n: int = 40_000
    root: Path | None = None
    denoising_steps: int = 4
    shift: float = 1.0
    latent: int = 64
    conditional: bool = True
    model: str = ""
    network: UNetConfig = UNetConfig(
        1, 1, channels=32, multipliers=(1, 3), blocks=(1, 2), attention=(7,),
        head_channels=0, patch=2, narrow_upsampling=True, resample_blocks=False,
    )  # fmt: skip
    width: int = 64
    blocks: int = 3
    critic: CriticConfig = CriticConfig()
    relativistic: bool = False
    energy: float = 1.0
    nearest: float = NEARLY_DATA
    penalty: float = 0.5
    penalty_end: float = 0.0
    penalty_every: int = 4
    discriminator_lr: float = 2e-4
    train: TrainConfig = TrainConfig(
        steps=20_000, batch=64, lr=5e-5, warmup=20, decay="constant", betas=(0.0, 0.99), clip=0.0,
        label_dropout=0.05, ema_decay=0.999, levels=4,
    )  # fmt: skip
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("denoising_steps", "penalty_every", "n"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("latent", "penalty", "penalty_end", "nearest", "energy"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if self.energy and not self.latent:
            raise UsageError("energy: a generator with latent 0 has one answer; choose energy 0")
        if not (self.shift > 0 and math.isfinite(self.shift)):
            raise UsageError(f"shift: expected a positive number, got {self.shift}")
        lowest = 1e-3 + (1 - 1e-3) / self.denoising_steps  # of `sfumato.times.offset`
        if not self.nearest < lowest:
            raise UsageError(
                f"nearest: expected less than {lowest:.4g}, the time of the last step, got "
                f"{self.nearest}"
            )
