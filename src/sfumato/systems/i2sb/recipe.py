"""Restoration by a Schrödinger bridge (I²SB, Liu et al. 2023, arXiv 2302.05872), and its rivals.

One network learns to undo one degradation or several, told which one or not. ``--method
diffusion`` and ``--method regression`` train the same network in the same way as a conditional
diffusion from noise and as a plain regression, see `i2sb.model`.

Published settings: times uniform over a thousand steps, √β from √.1 to √β_max over half the way
and back; β_max = .3 with noise for super-resolution and JPEG, β_max = 1 without noise ("OT-ODE")
for deblurring and inpainting; AdamW at 5e-5, averages of decay .99. They started from an ImageNet
diffusion model of 552 M parameters at 256 pixels; here a small network starts from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sfumato.bridge import Bridge
from sfumato.data import ImageSet, avatars
from sfumato.data.crops import crops_of
from sfumato.data.degrade import CentreMask, FreeForm, FromFunction, Given, Task, tasks_named
from sfumato.data.emoji import emoji
from sfumato.data.joined import joined
from sfumato.data.photographs import photographs
from sfumato.data.stamps import stamps
from sfumato.denoise import Prediction
from sfumato.errors import UsageError, unknown
from sfumato.loss import Either, OneOf, TimeLaw, Uniform
from sfumato.model.fit import fit, root_mean_square
from sfumato.process import Process, Scheduled
from sfumato.schedule import SymmetricBrownian, VPCosine
from sfumato.systems.i2sb.model import Method, RestorationModel, beside_channels
from sfumato.systems.i2sb.options import Config
from sfumato.systems.i2sb.pairs import pairs_of
from sfumato.systems.i2sb.restoring import restoration_loss, restoration_sheet

_FIRST = 1e-3
"""The least training time: σ = .01 at the default schedule, as at the published first step."""
_SETS: dict[str, Callable[[Literal["train", "test"], int], ImageSet]] = {
    "photographs": photographs,
    "emoji": emoji,
    "avatars": avatars,
    "stamps": stamps,
}


def restoration_data(
    sets: tuple[str, ...],
    weights: tuple[float, ...],
    resolution: int,
    split: Literal["train", "test"] = "train",
) -> ImageSet:
    """The named sets, taking turns.

    Raises:
        UsageError: an unknown set, none, or not a weight for each.
        SfumatoError: data that is not there.
    """
    for name in sets:
        if name not in _SETS:
            raise unknown("data set", name, _SETS)
    if not sets or len(sets) != len(weights):
        raise UsageError(f"expected a weight for each of {len(sets)} sets, got {len(weights)}")
    found = [_SETS[name](split, resolution) for name in sets]
    return joined(*found, weights=weights)


def restoration_model(
    config: Config, data: str, tasks: tuple[Task, ...], channels: int, sigma_data: float
) -> RestorationModel:
    """The model that a configuration describes; of a function it remembers the name."""
    masked = any(isinstance(t.degradation, CentreMask | FreeForm) for t in tasks)
    method = Method(config.method)
    network = replace(
        config.network,
        in_channels=channels + beside_channels(channels, config.conditional, masked),
        out_channels=channels,
        resolution=config.resolution,
        labels=(len(tasks),) if config.told else (),
    )
    remembered = tuple(
        replace(t, degradation=Given(t.name)) if isinstance(t.degradation, FromFunction) else t
        for t in tasks
    )
    process: Process = Scheduled(VPCosine())
    prediction = Prediction.V
    if method is not Method.DIFFUSION:
        schedule = SymmetricBrownian(beta_max=config.beta_max)
        process = Bridge(Scheduled(schedule), config.deterministic)
        prediction = Prediction.EPSILON
    return RestorationModel(
        data, network, method, remembered, process, prediction, sigma_data,
        config.told, config.conditional, masked,
    )  # fmt: skip


def times_of(method: Method, at_one: float = 0.0) -> TimeLaw:
    """The law of the training times; a bridge may dwell at t = 1."""
    match method:
        case Method.REGRESSION:
            return OneOf((1.0,))
        case Method.BRIDGE if at_one > 0:
            return Either(OneOf((1.0,)), Uniform(_FIRST), at_one)
        case _:
            return Uniform(_FIRST)


def train_restoration(
    config: Config, data: ImageSet, tasks: tuple[Task, ...], channels: int = 3
) -> Path:
    """Train on any data and for any tasks, those of your own functions included.

    Raises:
        UsageError, SfumatoError: see `sfumato.train.train`.
    """
    sigma_data = root_mean_square(data)
    model = restoration_model(config, data.name, tasks, channels, sigma_data)
    return fit(
        "i2sb", config, model, data, times_of(model.method, config.at_one), config.train,
        config.out, config.resume,
        loss=restoration_loss(model, tasks, config.hide),
        sheet=restoration_sheet(model, tasks, data, steps=10),
        labels=(),
    )  # fmt: skip


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError, SfumatoError: no such task or data, or see `sfumato.train.train`.
    """
    if config.pairs is not None:
        return train_restoration(
            config, pairs_of(config.pairs, config.resolution), (Task("pairs", Given()),)
        )
    tasks = tasks_named(config.tasks)
    if config.path is not None:
        data = crops_of(config.path, config.resolution)
    else:
        data = restoration_data(config.sets, config.weights, config.resolution)
    return train_restoration(config, data, tasks)
