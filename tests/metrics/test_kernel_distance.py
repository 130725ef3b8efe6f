"""Kernel distances against double loops, closed forms and the expectation zero."""

import math
from functools import partial

import pytest
import torch

from sfumato.metrics.kernel import (
    PairwiseKernel,
    cubic_kernel,
    discrepancy,
    energy_distance,
    gaussian_kernel,
    kernel_distance,
    minus_distance,
    mmd,
)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(x: torch.Tensor, y: torch.Tensor, k) -> float:
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return float(xx - 2 * xy + yy)


@pytest.mark.parametrize(
    ("kernel", "formula"),
    [
        (cubic_kernel, lambda a, b: (a @ b / 3 + 1) ** 3),
        (
            partial(gaussian_kernel, bandwidth=0.7),
            lambda a, b: torch.exp(-(a - b).square().sum() / (2 * 0.49)),
        ),
        (minus_distance, lambda a, b: -(a - b).norm()),
    ],
    ids=["polynomial", "gaussian", "distance"],
)
def test_is_the_unbiased_estimator(kernel: PairwiseKernel, formula) -> None:
    x, y = normal(0, 23, 3), 1.5 * normal(1, 31, 3) + 0.3
    value, _ = discrepancy(x, y, kernel, groups=4)
    assert value == pytest.approx(by_loops(x, y, formula), abs=1e-10)
    for groups, seed in ((2, 0), (7, 3)):  # neither tiles nor shuffling move the value
        assert discrepancy(x, y, kernel, groups=groups, seed=seed)[0] == pytest.approx(
            value, abs=1e-12
        )
    assert discrepancy(y, x, kernel)[0] == pytest.approx(value, abs=1e-12)


def test_rbf_closed_form() -> None:
    """E k = (h²/(h²+s²+t²))^{d/2} exp(-|m|²/(2(h²+s²+t²))) for N(0, s²), N(m, t²)."""
    d, h, t = 2, 1.3, 0.6
    shift = torch.tensor([0.8, -0.4], dtype=torch.float64)

    def expectation(variance: float, distance2: float) -> float:
        total = h * h + variance
        return (h * h / total) ** (d / 2) * math.exp(-distance2 / (2 * total))

    truth = expectation(2, 0) + expectation(2 * t * t, 0)
    truth -= 2 * expectation(1 + t * t, float(shift.square().sum()))
    score = mmd(normal(2, 4000, d), t * normal(3, 4000, d) + shift, bandwidth=h)
    assert score.error is not None and score.error < 0.01
    assert abs(score.value - truth) < 4 * score.error


def test_energy_distance_closed_form() -> None:
    """N(0, 1) against N(m, 1): E|N(m, 2)| = 2/√π exp(-m²/4) + m erf(m/2)."""
    m = 0.9
    apart = 2 / math.sqrt(math.pi) * math.exp(-m * m / 4) + m * math.erf(m / 2)
    truth = 2 * apart - 2 * 2 / math.sqrt(math.pi)
    score = energy_distance(normal(4, 4000, 1), normal(5, 4000, 1) + m)
    assert score.error is not None and score.error < 0.03
    assert abs(score.value - truth) < 4 * score.error


def test_cubic_kernel_closed_form() -> None:
    """d = 1: E (xy+1)³ = E x³ E y³ + 3 E x² E y² + 3 E x E y + 1."""

    def moments(mean: float, std: float) -> tuple[float, float, float]:
        return mean, mean**2 + std**2, mean**3 + 3 * mean * std**2

    def expectation(a: tuple[float, ...], b: tuple[float, ...]) -> float:
        return a[2] * b[2] + 3 * a[1] * b[1] + 3 * a[0] * b[0] + 1

    p, q = moments(0.2, 1.0), moments(0.6, 0.8)
    truth = expectation(p, p) - 2 * expectation(p, q) + expectation(q, q)
    score = kernel_distance(normal(6, 5000, 1) + 0.2, 0.8 * normal(7, 5000, 1) + 0.6, features="t")
    assert score.error is not None and score.error < 0.2 * truth
    assert abs(score.value - truth) < 4 * score.error


def test_same_distribution_gives_zero_within_three_errors() -> None:
    """Unbiased: single values within 3 s.e., and the mean of many within 3 s.e. of the mean."""
    values, errors = [], []
    for i in range(40):
        score = kernel_distance(normal(100 + i, 200, 16), normal(300 + i, 200, 16), features="t")
        values.append(score.value)
        errors.append(score.error)
    v, e = torch.tensor(values), torch.tensor(errors)
    assert int((v.abs() < 3 * e).sum()) >= 39
    assert abs(float(v.mean())) < 3 * float(v.std()) / math.sqrt(40)
    assert bool((v < 0).any())  # a biased estimate never is
    assert 0.7 < float(e.mean() / v.std()) < 2.5  # cautious, but not by much, where p = q


def test_error_is_that_of_repeated_experiments() -> None:
    scores = [
        kernel_distance(normal(500 + i, 200, 4), normal(700 + i, 200, 4) + 0.5, features="t")
        for i in range(60)
    ]
    spread = float(torch.tensor([s.value for s in scores]).std())
    mean = float(torch.tensor([s.error for s in scores]).mean())
    assert 0.75 < mean / spread < 1.35


def test_float32_features_keep_enough_digits() -> None:
    x, y = normal(8, 300, 64).abs(), normal(9, 300, 64).abs() + 0.02
    exact = kernel_distance(x, y, features="t")
    single = kernel_distance(x.float(), y.float(), features="t")
    assert exact.error is not None
    assert abs(single.value - exact.value) < 0.01 * exact.error


def test_says_what_is_wrong() -> None:
    x = normal(10, 30, 2)
    with pytest.raises(ValueError, match="2·groups"):
        kernel_distance(x, x[:19], features="t")
    with pytest.raises(ValueError, match=r"expected \(n, F\)"):
        kernel_distance(x, x[:, :1], features="t")
    with pytest.raises(ValueError, match="bandwidth > 0"):
        mmd(x, x, bandwidth=0.0)
