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
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from sfumato.data import ImageSet, PointSet, points
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
from sfumato.systems.ddgan.critic import Critic
from sfumato.systems.ddgan.discriminator import Discriminator
from sfumato.systems.ddgan.implicit import (
    Bound,
    ImplicitDenoiser,
    discriminator_loss,
    generator_loss,
)
from sfumato.systems.ddgan.model import ImplicitModel
from sfumato.systems.ddgan.options import NEARLY_DATA, Config
from sfumato.train import DiffusionTask, Microbatch, Player


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
