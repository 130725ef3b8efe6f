"""Schedules against their definitions: ODEs integrated by scipy, inverses, derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import sfumato as sf

F64 = torch.float64
ALL = {
    "vp": sf.VPLinear(),
    "vp-flat": sf.VPLinear(2.0, 2.0),
    "cosine": sf.VPCosine(),
    "shifted": sf.Shifted(sf.VPLinear(), 0.35),
    "shifted-cosine": sf.Shifted(sf.VPCosine(), 4.0),
    "ve": sf.VE(),
    "edm": sf.EDM(),
    "flow": sf.RectifiedFlow(),
    "brownian": sf.SymmetricBrownian(),
    "brownian-steep": sf.SymmetricBrownian(0.05, 1.0),
}
each = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL.keys())


@each
@given(t=st.floats(1e-5, 1 - 1e-5))
def test_time_inverts_log_snr(schedule: sf.Schedule, t: float) -> None:
    back = float(schedule.time(schedule.log_snr(t)))
    assert back == pytest.approx(t, rel=1e-9)


@each
@given(t=st.floats(1e-4, 1 - 1e-4))
def test_log_snr_is_that_of_alpha_and_sigma(schedule: sf.Schedule, t: float) -> None:
    ratio = 2 * torch.log(schedule.alpha(t) / schedule.sigma(t))
    torch.testing.assert_close(schedule.log_snr(t), ratio, rtol=1e-9, atol=1e-9)


@each
def test_derivatives_are_those_of_autograd(schedule: sf.Schedule) -> None:
    t = torch.tensor([1e-3, 0.1, 0.37, 0.8, 0.999], dtype=F64, requires_grad=True)
    for value, dot in (
        (schedule.alpha(t), schedule.alpha_dot(t)),
        (schedule.sigma(t), schedule.sigma_dot(t)),
    ):
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), t)
        else:
            slope = torch.zeros_like(t)
        torch.testing.assert_close(dot.detach(), slope, rtol=1e-11, atol=1e-12)


@each
def test_falls_from_data_to_noise(schedule: sf.Schedule) -> None:
    t = torch.linspace(0, 1, 1001, dtype=F64)
    assert float(schedule.alpha(t)[0]) == 1
    assert float(schedule.sigma(t)[0]) == 0
    assert math.isinf(float(schedule.log_snr(0.0)))
    assert float(schedule.log_snr(0.0)) > 0
    assert bool((schedule.log_snr(t).diff() < 0).all())


@pytest.mark.parametrize("name", ["vp", "vp-flat", "cosine"])
@given(t=st.floats(0, 1))
def test_variance_is_preserved(name: str, t: float) -> None:
    total = ALL[name].alpha(t).square() + ALL[name].sigma(t).square()
    assert float(total) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("t", [1e-4, 0.3, 1.0])
def test_linear_beta_by_quadrature(t: float) -> None:
    area = quad(lambda u: 0.1 + (20 - 0.1) * u, 0, t, epsabs=1e-14)[0]
    h = sf.VPLinear()
    assert float(h.alpha(t)) == pytest.approx(math.exp(-area / 2), rel=1e-13)
    assert float(h.sigma(t)) == pytest.approx(math.sqrt(-math.expm1(-area)), rel=1e-12)
    assert float(h.log_snr(t)) == pytest.approx(-math.log(math.expm1(area)), rel=1e-12)


def test_published_noise_to_signal_of_the_linear_schedule() -> None:
    """γ = σ/α at the ends, as tabulated for this schedule (GENIE, 2210.05475)."""
    gamma = [float((-0.5 * sf.VPLinear().log_snr(t)).exp()) for t in (1.0, 1e-3)]
    assert gamma == pytest.approx([152.17, 0.010486], rel=1e-4)


@pytest.mark.parametrize("t", [1e-4, 0.3, 1.0])
def test_exploding_variance_is_what_its_sde_adds(t: float) -> None:
    """dx = σ_min r^t sqrt(2 ln r) dW (Song et al. 2021, eq. 30 in the appendix)."""
    r = 50 / 0.01
    added = quad(lambda u: (0.01 * r**u) ** 2 * 2 * math.log(r), 0, t, epsrel=1e-13)[0]
    assert float(sf.VE().sigma(t)) == pytest.approx(math.sqrt(added), rel=1e-11)


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.3), (0.05, 1.0)])
@pytest.mark.parametrize("t", [1e-4, 0.2, 0.5, 0.7, 1.0])
def test_symmetric_brownian_by_quadrature(low: float, high: float, t: float) -> None:
    def beta(u: float) -> float:
        u = min(u, 1 - u)
        return (math.sqrt(low) + (math.sqrt(high) - math.sqrt(low)) * u) ** 2

    area = quad(beta, 0, min(t, 0.5), epsabs=1e-15)[0]
    area += quad(beta, 0.5, t, epsabs=1e-15)[0] if t > 0.5 else 0
    assert float(sf.SymmetricBrownian(low, high).sigma(t)) ** 2 == pytest.approx(area, rel=1e-12)


def test_symmetric_brownian_total_is_the_published_one() -> None:
    """Σβ of I²SB's 1000 steps: mirrored halves of linspace(√1e-4, √(β_max/1000), 1000)²."""
    for high, total in ((0.3, 0.1410), (1.0, 0.2469)):
        b = np.linspace(math.sqrt(1e-4), math.sqrt(high / 1000), 1000) ** 2
        discrete = 2 * b[:500].sum()
        assert discrete == pytest.approx(total, abs=1e-4)
        ours = float(sf.SymmetricBrownian(0.1, high).sigma(1.0)) ** 2
        assert ours == pytest.approx(discrete, rel=3e-3)  # a sum against its integral


def test_straight_and_circular_paths() -> None:
    t = torch.tensor([0.0, 0.25, 1.0], dtype=F64)
    flow, cosine, edm = sf.RectifiedFlow(), sf.VPCosine(), sf.EDM(sigma_max=80.0)
    torch.testing.assert_close(flow.alpha(t) + flow.sigma(t), torch.ones(3, dtype=F64))
    torch.testing.assert_close(flow.sigma(t), t)
    torch.testing.assert_close(edm.sigma(t), 80 * t)
    angle = torch.atan2(cosine.sigma(t), cosine.alpha(t))
    torch.testing.assert_close(angle, 0.5 * math.pi * t)
    assert float(cosine.alpha(1.0)) == 0  # exactly: solvers ask


@pytest.mark.parametrize("name", ["vp", "ve", "edm", "brownian"])
def test_no_digits_are_lost_near_the_data(name: str) -> None:
    """σ² is linear in small t (EDM: quadratic): halving t must halve it to rounding."""
    h = ALL[name]
    power = 4 if name == "edm" else 2
    ratio = float(h.sigma(2e-13).square() / h.sigma(1e-13).square())
    assert ratio == pytest.approx(power, rel=1e-10)


@pytest.mark.parametrize("inner", [sf.VPLinear(), sf.VPCosine()])
@pytest.mark.parametrize("shift", [0.3, 2.5])
def test_shifting_is_scaling_the_data(inner: sf.VPLinear | sf.VPCosine, shift: float) -> None:
    """x_t of data x_0 is, up to a factor, the inner process's of x_0 / f; and α'² + σ'² = 1."""
    t = torch.tensor([1e-4, 0.2, 0.5, 0.9, 1.0], dtype=F64)
    shifted = sf.Shifted(inner, shift)
    alpha, sigma = shifted.alpha(t), shifted.sigma(t)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(t))
    torch.testing.assert_close(sigma * inner.alpha(t), alpha * inner.sigma(t) * shift)
    assert float(shifted.sigma(0.0)) == 0 and float(shifted.alpha(0.0)) == 1


def test_a_shift_that_is_none() -> None:
    with pytest.raises(ValueError, match="expected shift > 0, got 0"):
        sf.Shifted(sf.VPLinear(), 0.0)
