"""Observations at scattered points: for Gaussian functions the sampler is kriging."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64
from sfumato.systems.ddo import observed
from sfumato.systems.ddo.kriging import Kriging
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, evaluate, filtered
from sfumato.systems.ddo.observed import PointObservations

DATA, NOISE = sf.SquaredExponential(0.12), sf.Matern(0.1, 0.75)


def setting(dims: int, domain: Domain, n: int) -> tuple[sf.Wiener, Tensor, Tensor]:
    """The prior, its covariance on the grid, and points."""
    data, noise = sf.GaussianField(DATA, dims, domain), sf.GaussianField(NOISE, dims, domain)
    law = sf.Wiener(None, sf.Scheduled(sf.EDM(), noise), data, (n,) * dims)
    count = n**dims
    unit = torch.eye(count, dtype=F64).reshape(count, *[n] * dims)
    cov = filtered(unit, data.power((n,) * dims) * count, domain, dims).reshape(count, count)
    points = torch.rand(50 if dims == 2 else 8, dims, dtype=F64, generator=sf.generator(4))
    return law, cov, points


def kriging(cov: Tensor, h: Tensor, y: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    gain = cov @ h.T @ torch.linalg.inv(h @ cov @ h.T + tau**2 * torch.eye(len(h), dtype=F64))
    return gain @ y, cov - gain @ h @ cov


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("dims", [1, 2])
def test_the_estimate_is_the_conditional_mean(dims: int, domain: Domain) -> None:
    """E[x_0 | x_t, y] by dense conditioning of the joint Gaussian."""
    n, tau, t = (16, 0.1, 0.4 / 80) if dims == 1 else (8, 0.1, 0.4 / 80)
    law, cov, points = setting(dims, domain, n)
    count = n**dims
    unit = torch.eye(count, dtype=F64).reshape(count, *[n] * dims)
    h = evaluate(unit, points, domain).T  # (P, N)
    y = torch.randn(len(points), dtype=F64, generator=sf.generator(5))
    x = torch.randn(2, 1, *[n] * dims, dtype=F64, generator=sf.generator(6))
    noise = filtered(unit, law.noise.power((n,) * dims) * count, domain, dims).reshape(count, count)
    both = torch.cat([torch.eye(count, dtype=F64), h])  # what is seen of x_0: x_t, and y
    error = torch.block_diag(0.4**2 * noise, tau**2 * torch.eye(len(h), dtype=F64))
    gain = cov @ both.T @ torch.linalg.inv(both @ cov @ both.T + error)
    seen = torch.cat([x.flatten(1), y.expand(2, -1)], 1)
    got = PointObservations(law, points, y, tau)(x, t)
    torch.testing.assert_close(got.flatten(1), seen @ gain.T, atol=1e-6, rtol=1e-6)


def test_fifty_observations_agree_with_kriging() -> None:
    """Mean and variance of 1,500 samples of the plane at 32, against the closed form."""
    n, tau, count = 32, 0.05, 1500
    law, cov, points = setting(2, Domain.PERIODIC, n)
    unit = torch.eye(n * n, dtype=F64).reshape(n * n, n, n)
    h = evaluate(unit, points, Domain.PERIODIC).T
    truth = law.data[0].sample(torch.zeros(1, 1, n, n, dtype=F64), sf.generator(7))
    y = evaluate(truth[0, 0], points, Domain.PERIODIC)
    y = y + tau * torch.randn(50, dtype=F64, generator=sf.generator(8))
    mean, left = kriging(cov, h, y, tau)
    guided = PointObservations(law, points, y, tau)
    times = sf.times.karras(law.process, 40, 1e-3)
    g = sf.generator(9)
    x = law.process.prior_sample((count, 1, n, n), g, t=float(times[0]))
    made = sf.sample(guided, sf.solve.DPMSolverPP(), times, x).x.flatten(1).double()
    spread = left.diagonal()
    off = (made.mean(0) - mean) / (spread / count + 1e-6).sqrt()
    assert float(off.square().mean()) < 1.6 and float(off.abs().max()) < 6
    ratio = made.var(0).sum() / spread.sum()
    assert float(ratio) == pytest.approx(1, abs=0.05)
    # where nothing was near, as variable as the prior; where something was, hardly
    assert float(spread.max()) > 0.4 and float(spread.min()) < 0.02
    assert float((made.var(0) - spread).abs().max()) < 0.15


def test_only_the_observed_quantity_moves() -> None:
    law, _, points = setting(2, Domain.REFLECTING, 8)
    x = torch.randn(2, 3, 8, 8, dtype=F64)
    got = PointObservations(law, points, torch.ones(50, dtype=F64), 0.1, channel=1)(x, 0.01)
    base = law(x, 0.01)
    torch.testing.assert_close(got[:, [0, 2]], base[:, [0, 2]])
    at = evaluate(got[:, 1], points, Domain.REFLECTING)
    assert float((at - 1).abs().mean()) < 0.5 * float(
        (evaluate(base[:, 1], points, Domain.REFLECTING) - 1).abs().mean()
    )


@pytest.mark.parametrize("domain", Domain)
def test_what_carries_an_observation_on_a_grid_that_is_not_square(domain: Domain) -> None:
    grid, tau = (6, 9), 0.1
    law, _, points = setting(2, domain, 8)
    unit = torch.eye(54, dtype=F64).reshape(54, *grid)
    r = filtered(unit, law.spectra(0.01, grid).unexplained[0, 0] * 54, domain, 2).reshape(54, 54)
    h = evaluate(unit, points, domain).T
    spread, gram = PointObservations(law, points, torch.zeros(50), tau).carriers(0.01, grid)
    torch.testing.assert_close(spread[0].flatten(1), h @ r)
    torch.testing.assert_close(gram[0], h @ r @ h.T + tau**2 * torch.eye(50, dtype=F64))


def test_each_quantity_has_its_own_law() -> None:
    """Two spectra: filter, error and observations of the second are those of it alone."""
    kernels = (DATA, sf.Matern(0.3, 2.0))
    fields = [sf.GaussianField(k, 1) for k in kernels]
    process = sf.Scheduled(sf.EDM(), sf.GaussianField(NOISE, 1))
    both, second = (
        sf.Wiener(None, process, fields, (16,)),
        sf.Wiener(None, process, fields[1], (16,)),
    )
    x = torch.randn(3, 2, 16, dtype=F64, generator=sf.generator(3))
    t = torch.tensor([0.02, 0.001, 0.1], dtype=F64)
    torch.testing.assert_close(both(x, t)[:, 1:], second(x[:, 1:], t))
    scales = zip(astuple(both.scales(t)), astuple(second.scales(t)), strict=True)
    for a, b in scales:
        torch.testing.assert_close(a[:, 1:], b)
    points = torch.rand(5, 1, dtype=F64, generator=sf.generator(4))
    y = torch.randn(5, dtype=F64, generator=sf.generator(5))
    got = PointObservations(both, points, y, channel=1)(x, t)[:, 1:]
    torch.testing.assert_close(got, PointObservations(second, points, y)(x[:, 1:], t))
    assert float((both(x, t)[:, :1] - second(x[:, :1], t)).abs().max()) > 1e-2
    with pytest.raises(ValueError, match="2 channels, one for each law"):
        both(x[:, :1], t)


def test_observations_of_each_sample() -> None:
    law, _, points = setting(1, Domain.PERIODIC, 16)
    y = torch.randn(2, 8, dtype=F64, generator=sf.generator(1))
    x = torch.randn(2, 1, 16, dtype=F64, generator=sf.generator(2))
    got = PointObservations(law, points, y)(x, torch.tensor([0.01, 0.002], dtype=F64))
    for i, t in enumerate((0.01, 0.002)):
        torch.testing.assert_close(got[i], PointObservations(law, points, y[i])(x[i : i + 1], t)[0])


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("grid", [(15,), (8, 8), (6, 9), (4, 6, 5)])
@pytest.mark.parametrize("tau", [0.1, 1e-3])
def test_many_points_are_met_as_by_the_dense_system(
    domain: Domain, grid: tuple[int, ...], tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The iterated solution, with few and with more points than modes, and times of each sample."""
    dims = len(grid)
    data, noise = (sf.GaussianField(k, dims, domain) for k in (sf.Matern(0.2, 2.0), NOISE))
    law = sf.Wiener(None, sf.Scheduled(sf.EDM(), noise), data, grid)
    x = torch.randn(2, 1, *grid, dtype=F64, generator=sf.generator(3))
    for count in (5, 150):
        points = torch.rand(count, dims, dtype=F64, generator=sf.generator(1))
        y = torch.randn(2, count, dtype=F64, generator=sf.generator(2))
        for t in (torch.tensor(0.5 / 80, dtype=F64), torch.tensor([0.01, 1e-4], dtype=F64)):
            monkeypatch.setattr(observed, "_DENSE", 10**9)
            dense = PointObservations(law, points, y, tau)(x, t)
            monkeypatch.setattr(observed, "_DENSE", 0)
            many = PointObservations(law, points, y, tau)
            with torch.inference_mode():
                many(x, 0.9 * t)  # what is kept of it serves the next level
            torch.testing.assert_close(many(x, t), dense, rtol=1e-6, atol=1e-6)


def test_the_work_for_many_points_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 points on 32 x 32: iterations of one estimate, and factors of a whole walk."""
    law, _, _ = setting(2, Domain.PERIODIC, 32)
    points = torch.rand(600, 2, dtype=F64, generator=sf.generator(1))
    y = torch.randn(600, dtype=F64, generator=sf.generator(2))
    guided = PointObservations(law, points, y, 0.05)
    applied: list[int] = []
    real = Kriging.at_points

    def counted(self: Kriging, x: Tensor) -> Tensor:
        applied.append(1)
        return real(self, x)

    monkeypatch.setattr(Kriging, "at_points", counted)
    times = sf.times.log_snr(law.process, 10)
    x = law.process.prior_sample((1, 1, 32, 32), sf.generator(0), t=float(times[0]))
    sf.sample(guided, sf.solve.DDIM(), times, x)
    assert 0 < len(applied) < 10 * 20
    assert guided._kriging is not None and len(guided._kriging._factors) < 8


def test_points_on_the_grid_are_met() -> None:
    """Nearly exact observations come out, whatever the walk."""
    law, _, _ = setting(2, Domain.REFLECTING, 16)
    points = coordinates([16, 16], Domain.REFLECTING).flatten(1).T[[3, 100, 222]]
    y = torch.tensor([1.5, -1.0, 0.3], dtype=F64)
    times = sf.times.karras(law.process, 20)
    x = law.process.prior_sample((2, 1, 16, 16), sf.generator(0), t=float(times[0]), dtype=F64)
    made = sf.sample(PointObservations(law, points, y, 1e-3), sf.solve.DPMSolverPP(), times, x).x
    assert float((made.flatten(2)[:, 0, [3, 100, 222]] - y).abs().max()) < 0.01


def test_misfits_are_refused() -> None:
    law, _, points = setting(2, Domain.REFLECTING, 8)
    y = torch.zeros(50, dtype=F64)
    with pytest.raises(ValueError, match="expected points"):
        PointObservations(law, points[:, :1], y)
    with pytest.raises(ValueError, match="expected points"):
        PointObservations(law, points, y[:3])
    with pytest.raises(ValueError, match="finite"):
        PointObservations(law, points, y * float("nan"))
    with pytest.raises(ValueError, match="inside the unit box"):
        PointObservations(law, points + 1, y)
    with pytest.raises(ValueError, match="noise > 0"):
        PointObservations(law, points, y, 0.0)
    with pytest.raises(ValueError, match="channel >= 0"):
        PointObservations(law, points, y, channel=-1)
    with pytest.raises(ValueError, match="law"):
        PointObservations(sf.guide.Projected(law, lambda x: x), points, y)
