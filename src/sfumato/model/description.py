"""What a model is, as data: enough to build it again around its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from sfumato.damped import CriticallyDamped
from sfumato.data import LabelAxis
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.model.codec import encode
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.seeds import fold
from sfumato.times import quadratic
from sfumato.train import checkpoint as ck


@final
@dataclass(frozen=True)
class Sampling:
    """How a model is sampled unless told otherwise, by the names of the command line.

    Args:
        solver, grid, steps: what suits the model.
        times: falling from 1 to 0: the only steps that the model was made for; it is then
            sampled in no other way. () where any grid and solver will do.
    """

    solver: str = "dpmpp2m"
    grid: str = "auto"
    steps: int = 18
    times: tuple[float, ...] = ()


class ModelDescription(ABC):
    """What a model is, as data: a frozen dataclass of one kind, and `build` makes it.

    A kind is read back from a model.json only if `sfumato.model.load` lists it.
    """

    data: str
    axes: tuple[LabelAxis, ...]
    command: ClassVar[str] = "sample"
    """The command of ``sfumato`` that draws from it."""
    opens: ClassVar[str] = "sfumato.model.sampler:Sampler"
    """Reference to the `sfumato.model.model.Model` that `sfumato.load` makes of it."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Number of classes per label axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) or (d,)."""

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """How it is sampled unless told otherwise."""

    @property
    def preview(self) -> Sampling:
        """How the sheets of a training are drawn: in few steps."""
        return replace(self.sampling, steps=12)

    @abstractmethod
    def build(self, seed: int = 0) -> Denoiser:
        """The denoiser with fresh weights, which follow from the seed; on the CPU."""

    def load(self, denoiser: Denoiser, weights: bytes, where: str) -> None:
        """Copy a safetensors file's weights into what `build` made.

        Raises:
            SfumatoError: they are another model's, or what they stand upon is missing.
        """
        ck.load_weights(denoiser, weights, where)

    def shipped(self, weights: Mapping[str, Tensor]) -> tuple[ModelDescription, dict[str, Tensor]]:
        """The description and the weights of a folder to ship; a kind may leave out weights."""
        return self, dict(weights)

    def to_json(self) -> dict[str, Any]:
        """JSON-able; `sfumato.model.load.read_model` is its inverse."""
        made: dict[str, Any] = encode(self)
        return made


class NetworkDescription(ModelDescription, ABC):
    """A model that is one U-Net or perceptron.

    Raises:
        UsageError: the network's numbers of labels are not those of the axes.
    """

    network: UNetConfig | MLPConfig

    def __post_init__(self) -> None:
        if self.network.labels != self.labels:
            raise UsageError(
                f"the network takes labels {self.network.labels}, but the axes have {self.labels}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) or (d,)."""
        if isinstance(self.network, MLPConfig):
            return (self.network.out_features,)
        return (self.network.out_channels, *self.network.size)

    def make_network(self, seed: int) -> UNet | MLP:
        """The network with initial weights that follow from the seed."""
        with initial(seed):
            return UNet(self.network) if isinstance(self.network, UNetConfig) else MLP(self.network)


@contextmanager
def initial(seed: int) -> Iterator[None]:
    """Inside, torch draws initial weights that follow from the seed; outside nothing changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, "init"))
        yield


@final
@dataclass(frozen=True)
class ModelConfig(NetworkDescription):
    """A preconditioned network on a process, and the data it was made for.

    Args:
        data: name of the data set.
        network: sizes; its number of labels must be that of ``axes``.
        process: how data becomes noise.
        prediction: what the network predicts.
        sigma_data: standard deviation of the data that the preconditioning assumes.
        axes: names and values of the label axes; () is an unconditional model.
        mixed: in phase space, the network corrects the score of a normal velocity.
    """

    data: str
    network: UNetConfig | MLPConfig
    process: Process = Scheduled()
    prediction: Prediction = Prediction.EDM
    sigma_data: float = 0.5
    axes: tuple[LabelAxis, ...] = ()
    mixed: bool = False

    @property
    def sampling(self) -> Sampling:
        """Multistep exponential integration; in phase space splitting, more steps."""
        if isinstance(self.process, CriticallyDamped):
            return Sampling("sscs", "quadratic", 50)
        return Sampling()

    @property
    def preview(self) -> Sampling:
        """As `ModelDescription.preview`; phase space is stiff near the data."""
        if isinstance(self.process, CriticallyDamped):
            return Sampling("ancestral", times=tuple(quadratic(40, end=1e-3).tolist()))
        return super().preview

    def build(self, seed: int = 0) -> Preconditioned:
        """The network, preconditioned."""
        network = self.make_network(seed)
        return Preconditioned(
            network, self.process, self.prediction, sigma_data=self.sigma_data, mixed=self.mixed
        )

    def to_json(self) -> dict[str, Any]:
        """As `ModelDescription.to_json`; without ``mixed`` where it is not set."""
        made = super().to_json()
        if not self.mixed:
            del made["mixed"]  # a setting of phase space alone
        return made


def with_labels(
    network: UNetConfig,
    axes: tuple[LabelAxis, ...],
    resolution: int,
    channels: int,
    image_width: int = 0,
) -> UNetConfig:
    """A U-Net's sizes, made to fit the data's size, channels and label axes."""
    labels = tuple(len(axis.values) for axis in axes)
    fitting = network.at(resolution, image_width)
    return replace(fitting, labels=labels, in_channels=channels, out_channels=channels)
