"""A denoising diffusion GAN as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from sfumato.data import LabelAxis
from sfumato.denoise import Prediction
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription, Sampling, initial, network_shape
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import VPLinear
from sfumato.systems.ddgan.implicit import Bound, ImplicitDenoiser
from sfumato.times import offset


@final
@dataclass(frozen=True)
class ImplicitModel(ModelDescription):
    """A generator of x_0 given x_t, and the data it was made for.

    Args:
        data: name of the data set.
        network: sizes; its number of labels must be that of ``axes``.
        process: how data becomes noise.
        steps: T, the number of denoising steps.
        prediction: how the network's output is scaled.
        sigma_data: standard deviation of the data that the scaling assumes.
        bound: how the output is kept in [-1, 1].
        axes: names and values of the label axes; () is an unconditional model.

    Raises:
        UsageError: network and axes do not fit.
    """

    data: str
    network: UNetConfig | MLPConfig
    process: Process = Scheduled(VPLinear())
    steps: int = 4
    prediction: Prediction = Prediction.X0
    sigma_data: float = 0.5
    bound: Bound = Bound.TANH
    axes: tuple[LabelAxis, ...] = ()

    def __post_init__(self) -> None:
        if self.network.labels != self.labels:
            raise UsageError(
                f"the network takes labels {self.network.labels}, but the axes have {self.labels}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example: (C, H, W) or (d,)."""
        return network_shape(self.network)

    @property
    def sampling(self) -> Sampling:
        """Ancestral steps over the times it was trained for."""
        times = tuple(offset(self.steps).tolist())
        return Sampling("ancestral", steps=self.steps, times=times)

    def build(self, seed: int = 0) -> ImplicitDenoiser:
        """The generator with fresh weights that depend on ``seed`` alone."""
        with initial(seed):
            made = UNet(self.network) if isinstance(self.network, UNetConfig) else MLP(self.network)
        return ImplicitDenoiser(
            made,
            self.process,
            self.steps,
            self.network.latent,
            self.prediction,
            self.sigma_data,
            self.bound,
        )
