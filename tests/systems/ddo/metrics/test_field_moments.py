"""Moments and laws of the values of fields, against numpy, scipy and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.systems.ddo.metrics.statistics import (
    Statistics,
    bootstrap,
    circular_moments,
    joined,
    moment_histograms,
    one_point_distance,
    one_point_histogram,
    pointwise_moments,
)
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, resample

PERIODIC = Domain.PERIODIC
BOTH = pytest.mark.parametrize("domain", list(Domain), ids=lambda d: d.value)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


# Moments ------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(0, 1000))
def test_moments_are_those_of_scipy(grid: list[int], seed: int) -> None:
    x = normal(seed, 3, 2, *grid).exp() + 5
    found = pointwise_moments(x, ("a", "b")).values.reshape(3, 2, 4)
    flat = x.flatten(2).numpy()
    assert np.allclose(found[..., 0], flat.mean(2)) and np.allclose(found[..., 1], flat.std(2))
    if flat.shape[2] > 1:
        assert np.allclose(found[..., 2], scipy.stats.skew(flat, 2))
        assert np.allclose(found[..., 3], scipy.stats.kurtosis(flat, 2, fisher=False))


def test_moments_of_known_fields() -> None:
    """A sine has kurtosis 3/2; a constant none at all; Gaussian values 3."""
    x = coordinates((16,), PERIODIC)[0]
    sine = (2 + 3 * torch.sin(2 * math.pi * x))[None, None]
    assert pointwise_moments(sine).values[0].tolist() == pytest.approx(
        [2, 3 / math.sqrt(2), 0, 1.5], abs=1e-12
    )
    constant = torch.full((1, 1, 7, 3), 0.1, dtype=torch.float64)
    assert pointwise_moments(constant).values[0].tolist() == pytest.approx([0.1, 0, 0, 0])
    assert pointwise_moments(constant).values[0, 1:].tolist() == [0, 0, 0]
    for n in (10, 37, 1001):  # whose mean is not exact
        for value in (0.1, 1 / 3, -1e8 / 7):
            x = torch.full((1, 1, n), value, dtype=torch.float64)
            made = pointwise_moments(x).values[0, 1:]
            assert made.tolist() == [0, 0, 0]
    wide = pointwise_moments(normal(0, 50, 1, 40, 40)).column("kurtosis")
    assert abs(wide.mean() - 3) < 4 * math.sqrt(24 / (50 * 1600))


def test_names_say_the_channel() -> None:
    x = normal(0, 3, 2, 4)
    assert pointwise_moments(x[:, :1]).names == ("mean", "deviation", "skewness", "kurtosis")
    assert pointwise_moments(x).names[3:5] == ("kurtosis of channel 0", "mean of channel 1")
    named = pointwise_moments(x, ("u", "v"))
    assert torch.equal(named.column("mean of v"), x[:, 1].mean(1))
    with pytest.raises(ValueError, match="one of mean of u"):
        named.column("mean")
    with pytest.raises(ValueError, match="2 names"):
        pointwise_moments(x, ("u",))
    with pytest.raises(ValueError, match="distinct"):
        joined([named, named])
    with pytest.raises(ValueError, match=r"expected \(N, 1\)"):
        Statistics(("a",), normal(0, 3, 2))
    both = joined([named, Statistics(("more",), x[:, 0, :1])])
    assert torch.equal(both.column("more"), x[:, 0, 0]) and len(both.names) == 9


@BOTH
def test_moments_do_not_depend_on_the_grid_up_to_the_band_limit(domain: Domain) -> None:
    """Waves below n/4: all four moments the same on finer grids. Waves below n/2: the first two,
    while the fourth is off by aliasing, and is not on a grid twice as fine."""
    few = resample(normal(0, 5, 1, 7, 7), (16, 16), domain)  # 3 or 3 waves
    fine = pointwise_moments(resample(few, (31, 32), domain)).values
    assert torch.allclose(pointwise_moments(few).values, fine, rtol=1e-9, atol=1e-12)
    many = normal(1, 5, 1, 15, 15)  # 7 waves on 15 points
    once, twice, more = (
        pointwise_moments(resample(many, (n, n), domain)).values for n in (15, 32, 64)
    )
    assert torch.allclose(once[:, :2], more[:, :2], rtol=1e-9)
    assert (once[:, 3] / more[:, 3] - 1).abs().max() > 0.02
    assert torch.allclose(twice, more, rtol=1e-9, atol=1e-12)


def test_circular_moments_by_definition() -> None:
    angles = 0.5 * normal(0, 6, 1, 9, 8) ** 2 + 1.0
    radius = normal(1, 6, 1, 9, 8).exp()  # only the phase counts
    x = torch.cat((radius * angles.cos(), radius * angles.sin()), 1)
    found = circular_moments(x)
    a = angles.flatten(1).numpy()
    assert np.allclose(found.column("circular variance"), scipy.stats.circvar(a, axis=1))
    one, two = np.exp(1j * a).mean(1), np.exp(2j * a).mean(1)
    about = (two * np.exp(-2j * np.angle(one))).imag  # second moment about the mean direction
    truth = about / (1 - np.abs(one)) ** 1.5
    assert np.allclose(found.column("circular skewness"), truth) and (np.abs(truth) > 0.1).all()
    swapped = circular_moments(x.flip(1), (1, 0))
    assert torch.allclose(swapped.values, found.values)
    turned = torch.cat(((angles + 2).cos(), (angles + 2).sin()), 1)
    assert torch.allclose(circular_moments(turned).values, found.values)
    still = torch.full((1, 2, 5), 0.3)
    assert circular_moments(still).values.tolist() == [[0, 0]]
    for pair in ((0, 0), (0, 2), (-1, 0)):
        with pytest.raises(ValueError, match="two of 2 channels"):
            circular_moments(x, pair)


def test_circular_moments_of_a_wrapped_normal() -> None:
    """θ ~ N(μ, s²) wrapped: variance 1 - exp(-s²/2), symmetric."""
    angles = 4.0 + 0.8 * normal(3, 40, 1, 5000)
    found = circular_moments(torch.cat((angles.cos(), angles.sin()), 1)).values
    mean, error = found.mean(0), found.std(0) / math.sqrt(40)
    assert abs(mean[0] - (1 - math.exp(-0.32))) < 4 * error[0] and error[0] < 0.002
    assert abs(mean[1]) < 4 * error[1]


# Laws ---------------------------------------------------------------------------------------------


def test_histogram_is_that_of_numpy() -> None:
    x = torch.cat((normal(0, 20, 1, 6, 5), 10 + 3 * normal(1, 20, 1, 6, 5)), 1)
    found = one_point_histogram(x, 12)
    for c in range(2):
        density, edges = np.histogram(x[:, c].numpy(), 12, density=True)
        assert np.allclose(found.edges[c], edges) and np.allclose(found.density[c], density)
        each = np.stack([np.histogram(u.numpy(), edges)[0] for u in x[:, c]])
        error = each.std(0, ddof=1) / math.sqrt(20) / 30 / np.diff(edges)
        assert np.allclose(found.error[c], error)


def test_bins_are_closed_as_they_say_and_leave_out_what_is_outside() -> None:
    x = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, -1.0, 3.5, 9.0])[None, None]
    found = one_point_histogram(x, torch.tensor([0.0, 1.0, 3.0]))
    # 0 in the first; 1, 1, 2, 3 in the second, twice as wide; three outside
    assert found.density.tolist() == [[1 / 8, 4 / 8 / 2]]
    assert bool(found.error.isnan().all()) and found.n == 1
    own = one_point_histogram(x.expand(1, 2, 8), torch.tensor([[0.0, 1.0], [1.0, 2.0]]))
    assert own.density.tolist() == [[3 / 8], [3 / 8]]
    constant = one_point_histogram(torch.full((2, 1, 4), 7.0), 3)
    assert float((constant.density * constant.edges.diff()).sum()) == pytest.approx(1)
    for bad in (torch.tensor([1.0, 1.0]), torch.tensor([1.0]), torch.zeros(3, 4).cumsum(0)):
        with pytest.raises(ValueError, match="increasing edges"):
            one_point_histogram(x, bad)
    with pytest.raises(ValueError, match="one bin"):
        one_point_histogram(x, 0)


def test_moment_histograms_share_their_edges() -> None:
    a, b = (pointwise_moments(s * normal(i, 40, 1, 30)) for i, s in ((0, 1.0), (1, 2.0)))
    found = moment_histograms({"real": a, "ours": b}, 10)
    assert list(found) == list(a.names) and list(found["mean"]) == ["real", "ours"]
    both = torch.cat((a.column("deviation"), b.column("deviation"))).numpy()
    edges = np.histogram_bin_edges(both, 10)
    for name, part in (("real", a), ("ours", b)):
        made = found["deviation"][name]
        truth = np.histogram(part.column("deviation").numpy(), edges)[0] / 40 / np.diff(edges)
        assert np.allclose(made.edges[0], edges) and np.allclose(made.density[0], truth)
    with pytest.raises(ValueError, match="same statistics"):
        moment_histograms({"real": a, "ours": Statistics(("x",), b.values[:, :1])})
    with pytest.raises(ValueError, match="same statistics"):
        moment_histograms({})


@pytest.mark.parametrize("grids", [((6, 5), (6, 5)), ((6, 5), (8, 8))])
def test_distance_of_laws_is_that_of_scipy(grids) -> None:
    a = torch.cat((normal(0, 20, 1, *grids[0]), 5 * normal(2, 20, 1, *grids[0])), 1)
    b = 1.3 * normal(1, 15, 2, *grids[1]) + 0.2
    found = one_point_distance(a, b, seeded(0))
    for c in range(2):
        x, y = a[:, c].flatten().numpy(), b[:, c].flatten().numpy()
        assert float(found.value[c]) == pytest.approx(scipy.stats.wasserstein_distance(x, y))
        assert float(found.deviation[c]) == pytest.approx(y.std())


def test_floor_and_error_are_what_repetition_shows() -> None:
    """Fields of nearly constant value: as many independent values as fields, not as points."""

    def fields(seed: int, count: int) -> torch.Tensor:
        return normal(seed, count, 1, 1).expand(-1, -1, 8) + 0.01 * normal(seed + 500, count, 1, 8)

    null = [
        scipy.stats.wasserstein_distance(
            fields(i, 100).flatten().numpy(), fields(i + 250, 60).flatten().numpy()
        )
        for i in range(80)
    ]
    found = one_point_distance(fields(7, 100), fields(8, 60), seeded(1), repeats=200)
    assert float(found.floor) == pytest.approx(np.mean(null), rel=0.2)
    far = [
        scipy.stats.wasserstein_distance(
            fields(i, 100).flatten().numpy() + 2, fields(i + 250, 60).flatten().numpy()
        )
        for i in range(80)
    ]
    found = one_point_distance(fields(7, 100) + 2, fields(8, 60), seeded(1), repeats=200)
    assert float(found.error) == pytest.approx(np.std(far), rel=0.35)
    assert abs(float(found.value) - 2) < 4 * float(found.error)


def test_floor_of_fields_of_zeros_and_ones_is_that_of_two_binomials() -> None:
    r"""W_1 of two draws is |p_1 - p_2|, with 100 p_1 and 60 p_2 binomial."""
    b = torch.arange(60).remainder(2).double()[:, None, None].expand(-1, 1, 4)
    a = torch.cat((b, b))[:100]
    p, q = (scipy.stats.binom.pmf(np.arange(n + 1), n, 0.5) for n in (100, 60))
    apart = np.abs(np.arange(101)[:, None] / 100 - np.arange(61) / 60)
    found = one_point_distance(a, b, seeded(0), repeats=4000)
    assert float(found.floor) == pytest.approx(p @ apart @ q, rel=0.04)
    spread = math.sqrt(p @ apart**2 @ q - (p @ apart @ q) ** 2)
    assert float(found.error) == pytest.approx(spread, rel=0.05)


def test_large_sets_are_thinned() -> None:
    a, b = normal(0, 30, 1, 40, 40), normal(1, 40, 1, 40, 40) + 1
    whole = one_point_distance(a, b, seeded(0))
    some = one_point_distance(a, b, seeded(0), points=4000)
    assert float(some.value) != float(whole.value)
    assert float(some.value) == pytest.approx(float(whole.value), rel=0.1)
    with pytest.raises(ValueError, match="at least 2 fields"):
        one_point_distance(a[:1], b, seeded(0))
    with pytest.raises(ValueError, match="as many channels"):
        one_point_distance(a, b.expand(-1, 2, -1, -1), seeded(0))


def test_bootstrap_means() -> None:
    rows = normal(0, 50, 3) + torch.tensor([0.0, 1.0, 2.0])
    drawn = bootstrap(rows, 25, 4000, seeded(0))
    spread = rows.std(0, correction=0) / 5
    assert torch.allclose(drawn.mean(0), rows.mean(0), atol=4 * float(spread.max()) / 63)
    assert torch.allclose(drawn.std(0), spread, rtol=0.06)
