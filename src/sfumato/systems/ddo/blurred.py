r"""Diffusion that blurs as it adds noise, in the basis of the cosines (Rissanen et al. 2023, arXiv
2206.13397; Hoogeboom & Salimans 2023, arXiv 2209.05557; DDO's code for signed distances).

On a box with mirrors the heat equation damps each cosine by itself, so with û the modes of
`ddo.nn.harmonic`, k their numbers along the axes, and s(t) a width that grows,

.. math:: \hat x_t = \alpha_t\, e^{-|k|^2 s(t)^2 / 2}\, \hat x_0 + \sigma_t \sqrt{c_k}\, z.

It is `Scheduled` with a signal level for each mode: marginals, posteriors and transport are the
same closed forms, applied mode by mode, and solvers do not know of it. States and data are *modes*;
`OnGrid` lets a network see functions, and `Modes` draws the noise of a `GaussianField`.

Predict x_0, v or EDM's F: ε does not tell what was blurred away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sfumato.noise import Noise
from sfumato.schedule import Schedule, Time, as_time
from sfumato.seeds import Generators
from sfumato.systems.ddo.field import GaussianField
from sfumato.systems.ddo.nn.harmonic import Domain, to_grid, to_modes


@final
@dataclass(frozen=True)
class Blurred(Schedule):
    r"""α_t exp(-|k|² s²/2) for each mode k of a grid, s(t) = width sin²(πt/2).

    `log_snr` and `time` are those of the inner schedule, which is what grids of times and the
    network's noise level go by; levels have the shape (B or 1, *grid). (DDO's code begins at
    s(0) = .05, where x_0 would be blurred data; here x_0 is the data.)

    Args:
        inner: α_t and σ_t.
        grid: points along each axis.
        width: s(1), in radians per cosine: a blur of s/π box sides.

    Raises:
        ValueError: width <= 0.
    """

    inner: Schedule
    grid: tuple[int, ...]
    width: float = 0.25

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise ValueError(f"expected width > 0, got {self.width}")

    def _square(self) -> Tensor:
        """|k|², (*grid), float64."""
        total = torch.zeros((), dtype=torch.float64)
        for n in self.grid:
            total = total[..., None] + torch.arange(n, dtype=torch.float64).square()
        return total

    def _over(self, value: Tensor) -> Tensor:
        """(B or 1, *grid): one value for all modes."""
        return value.reshape(-1, *[1] * len(self.grid)).expand(-1, *self.grid)

    def blur(self, t: Time) -> Tensor:
        """-|k|² s²/2, (B or 1, *grid), not below what α e^{...} > 0 needs in the type of t."""
        t = as_time(t)
        s = self.width * (0.5 * math.pi * t).sin().square()
        least = 0.8 * math.log(torch.finfo(t.dtype).tiny)  # 0/0 in α_t/α_s otherwise
        return (-0.5 * self._square().to(t) * self._over(s.square())).clamp_min(least)

    def alpha(self, t: Time) -> Tensor:
        """α e^{-|k|² s²/2}."""
        return self._over(self.inner.alpha(t)) * self.blur(t).exp()

    def sigma(self, t: Time) -> Tensor:
        """σ, the same for all modes."""
        return self._over(self.inner.sigma(t))

    def alpha_dot(self, t: Time) -> Tensor:
        """(α̇ - α |k|² s ṡ) e^{-|k|² s²/2}."""
        t = as_time(t)
        angle = 0.5 * math.pi * t
        s = self.width * angle.sin().square()
        s_dot = self.width * math.pi * angle.sin() * angle.cos()
        inner = self._over(self.inner.alpha_dot(t))
        bend = self._over(self.inner.alpha(t) * s * s_dot) * self._square().to(t)
        return (inner - bend) * self.blur(t).exp()

    def sigma_dot(self, t: Time) -> Tensor:
        """σ̇."""
        return self._over(self.inner.sigma_dot(t))

    def log_snr(self, t: Time) -> Tensor:
        """λ of the inner schedule, which is that of the mode that is not blurred."""
        return self.inner.log_snr(t)

    def gap(self, s: Time, t: Time) -> Tensor:
        """λ_t - λ_s of each mode: that of the inner schedule, and twice the blur between."""
        return self._over(self.inner.gap(s, t)) + 2 * (self.blur(t) - self.blur(s))

    def time(self, log_snr: Tensor) -> Tensor:
        """The inner schedule's time of λ."""
        return self.inner.time(log_snr)


@final
@dataclass(frozen=True)
class Modes(Noise):
    """The modes of a Gaussian field on a box with mirrors.

    Raises:
        ValueError: a periodic field, whose modes are complex.
    """

    field: GaussianField

    def __post_init__(self) -> None:
        if self.field.domain is not Domain.REFLECTING:
            raise ValueError(f"expected a field on a box with mirrors, got {self.field!r}")

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw modes on the grid of ``like``."""
        return to_modes(self.field.sample(like, generator), self.field.dims, self.field.domain)

    def whiten(self, x: Tensor) -> Tensor:
        """K^{-1/2} of the function with these modes, on its grid."""
        return self.field.whiten(to_grid(x, self.field.dims, self.field.domain))

    def log_prob(self, x: Tensor) -> Tensor:
        """log-density of the values on the grid, in nats, (B,)."""
        return self.field.log_prob(to_grid(x, self.field.dims, self.field.domain))


@final
class OnGrid(nn.Module):
    """A network of functions, called with modes and returning modes.

    Args:
        network: of functions.
        dims: number of spatial axes.
        channels: those of the state, which are modes; what comes beside them (`ImageCondition`) is
            functions already. None: all are modes.
    """

    def __init__(self, network: nn.Module, dims: int, channels: int | None = None) -> None:
        super().__init__()
        self.network, self.dims, self.channels = network, dims, channels

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        """Modes (B, C, *grid), and functions on further channels, to modes."""
        count = x.shape[1] if self.channels is None else self.channels
        state, image = x[:, :count], x[:, count:]
        state = to_grid(state, self.dims, Domain.REFLECTING)
        made = self.network(torch.cat([state, image], 1), noise_level, cond)
        return to_modes(made, self.dims, Domain.REFLECTING)
