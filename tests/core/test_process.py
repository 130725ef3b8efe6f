"""What every process derives from its kernel, against independent linear algebra and ODEs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import sfumato as sf
from analytic import PROCESSES, Scripted
from sfumato.process import Gaussian, mix

F64 = torch.float64
each = pytest.mark.parametrize("name", PROCESSES)
PAIRS = [(0.1, 0.6), (0.0, 0.4), (0.45, 0.5), (0.3, 1.0)]


def conditioned(process: sf.Process, s: float, t: float) -> tuple[np.ndarray, np.ndarray]:
    """x_s given (x_t, x_0): block matrices of the joint Gaussian, Schur complement by numpy."""
    k = process.k
    mean_s, cov_s = (a.numpy() for a in process.marginal(s)[:2])
    move, added = (a.numpy() for a in process.kernel(s, t)[:2])
    joint = np.block(
        [[cov_s, cov_s @ move.T], [move @ cov_s, move @ cov_s @ move.T + added]]
    )  # of (x_s, x_t) given x_0
    mean = np.concatenate([mean_s, move @ mean_s])
    gain = np.linalg.solve(joint[k:, k:], joint[k:, :k]).T
    a = np.concatenate([gain, mean[:k] - gain @ mean[k:]], axis=1)
    return a, joint[:k, :k] - gain @ joint[k:, :k]


@each
@pytest.mark.parametrize(("s", "t"), PAIRS)
def test_posterior_conditions_the_joint_gaussian(name: str, s: float, t: float) -> None:
    process = PROCESSES[name]()
    a, cov = conditioned(process, s, t)
    got = process.posterior(s, t)
    scale = max(float(process.marginal(s).cov.max()), 1e-3)
    np.testing.assert_allclose(got.A.numpy(), a, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.cov.numpy(), cov, rtol=1e-9, atol=1e-12 * scale)


def test_posterior_of_ddpm() -> None:
    """Coefficients of Ho et al. 2020, eq. 7, from ᾱ alone."""
    process = PROCESSES["vp"]()
    for s, t in PAIRS:
        bar_s, bar_t = (float(process.schedule.alpha(v)) ** 2 for v in (s, t))
        alpha, beta = bar_t / bar_s, 1 - bar_t / bar_s
        want_t = alpha**0.5 * (1 - bar_s) / (1 - bar_t)
        want_0 = bar_s**0.5 * beta / (1 - bar_t)
        q = process.posterior(s, t)
        assert q.A[0].tolist() == pytest.approx([want_t, want_0], rel=1e-11, abs=1e-14)
        assert float(q.cov) == pytest.approx(beta * (1 - bar_s) / (1 - bar_t), rel=1e-10, abs=1e-15)


@each
def test_score_is_the_gradient_of_the_log_density(name: str) -> None:
    process = PROCESSES[name]()
    g = torch.Generator().manual_seed(1)
    x0 = torch.randn(3, 2, generator=g, dtype=F64)
    for t in (0.02, 0.4, 1.0):
        x, _ = process.perturb(x0, t, g)
        x.requires_grad_()
        q = process.marginal(t)
        cov = torch.kron(q.cov, torch.eye(2, dtype=F64))  # states are (x₁ x₂ v₁ v₂)
        mean = torch.cat([m * x0 for m in q.A[:, 0]], dim=1)
        log = torch.distributions.MultivariateNormal(mean, cov).log_prob(x)
        (want,) = torch.autograd.grad(log.sum(), x)
        got = process.score(x.detach(), x0, t)
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-9 * float(want.abs().max()))


@each
@pytest.mark.parametrize(("t", "s"), [(0.7, 0.2), (0.2, 0.4), (0.9, 0.02)])
def test_transport_follows_the_flow(name: str, t: float, s: float) -> None:
    """Integrate ẋ = velocity(x, x_0) with x_0 held fixed, both ways in time."""
    process = PROCESSES[name]()
    start = torch.tensor([[0.3, -0.8][: process.k]], dtype=F64)
    x0 = torch.tensor([[0.7]], dtype=F64)

    def rate(time: float, y: np.ndarray) -> np.ndarray:
        return process.velocity(torch.from_numpy(y)[None], x0, time)[0].numpy()

    y = solve_ivp(rate, (t, s), start[0].numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    got = mix(process.transport(t, s), start, x0)[0].numpy()
    np.testing.assert_allclose(got, y.y[:, -1], rtol=1e-9, atol=1e-9)


@each
def test_transport_maps_marginal_to_marginal_and_composes(name: str) -> None:
    process = PROCESSES[name]()
    k = process.k
    for t, r, s in ((0.9, 0.5, 0.1), (1.0, 0.3, 0.0), (0.01, 0.001, 1e-4)):
        whole = process.transport(t, s)
        now, then = process.marginal(t), process.marginal(s)
        move = whole[:, :k]
        tolerance = {"rtol": 1e-9, "atol": 1e-10 * float(now.cov.max())}
        torch.testing.assert_close(move @ now.cov @ move.mT, then.cov, **tolerance)
        torch.testing.assert_close(whole[:, k:] + move @ now.A, then.A)
        first, second = process.transport(t, r), process.transport(r, s)
        torch.testing.assert_close(second[:, :k] @ first[:, :k], move, rtol=1e-9, atol=1e-10)
        moved = second[:, :k] @ first[:, k:] + second[:, k:]
        torch.testing.assert_close(moved, whole[:, k:], rtol=1e-9, atol=1e-10)


@each
def test_velocity_carries_the_moments_along(name: str) -> None:
    """d/dt of mean and covariance, by central differences, is that of ẋ = W(x - M x_0) + Ṁ x_0."""
    process = PROCESSES[name]()
    k, h = process.k, 1e-6
    for t in (0.05, 0.5, 0.99):
        up, down, q = process.marginal(t + h), process.marginal(t - h), process.marginal(t)
        w, m_dot = process.flow(t).split([k, 1], dim=-1)
        scale = float(q.cov.max()) + 1
        torch.testing.assert_close(m_dot, (up.A - down.A) / (2 * h), rtol=1e-6, atol=1e-8)
        rate = w @ q.cov + q.cov @ w.mT
        change = (up.cov - down.cov) / (2 * h)
        torch.testing.assert_close(rate, change, rtol=1e-6, atol=1e-7 * scale)


@each
def test_perturb_reads_mean_and_root_off(name: str) -> None:
    """With scripted noise: x_t = M x_0 + L ε exactly, and ε is what was drawn."""
    noise = Scripted()
    process = PROCESSES[name](noise)
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(4, 3, generator=g, dtype=F64)
    draws = [torch.randn(4, 3, generator=g, dtype=F64) for _ in range(process.k)]
    t = torch.tensor([0.1, 0.2, 0.5, 1.0], dtype=F64)
    noise.play(*draws)
    x_t, eps = process.perturb(x0, t)
    torch.testing.assert_close(eps, torch.cat(draws, 1))
    for i in range(4):
        q = process.marginal(float(t[i]))
        root = torch.linalg.cholesky(q.cov)
        want = q.A * x0[i] + root @ torch.stack([d[i] for d in draws])
        torch.testing.assert_close(x_t[i], want.flatten(), rtol=1e-10, atol=1e-10)


@each
def test_start_has_the_priors_moments(name: str) -> None:
    process = PROCESSES[name]()
    x = process.prior_sample((20000, 2), torch.Generator().manual_seed(0), dtype=F64)
    assert x.shape == (20000, 2 * process.k)
    want = torch.kron(process.marginal(1.0).cov, torch.eye(2, dtype=F64))
    scale = want.diagonal().sqrt()
    got = (x.T @ x / len(x)) / scale[:, None] / scale
    error = got - want / scale[:, None] / scale
    assert float(error.abs().max()) < 5 * (2 / 20000) ** 0.5


@each
def test_lift_and_read(name: str) -> None:
    process = PROCESSES[name]()
    x0 = torch.randn(2, 3, 4, 4, dtype=F64)
    state = process.to_state(x0)
    assert state.shape == (2, 3 * process.k, 4, 4)
    torch.testing.assert_close(process.to_data(state), x0)
    if process.k == 2:
        assert not state[:, 3:].any()


def test_mix_multiplies_blocks_by_a_matrix() -> None:
    coef = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=F64)
    state, data = torch.randn(5, 4, 3, dtype=F64), torch.randn(5, 2, 3, dtype=F64)
    parts = torch.stack([state[:, :2], state[:, 2:], data])
    want = torch.einsum("ij,jbcl->bicl", coef, parts).reshape(5, 4, 3)
    torch.testing.assert_close(mix(coef, state, data), want)
    each_own = coef * torch.arange(1.0, 6.0, dtype=F64)[:, None, None]
    factor = torch.arange(1.0, 6.0, dtype=F64)[:, None, None]
    torch.testing.assert_close(mix(each_own, state, data), want * factor)
    assert mix(coef, state.float(), data.float()).dtype == torch.float32


def test_gaussian_root_and_solve() -> None:
    cov = torch.tensor([[0.7, 0.3], [0.3, 0.5]], dtype=F64)
    q = Gaussian(torch.eye(2, dtype=F64), cov)
    torch.testing.assert_close(q.root(), torch.linalg.cholesky(cov))
    rhs = torch.randn(2, 3, dtype=F64)
    torch.testing.assert_close(q.solve(rhs), torch.linalg.solve(cov, rhs))
    still = Gaussian(torch.eye(2, dtype=F64), torch.diag(torch.tensor([0.0, 0.25], dtype=F64)))
    torch.testing.assert_close(still.root(), torch.diag(torch.tensor([0.0, 0.5], dtype=F64)))


@each
def test_clock_and_its_rate(name: str) -> None:
    process = PROCESSES[name]()
    t = torch.tensor([0.05, 0.4, 0.9], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(process.clock(t).sum(), t)
    torch.testing.assert_close(process.clock_dot(t).detach(), slope, rtol=1e-9, atol=1e-10)
    assert bool((slope > 0).all())


@each
def test_level_is_finite_and_rises(name: str) -> None:
    process = PROCESSES[name]()
    levels = process.noise_level(torch.linspace(0, 1, 101, dtype=F64))
    assert bool(levels.isfinite().all())
    assert bool((levels.diff() >= 0).all())


def test_level_is_c_noise() -> None:
    """ln(σ)/4 (Karras et al. 2022, table 1)."""
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=F64)
    torch.testing.assert_close(PROCESSES["edm"]().noise_level(sigma / 80), sigma.log() / 4)
