"""Gaussian fields: closed-form covariances, one field on all grids, one seed on all grids."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64
from kernels import KERNELS, closed_form
from sfumato.systems.ddo.field import _layout
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, resample

PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING


def covariance(noise: sf.GaussianField, *grid: int) -> Tensor:
    """Exact covariance (N, N) of the values on a grid: the operator applied to unit fields."""
    n = math.prod(grid)
    unit = torch.eye(n, dtype=F64).reshape(n, *grid)
    eigen = noise.power(grid) * n
    made = sf_filtered(unit, eigen, noise)
    return made.reshape(n, n)


def sf_filtered(x: Tensor, eigen: Tensor, noise: sf.GaussianField) -> Tensor:
    from sfumato.systems.ddo.nn.harmonic import filtered

    return filtered(x, eigen, noise.domain, noise.dims)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dims", [1, 2])
def test_the_periodic_covariance_in_closed_form(name: str, dims: int) -> None:
    """Images of the kernel's own correlation, all around."""
    kernel, n = KERNELS[name], 16
    got = covariance(sf.GaussianField(kernel, dims), *[n] * dims)[0].reshape([n] * dims)
    x = torch.arange(n, dtype=F64) / n
    want = torch.zeros([n] * dims, dtype=F64)
    for shift in np.ndindex(*[7] * dims):
        gaps = torch.meshgrid(*[x + s - 3 for s in shift], indexing="ij")
        want += closed_form(kernel, torch.stack(gaps).square().sum(0).sqrt(), dims)
    torch.testing.assert_close(got, want / want.flatten()[0], atol=6e-5, rtol=0)


@pytest.mark.parametrize("n", [32, 64, 128, 256])
def test_restrictions_see_one_covariance(n: int) -> None:
    """Draws on four grids, restricted to 16 points: the same covariance, within 5 errors."""
    count = 6000
    noise = sf.GaussianField(sf.Matern(0.1, 1.0), 1)
    x = noise.sample(torch.zeros(count, 1, n, dtype=F64), sf.generator(n, "draw"))
    x = x[:, 0, :: n // 16]
    got = x.T @ x / count
    want = covariance(noise, 16)
    error = ((want.square() + want.diagonal()[:, None] * want.diagonal()) / count).sqrt()
    assert float(((got - want) / error).abs().max()) < 5
    assert float(x.std()) == pytest.approx(1, abs=5 * (0.5 / count / 4) ** 0.5)


@pytest.mark.parametrize("dims", [1, 2])
def test_mirrors_in_closed_form(dims: int) -> None:
    """Cells' centres see Σ_m c(x - y + 2m) + c(x + y + 2m), on each axis; scaled to mean 1."""
    kernel, n = sf.Matern(0.15, 1.5), 9
    got = covariance(sf.GaussianField(kernel, dims, REFLECTING), *[n] * dims)
    at = coordinates([n] * dims, REFLECTING).flatten(1)  # (d, N)
    want = torch.zeros_like(got)
    for shift in np.ndindex(*[5] * dims):
        for signs in np.ndindex(*[2] * dims):
            gaps = [
                a[:, None] - (a if s == 0 else -a) + 2 * (m - 2)
                for a, s, m in zip(at, signs, shift, strict=True)
            ]
            r = torch.stack(gaps).square().sum(0).sqrt()
            want += closed_form(kernel, r, dims)
    # mean variance over the box, by a fine rule, is what the field is scaled by
    fine = (torch.arange(4000, dtype=F64) + 0.5) / 4000
    if dims == 1:
        total = sum(
            closed_form(kernel, (2 * m * torch.ones_like(fine)).abs(), 1)
            + closed_form(kernel, (2 * fine + 2 * m).abs(), 1)
            for m in range(-3, 4)
        ).mean()
        torch.testing.assert_close(got, want / total, atol=2e-5, rtol=0)
    else:
        ratio = got / want
        torch.testing.assert_close(ratio, ratio.mean() * torch.ones_like(ratio), atol=0, rtol=2e-3)


@pytest.mark.parametrize(
    ("kernel", "grid", "top"),
    [
        (sf.Matern(0.05, 1.5), (4,), 20_000),
        (sf.Matern(0.05, 1.5), (5,), 20_000),
        (sf.Laplacian(1.5), (4,), 20_000),  # without a mean of its own: the aliases alone
        (sf.Matern(0.05, 2.5), (3, 4), 400),
    ],
)
def test_what_folds_on_mirrors_is_the_sum_over_all_cosines(
    kernel: sf.Covariance, grid: tuple[int, ...], top: int
) -> None:
    """Rough fields on few points: Σ_k s_k φ_k(x) φ_k(y) over k < top, one by one."""
    k = torch.arange(top, dtype=F64)
    waves = torch.zeros((), dtype=F64)
    for _ in grid:
        waves = waves[..., None] + (k / 2).square()
    power = kernel.density(waves.sqrt(), len(grid))
    norm = torch.where(k > 0, math.sqrt(2), 1.0)
    axes = [
        norm * (math.pi * k * x[:, None]).cos() for x in coordinates(grid, REFLECTING).flatten(1)
    ]
    if len(grid) == 1:
        want = torch.einsum("k,pk,qk->pq", power, *axes * 2)
    else:
        want = torch.einsum("kl,pk,pl,qk,ql->pq", power, *axes * 2)
    got = covariance(sf.GaussianField(kernel, len(grid), REFLECTING), *grid)
    torch.testing.assert_close(got, want / power.sum(), atol=1.2e-5, rtol=0)


@pytest.mark.parametrize("n", [4, 8])
def test_no_variance_of_a_rough_field_is_lost_on_mirrors(n: int) -> None:
    """Σ_k s_k φ_k(x)² over 300,000 cosines, on average over the grid: .8 % of it is far away."""
    kernel, top = sf.Matern(0.05, 0.5), 300_000
    k = torch.arange(top, dtype=F64)
    power = kernel.density(k / 2, 1)
    x = coordinates((n,), REFLECTING)[0]
    square = torch.stack([(math.pi * k * at).cos().square() for at in x]).mean(0)
    want = float((power * torch.where(k > 0, 2 * square, 1.0)).sum() / power.sum())
    got = float(sf.GaussianField(kernel, 1, REFLECTING).power((n,)).sum())
    assert got == pytest.approx(want, abs=3e-4)


def test_mirrored_grids_see_one_field() -> None:
    """Cells' centres of 12 are among those of 36."""
    for kernel in (sf.Matern(0.1, 1.5), sf.SquaredExponential(0.1), sf.Laplacian(1.5, 3.0)):
        noise = sf.GaussianField(kernel, 1, REFLECTING)
        fine = covariance(noise, 36)[1::3, 1::3]
        torch.testing.assert_close(covariance(noise, 12), fine, atol=2e-5, rtol=0)


@pytest.mark.parametrize("domain", [PERIODIC, REFLECTING])
@pytest.mark.parametrize("grid", [(9,), (8,), (6, 7), (4, 4, 5)])
def test_draws_have_the_covariance(domain: Domain, grid: tuple[int, ...]) -> None:
    noise = sf.GaussianField(sf.Matern(0.15, 1.0), len(grid), domain)
    count = 20_000
    x = noise.sample(torch.zeros(count, 1, *grid, dtype=F64), sf.generator(0, "d")).flatten(1)
    want = covariance(noise, *grid)
    error = ((want.square() + want.diagonal()[:, None] * want.diagonal()) / count).sqrt()
    assert float(((x.T @ x / count - want) / error).abs().max()) < 5.2


def test_lengths_are_those_of_the_box() -> None:
    """A box 1 by 2 with 8 by 16 points: the same correlation along both axes, at one distance."""
    kernel = sf.Matern(0.05, 1.5)
    row = covariance(sf.GaussianField(kernel, 2, extent=(1.0, 2.0)), 8, 16)[0].reshape(8, 16)
    r = torch.arange(4, dtype=F64) / 8
    for along in (row[:4, 0], row[0, :4]):
        torch.testing.assert_close(along, closed_form(kernel, r, 2), atol=2e-4, rtol=0)


@pytest.mark.parametrize("dims", [1, 2])
def test_open_space_has_the_kernels_own_covariance(dims: int) -> None:
    for kernel in (sf.Matern(0.05, 1.5), sf.SquaredExponential(0.15), sf.Laplacian(2.0, 20.0)):
        n = 8
        field, wide = sf.OpenField(kernel, dims).embedding([n] * dims)
        assert max(wide) > n
        row = torch.fft.fftn(field.power(wide)).real[(slice(0, n),) * dims]
        r = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=F64) / n] * dims, indexing="ij"))
        want = closed_form(kernel, r.square().sum(0).sqrt(), dims)
        torch.testing.assert_close(row, want, atol=5e-4, rtol=0)


def test_draws_in_open_space() -> None:
    kernel, n, count = sf.Matern(0.1, 1.5), 6, 20_000
    noise = sf.OpenField(kernel, 1)
    x = noise.sample(torch.zeros(count, 1, n, dtype=F64), sf.generator(0, "o"))[:, 0]
    at = torch.arange(n, dtype=F64) / n
    want = closed_form(kernel, (at[:, None] - at).abs(), 1)
    error = ((1 + want.square()) / count).sqrt()
    assert float(((x.T @ x / count - want) / error).abs().max()) < 5
    for wrong in (noise.whiten, noise.log_prob):
        with pytest.raises(ValueError, match="open field"):
            wrong(x)
    with pytest.raises(ValueError, match="shift > 0"):
        sf.OpenField(sf.Laplacian(2.0), 1)


@pytest.mark.parametrize("domain", [PERIODIC, REFLECTING])
@pytest.mark.parametrize("dims", [1, 2])
def test_one_seed_is_one_field_on_every_grid(domain: Domain, dims: int) -> None:
    """A smooth field on 16 points, carried to 48 without aliasing, is the one drawn there."""
    noise = sf.GaussianField(sf.SquaredExponential(0.15), dims, domain)
    seeds = [3, 7]
    coarse, fine = (
        noise.sample(torch.zeros(2, 2, *[n] * dims, dtype=F64), sf.generators(0, seeds))
        for n in (16, 48)
    )
    torch.testing.assert_close(resample(coarse, [48] * dims, domain), fine, atol=1e-3, rtol=0)
    assert float((fine[0] - fine[1]).abs().max()) > 0.5
    assert float((fine[:, 0] - fine[:, 1]).abs().max()) > 0.5


@pytest.mark.parametrize("domain", [PERIODIC, REFLECTING])
@pytest.mark.parametrize(("low", "high"), [((8, 128), (24, 128)), ((16, 20), (16, 160))])
def test_one_seed_is_one_field_on_long_grids(domain: Domain, low: Any, high: Any) -> None:
    """Refined along one axis alone; no more is drawn there than a few times what the grid holds."""
    noise = sf.GaussianField(sf.SquaredExponential(0.2), 2, domain)
    coarse, fine = (
        noise.sample(torch.zeros(2, 1, *grid, dtype=F64), sf.generators(0, [3, 7]))
        for grid in (low, high)
    )
    torch.testing.assert_close(resample(coarse, high, domain), fine, atol=0.02, rtol=0)
    assert float(fine.std()) > 0.5
    drawn = sum(size for _, size, _, _ in _layout((8, 1024), domain))
    assert drawn < 4 * 8 * 1024


def test_what_a_grid_cannot_show_is_all_that_differs() -> None:
    """Rough fields: the variance of the difference at shared points is twice what folds."""
    noise = sf.GaussianField(sf.Matern(0.1, 0.75), 1)
    count = 4000
    coarse, fine = (
        noise.sample(torch.zeros(count, 1, n, dtype=F64), sf.generators(1, range(count)))
        for n in (32, 64)
    )
    own = noise.power((4096,))[[j % 4096 for j in range(-15, 16)]]  # next to nothing folds there
    hidden = 1 - float(own.sum())
    got = (coarse - fine[..., ::2]).square().mean()
    assert float(got) == pytest.approx(2 * hidden, rel=0.1)
    assert hidden < 0.2


def test_a_draw_moves_its_generator_by_one_number() -> None:
    noise = sf.GaussianField(sf.Matern(), 2)
    after = []
    for n in (8, 32):
        g = sf.generators(5, range(2))
        noise.sample(torch.zeros(2, 3, n, n), g)
        after.append(torch.rand(1, generator=g[1]))
    assert torch.equal(after[0], after[1])


def test_scattered_points_see_the_field_of_the_grid() -> None:
    for domain in (PERIODIC, REFLECTING):
        noise = sf.GaussianField(sf.Matern(0.2, 2.0), 2, domain)
        like = torch.zeros(3, 2, 32, 32, dtype=F64)
        grid = noise.sample(like, sf.generators(0, range(3)))
        points = coordinates([32, 32], domain).flatten(1).T[[5, 77, 500]]
        got = noise.at(points, 3, sf.generators(0, range(3)), channels=2, resolution=32)
        torch.testing.assert_close(got, grid.flatten(2)[..., [5, 77, 500]])


def test_scattered_points_have_the_covariance() -> None:
    kernel, count = sf.Matern(0.1, 1.5), 2000
    points = torch.tensor([[0.1, 0.2], [0.15, 0.21], [0.5, 0.93], [0.52, 0.02]], dtype=F64)
    x = sf.GaussianField(kernel, 2).at(points, count, sf.generator(0, "p"), resolution=64)[:, 0]
    gap = (points[:, None] - points + 0.5) % 1 - 0.5
    want = closed_form(kernel, gap.norm(dim=-1), 2)
    error = ((1 + want.square()) / count).sqrt()
    assert float(((x.T @ x / count - want) / error).abs().max()) < 4.5


@pytest.mark.parametrize("domain", [PERIODIC, REFLECTING])
@pytest.mark.parametrize("grid", [(8,), (5, 4)])
def test_whitening_is_the_inverse_root(domain: Domain, grid: tuple[int, ...]) -> None:
    noise = sf.GaussianField(sf.Matern(0.2, 1.0), len(grid), domain)
    x = torch.randn(3, 1, *grid, dtype=F64, generator=sf.generator(0))
    flat, white = x.flatten(1), noise.whiten(x).flatten(1)
    want = (flat @ torch.linalg.inv(covariance(noise, *grid)) * flat).sum(1)
    torch.testing.assert_close(white.square().sum(1), want)
    normal = torch.distributions.MultivariateNormal(
        torch.zeros(flat.shape[1], dtype=F64), covariance(noise, *grid)
    )
    torch.testing.assert_close(noise.log_prob(x), normal.log_prob(flat))


def test_a_field_without_mean() -> None:
    """The mean over the box is 0; that over a grid's points is what folds onto it."""
    noise, count, n = sf.GaussianField(sf.Laplacian(1.0), 1), 8000, 8
    means = noise.sample(torch.zeros(count, 1, n, dtype=F64), sf.generator(0)).mean(-1)
    j = n * torch.arange(1, 10_000, dtype=F64)
    want = 2 * j.pow(-2).sum() / (2 * math.pi**2 / 6)
    assert float(means.square().mean()) == pytest.approx(float(want), rel=5 * (2 / count) ** 0.5)
    assert float(noise.power((4096,))[0]) < 1e-6


def test_a_field_that_leaves_out_waves_has_no_density() -> None:
    noise = sf.GaussianField(sf.SquaredExponential(2.0), 1)
    x = noise.sample(torch.zeros(2, 1, 64, dtype=F64), sf.generator(0))
    with pytest.raises(ValueError, match="no density"):
        noise.log_prob(x)
    assert bool(noise.whiten(x).isfinite().all())


def test_whitening_in_single_precision_is_finite() -> None:
    """Powers below what float32 holds are those that are never drawn."""
    noise = sf.GaussianField(sf.SquaredExponential(0.15), 2)
    assert 0 < float(noise.power((32, 32)).min()) < 1e-60
    x = torch.randn(1, 1, 32, 32, generator=sf.generator(0))
    white = noise.whiten(x)
    assert bool(white.isfinite().all()) and bool(white.square().isfinite().all())
    rough = sf.GaussianField(sf.Matern(0.1, 0.75), 2)
    torch.testing.assert_close(
        rough.whiten(x).double(), rough.whiten(x.double()), rtol=1e-4, atol=1e-4
    )


def test_the_laplacians_inverse_on_the_circle() -> None:
    """Σ (2πj)⁻² cos 2πjr is a parabola: 1 - 6r + 6r², scaled to variance 1 (Bernoulli)."""
    row = covariance(sf.GaussianField(sf.Laplacian(1.0), 1), 32)[0]
    r = torch.arange(32, dtype=F64) / 32
    torch.testing.assert_close(row, 1 - 6 * r + 6 * r.square(), atol=2e-5, rtol=0)


def test_a_measured_spectrum_is_the_kernels_that_was_measured() -> None:
    kernel = sf.Matern(0.1, 1.5)
    waves = tuple(float(w) for w in torch.logspace(-2, 3, 200))
    table = kernel.density(torch.tensor(waves, dtype=F64), 2).tolist()
    measured = sf.Measured(waves, tuple(table))
    for n in (16, 64):
        a, b = (sf.GaussianField(k, 2).power((n, n)) for k in (kernel, measured))
        torch.testing.assert_close(a, b, rtol=2e-3, atol=0)
    flat = sf.Measured((1.0, 2.0), (1.0, 0.9))
    with pytest.raises(ValueError, match="fall faster"):
        sf.GaussianField(flat, 2).power((8, 8))
    for waves, densities in (((1.0,), (1.0,)), ((2.0, 1.0), (1.0, 1.0)), ((1.0, 2.0), (1.0, 0.0))):
        with pytest.raises(ValueError, match="rising positive waves"):
            sf.Measured(waves, densities)


@pytest.mark.parametrize("zero", [None, 0.0, 5.0])
def test_the_mean_of_a_measured_spectrum_is_apart(zero: float | None) -> None:
    """Its share of the variance, with the sum over all waves written out; near it, no change."""
    measured = sf.Measured((1.0, 2.0, 4.0), (1.0, 0.2, 0.01), zero)
    at = torch.tensor([0.0, 1e-3, 0.7, 1.0, 2.0**0.5, 4.0, 8.0], dtype=F64)
    mean = 1.0 if zero is None else zero
    want = torch.tensor([mean, 1, 1, 1, 0.2**0.5, 0.01, 0.01 / 20], dtype=F64)
    torch.testing.assert_close(measured.density(at, 1), want)
    falls = [0.2, 0.2 * (1.5) ** math.log2(0.05), 0.01]  # at 2, 3, 4, and then by powers
    beyond = sum(0.01 * (j / 4) ** math.log2(0.05) for j in range(5, 100_000))
    total = mean + 2 * (1 + sum(falls) + beyond)
    field = sf.GaussianField(measured, 1)
    assert float(field.own_power((64,))[0]) == pytest.approx(mean / total, rel=1e-6)
    assert float(field.own_power((64,))[1]) == pytest.approx(1 / total, rel=1e-6)


def test_misfits_are_named() -> None:
    with pytest.raises(ValueError, match="2 positive lengths"):
        sf.GaussianField(extent=(1.0,))
    with pytest.raises(ValueError, match="2 positive lengths"):
        sf.GaussianField(extent=(1.0, 0.0))
    with pytest.raises(ValueError, match="power > 1.0 in 2 dimensions"):
        sf.GaussianField(sf.Laplacian(1.0), 2).power((8, 8))
    with pytest.raises(ValueError, match="got length=-1"):
        sf.Matern(-1)
    with pytest.raises(ValueError, match="length > 0"):
        sf.SquaredExponential(0)
    with pytest.raises(ValueError, match="power > 0"):
        sf.Laplacian(0)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_beyond_its_reach_a_kernel_correlates_little(name: str, dims: int) -> None:
    kernel = KERNELS[name]
    r = torch.tensor([kernel.reach(dims)], dtype=torch.float64)
    assert float(closed_form(kernel, r, dims)) < 1e-4
    assert float(closed_form(kernel, r / 3, dims)) > 1e-4


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel", [sf.Laplacian(3.0, 10.0), sf.Laplacian(2.0, 3.0)], ids=repr)
def test_the_laplacians_reach_is_no_longer_than_need_be(kernel: sf.Laplacian, dims: int) -> None:
    """At most a quarter beyond the distance at which its correlation is 1e-4."""
    low, high = 0.0, 30 / kernel.shift
    for _ in range(50):
        middle = (low + high) / 2
        far = float(closed_form(kernel, torch.tensor([middle], dtype=F64), dims)) < 1e-4
        low, high = (low, middle) if far else (middle, high)
    assert 1 < kernel.reach(dims) / high < 1.25
