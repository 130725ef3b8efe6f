"""Bridges against their closed form, by Gaussian algebra without sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

import sfumato as sf
from analytic import Scripted
from sfumato.process import mix

F64 = torch.float64
INNER = {
    "brownian": sf.SymmetricBrownian(),
    "brownian-steep": sf.SymmetricBrownian(0.05, 1.0),
    "vp": sf.VPLinear(),
    "ve": sf.VE(),
    "flow": sf.RectifiedFlow(),
    "cosine": sf.VPCosine(),
}
each = pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
TIMES = [0.0, 1e-4, 0.2, 0.5, 0.77, 0.9999, 1.0]


def spread(t: float, high: float = 0.3) -> float:
    """σ² from 0 to t by quadrature of β, I²SB's symmetric schedule."""
    low, root = 0.1**0.5, high**0.5

    def beta(u: float) -> float:
        return (low + (root - low) * min(u, 1 - u)) ** 2

    area = quad(beta, 0, min(t, 0.5), epsabs=1e-14)[0]
    return area + (quad(beta, 0.5, t, epsabs=1e-14)[0] if t > 0.5 else 0)


@pytest.mark.parametrize("t", TIMES)
def test_brownian_bridge_is_the_closed_form(t: float) -> None:
    """N((σ̄² x_0 + σ² x_1)/(σ² + σ̄²), σ² σ̄²/(σ² + σ̄²)), to 1e-12."""
    before, total = spread(t), spread(1.0)
    after = total - before
    q = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian())).bridge(t)
    assert q.A[0].tolist() == pytest.approx([after / total, before / total], abs=1e-12)
    assert float(q.cov) == pytest.approx(before * after / total, abs=1e-12)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_bridge_is_symmetric_in_time(t: float) -> None:
    """β is symmetric, so exchanging x_0 and x_1 is turning time round."""
    process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()))
    here, there = process.bridge(t), process.bridge(1 - t)
    torch.testing.assert_close(here.A, there.A.flip(-1), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(here.cov, there.cov, rtol=1e-13, atol=1e-15)


@each
def test_bridge_conditions_the_joint_gaussian(inner: sf.Schedule) -> None:
    process = sf.Bridge(sf.Scheduled(inner))
    for t in (0.05, 0.5, 0.95):
        m_t, c_t = (float(a) for a in process.inner.marginal(t)[:2])
        move, added = (float(a) for a in process.inner.kernel(t, 1.0)[:2])
        joint = np.array([[c_t, move * c_t], [move * c_t, move**2 * c_t + added]])
        gain = joint[0, 1] / joint[1, 1]
        q = process.bridge(t)
        want = [m_t - gain * move * m_t, gain]
        assert q.A[0].tolist() == pytest.approx(want, rel=1e-9, abs=1e-12)
        assert float(q.cov) == pytest.approx(c_t - gain * joint[0, 1], rel=1e-9)


@each
def test_bridge_kernels_compose(inner: sf.Schedule) -> None:
    """q(x_t | x_r, x_1) = ∫ q(x_t | x_s, x_1) q(x_s | x_r, x_1); from r = 0 it is bridge."""
    process = sf.Bridge(sf.Scheduled(inner))
    for r, s, t in ((0.0, 0.3, 0.8), (0.1, 0.5, 0.6)):
        one, two, both = process.kernel(r, s), process.kernel(s, t), process.kernel(r, t)
        a = two.A[..., :1] @ one.A
        a = a + torch.nn.functional.pad(two.A[..., 1:], (1, 0))
        torch.testing.assert_close(a, both.A, rtol=1e-10, atol=1e-12)
        cov = two.A[..., :1] * one.cov * two.A[..., :1] + two.cov
        torch.testing.assert_close(cov, both.cov, rtol=1e-10, atol=1e-12)
        if r == 0:
            torch.testing.assert_close(both.A, process.bridge(t).A, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(both.cov, process.bridge(t).cov, rtol=1e-10, atol=1e-12)


@each
@pytest.mark.parametrize("ends", [0.0, 1.0])
def test_bridge_ends_at_its_ends(inner: sf.Schedule, ends: float) -> None:
    q = sf.Bridge(sf.Scheduled(inner)).bridge(ends)
    want = torch.tensor([[1 - ends, ends]], dtype=F64)
    torch.testing.assert_close(q.A, want)
    torch.testing.assert_close(q.cov, torch.zeros(1, 1, dtype=F64), atol=1e-14, rtol=0)


@each
@pytest.mark.parametrize("deterministic", [False, True])
def test_chain_with_the_true_data_keeps_every_marginal(
    inner: sf.Schedule, deterministic: bool
) -> None:
    """Walk the posterior from x_1 with x_0 known: mean and variance of the bridge at each time."""
    process = sf.Bridge(sf.Scheduled(inner), deterministic)
    mean, var = torch.tensor([[0.0, 1.0]], dtype=F64), torch.zeros(1, 1, dtype=F64)  # (x_0, x_1)
    times = [1.0, 0.8, 0.5, 0.1, 0.0]
    for t, s in zip(times, times[1:], strict=False):
        step = process.posterior(s, t)
        mean = step.A[:, :1] @ mean
        mean[:, :1] += step.A[:, 1:]
        var = step.A[:, :1] * var * step.A[:, :1] + step.cov
        q = process.bridge(s)
        torch.testing.assert_close(mean, q.A, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(var, q.cov, rtol=1e-10, atol=1e-12)


@each
def test_times_in_float32_do(inner: sf.Schedule) -> None:
    process = sf.Bridge(sf.Scheduled(inner))
    t = torch.tensor([0.2, 0.7])
    for low, high in (
        (process.bridge(t), process.bridge(t.double())),
        (process.kernel(0.1 * t, t), process.kernel(0.1 * t.double(), t.double())),
    ):
        assert low.A.dtype == torch.float32
        torch.testing.assert_close(low.A.double(), high.A, rtol=2e-3, atol=1e-5)
        torch.testing.assert_close(low.cov.double(), high.cov, rtol=5e-3, atol=1e-5)


def test_less_noise_tends_to_a_straight_line() -> None:
    """β → 0 at constant β: the mean is (1-t) x_0 + t x_1, and the variance vanishes with β."""
    variances = []
    for beta in (1.0, 1e-4, 1e-8):
        q = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian(beta, beta))).bridge(0.3)
        assert q.A[0].tolist() == pytest.approx([0.7, 0.3], abs=1e-9)
        variances.append(float(q.cov) / beta)
    assert variances == pytest.approx([0.21] * 3, rel=1e-6)


@each
def test_deterministic_transport_follows_its_own_flow(inner: sf.Schedule) -> None:
    process = sf.Bridge(sf.Scheduled(inner), deterministic=True)
    x0 = torch.tensor([[0.4]], dtype=F64)

    def rate(time: float, y: np.ndarray) -> np.ndarray:
        return process.velocity(torch.from_numpy(y)[None], x0, time)[0].numpy()

    y = solve_ivp(rate, (0.9, 0.2), [1.3], method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    got = mix(process.transport(0.9, 0.2), torch.tensor([[1.3]], dtype=F64), x0)
    assert float(got) == pytest.approx(float(y[0]), rel=1e-9)


@pytest.mark.parametrize("deterministic", [False, True])
def test_perturb_stands_on_the_bridge_and_returns_the_published_target(deterministic: bool) -> None:
    """x_t = a x_0 + b x_1 + √v z, and the target (x_t - x_0)/σ_t."""
    noise = Scripted()
    process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian(), noise), deterministic)
    g = torch.Generator().manual_seed(0)
    x0, x1, z = (torch.randn(3, 2, generator=g, dtype=F64) for _ in range(3))
    t = torch.tensor([0.1, 0.5, 0.9], dtype=F64)
    noise.play(z)
    x_t, target = process.perturb(x0, t, x1=x1)
    for i, time in enumerate(t.tolist()):
        before, total = spread(time), spread(1.0)
        a, b = 1 - before / total, before / total
        root = 0.0 if deterministic else (before * (total - before) / total) ** 0.5
        want = a * x0[i] + b * x1[i] + root * z[i]
        torch.testing.assert_close(x_t[i], want, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(target[i], (want - x0[i]) / before**0.5, rtol=1e-9, atol=1e-11)


def test_walk_with_the_true_data_ends_at_it_for_every_solver() -> None:
    class Told(sf.Denoiser):
        def __init__(self, process: sf.Process, x0: torch.Tensor) -> None:
            super().__init__()
            self.process, self.x0 = process, x0

        def forward(self, x_t, t, cond=None, generator=None):
            return self.x0

    g = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(3, 2, generator=g, dtype=F64) for _ in range(2))
    for deterministic, solvers in (
        (False, [sf.solve.Ancestral(), sf.solve.EulerMaruyama()]),
        (True, [sf.solve.Ancestral(), sf.solve.Euler(), sf.solve.Heun(), sf.solve.DDIM(),
                sf.solve.DPMSolverPP(3), sf.solve.DormandPrince()]),
    ):  # fmt: skip
        process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()), deterministic)
        for solver in solvers:
            end = sf.sample(Told(process, x0), solver, sf.times.uniform(20), x1, generator=g).x
            torch.testing.assert_close(end, x0, rtol=1e-9, atol=1e-9)
