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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, final

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
from sfumato.nn import UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import SymmetricBrownian, VPCosine
from sfumato.systems.i2sb.model import Method, RestorationModel, beside_channels
from sfumato.systems.i2sb.pairs import pairs_of
from sfumato.systems.i2sb.restoring import restoration_loss, restoration_sheet
from sfumato.train import TrainConfig

_FIRST = 1e-3
"""The least training time: σ = .01 at the default schedule, as at the published first step."""
_SETS: dict[str, Callable[[Literal["train", "test"], int], ImageSet]] = {
    "photographs": photographs,
    "emoji": emoji,
    "avatars": avatars,
    "stamps": stamps,
}


@final
@dataclass(frozen=True)
class Config:
    """A network that undoes degradations.

    Args:
        out: the run folder.
        tasks: what it is to undo, by name (see sfumato restore --help); each is as likely.
        method: a Schrödinger bridge (I²SB), or its rivals with the same network: a conditional
            diffusion from noise, or a regression.
        sets: the data sets that take turns, of photographs, emoji, avatars and stamps.
        weights: how often each of them has its turn.
        path: a folder or zip of your own pictures instead; crops of any place and scale are taken.
        pairs: a folder or zip with pictures good/NAME and bad/NAME instead: the degradation is
            what lies between them, and the only task.
        resolution: side of the crops in pixels.
        beta_max: sets the bridge's β, which begins and ends at .1 and is ((√.1 + √beta_max)/2)² in
            the middle (.1866 for .3); more noise on the way makes samples more varied.
        deterministic: no noise on the way (OT-ODE), in training and in sampling.
        conditional: let the network see the bad picture beside the state.
        told: tell the network the task.
        hide: probability with which it is not told, so that it can do without.
        at_one: share of the bridge's examples whose time is t = 1 itself, where every walk begins;
            the others' times are uniform.
        network: sizes of the U-Net; channels, resolution and labels follow from the rest.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/i2sb")
    tasks: tuple[str, ...] = ("sr4x", "deblur", "jpeg", "denoise", "colourise")
    method: Literal["bridge", "diffusion", "regression"] = "bridge"
    sets: tuple[str, ...] = ("photographs", "emoji", "avatars")
    weights: tuple[float, ...] = (3.0, 1.0, 1.0)
    path: Path | None = None
    pairs: Path | None = None
    resolution: int = 64
    beta_max: float = 0.3
    deterministic: bool = False
    conditional: bool = True
    told: bool = True
    hide: float = 0.2
    at_one: float = 0.0
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            3,
            3,
            channels=48,
            multipliers=(1, 2, 3),
            blocks=1,
            attention=(8,),
            head_channels=0,
            resolution=64,
            patch=2,
            resample_blocks=False,
        )
    )
    train: TrainConfig = TrainConfig(steps=8_000, batch=32, lr=7e-4, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.hide <= 1:
            raise UsageError(f"expected 0 <= hide <= 1, got {self.hide}")
        if not 0 <= self.at_one <= 1:
            raise UsageError(f"expected 0 <= at_one <= 1, got {self.at_one}")
        if self.path is not None and self.pairs is not None:
            raise UsageError("--path and --pairs are two kinds of data: give one of them")
        if not self.beta_max >= 0.1:
            raise UsageError(f"expected beta_max >= 0.1, where β begins, got {self.beta_max}")


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
