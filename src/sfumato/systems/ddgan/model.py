"""A denoising diffusion GAN as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from sfumato.data import LabelAxis
from sfumato.denoise import Prediction
from sfumato.model.description import NetworkDescription, Sampling
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import VPLinear
from sfumato.systems.ddgan.implicit import Bound, ImplicitDenoiser
from sfumato.times import offset


@final
@dataclass(frozen=True)
class ImplicitModel(NetworkDescription):
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
    """

    data: str
    network: UNetConfig | MLPConfig
    process: Process = Scheduled(VPLinear())
    steps: int = 4
    prediction: Prediction = Prediction.X0
    sigma_data: float = 0.5
    bound: Bound = Bound.TANH
    axes: tuple[LabelAxis, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """Ancestral steps over the times it was trained for."""
        times = tuple(offset(self.steps).tolist())
        return Sampling("ancestral", steps=self.steps, times=times)

    def build(self, seed: int = 0) -> ImplicitDenoiser:
        """The generator with fresh weights that depend on ``seed`` alone."""
        return ImplicitDenoiser(
            self.make_network(seed), self.process, self.steps, self.network.latent,
            self.prediction, self.sigma_data, self.bound,
        )  # fmt: skip
