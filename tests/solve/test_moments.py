"""Stochastic solvers: exact moments over Gaussian data, and samples of a mixture.

For Gaussian data the denoiser is linear, so that mean and covariance go through a solver's steps
exactly; what is measured is the solver's bias alone, without sampling error.
"""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, SPAN, Linear, Scripted, mixture, propagate, slope
from sfumato.solve import Ancestral, EulerMaruyama, Heun, StochasticDDIM

SCHEDULED = [n for n in PROCESSES if PROCESSES[n]().k == 1]
ORDER_ONE = {
    "ancestral": Ancestral(),
    "euler-maruyama": EulerMaruyama(),
    "ddim-0.5": StochasticDDIM(0.5),
    "ddim-1": StochasticDDIM(1.0),
}


def gaussian(name: str, draws: bool = False) -> Linear:
    """One number with mean 0.7 and variance 0.25."""
    process = PROCESSES[name](Scripted())
    return Linear(
        process, torch.tensor([0.7], dtype=F64), torch.tensor([[0.25]], dtype=F64), draws=draws
    )


def bias(denoiser: Linear, solver: sf.Solver, times: torch.Tensor) -> float:
    """Distance of mean and covariance at the end from those of the process there."""
    mean, cov = propagate(denoiser, solver, times, denoiser.state(float(times[0])))
    want_mean, want_cov = denoiser.state(float(times[-1]))
    return float((mean - want_mean).norm() + (cov - want_cov).norm())


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("method", ORDER_ONE)
def test_weak_order_one(name: str, method: str) -> None:
    if "ddim" in method and name not in SCHEDULED:
        pytest.skip("η is defined for one block")
    denoiser, solver = gaussian(name), ORDER_ONE[method]
    begin, end = SPAN[name]
    steps = [60, 120]
    errors = [bias(denoiser, solver, sf.times.uniform(n, begin, end)) for n in steps]
    assert slope(errors, steps) == pytest.approx(solver.order, abs=0.15)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("method", ["ancestral", "euler-maruyama"])
def test_moments_of_the_data_are_reached_from_the_prior(name: str, method: str) -> None:
    """From N(0, Σ_1), not from the true x_1, down to t = 0: error falls, and is small."""
    denoiser, solver = gaussian(name), ORDER_ONE[method]
    process = denoiser.process
    errors = []
    for n in (100, 200):
        if process.k == 2:
            times = sf.times.quadratic(n)
        else:
            times = sf.times.log_snr(process, n, 0.01, 80.0 if name in ("edm", "ve") else 50.0)
        x1 = process.marginal(float(times[0])).cov
        start = torch.zeros(process.k, dtype=F64), x1
        mean, cov = propagate(denoiser, solver, times, start)
        errors.append(float((mean[0] - 0.7).abs() + (cov[0, 0] - 0.25).abs()))
    # what is left is the prior's own gap and the last step from σ = 0.01 (v from t = (1/n)²)
    assert errors[1] < 0.6 * errors[0] + 2e-3
    assert errors[1] < 0.03


@pytest.mark.parametrize("name", PROCESSES)
def test_draws_of_the_data_keep_every_marginal(name: str) -> None:
    """x̂_0 drawn from q(x_0 | x_t) makes the posterior step exact for any number of steps."""
    denoiser = gaussian(name, draws=True)
    times = torch.tensor([1.0, 0.7, 0.3, 0.05], dtype=F64)
    for n in range(2, 5):
        mean, cov = propagate(denoiser, Ancestral(), times[:n], denoiser.state(1.0))
        want_mean, want_cov = denoiser.state(float(times[n - 1]))
        torch.testing.assert_close(mean, want_mean, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(cov, want_cov, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", SCHEDULED)
def test_eta_one_is_the_ancestral_step(name: str) -> None:
    denoiser = gaussian(name)
    times = sf.times.uniform(5, 1.0, 0.0)
    one = propagate(denoiser, Ancestral(), times, denoiser.state(1.0))
    two = propagate(denoiser, StochasticDDIM(1.0), times, denoiser.state(1.0))
    torch.testing.assert_close(one[0], two[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(one[1], two[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", SCHEDULED)
def test_churn_keeps_the_marginals(name: str) -> None:
    """S_churn = 2 spread over the steps, as published: the bias falls with order 2.

    (`propagate` walks one step at a time, whose churn is the whole of it.)
    """
    denoiser = gaussian(name)
    begin, end = SPAN[name]
    steps = [40, 80]
    errors = [bias(denoiser, Heun(churn=2 / n), sf.times.uniform(n, begin, end)) for n in steps]
    assert slope(errors, steps) > 1.7
    assert errors[-1] < 1e-2 * float(denoiser.state(begin)[1].norm())


def test_churn_stirs_only_where_it_is_asked_to() -> None:
    denoiser = gaussian("edm")
    times = sf.times.uniform(6, 0.05, 0.01)
    plain = propagate(denoiser, Heun(), times, denoiser.state(0.05))
    outside = propagate(denoiser, Heun(churn=0.4, churn_min=70.0), times, denoiser.state(0.05))
    inside = propagate(denoiser, Heun(churn=0.4, churn_min=0.1), times, denoiser.state(0.05))
    torch.testing.assert_close(plain, outside)
    assert abs(float(plain[1] - inside[1])) > 1e-6


def test_churn_noise_inflates_what_is_added() -> None:
    """S_noise multiplies the fresh noise: one churned step at x̂_0 known to be 0."""
    denoiser = gaussian("edm")
    times = torch.tensor([0.01, 0.005], dtype=F64)
    low, high = (
        propagate(denoiser, Heun(churn=0.3, churn_noise=s), times, denoiser.state(0.01))[1]
        for s in (1.0, 1.5)
    )
    assert float(high) > float(low) * 1.01


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("solver", [Ancestral(), EulerMaruyama()], ids=repr)
def test_a_mixtures_moments_by_sampling(name: str, solver: sf.Solver) -> None:
    """1500 samples in 150 steps: mean and covariance within 4 standard errors and 3 % of bias."""
    denoiser = mixture(PROCESSES[name]())
    process, n = denoiser.process, 1500
    if process.k == 2:
        times = sf.times.quadratic(150)
    else:
        times = sf.times.log_snr(process, 150, 0.01, 60.0)
    g = torch.Generator().manual_seed(0)
    x = process.prior_sample((n, 2), g, dtype=F64)
    x = process.to_data(sf.sample(denoiser, solver, times, x, generator=g).x)
    mean, cov = denoiser.moments()
    got = (x - mean).T @ (x - mean) / n
    assert bool(((x.mean(0) - mean).abs() < 4 * (cov.diagonal() / n).sqrt() + 0.02).all())
    error = 4 * float(cov.max()) * (2 / n) ** 0.5 + 0.03 * float(cov.max())
    assert float((got - cov).abs().max()) < error


def test_stochastic_bridge_reaches_the_data() -> None:
    """Independent Gaussian ends: x_0 given (x_t, x_1 unknown) is linear, from x_1 ~ N(0, 1)."""
    noise = Scripted()
    process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian(0.5, 2.0), noise))
    q1 = float(process.bridge(1.0).A[0, 1])
    assert q1 == 1

    class Joint(sf.Denoiser):
        """E[x_0 | x_t] where x_0 ~ N(.7, .25) and x_1 ~ N(0, 1) independently."""

        def __init__(self) -> None:
            super().__init__()
            self.process = process
            self.mean, self.field = torch.tensor([0.7], dtype=F64), torch.eye(1, dtype=F64)

        def state(self, t: float) -> tuple[torch.Tensor, torch.Tensor]:
            q = process.bridge(t)
            a, b = q.A[0]
            return a * self.mean, (a**2 * 0.25 + b**2 + q.cov[0, 0]).reshape(1, 1)

        def forward(self, x_t, t, cond=None, generator=None):
            centre, cov = self.state(t)
            return self.mean + (x_t - centre) * 0.25 * process.bridge(t).A[0, 0] / cov

    denoiser = Joint()
    start = torch.zeros(1, dtype=F64), torch.ones(1, 1, dtype=F64)
    for solver in (Ancestral(), EulerMaruyama()):
        errors = []
        for n in (100, 200):
            mean, cov = propagate(denoiser, solver, sf.times.uniform(n, 1.0, 0.1), start)  # type: ignore[arg-type]
            want = denoiser.state(0.1)
            errors.append(float((mean - want[0]).abs() + (cov - want[1]).abs()))
        assert slope(errors, [100, 200]) == pytest.approx(1, abs=0.15)
