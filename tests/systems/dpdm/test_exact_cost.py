"""What a run costs, bracketed from both sides without any accountant.

The privacy loss of one step has a known distribution. Rounded down on a grid and convolved with
itself it gives less than the true ε of many steps, rounded up more; for both neighbours, the one
with a record less and the one with a record more.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from sfumato.systems.dpdm.accounting import Accountant, epsilon, most_steps, noise_for

pytest.importorskip("opacus", reason="the extra 'private' is not installed")
RDP, PRV = Accountant.RDP, Accountant.PRV
DELTA = 1e-5


def threshold(loss: np.ndarray, noise: float, rate: float) -> np.ndarray:
    """x at which ln(1 - q + q exp((2x - 1)/2s²)), which increases with x, has this value."""
    inner = (np.exp(loss) - (1 - rate)) / rate
    with np.errstate(divide="ignore"):
        return np.where(inner > 0, noise**2 * np.log(np.maximum(inner, 0)) + 0.5, -np.inf)


def distribution(loss: np.ndarray, noise: float, rate: float, removed: bool) -> np.ndarray:
    """P(privacy loss <= loss) where the record is removed, or added, from P's data to Q's."""
    if removed:  # P the mixture, Q = N(0, s²)
        x = threshold(loss, noise, rate)
        return (1 - rate) * special.ndtr(x / noise) + rate * special.ndtr((x - 1) / noise)
    return special.ndtr(-threshold(-loss, noise, rate) / noise)


def one_step(e: float, noise: float, rate: float, removed: bool) -> float:
    """δ(ε) of one step in closed form."""
    if removed:
        x = float(threshold(np.array(e), noise, rate))
        over = special.ndtr(-x / noise)
        mixture = (1 - rate) * over + rate * special.ndtr(-(x - 1) / noise)
        return mixture - math.exp(e) * over
    x = float(threshold(np.array(-e), noise, rate))
    under = special.ndtr(x / noise)
    mixture = (1 - rate) * under + rate * special.ndtr((x - 1) / noise)
    return under - math.exp(e) * mixture


def bracket(noise: float, rate: float, steps: int, removed: bool) -> tuple[float, float]:
    """ε of so many steps at DELTA: less than the true one, and more."""
    n, width = 2**18, 5e-5
    grid = (np.arange(n) - n // 2) * width
    below = distribution(grid, noise, rate, removed)
    found = []
    for up in (False, True):
        mass = np.zeros(n)
        if up:
            mass[0], mass[1:] = below[0], np.diff(below)
            lost = 1 - below[-1]  # taken for an infinite loss
        else:
            mass[:-1], mass[-1] = np.diff(below), 1 - below[-1]
            lost = 0.0
        total = np.fft.fftshift(np.fft.irfft(np.fft.rfft(np.fft.ifftshift(mass)) ** steps, n))
        assert total[: n // 16].sum() + total[-n // 16 :].sum() < 1e-9  # nothing came round
        never = 1 - (1 - lost) ** steps

        def spent(e: float, total: np.ndarray = total, never: float = never) -> float:
            high = grid > e
            return never + float((total[high] * -np.expm1(e - grid[high])).sum()) - DELTA

        found.append(optimize.brentq(spent, 0, 6, xtol=1e-6) if spent(0) > 0 else 0.0)
    return found[0], found[1]


CASES = [(1.0, 0.05, 50), (0.8, 0.01, 100), (3.0, 0.4, 20), (4.0, 1.0, 10), (1.2, 0.3, 1)]


@pytest.mark.parametrize(("noise", "rate", "steps"), CASES)
def test_the_truth_lies_below_both_and_close_to_prv(noise, rate, steps) -> None:
    ends = [bracket(noise, rate, steps, removed) for removed in (True, False)]
    low, high = (max(e) for e in zip(*ends))
    assert 0.1 < low <= high <= low + 0.012
    if steps == 1:
        for removed, (a, b) in zip((True, False), ends):
            exact = optimize.brentq(lambda e: one_step(e, noise, rate, removed) - DELTA, 0, 6)  # noqa: B023
            assert a - 1e-6 <= exact <= b + 1e-6
    prv, rdp = (epsilon(noise, rate, steps, DELTA, a) for a in (PRV, RDP))
    assert low <= prv <= rdp
    assert prv <= high + 0.02  # twice the width of the interval that Opacus computes
    assert rdp < 1.5 * low


@settings(max_examples=25, deadline=None)
@given(
    noise=st.floats(0.7, 5),
    rate=st.floats(0.001, 1),
    delta=st.floats(-6, -3).map(lambda x: 10**x),
)
def test_one_step_is_never_understated(noise: float, rate: float, delta: float) -> None:
    """Exact, for any rate: δ(ε) at the ε of RDP is at most δ, for both neighbours."""
    told = epsilon(noise, rate, 1, delta, RDP)
    for removed in (True, False):
        assert one_step(told, noise, rate, removed) <= delta * (1 + 1e-9)


# noise multiplier and ε by PRV that were published beside those by RDP
PUBLISHED = [
    (60_000, 4096, 300, 1e-5, 18.28, 0.917),
    (60_000, 4096, 300, 1e-5, 2.48, 9.30),
    (162_770, 2048, 300, 1e-6, 8.82, 0.936),
    (1_281_167, 2048, 100, 7e-7, 0.603, 9.09),
]


@pytest.mark.parametrize(("n", "b", "epochs", "delta", "noise", "told"), PUBLISHED)
def test_prv_at_the_published_noise(n, b, epochs, delta, noise, told) -> None:
    batches = math.ceil(n / b)
    got = epsilon(noise, 1 / batches, epochs * batches, delta, PRV)
    assert got == pytest.approx(told, rel=0.01)
    saved = 1 - got / epsilon(noise, 1 / batches, epochs * batches, delta, RDP)
    assert 0.05 < saved < 0.10


@pytest.mark.parametrize("target", [0.2, 1.0, 10.0])
def test_two_thousandths_less_noise_are_too_little(target: float) -> None:
    rate, steps = 1 / 15, 4500
    noise = noise_for(target, rate, steps, DELTA, RDP)
    assert epsilon(noise, rate, steps, DELTA, RDP) <= target
    assert epsilon(0.998 * noise, rate, steps, DELTA, RDP) > target


@settings(max_examples=30, deadline=None)
@given(
    target=st.floats(0.05, 5),
    noise=st.floats(0.5, 6),
    rate=st.floats(0.01, 1),
    limit=st.integers(1, 60),
)
def test_the_most_steps_are_those_that_counting_finds(target, noise, rate, limit) -> None:
    fits = [n for n in range(1, limit + 1) if epsilon(noise, rate, n, DELTA) <= target]
    assert fits == list(range(1, len(fits) + 1))
    assert most_steps(target, noise, rate, DELTA, limit=limit) == len(fits)
