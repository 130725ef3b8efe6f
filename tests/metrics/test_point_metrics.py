"""Sliced Wasserstein and mode coverage against closed forms and optimal assignment."""

import math

import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.metrics.points import mode_coverage, sliced_wasserstein, wasserstein_1d
from sfumato.metrics.score import Score, plus_minus


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(1, 12), m=st.integers(1, 12),
    p=st.sampled_from([1.0, 1.5, 2.0]),
)  # fmt: skip
def test_one_dimensional_distance_is_optimal_transport(seed: int, n: int, m: int, p: float) -> None:
    """Against the best assignment of every point repeated until both sides have n·m."""
    x, y = normal(seed, n, 1), 2 * normal(seed + 1, m, 1)
    many_x, many_y = x.repeat_interleave(m, 0), y.repeat_interleave(n, 0)
    cost = (many_x - many_y.T).abs().pow(p).numpy()
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    assert float(wasserstein_1d(x, y, p)) == pytest.approx(cost[rows, columns].mean(), abs=1e-10)
    if p == 1:
        expected = scipy.stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
        assert float(wasserstein_1d(x, y, 1)) == pytest.approx(expected, abs=1e-10)


def test_shifted_sample() -> None:
    """SW_2(X, X + c) = |c| / √d, since E (θ·c)² = |c|²/d."""
    x = normal(0, 500, 3)
    shift = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64)
    score = sliced_wasserstein(x, x + shift, projections=4000)
    assert score.error is not None
    assert abs(score.value - 3 / math.sqrt(3)) < 4 * score.error
    assert 0 < score.error < 0.03
    assert sliced_wasserstein(x, x).value == 0


def test_two_gaussians() -> None:
    """SW_2 of N(0, 1) and N(c, 4) in the plane: E[(θ·c)² + (2-1)²] = |c|²/2 + 1."""
    x, y = normal(1, 8000, 2), 2 * normal(2, 6000, 2) + torch.tensor([3.0, 0.0])
    score = sliced_wasserstein(x, y, projections=200)
    assert score.error is not None
    assert score.value == pytest.approx(math.sqrt(5.5), abs=4 * score.error + 0.03)


def test_order_does_not_matter() -> None:
    x, y = normal(3, 100, 2), normal(4, 130, 2)
    order = torch.randperm(130, generator=torch.Generator().manual_seed(0))
    a, b = sliced_wasserstein(x, y), sliced_wasserstein(x, y[order])
    assert a.value == pytest.approx(b.value, abs=1e-12)
    assert sliced_wasserstein(y, x).value == pytest.approx(a.value, abs=1e-12)


def test_modes_of_25_gaussians() -> None:
    grid = torch.arange(-2.0, 3.0) * 2
    centres = torch.cartesian_prod(grid, grid)
    which = torch.arange(20_000) % 25
    good = centres[which] + 0.05 * normal(5, 20_000, 2).float()
    result = mode_coverage(good, centres, std=0.05)
    truth = 1 - math.exp(-4.5)
    assert (result.modes, result.found) == (25, 25)
    assert abs(result.quality - truth) < 4 * math.sqrt(truth * (1 - truth) / 20_000)
    assert result.divergence == pytest.approx(0, abs=1e-6)
    half = mode_coverage(good[which < 5], centres, std=0.05)
    assert half.found == 5
    assert half.divergence == pytest.approx(math.log(5), abs=1e-6)
    weights = torch.where(torch.arange(25) < 5, 1.0, 1e-9)
    assert mode_coverage(good[which < 5], centres, std=0.05, weights=weights).divergence < 1e-6
    off = mode_coverage(good + 1, centres, std=0.05)
    assert (off.found, off.quality) == (0, 0)
    assert "25 of 25" in str(result) and "n=20000" in str(result)


def test_says_what_is_wrong() -> None:
    x = normal(6, 30, 2)
    with pytest.raises(ValueError, match=r"\(n, d\)"):
        sliced_wasserstein(x, x[:, :1])
    with pytest.raises(ValueError, match="projections >= 2"):
        sliced_wasserstein(x, x, projections=1)
    with pytest.raises(ValueError, match="p >= 1"):
        wasserstein_1d(x, x, 0.5)
    with pytest.raises(ValueError, match="2 positive weights"):
        mode_coverage(x, x[:2], std=1.0, weights=torch.tensor([1.0, 0.0]))


def test_numbers_are_printed_with_the_digits_their_error_allows() -> None:
    assert plus_minus(12.3456, 0.4321) == "12.3 ± 0.4"
    assert plus_minus(12.3456, 0.0149) == "12.346 ± 0.015"
    assert plus_minus(1234.5, 33.0) == "1234 ± 33"
    assert plus_minus(0.000123, 0.0000456) == "0.00012 ± 0.00005"
    assert plus_minus(0.5, None) == "0.5"
    score = Score("Fréchet distance", 12.34, 0.4, 10000, "fashion-classifier", unbiased=11.9)
    assert str(score) == (
        "Fréchet distance (fashion-classifier, n=10000) 12.3 ± 0.4; for n to infinity about 11.9"
    )
    percent = Score("accuracy", 83.21, 0.4, 10, "net", "axis hair", unit="%")
    assert str(percent) == "accuracy (net, n=10, axis hair) 83.2 ± 0.4 %"
    assert Score("m", math.nan, math.inf, 1, "f").as_dict()["value"] is None
