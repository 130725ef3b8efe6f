r"""Spectra of fields (N, C, *grid), the same on every grid.

A field is the sum of the harmonics that fit on its grid (`ddo.nn.harmonic`), and its spectrum
is that of the function, not of its values: a field whose highest mode lies below n/2 waves has the
same one on every finer grid. Lengths are those of ``extent``; () is the unit box.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.nn.harmonic import Domain, to_modes, wave_numbers

__all__ = [
    "Ratio",
    "Spectrum",
    "energy_spectrum",
    "shell_powers",
    "spectrum_ratio",
]

_CHUNK = 2**21  # values taken at a time; intermediates are a few times as many float64 numbers


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

    def resolved(self) -> Spectrum:
        """The complete shells alone."""
        k = self.complete
        return replace(
            self,
            wave_numbers=self.wave_numbers[:k],
            power=self.power[:, :k],
            error=self.error[:, :k],
        )


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
