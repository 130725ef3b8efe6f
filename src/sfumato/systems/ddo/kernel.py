r"""Covariance kernels of stationary random fields, by their spectral densities.

Densities are in κ waves per unit length, up to a factor: fields are scaled to variance 1 where they
are used. Lengths are in the units of the box.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from torch import Tensor


class Covariance(ABC):
    """The law of a stationary, isotropic Gaussian field, up to its variance."""

    @abstractmethod
    def density(self, waves: Tensor, dims: int) -> Tensor:
        """Power per unit volume of frequencies at ``waves`` = |κ| >= 0, any shape, float64."""

    @abstractmethod
    def reach(self, dims: int) -> float:
        """A distance beyond which correlations are below 1e-4.

        Raises:
            ValueError: there is none.
        """


@final
@dataclass(frozen=True)
class Matern(Covariance):
    r"""Matérn: (1 + (2πℓκ)²)^{-(ν + d/2)}; correlation ∝ (r/ℓ)^ν K_ν(r/ℓ).

    Args:
        length: ℓ > 0. The correlation falls like e^{-r/ℓ}.
        smoothness: ν > 0. The field has derivatives of order below ν.

    Raises:
        ValueError: a parameter outside its range.
    """

    length: float = 0.1
    smoothness: float = 1.5

    def __post_init__(self) -> None:
        if not self.length > 0 or not self.smoothness > 0:
            raise ValueError(
                "expected length > 0 and smoothness > 0, "
                f"got length={self.length}, smoothness={self.smoothness}"
            )

    def density(self, waves: Tensor, dims: int) -> Tensor:
        """(1 + (2πℓκ)²)^-(ν + d/2)."""
        bend = 1 + (2 * math.pi * self.length * waves).square()
        return bend.pow(-(self.smoothness + dims / 2))

    def reach(self, dims: int) -> float:
        """(9.3 + 3ν) ℓ."""
        return (9.3 + 3 * self.smoothness) * self.length


@final
@dataclass(frozen=True)
class SquaredExponential(Covariance):
    r"""exp(-2π²ℓ²κ²); correlation exp(-r²/(2ℓ²)): infinitely smooth.

    As noise it is smoother than almost any data, which function-space diffusion does not allow.
    """

    length: float = 0.1

    def __post_init__(self) -> None:
        if not self.length > 0:
            raise ValueError(f"expected length > 0, got {self.length}")

    def density(self, waves: Tensor, dims: int) -> Tensor:
        """exp(-2π²ℓ²κ²)."""
        return (-2 * (math.pi * self.length * waves).square()).exp()

    def reach(self, dims: int) -> float:
        """4.3 ℓ."""
        return 4.3 * self.length


@final
@dataclass(frozen=True)
class Laplacian(Covariance):
    r"""The covariance operator (-Δ + τ²)^{-p}: density (4π²κ² + τ²)^{-p}.

    With τ = 0 the mean over the box is left out: the field's mean is zero.

    Args:
        power: p > d/2, so that the field has a finite variance.
        shift: τ >= 0, per unit length.

    Raises:
        ValueError: a parameter outside its range.
    """

    power: float = 2.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not self.power > 0 or not self.shift >= 0:
            raise ValueError(
                f"expected power > 0 and shift >= 0, got power={self.power}, shift={self.shift}"
            )

    def density(self, waves: Tensor, dims: int) -> Tensor:
        """(4π²κ² + τ²)^-p, and 0 where that is infinite."""
        if self.power <= dims / 2:
            raise ValueError(
                f"expected power > {dims / 2} in {dims} dimensions, where the variance is finite, "
                f"got {self.power}"
            )
        import torch

        square = (2 * math.pi * waves).square() + self.shift**2
        made = square.clamp_min(torch.finfo(square.dtype).tiny).pow(-self.power)
        return torch.where(square > 0, made, torch.zeros_like(made))

    def reach(self, dims: int) -> float:
        """That of the Matérn kernel with ℓ = 1/τ and ν = p - d/2."""
        if self.shift == 0:
            raise ValueError(
                "expected shift > 0: without it no correlation dies away in open space"
            )
        return Matern(1 / self.shift, self.power - dims / 2).reach(dims)


@final
@dataclass(frozen=True)
class Measured(Covariance):
    """A density given at some wave numbers: straight lines in log-log, and beyond them.

    Below the first wave number the density is constant. Above the last it falls on as between the
    last two. The mean over the box has a density of its own, which may be far from that of waves:
    0 if all fields have the same mean, as vorticity has.

    Args:
        waves: wave numbers, rising, positive.
        densities: positive, as many.
        zero: density at wave number 0; None is that of the first wave number.

    Raises:
        ValueError: they do not fit.
    """

    waves: tuple[float, ...]
    densities: tuple[float, ...]
    zero: float | None = None

    def __post_init__(self) -> None:
        w, s = self.waves, self.densities
        rising = all(a < b for a, b in zip(w, w[1:]))
        if len(w) < 2 or len(w) != len(s) or not rising or not (w[0] > 0 and min(s) > 0):
            raise ValueError(
                f"expected rising positive waves and as many positive densities, got {w} and {s}"
            )
        if self.zero is not None and not self.zero >= 0:
            raise ValueError(f"expected a density of 0 or more at wave number 0, got {self.zero}")

    def density(self, waves: Tensor, dims: int) -> Tensor:
        """Interpolated; ValueError if it does not fall fast enough beyond the last wave number."""
        import torch

        x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (self.waves, self.densities))
        if float((y[-1] - y[-2]) / (x[-1] - x[-2])) >= -dims:
            raise ValueError(
                f"expected densities that fall faster than waves^-{dims} at the end, so that the "
                "variance is finite"
            )
        at = waves.double().clamp_min(self.waves[0]).log()
        i = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
        slope = (y[i] - y[i - 1]) / (x[i] - x[i - 1])
        made = (y[i - 1] + slope * (at - x[i - 1])).exp()
        return made if self.zero is None else torch.where(waves > 0, made, self.zero)

    def reach(self, dims: int) -> float:
        """Raises ValueError: it is not known."""
        raise ValueError("a measured density tells no distance at which correlations end")
