r"""Structure functions of fields (N, C, *grid): how far values differ at a distance.

A field is the sum of the harmonics that fit on its grid (`ddo.nn.harmonic`), and separations
are lengths, so that a band-limited field has the same structure functions on every finer grid, to
what `structure_function` says of averages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.metrics.fields import checked, chunks, standard_error
from sfumato.systems.ddo.nn.harmonic import Domain, cardinal, places

__all__ = ["Structure", "structure_function", "structure_values"]

_SHARES = tuple(2.0**-k for k in range(6, 0, -1))  # separations over the shortest side


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
        ValueError: as `ddo.metrics.fields.energy_spectrum`; an order not above 0, or a
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
