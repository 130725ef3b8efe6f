r"""Noise schedules α(t), σ(t): how much data and how much noise x_t = α x₀ + σ ε holds.

t = 0 is data, t = 1 the prior. Everything is evaluated in float64 unless the time that comes
in is a float32 tensor, and in the form that loses no digits near the ends (``expm1`` where
1 - exp would cancel).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

Time = float | Tensor


def as_time(t: Time) -> Tensor:
    """A time as a tensor: float64, or float32 if a float32 tensor came.

    Raises:
        ValueError: the time is an integer tensor.
    """
    if isinstance(t, Tensor):
        if not t.is_floating_point():
            raise ValueError(f"expected a floating-point time, got {t.dtype}")
        return t if t.dtype in (torch.float32, torch.float64) else t.double()
    return torch.tensor(float(t), dtype=torch.float64)


class Schedule(ABC):
    r"""α(t), σ(t), their derivatives, and the log signal-to-noise ratio λ = ln α²/σ²."""

    @abstractmethod
    def alpha(self, t: Time) -> Tensor:
        """Signal level α(t) >= 0."""

    @abstractmethod
    def sigma(self, t: Time) -> Tensor:
        """Noise level σ(t) >= 0, zero at t = 0."""

    @abstractmethod
    def alpha_dot(self, t: Time) -> Tensor:
        """dα/dt."""

    @abstractmethod
    def sigma_dot(self, t: Time) -> Tensor:
        """dσ/dt; infinite at t = 0 where σ starts like a square root."""

    @abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """The time at which the log signal-to-noise ratio has a value; inverse of `log_snr`."""

    def log_snr(self, t: Time) -> Tensor:
        """λ(t) = 2 ln(α/σ), falling in t; +inf at t = 0."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def gap(self, s: Time, t: Time) -> Tensor:
        """λ(t) - λ(s), which a kernel's variance follows from."""
        return self.log_snr(t) - self.log_snr(s)


@final
@dataclass(frozen=True)
class VPLinear(Schedule):
    r"""Variance preserving, β linear in t (Ho et al. 2020; Song et al. 2021, eq. 11).

    α = exp(-B/2), σ² = 1 - exp(-B), B(t) = β_min t + (β_max - β_min) t²/2.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"expected 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}"
            )

    def beta(self, t: Time) -> Tensor:
        """β(t)."""
        return self.beta_min + (self.beta_max - self.beta_min) * as_time(t)

    def integral(self, t: Time) -> Tensor:
        """B(t) = ∫₀ᵗ β."""
        t = as_time(t)
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square()

    def alpha(self, t: Time) -> Tensor:
        """exp(-B/2)."""
        return (-0.5 * self.integral(t)).exp()

    def sigma(self, t: Time) -> Tensor:
        """sqrt(1 - exp(-B))."""
        return (-torch.expm1(-self.integral(t))).sqrt()

    def alpha_dot(self, t: Time) -> Tensor:
        """-β α/2."""
        return -0.5 * self.beta(t) * self.alpha(t)

    def sigma_dot(self, t: Time) -> Tensor:
        """β α² / (2σ)."""
        return 0.5 * self.beta(t) * self.alpha(t).square() / self.sigma(t)

    def log_snr(self, t: Time) -> Tensor:
        """-ln(exp(B) - 1)."""
        return -torch.expm1(self.integral(t)).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """Root of β_min t + (β_max - β_min) t²/2 = ln(1 + exp(-λ))."""
        b = torch.nn.functional.softplus(-log_snr)
        d = self.beta_max - self.beta_min
        return 2 * b / (self.beta_min + (self.beta_min**2 + 2 * d * b).sqrt())


@final
@dataclass(frozen=True)
class VPCosine(Schedule):
    r"""Variance preserving, α = cos(πt/2), σ = sin(πt/2) (Nichol & Dhariwal 2021, s = 0)."""

    def alpha(self, t: Time) -> Tensor:
        """cos(πt/2), as sin(π(1-t)/2) so that α(1) = 0 exactly."""
        return torch.sin(0.5 * math.pi * (1 - as_time(t)))

    def sigma(self, t: Time) -> Tensor:
        """sin(πt/2)."""
        return torch.sin(0.5 * math.pi * as_time(t))

    def alpha_dot(self, t: Time) -> Tensor:
        """-π/2 sin(πt/2)."""
        return -0.5 * math.pi * self.sigma(t)

    def sigma_dot(self, t: Time) -> Tensor:
        """π/2 cos(πt/2)."""
        return 0.5 * math.pi * self.alpha(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """(2/π) atan(exp(-λ/2))."""
        return (2 / math.pi) * torch.atan((-0.5 * log_snr).exp())


@final
@dataclass(frozen=True)
class Shifted(Schedule):
    r"""Another variance preserving schedule with more noise, or less: σ/α is f times as large.

    λ' = λ - 2 ln f (Hoogeboom et al. 2023, arXiv 2301.11093, section 3.1, with f the ratio of
    resolutions); in the inner schedule's α and σ, and n² = α² + f² σ²,

    .. math:: α' = α/n, \quad σ' = fσ/n, \quad \dot α' = f^2 \dot α/n^3, \quad
              \dot σ' = f \dot σ/n^3 .

    Scaling the data by 1/f is the same thing: a small f spreads few steps over the noise levels at
    which data that is fine for its size is decided. Raises ValueError unless f > 0.
    """

    inner: VPLinear | VPCosine
    shift: float = 1.0

    def __post_init__(self) -> None:
        if not (self.shift > 0 and math.isfinite(self.shift)):
            raise ValueError(f"expected shift > 0, got {self.shift}")

    def _norm(self, t: Time) -> Tensor:
        f, h = self.shift, self.inner
        return (h.alpha(t).square() + (f * h.sigma(t)).square()).sqrt()

    def alpha(self, t: Time) -> Tensor:
        """α/n."""
        return self.inner.alpha(t) / self._norm(t)

    def sigma(self, t: Time) -> Tensor:
        """fσ/n."""
        return self.shift * self.inner.sigma(t) / self._norm(t)

    def alpha_dot(self, t: Time) -> Tensor:
        """f² α̇/n³."""
        return self.shift**2 * self.inner.alpha_dot(t) / self._norm(t).pow(3)

    def sigma_dot(self, t: Time) -> Tensor:
        """f σ̇/n³."""
        return self.shift * self.inner.sigma_dot(t) / self._norm(t).pow(3)

    def log_snr(self, t: Time) -> Tensor:
        """λ - 2 ln f."""
        return self.inner.log_snr(t) - 2 * math.log(self.shift)

    def time(self, log_snr: Tensor) -> Tensor:
        """The inner schedule's time of λ + 2 ln f."""
        return self.inner.time(log_snr + 2 * math.log(self.shift))


@final
@dataclass(frozen=True)
class VE(Schedule):
    r"""Variance exploding, α = 1, geometric (Song et al. 2021, eq. 9).

    σ² = σ_min² (r^{2t} - 1), r = σ_max/σ_min: the variance that the SDE has added since t = 0,
    so that x_0 is the data itself.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                f"expected 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}"
            )

    @property
    def _rate(self) -> float:
        return 2 * math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Time) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))

    def sigma(self, t: Time) -> Tensor:
        """σ_min sqrt(r^{2t} - 1)."""
        return self.sigma_min * torch.expm1(self._rate * as_time(t)).sqrt()

    def alpha_dot(self, t: Time) -> Tensor:
        """0."""
        return torch.zeros_like(as_time(t))

    def sigma_dot(self, t: Time) -> Tensor:
        """σ_min² ln(r) r^{2t} / σ."""
        grow = (self._rate * as_time(t)).exp()
        return 0.5 * self.sigma_min**2 * self._rate * grow / self.sigma(t)

    def time(self, log_snr: Tensor) -> Tensor:
        """ln(1 + σ²/σ_min²) / (2 ln r)."""
        return torch.log1p((-log_snr).exp() / self.sigma_min**2) / self._rate


@final
@dataclass(frozen=True)
class EDM(Schedule):
    """α = 1, σ = σ_max t (Karras et al. 2022, table 1): the noise level is the time."""

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not self.sigma_max > 0:
            raise ValueError(f"expected sigma_max > 0, got {self.sigma_max}")

    def alpha(self, t: Time) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))

    def sigma(self, t: Time) -> Tensor:
        """σ_max t."""
        return self.sigma_max * as_time(t)

    def alpha_dot(self, t: Time) -> Tensor:
        """0."""
        return torch.zeros_like(as_time(t))

    def sigma_dot(self, t: Time) -> Tensor:
        """σ_max."""
        return torch.full_like(as_time(t), self.sigma_max)

    def time(self, log_snr: Tensor) -> Tensor:
        """exp(-λ/2) / σ_max."""
        return (-0.5 * log_snr).exp() / self.sigma_max


@final
@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """α = 1 - t, σ = t: straight lines (Liu et al. 2023; Lipman et al. 2023)."""

    def alpha(self, t: Time) -> Tensor:
        """1 - t."""
        return 1 - as_time(t)

    def sigma(self, t: Time) -> Tensor:
        """t."""
        return as_time(t).clone()

    def alpha_dot(self, t: Time) -> Tensor:
        """-1."""
        return -torch.ones_like(as_time(t))

    def sigma_dot(self, t: Time) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))

    def time(self, log_snr: Tensor) -> Tensor:
        """1 / (1 + exp(λ/2))."""
        return torch.sigmoid(-0.5 * log_snr)


@final
@dataclass(frozen=True)
class SymmetricBrownian(Schedule):
    r"""α = 1 and σ² = ∫₀ᵗ β with β symmetric about t = 1/2 (I²SB, 2302.05872, section 4.1).

    √β rises linearly, √β = √β_min + (√β_max - √β_min) t for t <= 1/2, and falls back as it
    rose. β is greatest at t = 1/2, where it is ((√β_min + √β_max)/2)²: .1866 by default, and not
    β_max. The total ∫₀¹ β depends on no number of steps (0.141 for the default).
    """

    beta_min: float = 0.1
    beta_max: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"expected 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}"
            )

    @property
    def _roots(self) -> tuple[float, float]:
        start = math.sqrt(self.beta_min)
        return start, math.sqrt(self.beta_max) - start

    def _half(self, u: Tensor) -> Tensor:
        """∫₀ᵘ β for u <= 1/2, as u (r₀² + r₀ r_u + r_u²)/3: no cancellation."""
        start, slope = self._roots
        r = start + slope * u
        return u * (start * start + start * r + r.square()) / 3

    def alpha(self, t: Time) -> Tensor:
        """1."""
        return torch.ones_like(as_time(t))

    def sigma(self, t: Time) -> Tensor:
        """sqrt(∫₀ᵗ β)."""
        t = as_time(t)
        half = self._half(torch.full_like(t, 0.5))
        return torch.where(t <= 0.5, self._half(t), 2 * half - self._half(1 - t)).sqrt()

    def alpha_dot(self, t: Time) -> Tensor:
        """0."""
        return torch.zeros_like(as_time(t))

    def sigma_dot(self, t: Time) -> Tensor:
        """β / (2σ)."""
        t = as_time(t)
        start, slope = self._roots
        return (start + slope * torch.minimum(t, 1 - t)).square() / (2 * self.sigma(t))

    def time(self, log_snr: Tensor) -> Tensor:
        """Root of σ²(t) = exp(-λ): (r₀ + slope u)³ = r₀³ + 3 slope v, without cancellation."""
        v = (-log_snr).exp()
        start, slope = self._roots
        half = self._half(torch.full_like(v, 0.5))
        low = torch.where(v <= half, v, 2 * half - v).clamp_min(0)
        c = (start**3 + 3 * slope * low).pow(1 / 3)
        u = 3 * low / (c.square() + c * start + start * start)
        return torch.where(v <= half, u, 1 - u)
