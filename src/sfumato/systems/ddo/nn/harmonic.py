r"""Functions on a box as sums of harmonics: from a grid to modes and back, to grids, to points.

Two kinds of box [0, 1]^d, axis by axis:

* PERIODIC, grid x_i = i/n: u(x) = Σ_j û_j e^{2πi j x}, j = -n/2 .. n/2;
* REFLECTING, cells x_i = (i + 1/2)/n: u(x) = Σ_k a_k cos(πk x), k = 0 .. n-1, whose slope across
  the border is zero (Neumann). The border mirrors the function.

A grid function is identified with its interpolant, the sum of the harmonics that fit on the grid.
An even periodic grid's highest mode is taken as a cosine, so that the interpolant is real and goes
through every value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sfumato.systems.ddo.options import Domain

__all__ = [
    "Domain",
    "cardinal",
    "coordinates",
    "evaluate",
    "filtered",
    "highest",
    "places",
    "resample",
    "to_grid",
    "to_modes",
    "wave_numbers",
]


def places(n: int, domain: Domain) -> Tensor:
    """Coordinates of n grid points on one axis of the unit box, float64 (n,)."""
    shift = 0.0 if domain is Domain.PERIODIC else 0.5
    return (torch.arange(n, dtype=torch.float64) + shift) / n


def coordinates(grid: Sequence[int], domain: Domain) -> Tensor:
    """Coordinates of all grid points, float64 (d, *grid)."""
    return torch.stack(torch.meshgrid(*[places(n, domain) for n in grid], indexing="ij"))


def wave_numbers(n: int, domain: Domain) -> Tensor:
    """Waves per unit length of each mode on one axis, in the order of `to_modes`; float64 (n,)."""
    if domain is Domain.PERIODIC:
        return torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    return torch.arange(n, dtype=torch.float64) / 2


def highest(n: int, domain: Domain) -> int:
    """The highest wave number on one axis that n points resolve, in units of the first."""
    return (n - 1) // 2 if domain is Domain.PERIODIC else n - 1


def to_modes(x: Tensor, dims: int, domain: Domain) -> Tensor:
    """Coefficients of the harmonics over the last ``dims`` axes.

    PERIODIC: û (complex), in the order of ``torch.fft.fftn``, divided by the number of points so
    that they do not depend on the grid. REFLECTING: a (real), cosine by cosine (DCT-II).
    """
    axes = tuple(range(-dims, 0))
    if domain is Domain.PERIODIC:
        return torch.fft.fftn(x, dim=axes, norm="forward")
    for axis in axes:
        n = x.shape[axis]
        waves = torch.fft.rfft(_mirrored(x, axis), dim=axis, norm="forward").narrow(axis, 0, n)
        x = (waves * _turn(n, axis, -1).to(waves)).real * _twice(n, axis, x)
    return x


def to_grid(modes: Tensor, dims: int, domain: Domain) -> Tensor:
    """The real function on the grid; the inverse of `to_modes`."""
    axes = tuple(range(-dims, 0))
    if domain is Domain.PERIODIC:
        return torch.fft.ifftn(modes, dim=axes, norm="forward").real
    x = modes
    for axis in axes:
        n = x.shape[axis]
        turn = _turn(n, axis, 1).to(x.device, x.dtype.to_complex())
        waves = x / _twice(n, axis, x) * turn
        waves = torch.cat([waves, torch.zeros_like(waves.narrow(axis, 0, 1))], dim=axis)
        x = torch.fft.irfft(waves, 2 * n, dim=axis, norm="forward").narrow(axis, 0, n)
    return x


def filtered(x: Tensor, multiplier: Tensor, domain: Domain, dims: int) -> Tensor:
    """Each mode of x (..., *grid) times ``multiplier`` (..., *grid); real, in the type of x.

    A periodic multiplier must be even in the wave number, as functions of its square are.
    """
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    made = to_grid(to_modes(wide, dims, domain) * multiplier.to(wide), dims, domain)
    return made.to(x.dtype)


def cardinal(points: Tensor, n: int, domain: Domain, modes: int | None = None) -> Tensor:
    """Values at ``points`` (P,) of the n functions that are 1 at one grid point, 0 at the others.

    They are sums of the harmonics of the grid, so the matrix (P, n), float64, takes grid values to
    values of the interpolant. With ``modes`` below n, only harmonics of fewer waves than a grid of
    so many points has are kept: |j| < modes/2, or k < modes.
    """
    x = points.double()
    y = places(n, domain).to(x.device)
    kept = n if modes is None else min(n, modes)
    if domain is Domain.REFLECTING:
        k = torch.arange(kept, dtype=torch.float64, device=x.device) * math.pi
        weight = torch.full((kept,), 2 / n, dtype=torch.float64, device=x.device)
        weight[0] = 1 / n
        return (x[:, None] * k).cos() * weight @ (k[:, None] * y).cos()
    top = (kept - 1) // 2
    j = 2 * math.pi * torch.arange(1, top + 1, dtype=torch.float64, device=x.device)
    there, here = x[:, None] * j, j[:, None] * y  # Σ cos j(x - y), without an array (P, n, j)
    made = 1 + 2 * (there.cos() @ here.cos() + there.sin() @ here.sin())
    if kept == n and n % 2 == 0:  # the highest mode, as a cosine about the first point
        made = made + (math.pi * n * x).cos()[:, None] * (math.pi * n * y).cos()
    return made / n


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # kept for later, which may need gradients
def _between(n: int, m: int, domain: Domain) -> Tensor:
    """The matrix (m, n) from one grid to another: sampling going up, cut off going down."""
    return cardinal(places(m, domain), n, domain, None if m >= n else m)


def resample(x: Tensor, grid: Sequence[int], domain: Domain) -> Tensor:
    """The interpolant of x (..., *grid') on another grid, in the type of x; no aliasing.

    To a finer grid the function is the same. To a coarser one, harmonics that it does not have
    are cut off, which is the nearest function in L². Axes count from the last.
    """
    for i, m in enumerate(reversed(tuple(grid))):
        axis = -1 - i
        n = x.shape[axis]
        if m != n:
            x = _along(x, _between(n, m, domain), axis)
    return x


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """A matrix (m, n) applied along one axis."""
    matrix = matrix.to(x)
    if axis == -1:
        return x @ matrix.mT
    if axis == -2:
        return matrix @ x
    return (x.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)


def evaluate(x: Tensor, points: Tensor, domain: Domain) -> Tensor:
    """The interpolant of x (..., *grid) at points (P, d) of the unit box: (..., P)."""
    dims = points.shape[1]
    matrices = [
        cardinal(points[:, a], x.shape[a - dims], domain).to(x) for a in range(dims)
    ]  # (P, n_a)
    y = x @ matrices[-1].mT  # (..., n_1, ..., P)
    for matrix in reversed(matrices[:-1]):
        y = (y * matrix.mT).sum(-2)
    return y


def _mirrored(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x, x.flip(axis)], dim=axis)


def _turn(n: int, axis: int, sign: int) -> Tensor:
    """e^{± iπk/(2n)}: from harmonics about the first cell's centre to those about the border."""
    angle = sign * torch.arange(n, dtype=torch.float64) * (math.pi / (2 * n))
    return torch.polar(torch.ones_like(angle), angle).reshape(-1, *[1] * (-1 - axis))


def _twice(n: int, axis: int, like: Tensor) -> Tensor:
    """2 for every mode but the constant."""
    weight = like.new_full((n,), 2.0)
    weight[0] = 1.0
    return weight.reshape(-1, *[1] * (-1 - axis))
