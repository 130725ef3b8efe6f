"""Symmetric splitting (SSCS): its parts against the SDE, its order and error by exact moments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, Counted, Linear, Scripted, mixture, propagate, slope
from sfumato.solve import EulerMaruyama
from sfumato.systems.cld.sscs import SSCS, back, kick
from stochastic import SDE, Matrix, lyapunov

DAMPED = ["cld", "cld-rising"]
each = pytest.mark.parametrize("name", DAMPED)


def part_a(name: str) -> Callable[[float], tuple[Matrix, Matrix]]:
    """dx = -M⁻¹vβ dτ, dv = (x - ΓM⁻¹v)β dτ + √(2Γβ) dW, with β that of t = 1 - τ."""

    def sde(tau: float) -> tuple[Matrix, Matrix]:
        f, g = SDE[name](1 - tau)
        return f * np.array([[1, -1], [-1, 1]]), g

    return sde


@each
@pytest.mark.parametrize(("t", "s"), [(0.9, 0.4), (0.3, 0.29), (0.05, 0.0), (1.0, 0.001)])
def test_the_half_step_solves_its_sde(name: str, t: float, s: float) -> None:
    phi, q = lyapunov(part_a(name), 1 - t, 1 - s, 2)
    got = back(PROCESSES[name](), t, s)
    assert np.abs(got.A.numpy() - phi).max() < 1e-10 * np.abs(phi).max()
    assert np.abs(got.cov.numpy() - q).max() < 1e-10 * np.abs(q).max()
    root = got.root()
    assert np.abs((root @ root.mT).numpy() - q).max() < 1e-10 * np.abs(q).max()


@each
@pytest.mark.parametrize("t", [1e-5, 1e-4, 1e-3, 0.03, 0.3, 1.0])
def test_a_step_keeps_its_digits_in_float32(name: str, t: float) -> None:
    """Kernel of a short step down to 0, and its root: relative error 1e-5 in pure float32."""
    process = PROCESSES[name]()
    time = torch.tensor(t, dtype=torch.float32)
    single, double = back(process, time, 0.0), back(process, time.double(), 0.0)
    assert single.cov.dtype == torch.float32
    for got, want in (
        (single.A, double.A),
        (single.cov, double.cov),
        (single.root(), double.root()),
    ):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0.0)


@each
def test_the_two_halves_make_the_whole(name: str) -> None:
    """Each half takes its own ∫β: with a rising β the first half is the larger."""
    process = PROCESSES[name]()
    first, second, whole = back(process, 0.8, 0.5), back(process, 0.5, 0.2), back(process, 0.8, 0.2)
    torch.testing.assert_close(second.A @ first.A, whole.A, rtol=1e-12, atol=1e-14)
    cov = second.A @ first.cov @ second.A.mT + second.cov
    torch.testing.assert_close(cov, whole.cov, rtol=1e-12, atol=1e-14)
    assert torch.allclose(first.A, second.A, rtol=1e-9) == (name == "cld")


@pytest.mark.parametrize("beta", [(4.0, 0.0), (0.1, 6.9)])
def test_without_a_remainder_a_step_of_any_length_is_exact(beta: tuple[float, float]) -> None:
    """Data N(0, 1) with γ = 1 is at equilibrium, where s = -M⁻¹v and only part A is left."""
    process = sf.CriticallyDamped(*beta, gamma=1.0, noise=Scripted())
    denoiser = Linear(process, torch.zeros(1, dtype=F64), torch.eye(1, dtype=F64))
    start = torch.tensor([0.8, -0.3], dtype=F64), torch.diag(torch.tensor([0.2, 0.5], dtype=F64))
    times = torch.tensor([0.9, 0.5, 0.3, 0.1], dtype=F64)
    mean, cov = propagate(denoiser, SSCS(), times, start)
    want = back(process, 0.9, 0.1)
    torch.testing.assert_close(mean, want.A @ start[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(cov, want.A @ start[1] @ want.A.mT + want.cov, rtol=1e-9, atol=1e-10)


@each
def test_the_kick_is_the_score_without_its_equilibrium(name: str) -> None:
    process = PROCESSES[name]()
    t, s = torch.tensor(0.6, dtype=F64), torch.tensor(0.5, dtype=F64)
    g = torch.Generator().manual_seed(0)
    x, x0 = torch.randn(4, 6, generator=g, dtype=F64), torch.randn(4, 3, generator=g, dtype=F64)
    got = sf.process.mix(kick(process, t, s), x, x0)
    integral = 4 * 0.1 if name == "cld" else 0.1 * 0.1 + 6.9 * (0.6**2 - 0.5**2) / 2
    score = process.score(x, x0, t)[:, 3:]
    torch.testing.assert_close(got[:, :3], x[:, :3])
    torch.testing.assert_close(got[:, 3:], x[:, 3:] + 2 * integral * (score + 4 * x[:, 3:]))


def error(name: str, solver: sf.Solver, law: tuple[float, float], times: torch.Tensor) -> float:
    """Distance of mean and covariance from the exact ones at the end of an exact start."""
    data = torch.tensor([law[0]], dtype=F64), torch.tensor([[law[1]]], dtype=F64)
    denoiser = Linear(PROCESSES[name](Scripted()), *data)
    mean, cov = propagate(denoiser, solver, times, denoiser.state(float(times[0])))
    want_mean, want_cov = denoiser.state(float(times[-1]))
    return float((mean - want_mean).norm() + (cov - want_cov).norm())


GRIDS = {
    "middle": ((0.7, 0.25), lambda n: sf.times.uniform(n, 0.8, 0.2)),
    "to the data": ((0.0, 1.0), lambda n: sf.times.quadratic(n, 1.0, 1e-3)),
}


@each
@pytest.mark.parametrize("grid", GRIDS)
def test_order_one_and_at_most_half_of_euler_maruyamas_error(name: str, grid: str) -> None:
    law, times = GRIDS[grid]
    steps = [50, 100]
    mine = [error(name, SSCS(), law, times(n)) for n in steps]
    theirs = [error(name, EulerMaruyama(), law, times(n)) for n in steps]
    assert slope(mine, steps) == pytest.approx(SSCS().order, abs=0.1)
    assert all(a <= 0.5 * b for a, b in zip(mine, theirs, strict=True)), (mine, theirs)


@each
def test_moments_of_the_data_are_reached_from_the_prior(name: str) -> None:
    """From N(0, Σ_1) to t = 0 on the quadratic grid."""
    process = PROCESSES[name](Scripted())
    law = torch.tensor([0.7], dtype=F64), torch.tensor([[0.25]], dtype=F64)
    start = torch.zeros(2, dtype=F64), process.marginal(1.0).cov
    errors = []
    for n in (100, 200):
        mean, cov = propagate(Linear(process, *law), SSCS(), sf.times.quadratic(n), start)
        errors.append(float((mean[0] - 0.7).abs() + (cov[0, 0] - 0.25).abs()))
    assert errors[1] < 0.6 * errors[0] + 2e-3
    assert errors[1] < 0.01


@each
def test_a_mixtures_moments_by_sampling(name: str) -> None:
    """2000 samples in 80 steps: mean and covariance within 4 standard errors and 3 % of bias."""
    denoiser, n = mixture(PROCESSES[name]()), 2000
    process = denoiser.process
    g = torch.Generator().manual_seed(0)
    x = process.prior_sample((n, 2), g, dtype=F64)
    solution = sf.sample(denoiser, SSCS(), sf.times.quadratic(80), x, generator=g)
    x = process.to_data(solution.x)
    mean, cov = denoiser.moments()
    got = (x - mean).T @ (x - mean) / n
    assert bool(((x.mean(0) - mean).abs() < 4 * (cov.diagonal() / n).sqrt() + 0.02).all())
    assert float((got - cov).abs().max()) < (4 * (2 / n) ** 0.5 + 0.03) * float(cov.max())


def test_one_evaluation_a_step_and_the_last_one_is_used() -> None:
    """The step to 0 returns x̂_0, so that no evaluation is spent on a velocity that nobody reads."""
    network = Counted(blocks=2)
    process = PROCESSES["cld"]()
    denoiser = sf.Preconditioned(network, process, sf.Prediction.X0)
    g = torch.Generator().manual_seed(0)
    x = process.prior_sample((3, 2), g, dtype=F64)
    solution = sf.sample(denoiser, SSCS(), sf.times.quadratic(7), x, generator=g, save_path=True)
    assert solution.nfe == network.calls == 7
    last = denoiser(solution.path[-2], sf.times.quadratic(7)[-2])
    torch.testing.assert_close(process.to_data(solution.x), last)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    denoiser = mixture(PROCESSES["cld"]())
    times = sf.times.quadratic(6)

    def draw(indices: list[int]) -> torch.Tensor:
        seeds = sf.generators(5, indices)
        x = denoiser.process.prior_sample((len(indices), 2), seeds, dtype=F64)
        return sf.sample(denoiser, SSCS(), times, x, generator=seeds).x

    torch.testing.assert_close(draw([3])[0], draw([0, 1, 2, 3])[3])


@pytest.mark.parametrize("name", ["vp", "flow"])
def test_other_processes_are_refused(name: str) -> None:
    denoiser = mixture(PROCESSES[name]())
    x = denoiser.process.prior_sample((2, 2), dtype=F64)
    with pytest.raises(sf.errors.UsageError, match="is for critically damped.*got Scheduled"):
        sf.sample(denoiser, SSCS(), sf.times.uniform(3), x)
