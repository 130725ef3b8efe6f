"""Gaussian fields against closed-form Matérn covariances, on one grid and across grids."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import gamma, kv

import sfumato as sf
from analytic import F64, Linear, Scripted, propagate


def covariance(noise: sf.GaussianField, *grid: int) -> torch.Tensor:
    """Covariance of the value at the origin with every grid point, from the folded spectrum."""
    return torch.fft.fftn(noise.power(grid)).real


def matern(r: np.ndarray, length: float, nu: float) -> np.ndarray:
    """2^{1-ν}/Γ(ν) (r/ℓ)^ν K_ν(r/ℓ), 1 at r = 0: the whole-space field of this spectrum."""
    u = np.maximum(r / length, 1e-12)
    return np.where(r == 0, 1.0, 2 ** (1 - nu) / gamma(nu) * u**nu * kv(nu, u))


def periodic(n: int, dims: int, length: float, nu: float, images: int = 3) -> np.ndarray:
    """Σ_m C(r + m) over periodic images, scaled to variance 1."""
    axes = np.meshgrid(*[np.arange(n) / n] * dims, indexing="ij")
    total = np.zeros([n] * dims)
    for shift in np.ndindex(*[2 * images + 1] * dims):
        r = np.sqrt(sum((a + s - images) ** 2 for a, s in zip(axes, shift, strict=True)))
        total += matern(r, length, nu)
    return total / total.flat[0]


def dense(noise: sf.GaussianField, n: int) -> torch.Tensor:
    """Covariance matrix (n, n) of a one-dimensional field."""
    row = covariance(noise, n)
    return torch.stack([row.roll(i) for i in range(n)])


@pytest.mark.parametrize(
    ("dims", "length", "nu", "tolerance"),
    [(1, 0.1, 1.5, 1e-5), (1, 0.05, 2.5, 1e-6), (2, 0.1, 1.5, 1e-5), (2, 0.3, 1.0, 1e-3),
     (3, 0.2, 1.5, 1e-4)],
)  # fmt: skip
def test_covariance_is_the_periodic_matern_kernel(
    dims: int, length: float, nu: float, tolerance: float
) -> None:
    noise = sf.GaussianField(sf.Matern(length, nu), dims)
    got = covariance(noise, *[16] * dims).numpy()
    np.testing.assert_allclose(got, periodic(16, dims, length, nu), atol=tolerance)


def test_exponential_kernel_in_closed_form() -> None:
    """ν = 1/2 on the circle: cosh((1/2 - r)/ℓ)/cosh(1/(2ℓ)); rough, so many aliases."""
    r, length = torch.arange(32, dtype=F64) / 32, 0.2
    got = covariance(sf.GaussianField(sf.Matern(length, 0.5), 1), 32)
    want = torch.cosh((0.5 - r) / length) / math.cosh(0.5 / length)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("dims", "nu"), [(1, 1.5), (2, 1.5), (2, 3.0)])
def test_grids_see_one_field(dims: int, nu: float) -> None:
    """Covariance at the points that grids of 32, 64 and 128 share."""
    noise = sf.GaussianField(sf.Matern(0.1, nu), dims)
    coarse = covariance(noise, *[32] * dims)
    for n in (64, 128):
        fine = covariance(noise, *[n] * dims)[(slice(None, None, n // 32),) * dims]
        assert float((fine - coarse).abs().max()) < 1e-5
        assert float(fine.flatten()[0]) == pytest.approx(1, abs=1e-12)  # variance


def test_white_noise_fails_the_test_of_grids() -> None:
    """The control: the spectrum of white noise on grids of 32 and 64 does not fold."""
    rough = sf.GaussianField(sf.Matern(1e-6, 1.5), 1)
    low32, low64 = rough.power((32,))[1], rough.power((64,))[1]
    assert float(low32 / low64) == pytest.approx(2, rel=1e-3)
    smooth = sf.GaussianField(sf.Matern(0.1, 1.5), 1)
    assert float(smooth.power((32,))[1] / smooth.power((64,))[1]) == pytest.approx(1, rel=1e-3)


def test_log_prob_is_the_dense_normal_density() -> None:
    noise, n = sf.GaussianField(sf.Matern(0.1, 1.5), 1), 12
    x = torch.randn(3, 2, n, dtype=F64)  # two independent channels
    normal = torch.distributions.MultivariateNormal(torch.zeros(n, dtype=F64), dense(noise, n))
    torch.testing.assert_close(noise.log_prob(x), normal.log_prob(x).sum(1))


def test_log_prob_in_the_plane() -> None:
    noise, n = sf.GaussianField(sf.Matern(0.2, 1.0), 2), 5
    row = covariance(noise, n, n)
    rows = [row.roll((i, j), (0, 1)).flatten() for i in range(n) for j in range(n)]
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(n * n, dtype=F64), torch.stack(rows)
    )
    x = torch.randn(3, 1, n, n, dtype=F64)
    torch.testing.assert_close(noise.log_prob(x), normal.log_prob(x.flatten(1)))


def test_white_log_prob() -> None:
    x = torch.randn(3, 2, 4, dtype=F64)
    want = torch.distributions.Normal(0.0, 1.0).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(sf.White().log_prob(x), want)


@pytest.mark.parametrize("shape", [(9,), (6, 4)])
def test_draws_have_the_covariance(shape: tuple[int, ...]) -> None:
    noise = sf.GaussianField(sf.Matern(0.15, 1.5), len(shape))
    n = 20000
    x = noise.sample(torch.zeros(n, 1, *shape, dtype=F64), torch.Generator().manual_seed(0))
    flat = x.flatten(1)
    got = (flat.T @ flat / n)[0].reshape(shape)
    assert float((got - covariance(noise, *shape)).abs().max()) < 5 * (2 / n) ** 0.5


def test_channels_and_samples_are_independent() -> None:
    x = sf.GaussianField(sf.Matern(0.5, 1.5), 1).sample(
        torch.zeros(4000, 2, 8, dtype=F64), torch.Generator().manual_seed(0)
    )
    across = (x[:, 0, 0] * x[:, 1, 0]).mean(), (x[1:, 0, 0] * x[:-1, 0, 0]).mean()
    assert max(abs(float(c)) for c in across) < 5 / 4000**0.5


def test_draws_depend_on_their_seed_alone() -> None:
    noise = sf.GaussianField(sf.Matern(0.1, 1.5), 2)
    whole = noise.sample(torch.zeros(3, 1, 8, 8), sf.generators(0, range(3)))
    alone = noise.sample(torch.zeros(1, 1, 8, 8), sf.generators(0, [2]))
    torch.testing.assert_close(alone[0], whole[2])
    assert whole.dtype == torch.float32


@pytest.mark.parametrize(
    "solver",
    [sf.solve.DDIM(), sf.solve.DPMSolverPP(3), sf.solve.Heun(), sf.solve.Ancestral(),
     sf.solve.EulerMaruyama()],
    ids=repr,
)  # fmt: skip
def test_a_process_driven_by_a_field_samples_the_data(solver: sf.Solver) -> None:
    """Exact moments: data and noise are fields of different lengths, solvers are unchanged."""
    n = 8
    data = 0.5 * dense(sf.GaussianField(sf.Matern(0.3, 2.0), 1), n)
    field = dense(sf.GaussianField(sf.Matern(0.1, 1.5), 1), n)
    process = sf.Scheduled(sf.VPLinear(), Scripted())
    denoiser = Linear(process, torch.linspace(-1, 1, n, dtype=F64), data, field)
    times = sf.times.log_snr(process, 160 if solver.order == 1 else 80, 1e-3)
    mean, cov = propagate(denoiser, solver, times, denoiser.state(float(times[0])))
    tolerance = 0.1 if solver.order == 1 else 0.005
    assert float((cov - data).abs().max()) < tolerance * 0.5
    assert float((mean - denoiser.mean).abs().max()) < tolerance


def test_a_walk_over_drawn_fields_has_the_datas_spectrum() -> None:
    """The same with `GaussianField` itself: 2000 fields, variance of every Fourier mode."""
    n, count = 16, 2000
    long, short = sf.GaussianField(sf.Matern(0.3, 2.0), 1), sf.GaussianField(sf.Matern(0.1, 1.5), 1)
    process = sf.Scheduled(sf.VPLinear(), short)
    denoiser = Linear(process, torch.zeros(n, dtype=F64), dense(long, n), dense(short, n))
    g = torch.Generator().manual_seed(0)
    x = process.prior_sample((count, n), g, dtype=F64)
    x = sf.sample(denoiser, sf.solve.DPMSolverPP(), sf.times.log_snr(process, 60, 1e-4), x).x
    modes = torch.fft.fft(x, norm="forward").abs().square().mean(0)
    ratio = modes / long.power((n,))
    assert float((ratio - 1).abs().max()) < 5 * (2 / count) ** 0.5 + 0.01
