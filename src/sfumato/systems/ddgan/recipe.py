r"""A denoising diffusion GAN (Xiao, Kreis, Vahdat 2022, arXiv 2112.07804): T = 1, 2, 4 or 8 steps.

Variance-preserving, β from 0.1 to 20, or that shifted; a generator with a latent vector and a
discriminator of pairs (x_s, x_t), see `ddgan.implicit`; R1 in every ``penalty_every``-th step.
Both players start afresh, as published, or from a trained denoiser with ``model``: then the
generator's output is scaled as the denoiser's was and z has no say at first, so that the game
begins at E[x_0 | x_t]; and the discriminator is its encoder. The defaults are the settings of
`fashion-ddgan`, which began so. Published, afresh, for CIFAR-10: ``--energy 0 --nearest 0
--train.lr 1.6e-4 --discriminator-lr 1.25e-4 --train.betas 0.5 0.9 --penalty 0.02
--penalty-every 15``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, final

from torch import Tensor, nn

from sfumato.data import ImageSet, PointName, PointSet, points
from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files.cards import find
from sfumato.loss import OneOf
from sfumato.model.description import ModelConfig, initial, with_labels
from sfumato.model.fit import fit, root_mean_square
from sfumato.model.load import load_model
from sfumato.nn import MLPConfig, UNet, UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import Shifted, VPLinear
from sfumato.seeds import fold
from sfumato.system import training_set
from sfumato.systems.ddgan.critic import Critic, CriticConfig
from sfumato.systems.ddgan.discriminator import Discriminator
from sfumato.systems.ddgan.implicit import (
    Bound,
    ImplicitDenoiser,
    discriminator_loss,
    generator_loss,
)
from sfumato.systems.ddgan.model import ImplicitModel
from sfumato.times import offset
from sfumato.train import DiffusionTask, Microbatch, Player, TrainConfig

NEARLY_DATA = 3e-3
"""The time whose noise level stands for that of data; there σ = 0.02, times the shift."""


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
        lowest = float(offset(self.denoising_steps)[-2])
        if not self.nearest < lowest:
            raise UsageError(
                f"nearest: expected less than {lowest:.4g}, the time of the last step, got "
                f"{self.nearest}"
            )


def load_data(config: Config) -> ImageSet | PointSet:
    """The data set that a configuration names."""
    if config.data == "points":
        return points(config.name, config.n, seed=config.train.seed)
    name = "fashion-mnist" if config.data == "fashion" else config.data
    data: ImageSet = training_set(
        name, n=config.n, resolution=config.network.resolution, root=config.root
    )
    return data


def process_of(config: Config) -> Process:
    """Variance preserving, β from 0.1 to 20, shifted."""
    base = VPLinear()
    return Scheduled(base if config.shift == 1 else Shifted(base, config.shift))


def new_model(config: Config, data: ImageSet | PointSet) -> ImplicitModel:
    """A generator that fits a data set."""
    axes = data.axes if config.conditional else ()
    network: UNetConfig | MLPConfig
    if isinstance(data, PointSet):
        labels = tuple(len(axis.values) for axis in axes)
        d, bound = data.dimension, Bound.NONE
        network = MLPConfig(d, d, config.width, config.blocks, labels, latent=config.latent)
    else:
        fitted = with_labels(config.network, axes, data.resolution, data.channels)
        network, bound = replace(fitted, latent=config.latent), Bound.TANH
    return ImplicitModel(
        data=data.name, network=network, process=process_of(config), steps=config.denoising_steps,
        sigma_data=root_mean_square(data), bound=bound, axes=axes,
    )  # fmt: skip


def from_trained(
    config: Config, data: ImageSet | PointSet, seed: int
) -> tuple[ImplicitModel, ImplicitDenoiser]:
    """A generator with the network, the scaling and the weights of a trained denoiser.

    Raises:
        UsageError: the model is of another kind, or of other data.
    """
    trained, theirs = load_model(find(config.model))
    if not isinstance(theirs, ModelConfig):
        raise UsageError(f"expected a denoiser to start from, but {config.model!r} is not one")
    axes = data.axes if config.conditional else ()
    if (theirs.data, theirs.axes) != (data.name, axes):
        raise UsageError(
            f"{config.model!r} was trained on {theirs.data} with {len(theirs.axes)} label axes, "
            f"got {data.name} with {len(axes)}"
        )
    model = ImplicitModel(
        data=data.name, network=replace(theirs.network, latent=config.latent),
        process=process_of(config), steps=config.denoising_steps, prediction=theirs.prediction,
        sigma_data=theirs.sigma_data,
        bound=Bound.NONE if isinstance(data, PointSet) else Bound.CLAMP, axes=axes,
    )  # fmt: skip
    made = model.build(seed)
    made.load_state_dict(trained.state_dict(), strict=False)
    for name, weight in made.named_parameters():
        if name.startswith("network.conditioning.mapping.output"):
            nn.init.zeros_(weight)
    return model, made


def new_judge(
    config: Config, model: ImplicitModel, generator: ImplicitDenoiser, seed: int
) -> Discriminator | Critic:
    """A discriminator that fits a generator; with ``model``, it begins as the generator's encoder.

    The last step leads to data, whose noise level is -∞; it is told that of ``nearest`` there, or
    of `NEARLY_DATA`.
    """
    with initial(fold(seed, "adversary")):
        if isinstance(model.network, MLPConfig):
            d = model.network.out_features
            return Critic(replace(config.critic, features=d, labels=model.labels))
        level, times = generator.process.noise_level, generator.times
        judge = Discriminator(
            model.network,
            level(times[:-1]).tolist(),
            level(times[1:].clamp_min(config.nearest or NEARLY_DATA)).tolist(),
        )
    if config.model:
        judge.take_over(cast(UNet, generator.network))
    return judge


def gamma(config: Config, step: int) -> float:
    """γ of R1 in step n: from ``penalty`` to ``penalty_end``.

    A strong penalty keeps the discriminator smooth, so that the generator finds all modes; a weak
    one lets both become sharp.
    """
    if not config.penalty_end or not config.penalty:
        return config.penalty
    fallen = min(1.0, max(0.0, (step / config.train.steps - 0.3) / 0.6))
    return float(config.penalty * (config.penalty_end / config.penalty) ** fallen)


def run(config: Config) -> Path:
    """Train; returns the run folder. Raises as `sfumato.train.train`."""
    seed = config.train.seed
    data = load_data(config)
    if config.model:
        model, generator = from_trained(config, data, seed)
    else:
        model = new_model(config, data)
        generator = model.build(seed)
    judge = new_judge(config, model, generator, seed)
    nearest = 0.0 if isinstance(data, PointSet) else config.nearest

    def loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
        player = cast(ImplicitDenoiser, denoiser)
        return generator_loss(
            player, judge, part.x0, part.t, relativistic=config.relativistic, energy=config.energy,
            nearest=nearest, cond=part.cond, generator=part.generators,
        )  # fmt: skip

    def theirs(module: nn.Module, part: Microbatch) -> Tensor:
        return discriminator_loss(
            generator, module, part.x0, part.t,
            penalty=gamma(config, part.step) if part.step % config.penalty_every == 0 else 0.0,
            relativistic=config.relativistic, nearest=nearest, cond=part.cond,
            generator=part.generators,
        )  # fmt: skip

    settings, law = config.train, OneOf(tuple(generator.times[:-1].tolist()))
    if not (config.discriminator_lr > 0 and math.isfinite(config.discriminator_lr)):
        raise UsageError(
            f"discriminator_lr: expected a positive number, got {config.discriminator_lr}"
        )
    game = DiffusionTask(
        generator.process, law, theirs, model.labels, settings.label_dropout, settings.axis_dropout
    )
    adversary = Player(judge, game, "adversary", ratio=config.discriminator_lr / settings.lr)
    return fit(
        "ddgan", config, model, data, law, settings, config.out, config.resume,
        denoiser=generator,
        loss=loss,
        others=[adversary],
    )  # fmt: skip
