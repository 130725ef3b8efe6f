"""Forward kernels against the SDE itself: matrix exponentials and Lyapunov equations by scipy.

Drift and diffusion come from `stochastic.py`, written down once more from the papers, so that a
kernel and a drift that agree on a mistake are caught.
"""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov

import sfumato as sf
from analytic import PROCESSES
from stochastic import SDE, Matrix, damped, lyapunov

F64 = torch.float64
each = pytest.mark.parametrize("name", SDE)
SPANS = [(0.1, 0.6), (0.0, 0.3), (0.5, 0.51), (0.02, 0.95)]


def close(got: torch.Tensor, want: Matrix, tolerance: float = 1e-10) -> None:
    """Agreement relative to the largest entry."""
    scale = float(np.abs(want).max()) or 1.0
    assert np.abs(got.numpy() - want).max() <= tolerance * scale, (got, want)


@each
def test_drift_and_diffusion(name: str) -> None:
    process = PROCESSES[name]()
    for t in (1e-3, 0.2, 0.9):
        f, g = SDE[name](t)
        close(process.drift(t), f, 1e-12)
        close(process.diffusion(t), g, 1e-12)


@each
@pytest.mark.parametrize(("s", "t"), SPANS)
def test_kernel_solves_the_sde(name: str, s: float, t: float) -> None:
    process = PROCESSES[name]()
    phi, q = lyapunov(SDE[name], s, t, process.k)
    got = process.kernel(s, t)
    close(got.A, phi)
    close(got.cov, q)


def exponential(f: Matrix, g: Matrix, h: float) -> tuple[Matrix, Matrix]:
    """Φ = exp(F h) and Q = P - Φ P Φᵀ with F P + P Fᵀ + G Gᵀ = 0."""
    phi, still = expm(f * h), solve_continuous_lyapunov(f, -g)
    return phi, still - phi @ still @ phi.T


@pytest.mark.parametrize(("s", "t"), SPANS)
def test_damped_kernel_is_the_matrix_exponential(s: float, t: float) -> None:
    phi, q = exponential(*damped(0.0), t - s)
    got = sf.CriticallyDamped().kernel(s, t)
    close(got.A, phi, 1e-13)
    close(got.cov, q, 1e-13)


@pytest.mark.parametrize(("mass_inv", "gamma"), [(4.0, 0.04), (1.0, 1.0), (16.0, 0.2)])
def test_damped_marginal_starts_from_the_velocity_law(mass_inv: float, gamma: float) -> None:
    """From Σ_0 = diag(0, γM), for other masses too."""
    m, beta = 1 / mass_inv, 4.0
    f = beta * np.array([[0, mass_inv], [-1, -2 * math.sqrt(m) * mass_inv]])
    g = np.array([[0, 0], [0, 2 * 2 * math.sqrt(m) * beta]])
    for t in (0.01, 0.3, 1.0):
        phi, q = exponential(f, g, t)
        want = phi @ np.diag([0, gamma * m]) @ phi.T + q
        got = sf.CriticallyDamped(4.0, 0.0, mass_inv, gamma).marginal(t)
        close(got.A, phi[:, :1], 1e-12)
        close(got.cov, want, 1e-12)
        assert float(got.det) == pytest.approx(np.linalg.det(want), rel=1e-9)


@each
def test_chapman_kolmogorov(name: str) -> None:
    process = PROCESSES[name]()
    for r, s, t in ((0.0, 0.2, 0.7), (0.1, 0.1001, 0.9), (1e-4, 0.01, 0.02)):
        one, two, both = process.kernel(r, s), process.kernel(s, t), process.kernel(r, t)
        close(two.A @ one.A, both.A.numpy(), 1e-12)
        close(two.A @ one.cov @ two.A.mT + two.cov, both.cov.numpy(), 1e-12)


@each
def test_marginal_is_the_kernel_from_the_data(name: str) -> None:
    process = PROCESSES[name]()
    start = process.marginal(0.0)
    close(start.A, np.eye(process.k)[:, :1])
    for t in (1e-3, 0.4, 1.0):
        move, now = process.kernel(0.0, t), process.marginal(t)
        close(move.A @ start.A, now.A.numpy(), 1e-13)
        close(move.A @ start.cov @ move.A.mT + move.cov, now.cov.numpy(), 1e-12)


@each
def test_a_kernel_over_no_time_changes_nothing(name: str) -> None:
    process = PROCESSES[name]()
    for t in (0.0, 0.3, 1.0):
        q = process.kernel(t, t)
        torch.testing.assert_close(q.A, torch.eye(process.k, dtype=F64))
        torch.testing.assert_close(q.cov, torch.zeros(process.k, process.k, dtype=F64))


@each
def test_times_may_differ_within_a_batch(name: str) -> None:
    process = PROCESSES[name]()
    s, t = torch.tensor([0.0, 0.2], dtype=F64), torch.tensor([0.3, 0.9], dtype=F64)
    for call in (process.kernel, process.posterior):
        both = call(s, t)
        for i in range(2):
            one = call(float(s[i]), float(t[i]))
            torch.testing.assert_close(both.A[i], one.A, rtol=1e-13, atol=1e-14)
            torch.testing.assert_close(both.cov[i], one.cov, rtol=1e-13, atol=1e-14)


# Phase space near the data, where the published differences of exponentials cancel


def published(t: float, mass_inv: int = 4, gamma: str = "0.04") -> list[Decimal]:
    """Σ_xx, Σ_xv, Σ_vv, det as differences of exponentials (2112.07068, app. B.1), 60 digits."""
    getcontext().prec = 60
    m, b = Decimal(1) / mass_inv, 4 * Decimal(t)
    big = 2 * m.sqrt()  # Γ
    u = b / big
    v0 = Decimal(gamma) * m
    shrink = (-4 * u).exp()
    xx = (4 * u).exp() - 1 - 4 * u - 8 * u**2 + (b / m) ** 2 * v0
    xv = big * 4 * u**2 + (b / m) * (1 - 2 * u) * v0
    vv = m * ((4 * u).exp() - 1 + 4 * u - 8 * u**2) + (1 - 2 * u) ** 2 * v0
    xx, xv, vv = xx * shrink, xv * shrink, vv * shrink
    return [xx, xv, vv, xx * vv - xv * xv]


@pytest.mark.parametrize("t", [1e-7, 1e-5, 1e-3, 0.1, 0.5, 1.0])
def test_damped_covariance_is_the_published_one(t: float) -> None:
    want = [float(v) for v in published(t)]
    q = sf.CriticallyDamped().marginal(t)
    got = [*q.cov[[0, 0, 1], [0, 1, 1]].tolist(), float(q.det)]
    assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("t", [1e-5, 1e-4, 1e-3, 0.03, 0.3, 1.0])
@pytest.mark.parametrize("beta", [(4.0, 0.0), (0.1, 6.9)])
def test_damped_covariance_keeps_its_digits_in_float32(t: float, beta: tuple) -> None:
    process = sf.CriticallyDamped(*beta)
    time = torch.tensor(t, dtype=torch.float32)
    single, double = process.marginal(time), process.marginal(time.double())
    assert single.cov.dtype == torch.float32
    for got, want in (
        (single.cov, double.cov),
        (single.det, double.det),
        (single.root(), double.root()),
        (single.A, double.A),
    ):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0.0)


def test_score_weight_at_the_smallest_time() -> None:
    """ℓ = 1/L₂₂ is 193.7 at t = 1e-5 without any numerical offset."""
    weight = 1 / float(sf.CriticallyDamped().marginal(1e-5).root()[1, 1])
    assert weight == pytest.approx(193.7, abs=0.1)
