"""What a run costs: the published table, exact formulas, and a second library."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from sfumato.errors import UsageError
from sfumato.systems.dpdm.accounting import Accountant, epsilon, most_steps, noise_for

pytest.importorskip("opacus", reason="the extra 'private' is not installed")
RDP, PRV = Accountant.RDP, Accountant.PRV

# N, B, epochs, δ, noise multiplier, ε by RDP: measured with Opacus and dp-accounting beforehand
TABLE = [
    (60_000, 4096, 300, 1e-5, 82.5, 0.1955),
    (60_000, 4096, 300, 1e-5, 18.28, 0.991),
    (60_000, 4096, 300, 1e-5, 2.48, 10.04),
    (162_770, 2048, 300, 1e-6, 8.82, 0.9996),
    (162_770, 2048, 300, 1e-6, 1.30, 10.04),
    (50_000, 2048, 500, 1e-5, 2.48, 10.00),
    (1_281_167, 2048, 100, 7e-7, 0.603, 9.99),
]


def setting(n: int, b: int, epochs: int) -> tuple[float, int]:
    batches = math.ceil(n / b)
    return 1 / batches, epochs * batches


@pytest.mark.parametrize(("n", "b", "epochs", "delta", "noise", "told"), TABLE)
def test_the_published_noise_multipliers(n, b, epochs, delta, noise, told) -> None:
    rate, steps = setting(n, b, epochs)
    assert epsilon(noise, rate, steps, delta, RDP) == pytest.approx(told, rel=5e-3)
    target = min((0.2, 1.0, 10.0), key=lambda e: abs(math.log(e / told)))
    assert noise_for(target, rate, steps, delta, RDP) == pytest.approx(noise, rel=0.03)


@pytest.mark.parametrize(("n", "b", "epochs", "delta", "noise", "told"), TABLE)
def test_prv_saves_up_to_a_tenth(n, b, epochs, delta, noise, told) -> None:
    rate, steps = setting(n, b, epochs)
    saved = 1 - epsilon(noise, rate, steps, delta, PRV) / epsilon(noise, rate, steps, delta, RDP)
    assert 0.03 < saved < 0.12


@pytest.mark.parametrize(("n", "b", "epochs", "delta", "noise", "told"), TABLE)
def test_dp_accounting_agrees(n, b, epochs, delta, noise, told) -> None:
    dp = pytest.importorskip("dp_accounting")
    rate, steps = setting(n, b, epochs)
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), steps)
    theirs = dp.rdp.RdpAccountant()
    theirs.compose(event)
    ours = epsilon(noise, rate, steps, delta, RDP)
    assert ours == pytest.approx(theirs.get_epsilon(delta), rel=5e-3)


def test_a_fine_loss_distribution_agrees_with_prv() -> None:
    """dp-accounting's PLD, another numerical method for the same exact quantity."""
    dp = pytest.importorskip("dp_accounting")
    from dp_accounting import pld

    rate, steps = setting(60_000, 4096, 300)
    for noise, grid in ((18.28, 1e-5), (2.48, 1e-4)):
        theirs = pld.PLDAccountant(value_discretization_interval=grid)
        event = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise))
        theirs.compose(dp.SelfComposedDpEvent(event, steps))
        ours = epsilon(noise, rate, steps, 1e-5, PRV)
        assert ours == pytest.approx(theirs.get_epsilon(1e-5), rel=0.02)


@pytest.mark.parametrize(("noise", "steps"), [(2.0, 1), (5.0, 10), (20.0, 100), (1.0, 1)])
def test_without_sampling_the_exact_answer_is_known(noise: float, steps: int) -> None:
    """q = 1: T steps are one Gaussian of s/√T; δ(ε) of Balle and Wang 2018 (1805.06530, eq. 6)."""
    mu, delta = math.sqrt(steps) / noise, 1e-5

    def spent(e: float) -> float:
        left = stats.norm.cdf(mu / 2 - e / mu)
        return left - math.exp(e) * stats.norm.cdf(-mu / 2 - e / mu) - delta

    exact = optimize.brentq(spent, 0, 100)
    prv, rdp = (epsilon(noise, 1.0, steps, delta, a) for a in (PRV, RDP))
    assert exact <= prv * (1 + 1e-6) and exact <= rdp
    assert prv == pytest.approx(exact, abs=0.02 + 0.01 * exact)
    assert rdp < 1.35 * exact


@settings(max_examples=40, deadline=None)
@given(
    noise=st.floats(0.4, 20),
    rate=st.floats(1e-4, 0.5),
    steps=st.integers(1, 3000),
    delta=st.floats(1e-8, 1e-3),
)
def test_more_noise_and_less_use_cost_less(noise, rate, steps, delta) -> None:
    cost = epsilon(noise, rate, steps, delta)
    assert cost >= 0
    assert epsilon(1.1 * noise, rate, steps, delta) <= cost + 1e-9
    assert epsilon(noise, 0.9 * rate, steps, delta) <= cost + 1e-9
    assert epsilon(noise, rate, steps + 10, delta) >= cost - 1e-9
    assert epsilon(noise, rate, steps, delta / 2) >= cost - 1e-9


@pytest.mark.parametrize("accountant", [RDP, PRV])
@pytest.mark.parametrize("target", [0.3, 1.0, 8.0])
def test_the_noise_is_the_smallest_and_the_steps_the_most(accountant, target) -> None:
    rate, steps, delta = 0.02, 400, 1e-5
    noise = noise_for(target, rate, steps, delta, accountant)
    assert epsilon(noise, rate, steps, delta, accountant) <= target
    assert epsilon(0.996 * noise, rate, steps, delta, accountant) > target
    most = most_steps(target, noise, rate, delta, accountant)
    assert most >= steps
    assert epsilon(noise, rate, most, delta, accountant) <= target
    assert epsilon(noise, rate, most + 1, delta, accountant) > target


def test_the_ends() -> None:
    assert epsilon(1.0, 0.1, 0, 1e-5) == 0.0
    assert epsilon(0.0, 0.1, 5, 1e-5) == math.inf
    assert most_steps(0.01, 0.3, 0.5, 1e-5) == 0
    for call in (
        lambda: epsilon(1.0, 1.5, 5, 1e-5),
        lambda: epsilon(1.0, 0.0, 5, 1e-5),
        lambda: epsilon(-1.0, 0.1, 5, 1e-5),
        lambda: epsilon(1.0, 0.1, 5, 0.0),
        lambda: noise_for(0.0, 0.1, 5, 1e-5),
        lambda: epsilon(1.0, 0.1, -1, 1e-5),
    ):
        with pytest.raises(UsageError, match="expected"):
            call()


def test_two_steps_are_one_of_less_noise() -> None:
    """Without sampling, by RDP: T steps of s are one of s/√T, whatever T is."""
    for steps in (2, 3, 10):
        many = epsilon(4.0, 1.0, steps, 1e-5)
        assert many == pytest.approx(epsilon(4.0 / math.sqrt(steps), 1.0, 1, 1e-5), rel=1e-6)


def test_a_target_below_the_error_of_prv_says_so() -> None:
    with pytest.raises(UsageError, match="below epsilon 0.005 by prv; its own error .* take rdp"):
        noise_for(0.005, 0.01, 10, 1e-5, PRV)
    assert epsilon(noise_for(0.005, 0.01, 10, 1e-5), 0.01, 10, 1e-5) <= 0.005


def test_little_noise_is_found_too() -> None:
    """A large budget for few, small steps needs less noise than any setting in use."""
    for accountant in (RDP, PRV):
        noise = noise_for(20.0, 1e-4, 2, 1e-5, accountant)
        assert noise < 0.3
        assert epsilon(noise, 1e-4, 2, 1e-5, accountant) <= 20.0
        assert epsilon(0.995 * noise, 1e-4, 2, 1e-5, accountant) > 20.0
