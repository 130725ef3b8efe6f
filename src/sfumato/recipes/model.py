"""What a model is, as data: enough to build it again around its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from sfumato.damped import CriticallyDamped
from sfumato.data import LabelAxis
from sfumato.denoise import Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.noise import GaussianField, Noise, White
from sfumato.process import Process, Scheduled
from sfumato.recipes.codec import decode, encode
from sfumato.schedule import EDM, VE, RectifiedFlow, Schedule, VPCosine, VPLinear
from sfumato.seeds import fold
from sfumato.train import checkpoint as ck


class ProcessConfig(ABC):
    """A process, as data."""

    @abstractmethod
    def build(self) -> Process:
        """The process."""


@final
@dataclass(frozen=True)
class ScheduledConfig(ProcessConfig):
    """`Scheduled` with a schedule and a noise."""

    schedule: Schedule
    noise: Noise = White()

    def build(self) -> Process:
        """Scheduled(schedule, noise)."""
        return Scheduled(self.schedule, self.noise)


@final
@dataclass(frozen=True)
class CriticallyDampedConfig(ProcessConfig):
    """`CriticallyDamped`, as published unless changed."""

    beta0: float = 4.0
    beta1: float = 0.0
    mass_inv: float = 4.0
    gamma: float = 0.04
    noise: Noise = White()

    def build(self) -> Process:
        """CriticallyDamped(...)."""
        return CriticallyDamped(self.beta0, self.beta1, self.mass_inv, self.gamma, self.noise)


ALLOWED = (
    ScheduledConfig,
    CriticallyDampedConfig,
    VPLinear,
    VPCosine,
    VE,
    EDM,
    RectifiedFlow,
    White,
    GaussianField,
    UNetConfig,
    MLPConfig,
    LabelAxis,
)
"""What a model.json may be made of."""


@final
@dataclass(frozen=True)
class ModelConfig:
    """A preconditioned network on a process, and the data it was made for.

    Args:
        data: name of the data set.
        network: sizes; its number of labels must be that of ``axes``.
        process: how data becomes noise.
        prediction: what the network predicts.
        sigma_data: standard deviation of the data that the preconditioning assumes.
        axes: names and values of the label axes; () is an unconditional model.
        mixed: in phase space, the network corrects the score of a normal velocity.

    Raises:
        UsageError: network and axes do not fit.
    """

    data: str
    network: UNetConfig | MLPConfig
    process: ProcessConfig = ScheduledConfig(EDM())
    prediction: Prediction = Prediction.EDM
    sigma_data: float = 0.5
    axes: tuple[LabelAxis, ...] = ()
    mixed: bool = False

    def __post_init__(self) -> None:
        if self.network.labels != self.labels:
            raise UsageError(
                f"the network takes labels {self.network.labels}, but the axes have {self.labels}"
            )

    @property
    def labels(self) -> tuple[int, ...]:
        """Number of classes per label axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) or (d,)."""
        if isinstance(self.network, MLPConfig):
            return (self.network.out_features,)
        side = self.network.resolution
        return (self.network.out_channels, side, side)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; `from_json` is its inverse."""
        made: dict[str, Any] = encode(self)
        if not self.mixed:
            del made["mixed"]  # a setting of phase space alone
        return made

    @staticmethod
    def from_json(value: dict[str, Any]) -> ModelConfig:
        """From what `to_json` made.

        Raises:
            UsageError: anything unknown or missing in it.
        """
        return decode(value, ModelConfig, ALLOWED, "model")


def build(config: ModelConfig, seed: int = 0) -> Preconditioned:
    """The denoiser with fresh weights, which follow from the seed; on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, "init"))
        network: nn.Module
        if isinstance(config.network, UNetConfig):
            network = UNet(config.network)
        else:
            network = MLP(config.network)
    process = config.process.build()
    return Preconditioned(
        network, process, config.prediction, sigma_data=config.sigma_data, mixed=config.mixed
    )


def with_labels(
    network: UNetConfig, axes: tuple[LabelAxis, ...], resolution: int, channels: int
) -> UNetConfig:
    """A U-Net's sizes, made to fit the data's resolution, channels and label axes."""
    labels = tuple(len(axis.values) for axis in axes)
    return replace(
        network,
        labels=labels,
        resolution=resolution,
        in_channels=channels,
        out_channels=channels,
    )


def load_model(folder: Path | str, ema: bool = True) -> tuple[Preconditioned, ModelConfig]:
    """A trained denoiser, in evaluation mode on the CPU, and its configuration.

    Args:
        folder: a run folder (its newest checkpoint is taken), a checkpoint, or a model folder.
        ema: take the averaged weights; a model folder holds only these.

    Raises:
        SfumatoError: no such folder, damaged files, weights of another model, or files of a
            newer sfumato.
        UsageError: ``ema=False`` of a model folder.
    """
    found = ck.find_checkpoint(Path(folder))
    described = ck.parse_json(found.files, ck.DESCRIPTION, found.folder)
    config = ModelConfig.from_json(described["model"])
    name = ck.MODEL
    if ema and ck.EMA in found.files:
        name = ck.EMA
    elif not ema and ck.EMA not in found.files:
        raise UsageError(f"{found.folder} holds only averaged weights; use ema=True")
    if name not in found.files:
        raise UsageError(f"{found.folder} has no {name}, so it is not a model folder")
    denoiser = build(config)
    ck.load_weights(denoiser, found.files[name], str(found.folder / name))
    return denoiser.eval(), config
