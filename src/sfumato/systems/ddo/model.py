"""A generative model of functions (DDO), as data: operator, noise, and the data's spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from sfumato.condition import Condition, ImageCondition
from sfumato.data import LabelAxis
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription, Sampling, initial
from sfumato.noise import White
from sfumato.process import Process, Scheduled
from sfumato.schedule import EDM, VPCosine
from sfumato.systems.ddo.blurred import Blurred, Modes, OnGrid
from sfumato.systems.ddo.data.base import FieldSet, Frame, Quantity
from sfumato.systems.ddo.drift import PowerCorrection
from sfumato.systems.ddo.field import GaussianField
from sfumato.systems.ddo.kernel import Covariance
from sfumato.systems.ddo.law import measured_law
from sfumato.systems.ddo.nn.harmonic import Domain, to_grid, to_modes
from sfumato.systems.ddo.nn.operator import FNO, UNO, FNOConfig, UNOConfig
from sfumato.systems.ddo.wiener import Wiener


@final
@dataclass(frozen=True)
class Scale:
    """Mean and deviation by which a quantity is brought to mean 0 and variance 1."""

    mean: float = 0.0
    deviation: float = 1.0


@final
@dataclass(frozen=True)
class FieldModel(ModelDescription):
    """An operator that corrects the Wiener filter, and the functions it was made for.

    Args:
        data: name of the data set.
        network: sizes; it takes three channels for each quantity, and those that are given.
        frame: axes, boundary and quantities of what it draws.
        grid: that it was trained on.
        process: a schedule, and a `GaussianField` as noise.
        spectra: for each quantity, the Gaussian law with the data's spectrum.
        scales: for each quantity.
        given: quantities it is conditioned on: fields on the same box, or parameters (constant
            fields).
        given_scales: for each of them.
        prediction: what the network predicts instead of the rest of the Wiener filter; it then
            takes one channel for each quantity, no spectra are needed, and the noise may be white.
        blur: width of the blur at t = 1 (see `ddo.blurred`), 0 for none.
        drift: the measured correction of the power of its samples (see `ddo.drift`), or None.

    Raises:
        UsageError: the parts do not fit.
    """

    command: ClassVar[str] = "fields sample"
    opens: ClassVar[str] = "sfumato.systems.ddo.sampling:FieldSampler"

    data: str
    network: UNOConfig | FNOConfig
    frame: Frame
    grid: tuple[int, ...]
    process: Scheduled
    spectra: tuple[GaussianField, ...]
    scales: tuple[Scale, ...]
    given: tuple[Quantity, ...] = ()
    given_scales: tuple[Scale, ...] = ()
    prediction: Prediction | None = None
    blur: float = 0.0
    drift: PowerCorrection | None = None

    def __post_init__(self) -> None:
        channels = len(self.frame.quantities)
        want = self.state_channels * channels + len(self.given)
        if (self.network.in_channels, self.network.out_channels) != (want, channels):
            raise UsageError(
                f"expected a network from {want} to {channels} channels, got "
                f"{self.network.in_channels} and {self.network.out_channels}"
            )
        laws = channels if self.prediction is None else 0
        if self.blur and (self.prediction is None or self.frame.domain is not Domain.REFLECTING):
            raise UsageError("a blurring process needs a prediction, and a box with mirrors")
        if self.blur and not isinstance(self.process.noise, GaussianField):
            raise UsageError("a blurring process needs a Gaussian field as noise, not white noise")
        for name, wanted in (("spectra", laws), ("scales", channels)):
            if len(getattr(self, name)) != wanted:
                raise UsageError(f"expected {wanted} {name}, got {len(getattr(self, name))}")
        if self.drift and (self.prediction is not None or self.drift.channels != channels):
            raise UsageError(
                f"expected a drift of {channels} channels, beside the Wiener filter alone"
            )
        if len(self.given) != len(self.given_scales):
            raise UsageError(
                f"expected {len(self.given)} given_scales, got {len(self.given_scales)}"
            )
        if len(self.grid) != self.frame.dims or self.network.dims != self.frame.dims:
            raise UsageError(
                f"expected a grid and a network of {self.frame.dims} axes, got {self.grid} and "
                f"{self.network.dims}"
            )

    @property
    def axes(self) -> tuple[LabelAxis, ...]:  # type: ignore[override]
        """No labels."""
        return ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *grid), on the grid it was trained on."""
        return (len(self.frame.quantities), *self.grid)

    @property
    def sampling(self) -> Sampling:
        """DEIS in 20 steps of the log signal-to-noise ratio; dpmpp2m where there is blur."""
        return Sampling("dpmpp2m" if self.blur else "deis", "log-snr", 20)

    @property
    def state_channels(self) -> int:
        """Channels that the network has for each quantity: x_t, or what `Wiener` makes of it."""
        return 3 if self.prediction is None else 1

    def build(self, seed: int = 0) -> Wiener | Preconditioned:
        """The operator in its denoiser."""
        with initial(seed):
            network = self.network
            made: nn.Module = UNO(network) if isinstance(network, UNOConfig) else FNO(network)
        if self.prediction is None:
            return Wiener(made, self.process, self.spectra, self.grid, self.drift)
        if self.blur:
            made = OnGrid(made, self.frame.dims, len(self.frame.quantities))
        return Preconditioned(made, self._process(self.grid), self.prediction, 1.0)

    def _process(self, grid: Sequence[int]) -> Process:
        noise = self.process.noise
        if not self.blur or not isinstance(noise, GaussianField):
            return self.process
        return Scheduled(Blurred(self.process.schedule, tuple(grid), self.blur), Modes(noise))

    def on(self, denoiser: Denoiser, grid: Sequence[int]) -> Denoiser:
        """The denoiser for states on a grid; only a blurring process knows its grid."""
        if not self.blur or not isinstance(denoiser, Preconditioned):
            return denoiser
        process = self._process(grid)
        return Preconditioned(denoiser.network, process, denoiser.predicts, denoiser.sigma_data)

    def state(self, x: Tensor) -> Tensor:
        """Normalised fields as the process takes them: as they are, or their modes."""
        return to_modes(x, self.frame.dims, self.frame.domain) if self.blur else x

    def fields(self, x: Tensor) -> Tensor:
        """The inverse of `state`."""
        return to_grid(x, self.frame.dims, self.frame.domain) if self.blur else x

    def normalised(self, x: Tensor) -> Tensor:
        """Fields (B, C, *grid) in their units to mean 0 and variance 1."""
        return _scaled(x, self.scales)

    def in_units(self, x: Tensor) -> Tensor:
        """The inverse of `normalised`."""
        mean, deviation = _columns(self.scales, x)
        return x * deviation + mean

    def condition(self, given: Tensor | None) -> Condition | None:
        """What the network is told: given quantities (B, G, *grid) in their units.

        Raises:
            ValueError: none where there should be some, or the other way round.
        """
        count = 0 if given is None else given.shape[1]
        if count != len(self.given):
            names = ", ".join(q.label for q in self.given) or "none"
            raise ValueError(
                f"this model is told {len(self.given)} quantities ({names}), got {count}"
            )
        return None if given is None else ImageCondition(_scaled(given, self.given_scales))


def _columns(scales: Sequence[Scale], like: Tensor) -> tuple[Tensor, Tensor]:
    over = (-1, *[1] * (like.ndim - 2))
    made = torch.tensor([(s.mean, s.deviation) for s in scales], dtype=torch.float64)
    return made[:, 0].reshape(over).to(like), made[:, 1].reshape(over).to(like)


def _scaled(x: Tensor, scales: Sequence[Scale]) -> Tensor:
    mean, deviation = _columns(scales, x)
    return (x - mean) / deviation


def measured_scale(values: Tensor) -> Scale:
    """Mean and deviation of numbers, rounded to 6 digits; a constant has deviation 1."""
    mean, deviation = float(values.double().mean()), float(values.double().std())
    return Scale(float(f"{mean:.6g}"), float(f"{deviation:.6g}") if deviation > 0 else 1.0)


def field_model(
    data: FieldSet,
    network: UNOConfig | FNOConfig,
    noise: Covariance | None,
    given: Sequence[str] = (),
    prediction: Prediction | None = None,
    blur: float = 0.0,
) -> FieldModel:
    """A model that fits a data set; conditioned on the quantities or parameters in ``given``.

    ``noise`` None is white noise, which is another field on each grid.

    Raises:
        UsageError: a name that the data does not have, or nothing left to draw.
    """
    told = data.select(given, "the data")
    drawn = tuple(q for q in data.frame.quantities if q.name not in given)
    if not drawn:
        raise UsageError("every quantity is given, so nothing is left to draw")
    frame = replace(data.frame, quantities=drawn)
    x = data.select([q.name for q in drawn])
    scales = tuple(measured_scale(x[:, c]) for c in range(len(drawn)))
    extent = () if set(frame.extent) == {1.0} else frame.extent
    laws: tuple[GaussianField, ...] = ()
    if prediction is None:
        laws = tuple(
            measured_law((x[:, c] - s.mean) / s.deviation, frame) for c, s in enumerate(scales)
        )
    quantities = {q.name: q for q in (*data.frame.quantities, *data.parameter_names)}
    return FieldModel(
        data=data.name,
        network=replace(
            network,
            in_channels=(3 if prediction is None else 1) * len(drawn) + len(given),
            out_channels=len(drawn),
            domain=frame.domain,
        ),
        frame=frame,
        grid=data.grid,
        process=Scheduled(
            VPCosine() if blur else EDM(),
            GaussianField(noise, frame.dims, frame.domain, extent) if noise else White(),
        ),
        spectra=laws,
        scales=scales,
        given=tuple(quantities[name] for name in given),
        given_scales=tuple(measured_scale(told[:, g]) for g in range(len(given))),
        prediction=prediction,
        blur=blur,
    )
