"""The blurring process: its modes against the heat equation, and solvers on Gaussian functions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from analytic import F64, slope
from sfumato.condition import ImageCondition
from sfumato.systems.ddo.nn.harmonic import Domain, places, to_grid, to_modes

REFLECTING = Domain.REFLECTING
GRID = (6, 5)


def blurred(width: float = 0.25, inner: sf.Schedule | None = None) -> sf.Scheduled:
    field = sf.GaussianField(sf.Matern(0.1, 0.75), 2, REFLECTING)
    return sf.Scheduled(sf.Blurred(inner or sf.VPCosine(), GRID, width), sf.Modes(field))


class Exact(sf.Denoiser):
    """E[x_0 | x_t] of a Gaussian field, mode by mode."""

    def __init__(self, process: sf.Process, power: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.process, self.power, self.noise = process, power, noise

    def forward(self, x_t, t, cond=None, generator=None):  # type: ignore[no-untyped-def]
        q = self.process.marginal(t)
        a, var = q.A[..., 0, 0].unsqueeze(1), q.cov[..., 0, 0].unsqueeze(1)
        gain = a * self.power / (a.square() * self.power + var * self.noise)
        return gain * x_t


def norms(grid: tuple[int, ...]) -> Tensor:
    made = torch.ones((), dtype=F64)
    for n in grid:
        axis = torch.full((n,), 2.0, dtype=F64)
        axis[0] = 1
        made = made[..., None] * axis
    return made


def exact(process: sf.Scheduled) -> Exact:
    data = sf.GaussianField(sf.Matern(0.2, 1.5), 2, REFLECTING).power(GRID) * norms(GRID)
    noise = process.noise.field.power(GRID) * norms(GRID)  # type: ignore[attr-defined]
    return Exact(process, data, noise)


def test_without_noise_it_is_the_heat_equation() -> None:
    """The mean of x_t/α_t, by explicit steps of du/dτ = Δu on a fine grid with mirrors."""
    n, t, width = 64, 0.7, 0.2
    x = places(n, REFLECTING)
    u = torch.exp(-((x - 0.3) ** 2) / 0.02)
    schedule = sf.Blurred(sf.VPCosine(), (n,), width)
    q = sf.Scheduled(schedule, sf.White()).marginal(t)
    modes = to_modes(u, 1, REFLECTING)
    got = to_grid(q.A[0, :, 0, 0] * modes, 1, REFLECTING) / float(sf.VPCosine().alpha(t))
    s = width * math.sin(0.5 * math.pi * t) ** 2 / math.pi  # a cosine's wave number is πk
    heat, tau, step = u.clone(), 0.0, 0.2 / n**2
    while tau < s**2 / 2 - 1e-12:
        h = min(step, s**2 / 2 - tau)
        wide = torch.cat([heat[:1], heat, heat[-1:]])
        heat = heat + h * n**2 * (wide[2:] - 2 * heat + wide[:-2])
        tau += h
    torch.testing.assert_close(got, heat, atol=2e-3, rtol=0)
    assert float((heat - u).abs().max()) > 0.1


def test_levels_are_derivatives_of_each_other() -> None:
    schedule, t, h = sf.Blurred(sf.VPLinear(), GRID, 0.3), 0.4, 1e-6
    for level, dot in ((schedule.alpha, schedule.alpha_dot), (schedule.sigma, schedule.sigma_dot)):
        torch.testing.assert_close(
            (level(t + h) - level(t - h)) / (2 * h), dot(t), atol=1e-7, rtol=1e-6
        )
    direct = [2 * (schedule.alpha(u).log() - schedule.sigma(u).log()) for u in (0.2, 0.6)]
    torch.testing.assert_close(schedule.gap(0.2, 0.6), direct[1] - direct[0])


def test_kernels_compose_and_reach_the_marginal() -> None:
    process = blurred()
    a, b = process.kernel(0.1, 0.4), process.kernel(0.4, 0.9)
    whole = process.kernel(0.1, 0.9)
    torch.testing.assert_close(b.A @ a.A, whole.A)
    torch.testing.assert_close(b.A @ a.cov @ b.A + b.cov, whole.cov)
    start, end = process.marginal(0.1), process.marginal(0.9)
    torch.testing.assert_close(whole.A @ start.A, end.A)
    torch.testing.assert_close(
        whole.A @ start.cov @ whole.A + whole.cov, end.cov.expand_as(whole.A)
    )
    assert bool((whole.cov > 0).all())
    assert float(process.kernel(0.3, 0.3).cov.abs().max()) == 0


def test_a_time_for_each_sample() -> None:
    """As many samples as the grid has points on its last axis, and one that stays where it is."""
    process = blurred()
    s = torch.tensor([0.1, 0.3, 0.5, 0.2, 0.4], dtype=F64)
    t = torch.tensor([0.4, 0.3, 0.9, 0.8, 0.7], dtype=F64)
    x, x0 = (torch.randn(5, 1, *GRID, dtype=F64, generator=sf.generator(i)) for i in (0, 1))
    both = process.kernel(s, t), process.posterior(s, t)
    moved = process.velocity(x, x0, t)
    for i in range(5):
        for got, want in zip(
            both, (process.kernel(s[i], t[i]), process.posterior(s[i], t[i])), strict=True
        ):
            torch.testing.assert_close(got.A[i], want.A[0])
            torch.testing.assert_close(got.cov[i], want.cov[0])
        torch.testing.assert_close(
            moved[i : i + 1], process.velocity(x[i : i + 1], x0[i : i + 1], t[i])
        )


def test_the_velocity_is_the_transports_derivative() -> None:
    process, h, t = blurred(), 1e-6, 0.5
    x, x0 = (torch.randn(2, 1, *GRID, dtype=F64, generator=sf.generator(i)) for i in (0, 1))
    at = [torch.tensor(v, dtype=F64) for v in (t, t - h, t + h)]
    moved = [sf_mix(process.transport(at[0], s), x, x0) for s in at[1:]]
    torch.testing.assert_close(
        (moved[1] - moved[0]) / (2 * h), process.velocity(x, x0, t), atol=1e-5, rtol=1e-5
    )


def sf_mix(coef: Tensor, *ends: Tensor) -> Tensor:
    from sfumato.process import mix

    return mix(coef, *ends)


def test_perturbed_modes_have_the_marginals_moments() -> None:
    process, count = blurred(), 20_000
    x0 = torch.randn(1, 1, *GRID, dtype=F64, generator=sf.generator(0)).expand(count, -1, -1, -1)
    x_t, _ = process.perturb(x0, 0.5, sf.generator(1))
    q = process.marginal(0.5)
    noise = process.noise.field.power(GRID) * norms(GRID)  # type: ignore[attr-defined]
    spread = (q.cov[0, ..., 0, 0] * noise).sqrt()
    off = (x_t.mean(0)[0] - q.A[0, ..., 0, 0] * x0[0, 0]) / (spread / count**0.5)
    assert float(off.abs().max()) < 4.5
    torch.testing.assert_close(x_t.std(0)[0], spread, rtol=0.03, atol=0)


@pytest.mark.parametrize("order", [1, 2])
def test_exponential_solvers_keep_their_order(order: int) -> None:
    process = blurred(inner=sf.VPLinear())
    denoiser = exact(process)
    x = torch.randn(3, 1, *GRID, dtype=F64, generator=sf.generator(0))
    solver = sf.solve.DPMSolverPP() if order == 2 else sf.solve.DDIM()
    goal = sf.sample(
        denoiser, sf.solve.DormandPrince(adaptive=False), sf.times.uniform(300, 0.8, 0.2), x
    ).x
    errors, steps = [], [80, 160]
    for n in steps:
        made = sf.sample(denoiser, solver, sf.times.uniform(n, 0.8, 0.2), x).x
        errors.append(float((made - goal).norm()))
    assert slope(errors, steps) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(
    "solver", [sf.solve.Ancestral(), sf.solve.DDIM(), sf.solve.DPMSolverPP()], ids=repr
)
def test_every_solver_draws_the_datas_spectrum(solver: sf.Solver) -> None:
    """Mode by mode, from noise to a Gaussian field, within 6 errors and the step's bias."""
    process, count = blurred(), 3000
    denoiser = exact(process)
    times = sf.times.karras(process, 150 if solver.order == 1 else 60, 2e-3)
    g = sf.generator(0)
    x = process.prior_sample((count, 1, *GRID), g, t=float(times[0]), dtype=F64)
    made = sf.sample(denoiser, solver, times, x, generator=g).x[:, 0]
    ratio = made.square().mean(0) / denoiser.power
    assert float((ratio - 1).abs().max()) < 6 * (2 / count) ** 0.5 + 0.05


def test_a_network_of_functions_is_called_with_functions() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
            return x.square()

    u = torch.randn(2, 1, *GRID, dtype=F64)
    made = sf.OnGrid(Square(), 2)(to_modes(u, 2, REFLECTING), torch.zeros(2))
    torch.testing.assert_close(to_grid(made, 2, REFLECTING), u.square())
    process = blurred()
    net = sf.Preconditioned(sf.OnGrid(Square(), 2), process, sf.Prediction.V)
    loss = sf.denoising_loss(net, to_modes(u, 2, REFLECTING), torch.tensor([0.2, 0.9]))
    assert loss.shape == (2,) and bool(loss.isfinite().all())


def test_what_comes_beside_is_functions_already() -> None:
    """The state's channels are modes, a picture's are not."""

    class Sum(nn.Module):
        def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
            return x[:, :1] * x[:, 1:]

    process = blurred()
    net = sf.Preconditioned(sf.OnGrid(Sum(), 2, 1), process, sf.Prediction.X0, 1.0)
    u, image = torch.randn(2, 2, 1, *GRID, dtype=F64, generator=sf.generator(0))
    t = 0.4
    made = net(to_modes(u, 2, REFLECTING), t, ImageCondition(image))
    scaled = to_grid(net.scaled(to_modes(u, 2, REFLECTING), t)[0], 2, REFLECTING)
    torch.testing.assert_close(to_grid(made, 2, REFLECTING), scaled * image)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_waves_that_are_blurred_away_do_no_harm(dtype: torch.dtype) -> None:
    """Where e^{-|k|² s²/2} is less than numbers can be: the posterior is still that of noise."""
    grid = (160, 160)
    field = sf.GaussianField(sf.Matern(0.1, 0.75), 2, REFLECTING)
    process = sf.Scheduled(sf.Blurred(sf.VPCosine(), grid), sf.Modes(field))
    s, t = (torch.tensor(v, dtype=dtype) for v in (0.9, 0.98))
    for part in (process.kernel(s, t), process.posterior(s, t)):
        assert bool(part.A.isfinite().all()) and bool(part.cov.isfinite().all())
    assert bool(process.drift(t).isfinite().all())
    gain = process.posterior(s, t).cov[0, -1, -1, 0, 0] / process.marginal(s).cov[0, -1, -1, 0, 0]
    assert 0 < float(gain) <= 1


def test_langevin_does_not_amplify_what_was_blurred() -> None:
    """The α of short waves grow by e^{|k|² s²/2} from level to level; the state does not."""
    grid = (64, 64)
    law, field = (
        sf.GaussianField(sf.Matern(length, nu), 2, REFLECTING)
        for length, nu in ((0.2, 1.5), (0.1, 0.75))
    )
    process = sf.Scheduled(sf.Blurred(sf.VPCosine(), grid), sf.Modes(field))
    denoiser = Exact(process, law.power(grid) * norms(grid), field.power(grid) * norms(grid))
    levels = torch.logspace(1, -2.3, 12, dtype=F64)
    times = torch.cat([sf.VPCosine().time(-2 * levels.log()), torch.zeros(1, dtype=F64)])
    g = sf.generator(0)
    x = process.prior_sample((20, 1, *grid), g, t=float(times[0]), dtype=F64)
    made = sf.sample(denoiser, sf.AnnealedLangevin(3, 0.9), times, x, generator=g).x[:, 0]
    ratio = made.square().mean(0) / denoiser.power
    assert float(ratio[:32, :32].mean()) < 2  # few steps widen
    assert float(ratio.max()) < 10


def test_the_noises_density_is_that_of_values() -> None:
    noise = blurred().noise
    assert isinstance(noise, sf.Modes)
    u = torch.randn(2, 1, *GRID, dtype=F64)
    modes = to_modes(u, 2, REFLECTING)
    torch.testing.assert_close(noise.log_prob(modes), noise.field.log_prob(u))
    torch.testing.assert_close(noise.whiten(modes), noise.field.whiten(u))


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match="width > 0"):
        sf.Blurred(sf.VPCosine(), GRID, 0)
    with pytest.raises(ValueError, match="with mirrors"):
        sf.Modes(sf.GaussianField())
