"""Harmonics: transforms against scipy and plain sums, interpolation and resampling exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn
from torch import Tensor

from sfumato.systems.ddo.nn.harmonic import (
    Domain,
    cardinal,
    coordinates,
    evaluate,
    filtered,
    places,
    resample,
    to_grid,
    to_modes,
    wave_numbers,
)

F64 = torch.float64
PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING
GRIDS = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
DOMAINS = st.sampled_from(Domain)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(0))


@given(grid=GRIDS, domain=DOMAINS)
def test_there_and_back(grid: tuple[int, ...], domain: Domain) -> None:
    x = noise(2, *grid)
    torch.testing.assert_close(to_grid(to_modes(x, len(grid), domain), len(grid), domain), x)


@given(grid=GRIDS)
def test_cosines_are_scipys(grid: tuple[int, ...]) -> None:
    x = noise(2, *grid)
    axes = tuple(range(-len(grid), 0))
    want = torch.from_numpy(dctn(x.numpy(), 2, axes=axes)) / math.prod(2 * n for n in grid)
    for axis, n in zip(axes, grid, strict=True):
        twice = torch.full((n,), 2.0, dtype=F64)
        twice[0] = 1
        want = want * twice.reshape(-1, *[1] * (-1 - axis))
    torch.testing.assert_close(to_modes(x, len(grid), REFLECTING), want)


@pytest.mark.parametrize("domain", Domain)
def test_one_harmonic_has_one_mode(domain: Domain) -> None:
    """3 cos at each kind of box, at two grids: the coefficient does not depend on the grid."""
    for n in (12, 17):
        x = places(n, domain)
        if domain is PERIODIC:
            modes = to_modes(3 * (2 * math.pi * 2 * x).cos(), 1, domain)
            assert float(modes[2].real) == pytest.approx(1.5) == float(modes[n - 2].real)
        else:
            modes = to_modes(3 * (math.pi * 5 * x).cos(), 1, domain)
            assert float(modes[5]) == pytest.approx(3)
        assert float(modes.abs().sum()) == pytest.approx(3, abs=1e-12)


def test_waves_count_per_unit_length() -> None:
    assert wave_numbers(5, PERIODIC).tolist() == [0, 1, 2, -2, -1]
    assert wave_numbers(4, REFLECTING).tolist() == [0, 0.5, 1, 1.5]


@given(grid=GRIDS, domain=DOMAINS, finer=st.integers(0, 5))
@settings(max_examples=50)
def test_the_interpolant_goes_through_every_value(
    grid: tuple[int, ...], domain: Domain, finer: int
) -> None:
    """And resampling is its values on another grid, which lead back."""
    x = noise(2, *grid)
    points = coordinates(grid, domain).flatten(1).T
    torch.testing.assert_close(evaluate(x, points, domain), x.flatten(1))
    fine = tuple(n + finer for n in grid)
    up = resample(x, fine, domain)
    at = coordinates(fine, domain).flatten(1).T
    torch.testing.assert_close(evaluate(x, at, domain).reshape(up.shape), up)
    odd = all(n % 2 for n in grid) or domain is REFLECTING or finer == 0
    if odd:  # an even periodic grid's last wave is cut off on the way back
        torch.testing.assert_close(resample(up, grid, domain), x)


@pytest.mark.parametrize("domain", Domain)
def test_the_interpolant_is_the_sum_of_its_harmonics(domain: Domain) -> None:
    """At scattered points, against the sum written out with the modes."""
    x, points = noise(7, 6), torch.rand(5, 2, dtype=F64)
    modes = to_modes(x, 2, domain)
    want = torch.zeros(5, dtype=torch.complex128)
    for i, j in np.ndindex(7, 6):
        ki, kj = (float(wave_numbers(n, domain)[m]) for n, m in ((7, i), (6, j)))
        if domain is REFLECTING:
            wave = torch.complex(
                (2 * math.pi * ki * points[:, 0]).cos() * (2 * math.pi * kj * points[:, 1]).cos(),
                torch.zeros(5, dtype=F64),
            )
        else:
            wave = torch.exp(2j * math.pi * ki * points[:, 0])
            other = 2 * math.pi * kj * points[:, 1]
            wave = wave * (other.cos() if j == 3 else torch.exp(1j * other))
        want += modes[i, j] * wave
    torch.testing.assert_close(evaluate(x, points, domain), want.real)


def test_coarser_is_the_nearest_function() -> None:
    """Waves that the coarse grid has are kept, all others go; no aliasing."""
    x = places(32, PERIODIC)
    kept, lost = (2 * math.pi * 3 * x).sin(), (2 * math.pi * 7 * x).cos()
    got = resample(kept + lost, [12], PERIODIC)
    torch.testing.assert_close(got, (2 * math.pi * 3 * places(12, PERIODIC)).sin())
    x = places(32, REFLECTING)
    got = resample((math.pi * 7 * x).cos() + (math.pi * 15 * x).cos(), [12], REFLECTING)
    torch.testing.assert_close(got, (math.pi * 7 * places(12, REFLECTING)).cos())


def test_mirrors_are_mirrors() -> None:
    """The reflecting interpolant of half a symmetric function is the periodic one of the whole."""
    half = noise(9)
    points = torch.rand(20, 1, dtype=F64)
    both = torch.cat([half, half.flip(0)])
    shifted = (points - 1 / 36) / 2 + 1 / 72  # the whole's grid begins at its first cell's centre
    at = points / 2 - 1 / 36
    del shifted
    torch.testing.assert_close(
        evaluate(half, points, REFLECTING), evaluate(both, at % 1, PERIODIC), atol=1e-12, rtol=0
    )


def test_filtering_multiplies_modes() -> None:
    for domain in Domain:
        x = noise(2, 6, 5)
        m = torch.rand(6, 5, dtype=F64)
        if domain is PERIODIC:  # even in the wave number
            m = 0.5 * (m + m.flip(0, 1).roll((1, 1), (0, 1)))
        got = to_modes(filtered(x, m, domain, 2), 2, domain)
        torch.testing.assert_close(got, to_modes(x, 2, domain) * m)
    assert filtered(x.float(), m, REFLECTING, 2).dtype == torch.float32


def test_cardinal_functions_sum_to_one() -> None:
    points = torch.rand(11, dtype=F64)
    for domain in Domain:
        for n in (5, 8):
            for modes in (None, 3):
                rows = cardinal(points, n, domain, modes).sum(1)
                torch.testing.assert_close(rows, torch.ones_like(rows))
