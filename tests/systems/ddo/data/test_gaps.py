"""Values for points where a field is not known: Laplace's equation holds there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from sfumato.systems.ddo.data.gaps import fill_gaps
from sfumato.systems.ddo.nn.harmonic import Domain


def test_harmonic_functions_are_restored_whatever_the_spacing() -> None:
    """x² - y² has Δu = 0 also for the differences; a gap in it is filled with itself."""
    spacing = (0.3, 0.05)
    x, y = np.meshgrid(0.3 * np.arange(12) + 50, 0.05 * np.arange(17), indexing="ij")
    u = 1e3 + (x - 51) ** 2 - y**2 + 0.3 * x * y
    gappy = u.copy()
    gappy[3:9, 4:15] = np.nan
    gappy[6, 8] = u[6, 8]
    filled = fill_gaps(np.stack([gappy, u]), "harmonic", Domain.REFLECTING, spacing)
    assert np.abs(filled - u).max() < 1e-6
    assert np.array_equal(filled[0][~np.isnan(gappy)], u[~np.isnan(gappy)])


def neighbours(
    i: tuple[int, ...], shape: tuple[int, ...], domain: Domain
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(axis, place) of each neighbour of a point; beyond a mirror it is the point itself."""
    for axis, step in itertools.product(range(len(shape)), (-1, 1)):
        j = list(i)
        j[axis] += step
        if domain is Domain.PERIODIC:
            j[axis] %= shape[axis]
        else:
            j[axis] = min(max(j[axis], 0), shape[axis] - 1)
        yield axis, tuple(j)


@pytest.mark.parametrize("domain", list(Domain))
@pytest.mark.parametrize("shape", [(9,), (6, 7), (4, 5, 6)])
def test_filled_values_solve_laplaces_equation_up_to_the_border(
    domain: Domain, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((3, *shape)) + 5
    known = rng.random((3, *shape)) < 0.3
    known[0] = False
    known.reshape(3, -1)[:, 3] = True  # in the first field alone: it is constant
    known[:, *[0] * len(shape)] = False  # a gap in a corner
    spacing = (1.0, 0.5, 2.0)[: len(shape)]
    filled = fill_gaps(np.where(known, u, np.nan), "harmonic", domain, spacing)
    assert np.allclose(filled[0], u[0].flat[3], atol=1e-7)
    for f, k, truth in zip(filled, known, u, strict=True):
        assert np.array_equal(f[k], truth[k])
        assert f.min() >= truth[k].min() - 1e-7
        assert f.max() <= truth[k].max() + 1e-7
        for i in zip(*np.nonzero(~k), strict=True):
            left = sum((f[j] - f[i]) / spacing[a] ** 2 for a, j in neighbours(i, shape, domain))
            assert abs(left) < 1e-6
