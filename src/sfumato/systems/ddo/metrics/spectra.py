r"""Spectra and structure functions of fields (N, C, *grid), the same on every grid.

A field is the sum of the harmonics that fit on its grid (`ddo.nn.harmonic`): its spectrum and its
differences are those of that function. Lengths are in the units of ``extent``; () is the unit box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.nn.harmonic import Domain, cardinal, places, to_modes, wave_numbers

__all__ = [
    "Ratio",
    "Spectrum",
    "Structure",
    "energy_spectrum",
    "shell_powers",
    "spectrum_ratio",
    "structure_function",
    "structure_values",
]

_CHUNK = 2**21  # values taken at a time; intermediates are a few times as many float64 numbers
_SHARES = tuple(2.0**-k for k in range(6, 0, -1))  # separations over the shortest side


@final
@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean square of fields by shells of wave numbers.

    Attributes:
        wave_numbers: (K,) waves per unit of length in the middle of each shell; 0 first.
        power: (C, K), in the squared units of the channel. Its sum is the mean square of a value.
        error: (C, K) standard error over the samples; NaN for a single one.
        complete: so many shells, the first ones, have all their modes on the grid. Those beyond
            reach into the corners of the box of modes, and depend on the grid.
        n: number of samples.
    """

    wave_numbers: Tensor
    power: Tensor
    error: Tensor
    complete: int
    n: int


@final
@dataclass(frozen=True, eq=False)
class Ratio:
    """One spectrum over another: (S,) wave numbers, (C, S) values and standard errors."""

    wave_numbers: Tensor
    value: Tensor
    error: Tensor


def shell_powers(x: Tensor, domain: Domain, extent: Sequence[float] = ()) -> Tensor:
    """Mean square of each field in each shell: float64 (N, C, K); see `energy_spectrum`."""
    return shell_products(x, x, domain, extent)


def shell_products(x: Tensor, y: Tensor, domain: Domain, extent: Sequence[float] = ()) -> Tensor:
    """Mean of x y over the box, of what each has in a shell: float64 (N, C, K), on the CPU."""
    lengths = checked(x, extent)
    dims = len(lengths)
    shell, weight = shells(tuple(x.shape[2:]), domain, lengths)
    made = torch.zeros(*x.shape[:2], int(shell.max()) + 1, dtype=torch.float64)
    for start, u in chunks(x):
        a = b = to_modes(u, dims, domain).flatten(2)
        if y is not x:
            v = y[start : start + len(u)].detach().double()
            b = to_modes(v, dims, domain).flatten(2)
        product = (a * b.conj()).real.cpu() * weight
        made[start : start + len(u)].index_add_(2, shell, product)
    return made


def energy_spectrum(x: Tensor, domain: Domain, extent: Sequence[float] = ()) -> Spectrum:
    r"""Mean square of the fields, shell by shell of the wave number \|κ\|.

    Each mode has κ_i waves per unit of length along axis i: j_i / L_i on a PERIODIC box and
    k_i / (2 L_i) on a REFLECTING one. Shell s holds the modes with

        (s - 1/2) w <= |κ| < (s + 1/2) w,    w = 1/L (PERIODIC), 1/(2L) (REFLECTING),

    L the longest side, so that in one dimension every shell is one harmonic. Its power is
    E Σ |û_j|² or E Σ a_k² Π_i (1 if k_i = 0, else 1/2), and by Parseval's identity the sum over
    all shells is exactly the mean over samples and grid points of u² (the mean is not taken off:
    it is shell 0). No factor for the number of modes in a shell: divide by w for a density.

    The highest mode of an even periodic grid, cos(πn x), has mean square 1 on the grid that holds
    it and 1/2 as a function; fields that fill it lose that half on a finer grid.

    Args:
        x: (N, C, *grid), one, two or three axes of space; computed in float64.
        extent: side lengths, one for each axis; () if all are 1.

    Raises:
        ValueError: another shape, no sample, values not finite, or lengths that do not fit.
    """
    lengths = checked(x, extent)
    powers = shell_powers(x, domain, extent)
    width = shell_width(domain, lengths)
    waves = torch.arange(powers.shape[-1], dtype=torch.float64) * width
    complete = complete_shells(x.shape[2:], domain, lengths)
    return Spectrum(waves, powers.mean(0), standard_error(powers), complete, len(x))


def spectrum_ratio(a: Spectrum, b: Spectrum, shells: Sequence[int] | None = None) -> Ratio:
    """a.power / b.power in ``shells`` (None: those complete in both), with its standard error.

    First order: error² = ratio² ((error_a / a)² + (error_b / b)²), for independent samples. Where b
    has no power the ratio is infinite, or NaN.

    Raises:
        ValueError: other shells or channels in a than in b, or a shell that either lacks.
    """
    have = min(a.power.shape[1], b.power.shape[1])
    if len(a.power) != len(b.power) or not torch.allclose(
        a.wave_numbers[:have], b.wave_numbers[:have], rtol=1e-9
    ):
        raise ValueError("expected spectra of as many channels, over the same shells")
    kept = list(range(min(a.complete, b.complete)) if shells is None else shells)
    if not kept or min(kept) < 0 or max(kept) >= have:
        raise ValueError(f"expected shells from 0 to {have - 1}, got {kept}")
    above, below = a.power[:, kept], b.power[:, kept]
    value = above / below
    error = (
        (a.error[:, kept] / below).square() + (value * b.error[:, kept] / below).square()
    ).sqrt()
    return Ratio(a.wave_numbers[kept], value, error)


def standard_error(values: Tensor) -> Tensor:
    """Of the mean over the first axis; NaN for a single sample."""
    if len(values) < 2:
        return torch.full_like(values[0], math.nan)
    return values.std(0) / math.sqrt(len(values))


def checked(x: Tensor, extent: Sequence[float] = ()) -> tuple[float, ...]:
    """The side lengths, once x is known to be finite fields (N, C, *grid)."""
    if x.ndim not in (3, 4, 5) or not x.numel() or not x.dtype.is_floating_point:
        raise ValueError(
            "expected floating-point fields (N, C, *grid) with 1, 2 or 3 axes of space, "
            f"got {x.dtype} of shape {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("some values are not finite")
    lengths = tuple(float(side) for side in extent) or (1.0,) * (x.ndim - 2)
    if len(lengths) != x.ndim - 2 or not all(0 < side < math.inf for side in lengths):
        raise ValueError(f"expected {x.ndim - 2} side lengths above 0, got {tuple(extent)}")
    return lengths


def chunks(x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first index, float64 samples), a few million values at a time."""
    size = max(1, _CHUNK // max(1, x[0].numel()))
    for start in range(0, len(x), size):
        yield start, x[start : start + size].detach().double()


def shell_width(domain: Domain, lengths: Sequence[float]) -> float:
    """Waves per unit of length from one shell to the next."""
    return (1.0 if domain is Domain.PERIODIC else 0.5) / max(lengths)


def complete_shells(grid: Sequence[int], domain: Domain, lengths: Sequence[float]) -> int:
    """How many shells, from 0, would hold no more modes on a finer grid."""
    lacking = [  # the lowest wave number that an axis does not have
        ((n + 1) // 2 if domain is Domain.PERIODIC else n / 2) / side
        for n, side in zip(grid, lengths, strict=True)
    ]
    return math.floor(min(lacking) / shell_width(domain, lengths) + 0.5 + 1e-9)


def shells(
    grid: tuple[int, ...], domain: Domain, lengths: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The shell of each mode and the mean square of its harmonic, both flat."""
    square, weight = torch.zeros(grid).double(), torch.ones(grid).double()
    for i, (n, side) in enumerate(zip(grid, lengths, strict=True)):
        shape = [-1 if a == i else 1 for a in range(len(grid))]
        waves = wave_numbers(n, domain).reshape(shape)
        square = square + (waves / side).square()
        if domain is Domain.REFLECTING:
            weight = weight * torch.where(waves == 0, 1.0, 0.5)
    shell = (square.sqrt() / shell_width(domain, lengths) + 0.5 + 1e-9).floor().long()
    return shell.flatten(), weight.flatten()


@final
@dataclass(frozen=True, eq=False)
class Structure:
    """Moments of differences between points, along each axis.

    Attributes:
        separations: (R,), units of length.
        orders: the P exponents p.
        value: (C, d, P, R), in the units of the channel to the power p.
        error: the same shape; standard error over the samples, NaN for a single one.
        n: number of samples.
    """

    separations: Tensor
    orders: tuple[float, ...]
    value: Tensor
    error: Tensor
    n: int


def structure_values(
    x: Tensor,
    domain: Domain,
    extent: Sequence[float] = (),
    *,
    orders: Sequence[float] = (2, 3, 4),
    separations: Sequence[float] = (),
) -> Tensor:
    """`structure_function` of each sample: float64 (N, C, d, P, R)."""
    lengths = checked(x, extent)
    gaps = _gaps(lengths, separations)
    if not orders or min(orders) <= 0:
        raise ValueError(f"expected orders > 0, got {tuple(orders)}")
    dims = len(lengths)
    made = torch.empty(*x.shape[:2], dims, len(orders), len(gaps), dtype=torch.float64)
    for start, u in chunks(x):
        for a, length in enumerate(lengths):
            for j, r in enumerate(gaps):
                apart = _increments(u, a - dims, r / length, domain).abs().flatten(2)
                for i, p in enumerate(orders):
                    made[start : start + len(u), :, a, i, j] = _power(apart, p).mean(2).cpu()
    return made


def structure_function(
    x: Tensor,
    domain: Domain,
    extent: Sequence[float] = (),
    *,
    orders: Sequence[float] = (2, 3, 4),
    separations: Sequence[float] = (),
) -> Structure:
    r"""S_p(r) = E \|u(x + r e) - u(x)\|^p along each axis e (Kolmogorov 1941; Frisch 1995, ch. 5).

    For a homogeneous field S_2(r) = 2 (C(0) - C(r)) with its covariance C. Both points lie in the
    box: x runs over all of it if PERIODIC (x + r comes back on the other side), over [0, L - r]
    along e if REFLECTING. A separation that is no multiple of the grid's spacing is measured on the
    interpolant.

    Averages over x are means over equal cells. On a PERIODIC grid that is exact for even p if p
    times the highest wave number is below n. On a REFLECTING one, or for other p, it differs from
    the integral by O(1/n²), which averages out over samples of a homogeneous field.

    Args:
        x: (N, C, *grid); computed in float64.
        orders: p > 0.
        separations: r, units of length; () is 1/64, 1/32, .. 1/2 of the shortest side.

    Raises:
        ValueError: as `energy_spectrum`; an order not above 0, or a
            separation that is not between 0 and the shortest side.
    """
    values = structure_values(x, domain, extent, orders=orders, separations=separations)
    at = torch.tensor(_gaps(checked(x, extent), separations), dtype=torch.float64)
    return Structure(at, tuple(orders), values.mean(0), standard_error(values), len(x))


def _gaps(lengths: Sequence[float], separations: Sequence[float]) -> tuple[float, ...]:
    """The separations, or the default ones. Raises ValueError where there is no such pair."""
    gaps = tuple(float(r) for r in separations) or tuple(r * min(lengths) for r in _SHARES)
    if not 0 < min(gaps) <= max(gaps) < min(lengths):
        raise ValueError(f"expected separations between 0 and {min(lengths):g}, got {gaps}")
    return gaps


def _power(u: Tensor, p: float) -> Tensor:
    """u^p, by products where that is faster."""
    if p in (2, 4):
        square = u.square()
        return square if p == 2 else square.square()
    return u.pow(p)


def _increments(u: Tensor, axis: int, gap: float, domain: Domain) -> Tensor:
    """u(x + r e) - u(x) at every place x for which both points are there; gap = r / L."""
    n = u.shape[axis]
    steps = round(gap * n)
    if abs(gap * n - steps) > 1e-6:
        near, far = _pairs(n, gap, domain)
        return ((u.movedim(axis, -1)) @ (far - near).to(u).mT).movedim(-1, axis)
    if domain is Domain.PERIODIC:
        return u.roll(-steps, axis) - u
    return u.narrow(axis, steps, n - steps) - u.narrow(axis, 0, n - steps)


@lru_cache(maxsize=64)
def _pairs(n: int, gap: float, domain: Domain) -> tuple[Tensor, Tensor]:
    """Matrices (m, n) from grid values to those at m places x, and at x + gap."""
    if domain is Domain.PERIODIC:
        x = places(n, domain)
    else:
        m = max(1, round((1 - gap) * n))
        x = (1 - gap) * places(m, domain)
    size = max(1, 2**23 // n**2)  # `cardinal` takes n / 2 numbers for each of its own
    near, far = (torch.cat([cardinal(p, n, domain) for p in y.split(size)]) for y in (x, x + gap))
    return near, far
