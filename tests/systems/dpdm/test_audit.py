"""What a number of right guesses proves about ε."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import UsageError
from sfumato.systems.dpdm.audit import audit_p_value, epsilon_lower_bound, guesses_from_scores


@pytest.mark.parametrize(("r", "v", "epsilon"), [(100, 60, 0.0), (200, 150, 1.0), (50, 50, 3.0)])
def test_the_pure_case_is_a_binomial_tail(r: int, v: int, epsilon: float) -> None:
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    assert audit_p_value(1000, r, v, epsilon, 0.0) == pytest.approx(stats.binom.sf(v - 1, r, p))


def test_delta_adds_what_the_theorem_says() -> None:
    """Theorem 5.2 written out the slow way with scipy's binomial."""
    m, r, v, epsilon, delta = 500, 120, 100, 1.2, 1e-4
    b = stats.binom(r, 1 / (1 + math.exp(-epsilon)))
    alpha = max((b.cdf(v - 1) - b.cdf(v - i - 1)) / i for i in range(1, v + 1))
    assert audit_p_value(m, r, v, epsilon, delta) == pytest.approx(
        b.sf(v - 1) + 2 * m * delta * alpha, rel=1e-9
    )


def test_all_right_gives_the_clopper_pearson_bound() -> None:
    """r of r right at 95 %: p^r = 0.05, so ε = ln(p/(1 - p))."""
    for r in (20, 200):
        p = 0.05 ** (1 / r)
        assert epsilon_lower_bound(r, r, r, 0.0) == pytest.approx(math.log(p / (1 - p)), abs=1e-6)
    assert epsilon_lower_bound(200, 200, 100, 0.0) == 0.0
    assert epsilon_lower_bound(200, 200, 190, 1e-3) < epsilon_lower_bound(200, 200, 190, 0.0)


def test_randomised_response_is_bounded_by_its_own_epsilon() -> None:
    """Each canary answers truly with probability e^ε/(1 + e^ε): exactly ε; 5 % may exceed it."""
    epsilon, m, rng = 1.5, 300, np.random.default_rng(0)
    p = 1 / (1 + math.exp(-epsilon))
    bounds = np.array([epsilon_lower_bound(m, m, int(rng.binomial(m, p)), 0.0) for _ in range(200)])
    assert (bounds > epsilon).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert np.median(bounds) > 0.7 * epsilon  # and it is not empty


def test_guesses_take_both_ends() -> None:
    truth = np.array([True] * 10 + [False] * 10)
    assert guesses_from_scores(np.arange(20)[::-1], truth, 20) == 20
    assert guesses_from_scores(np.arange(20), truth, 8) == 0
    mixed = np.array([9.0, 8, 7, 6, 5, 4, 3, 2])
    members = np.array([True, True, False, True, False, True, True, False])
    assert guesses_from_scores(mixed, members, 4) == 2 + 1  # two in, one of the last two out
    with pytest.raises(UsageError, match="even number"):
        guesses_from_scores(mixed, members, 3)
    with pytest.raises(UsageError, match="0 <= right"):
        audit_p_value(10, 20, 5, 1.0, 0.0)
