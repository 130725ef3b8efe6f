r"""Two-sample tests of equal laws: Kolmogorov-Smirnov for numbers, kernel MMD² for vectors.

A p-value is, if the laws are the same, uniform on (0, 1), up to what is said of each. Where many
are looked at, the smallest is small by chance: of k independent ones below α/k with probability
about α.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.metrics.kernel import gaussian_kernel
from sfumato.systems.ddo.metrics.statistics import Statistics

__all__ = [
    "ColumnTest",
    "TwoSample",
    "column_tests",
    "kolmogorov_smirnov",
    "kolmogorov_tail",
    "two_sample_test",
]

_TIE = 1e-12  # permutations that differ by rounding alone count as equal


def kolmogorov_smirnov(a: Tensor, b: Tensor) -> tuple[float, float]:
    r"""Two-sample statistic D = sup_v \|F_a(v) - F_b(v)\| and its asymptotic p-value.

    p = `kolmogorov_tail` of D √(nm / (n + m)) (Kolmogorov 1933, Smirnov 1939). From 50 values on it
    is at most 1 % below the exact one. It may be above, the safe side: around p = 0.01 by some 10 %
    for n = m = 50, 30 % for 50 and 60, less for more; with ties by more.

    Args:
        a: (n,); b: (m,).

    Raises:
        ValueError: another shape, no values, or values not finite.
    """
    if a.ndim != 1 or b.ndim != 1 or not len(a) or not len(b):
        raise ValueError(f"expected (n,) and (m,), got {tuple(a.shape)} and {tuple(b.shape)}")
    x, y = a.detach().cpu().double().sort().values, b.detach().cpu().double().sort().values
    every = torch.cat((x, y))
    if not bool(torch.isfinite(every).all()):
        raise ValueError("some values are not finite")
    n, m = len(x), len(y)
    below = torch.searchsorted(x, every, right=True).double() / n
    below = below - torch.searchsorted(y, every, right=True).double() / m
    statistic = float(below.abs().max())
    return statistic, kolmogorov_tail(statistic * math.sqrt(n * m / (n + m)))


def kolmogorov_tail(x: float) -> float:
    """P(K > x) = 2 Σ_{k≥1} (-1)^{k-1} e^{-2k²x²} for the supremum K of a Brownian bridge.

    Below 1 by the other series, 1 - √(2π)/x Σ_{k≥1} e^{-(2k-1)²π²/(8x²)}; both to rounding.
    """
    if x <= 0:
        return 1.0
    if x < 1:
        terms = [math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 8)]
        return 1 - math.sqrt(2 * math.pi) / x * math.fsum(terms)
    return 2 * math.fsum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 8))


@final
@dataclass(frozen=True)
class ColumnTest:
    """Kolmogorov-Smirnov test of one statistic: its name, D and the p-value."""

    name: str
    statistic: float
    p_value: float


def column_tests(a: Statistics, b: Statistics) -> list[ColumnTest]:
    """Each statistic's values in a against those in b.

    Raises:
        ValueError: other statistics in a than in b, or fewer than two samples in b.
    """
    _same(a, b)
    if len(b.values) < 2:
        raise ValueError(f"expected at least two samples, got {len(b.values)}")
    return [ColumnTest(x, *kolmogorov_smirnov(a.column(x), b.column(x))) for x in a.names]


@final
@dataclass(frozen=True)
class TwoSample:
    """A kernel two-sample test.

    Attributes:
        statistic: unbiased MMD² of the standardized features.
        p_value: share of permutations, this one counted, with a statistic at least as high; at
            least 1/(permutations + 1).
        bandwidth: of the Gaussian kernel, in pooled standard deviations of a feature.
    """

    statistic: float
    p_value: float
    bandwidth: float


def two_sample_test(
    a: Statistics | Tensor,
    b: Statistics | Tensor,
    generator: torch.Generator,
    *,
    permutations: int = 500,
    bandwidth: float | None = None,
) -> TwoSample:
    r"""Permutation test of equal laws by the kernel distance MMD² (Gretton et al. 2012).

    Features are divided by their pooled standard deviation. The kernel is Gaussian, its bandwidth
    the median distance between pooled samples unless given. Both depend on the pooled sample alone,
    so that under equal laws, and independent samples, the statistic and those of samples shuffled
    between the sets are exchangeable and P(p <= α) <= α exactly (Phipson & Smyth 2010: p counts the
    sample itself). It sees what the features show and nothing else, and a difference in one of many
    only if that is large: look at `column_tests` as well. (n + m)² numbers are kept.

    Args:
        a: (n, F); b: (m, F). generator: on the CPU, for the permutations.

    Raises:
        ValueError: other features in a than in b, values not finite, fewer than two samples of
            either, no permutation, or a bandwidth that is not above 0.
    """
    if isinstance(a, Statistics) and isinstance(b, Statistics):
        _same(a, b)
    x = (a.values if isinstance(a, Statistics) else a).detach().cpu().double()
    y = (b.values if isinstance(b, Statistics) else b).detach().cpu().double()
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            "expected (n, F) and (m, F) with at least two samples each, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if permutations < 1:
        raise ValueError(f"expected at least one permutation, got {permutations}")
    pooled = torch.cat((x, y))
    if not bool(torch.isfinite(pooled).all()):
        raise ValueError("some features are not finite")
    pooled = pooled - pooled.mean(0)
    spread = pooled.square().mean(0).sqrt()
    pooled = pooled / torch.where(spread > 0, spread, 1.0)
    if bandwidth is None:
        bandwidth = float(torch.pdist(pooled).median()) or 1.0
    gram = gaussian_kernel(pooled, pooled, bandwidth).fill_diagonal_(0)
    n, m = len(x), len(y)
    order = torch.rand(permutations, n + m, generator=generator).argsort(1)
    inside = torch.zeros(permutations + 1, n + m, dtype=torch.float64)
    inside[0, :n] = 1
    inside[1:].scatter_(1, order[:, :n], 1.0)
    of_a = inside @ gram
    aa = (of_a * inside).sum(1)
    ab = of_a.sum(1) - aa
    bb = gram.sum() - 2 * ab - aa
    values = aa / (n * (n - 1)) - 2 * ab / (n * m) + bb / (m * (m - 1))
    higher = int((values[1:] >= values[0] - _TIE).sum())
    p = (1 + higher) / (1 + permutations)
    return TwoSample(float(values[0]), p, bandwidth)


def _same(a: Statistics, b: Statistics) -> None:
    if a.names != b.names:
        raise ValueError(f"expected the same statistics, got {a.names} and {b.names}")
