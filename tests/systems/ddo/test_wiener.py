"""The Wiener denoiser: exact for Gaussian functions, the same on all grids, and what it trains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from analytic import F64, Linear, Scripted, propagate
from sfumato.systems.ddo.langevin import AnnealedLangevin
from sfumato.systems.ddo.nn.harmonic import Domain, filtered

ROUGH, SMOOTH = sf.Matern(0.1, 0.75), sf.Matern(0.2, 2.0)
PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING


def dense(field: sf.GaussianField, *grid: int) -> Tensor:
    n = math.prod(grid)
    unit = torch.eye(n, dtype=F64).reshape(n, *grid)
    return filtered(unit, field.power(grid) * n, field.domain, field.dims).reshape(n, n)


def filter_of(schedule: sf.Schedule, dims: int, domain: Domain = PERIODIC) -> sf.Wiener:
    noise, data = sf.GaussianField(ROUGH, dims, domain), sf.GaussianField(SMOOTH, dims, domain)
    return sf.Wiener(None, sf.Scheduled(schedule, noise), data, (16,) * dims)


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("schedule", [sf.EDM(), sf.VPLinear(), sf.RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("grid", [(10,), (4, 5)])
def test_it_is_the_conditional_mean_of_gaussian_functions(
    domain: Domain, schedule: sf.Schedule, grid: tuple[int, ...]
) -> None:
    """α K (α² K + σ² C)⁻¹ x with dense matrices; and the error's covariance."""
    w = filter_of(schedule, len(grid), domain)
    k, c = dense(w.data[0], *grid), dense(w.noise, *grid)
    x = torch.randn(3, 1, *grid, dtype=F64, generator=sf.generator(0))
    for t in (0.003, 0.4, 0.97):
        q = w.process.marginal(t)
        a, var = float(q.A), float(q.cov)
        gain = a * k @ torch.linalg.inv(a**2 * k + var * c)
        torch.testing.assert_close(w(x, t).flatten(1), x.flatten(1) @ gain.T, atol=1e-9, rtol=1e-7)
        left = k - a * gain @ k
        n = math.prod(grid)
        unit = torch.eye(n, dtype=F64).reshape(n, *grid)
        got = filtered(unit, w.spectra(t, grid).unexplained[0, 0] * n, domain, len(grid)).reshape(
            n, n
        )
        torch.testing.assert_close(got, left, atol=1e-9, rtol=0)


def test_a_time_for_each_sample() -> None:
    w = filter_of(sf.EDM(), 1)
    x = torch.randn(3, 1, 16, dtype=F64, generator=sf.generator(0))
    t = torch.tensor([0.001, 0.01, 0.3], dtype=F64)
    got = w(x, t)
    for i in range(3):
        torch.testing.assert_close(got[i : i + 1], w(x[i : i + 1], t[i]))


def test_without_power_there_is_no_estimate() -> None:
    """Neither noise nor data has a mean over the box: the gain there is 0, not 0/0."""
    field = sf.GaussianField(sf.Laplacian(2.0), 1)
    w = sf.Wiener(None, sf.Scheduled(sf.EDM(), field), field, (16,))
    assert bool(w(torch.randn(2, 1, 16), 0.1).isfinite().all())
    assert float(w.spectra(0.5, (4096,)).gain[0, 0, 0]) == pytest.approx(1 / (1 + 40.0**2), rel=0.1)


class Recorder(nn.Module):
    """A network that keeps what it is called with, and returns a constant."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((channels,), 0.5))
        self.seen: Tensor | None = None
        self.level: Tensor | None = None

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        self.seen, self.level = x, level
        return self.bias.reshape(1, -1, *[1] * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:])


@pytest.mark.parametrize("t", [1e-4, 5e-3, 0.05, 0.8])
def test_inputs_and_target_have_variance_one_at_every_level(t: float) -> None:
    """And what F should say is, in each mode, as large; dense matrices, 8,000 fields."""
    net = Recorder()
    noise, data = sf.GaussianField(ROUGH, 1), sf.GaussianField(SMOOTH, 1)
    w = sf.Wiener(net, sf.Scheduled(sf.EDM(), noise), data, (32,))
    g = sf.generator(3)
    x0 = data.sample(torch.zeros(8000, 1, 32, dtype=F64), g)
    x_t, eps = w.process.perturb(x0, t, g)
    residual = w.residual(x_t, t, x0, eps).detach()
    assert net.seen is not None and net.level is not None
    k, c = dense(data, 32), (80 * t) ** 2 * dense(noise, 32)
    values, vectors = torch.linalg.eigh(k + c)
    white = vectors @ values.rsqrt().diag() @ vectors.T  # W^{-1/2}
    share = k @ torch.linalg.inv(k + c)
    seen = [x_t @ white.T, x_t @ white.T @ share.T, x_t @ share.T]
    scales = w.scales(t)
    for got, want, factor in zip(
        net.seen.unbind(1), seen, (1.0, scales.known * 32**0.5, scales.linear), strict=True
    ):
        torch.testing.assert_close(
            got, (want * factor)[:, 0].float(), atol=2e-4, rtol=1e-4
        )  # in this order: what a checkpoint's weights expect
    assert net.level.shape == (8000,) and bool((net.level == net.level[0]).all())
    assert float(net.level[0]) == pytest.approx(math.log(80 * t) / 4, abs=1e-6)
    shape = (w.spectra(t, (32,)).decided / scales.most).sqrt()
    said = 0.5 * float(shape.flatten()[0])  # S of what the network said, 1/2 everywhere
    for part in (*net.seen.unbind(1), residual - said):
        assert float(part.detach().double().square().mean()) == pytest.approx(1, abs=0.06)
    target = filtered(said - residual, 1 / shape[0, 0], PERIODIC, 1)
    power = torch.fft.fft(target[:, 0], norm="forward").abs().square().mean(0)
    torch.testing.assert_close(power, power.mean().expand(32), rtol=0.1, atol=0)
    # the estimate is what the residual is of
    values, vectors = torch.linalg.eigh(c)
    inverse = vectors @ values.rsqrt().diag() @ vectors.T  # (σ²C)^{-1/2}
    error = (w(x_t, t) - x0).detach() @ inverse.T * 32**0.5 / scales.out
    torch.testing.assert_close(error, residual, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_inputs_and_target_have_variance_one_where_the_signal_fades(t: float) -> None:
    """α < 1: P is not G there."""
    net = Recorder()
    noise, data = sf.GaussianField(ROUGH, 1), sf.GaussianField(SMOOTH, 1)
    w = sf.Wiener(net, sf.Scheduled(sf.VPCosine(), noise), data, (32,))
    g = sf.generator(3)
    x0 = data.sample(torch.zeros(8000, 1, 32, dtype=F64), g)
    x_t, eps = w.process.perturb(x0, t, g)
    residual = w.residual(x_t, t, x0, eps).detach()
    scales = w.scales(t)
    said = 0.5 * (w.spectra(t, (32,)).decided / scales.most).sqrt()[0, 0, 0]
    assert net.seen is not None
    for part in (*net.seen.unbind(1), residual - said):
        assert float(part.detach().double().square().mean()) == pytest.approx(1, abs=0.06)
    # and P of the white one: what is correlated with α x_0, whitened
    white, known = (v.double() for v in net.seen[:, :2].unbind(1))
    share = (torch.fft.fft(known) / torch.fft.fft(white)).real[0] / float(scales.known) / 32**0.5
    k, c = data.power((32,)), noise.power((32,))
    alpha, sigma = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
    want = alpha**2 * k / (alpha**2 * k + sigma**2 * c)
    torch.testing.assert_close(share, want, atol=1e-3, rtol=1e-3)


class Waves(nn.Module):
    """A network that makes 1/2 and a wave, of another size in each sample and channel."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        size = torch.arange(1, len(x) + 1).reshape(-1, 1, 1) * torch.tensor([[[1.0], [3.0]]])
        wave = (2 * math.pi * torch.arange(x.shape[2]) / x.shape[2]).cos()
        return self.one * size * (0.5 + wave)


@pytest.mark.parametrize("n", [16, 24])
@pytest.mark.parametrize("varies", [(True, False), (False, True)])
def test_the_network_is_shaped_by_what_is_not_known(varies: tuple[bool, bool], n: int) -> None:
    """√(R c) F with dense R of each channel; no mean where that of the data is known.

    And the error is that of the estimate, whitened, on any grid.
    """
    kernels = {True: sf.Matern(0.2, 2.0), False: sf.Laplacian(2.0)}
    laws = [sf.GaussianField(kernels[v], 1) for v in varies]
    noise, reference = sf.GaussianField(ROUGH, 1), 16
    w = sf.Wiener(Waves(), sf.Scheduled(sf.EDM(), noise), laws, (reference,))
    x0, x_t = torch.randn(2, 3, 2, n, dtype=F64, generator=sf.generator(0))
    t = torch.tensor([0.002, 0.01, 0.1], dtype=F64)
    residual = w.residual(x_t, t, x0, torch.zeros_like(x0)).detach()
    made = w.predict(x_t, x_t, t, *w._both(x_t, t)).detach().double()
    shaped = torch.zeros(3, 2, n, dtype=F64)
    for b, sigma in enumerate((80 * t).tolist()):
        for c, law in enumerate(laws):

            def both(m: int, law: sf.GaussianField = law, sigma: float = sigma) -> list[Tensor]:
                k, noisy = dense(law, m), sigma**2 * dense(noise, m)
                return [k - k @ torch.linalg.inv(k + noisy) @ k, noisy]

            unknown, noisy = both(reference)
            ratio = torch.linalg.eigvals(unknown @ torch.linalg.inv(noisy)).real  # r/σ²c = k/w
            values, vectors = torch.linalg.eigh(both(n)[0] / n * ratio.sum() / ratio.max())
            shaped[b, c] = vectors @ values.clamp_min(0).sqrt().diag() @ vectors.T @ made[b, c]
            values, vectors = torch.linalg.eigh(both(n)[1] / n * ratio.sum())
            error = (w(x_t, t).detach() - x0)[b, c]
            white = vectors @ values.rsqrt().diag() @ vectors.T @ error
            torch.testing.assert_close(residual[b, c], white, atol=1e-4, rtol=1e-4)
    got = (w(x_t, t) - w.linear(x_t, t)).detach()
    torch.testing.assert_close(got, shaped, atol=1e-5, rtol=1e-4)
    mean = (got.mean(2) / made.mean(2)).abs()
    kept, left_out = mean[:, varies.index(True)], mean[:, varies.index(False)]
    assert bool((left_out < 0.15 * kept).all())


def test_scales_do_not_depend_on_the_grid() -> None:
    net = Recorder()
    noise, data = sf.GaussianField(ROUGH, 1), sf.GaussianField(sf.SquaredExponential(0.2), 1)
    w = sf.Wiener(net, sf.Scheduled(sf.EDM(), noise), data, (32,))
    x = data.sample(torch.zeros(2, 1, 32, dtype=F64), sf.generators(0, range(2)))
    fine = data.sample(torch.zeros(2, 1, 96, dtype=F64), sf.generators(0, range(2)))
    for t in (0.001, 0.02):
        torch.testing.assert_close(w(fine, t)[..., ::3], w(x, t), atol=2e-3, rtol=0)


def test_a_linear_operator_learns_what_the_filter_is() -> None:
    """Score matching in function space, from white weights: K(K + σ²C)⁻¹ in the first 8 modes."""
    n, t = 32, 0.3 / 80
    noise, data = (
        sf.GaussianField(sf.Matern(0.2, 0.75), 1),
        sf.GaussianField(sf.Matern(0.2, 1.5), 1),
    )
    process = sf.Scheduled(sf.EDM(), noise)

    class Diagonal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(n // 2 + 1))

        def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(x) * self.gain, n)

    net = Diagonal()
    denoiser = sf.Preconditioned(net, process, sf.Prediction.X0, 1.0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for step in range(400):
        g = sf.generator(step, "train")
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 400)
        x0 = data.sample(torch.zeros(256, 1, n), g)
        sf.denoising_loss(denoiser, x0, t, generator=g).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    scale = float(denoiser.coefficients(t)[0])  # c_in
    want = sf.Wiener(None, process, data, (n,)).spectra(t, (n,)).gain[0, 0, : n // 2 + 1]
    got = net.gain.detach().double() * scale
    assert float((got[:9] - want[:9]).abs().max()) < 0.03
    assert float(want[0]) > 0.9 and float(want[8]) < 0.75  # it had something to learn


@pytest.mark.parametrize("kind", ["x0", "epsilon"])
def test_the_cameron_martin_norm_is_for_smooth_targets(kind: str) -> None:
    """|K^{-1/2} error|² over the modes: of x_0 - G x_t it converges on finer grids, of ε not."""
    noise, data = sf.GaussianField(ROUGH, 1), sf.GaussianField(sf.SquaredExponential(0.1), 1)
    process = sf.Scheduled(sf.EDM(), noise)
    found = []
    for n in (32, 128):
        if kind == "x0":
            net, predicts = sf.Wiener(None, process, data, (n,)), None
            g = sf.generator(0)
            x0 = data.sample(torch.zeros(500, 1, n, dtype=F64), g)
            x_t, _ = process.perturb(x0, 0.02, g)
            error = net(x_t, 0.02) - x0
        else:
            zero = nn.Module()
            zero.forward = lambda x, level, cond: torch.zeros_like(x)  # type: ignore[method-assign]
            predicts = sf.Preconditioned(zero, process, sf.Prediction.EPSILON)
            x0 = data.sample(torch.zeros(500, 1, n, dtype=F64), sf.generator(0))
            loss = sf.denoising_loss(predicts, x0, 0.02, generator=sf.generator(1), whiten=True)
            found.append(float(loss.mean()) * n)
            assert float(loss.mean()) == pytest.approx(1, abs=0.05)  # white, at every grid
            continue
        found.append(float(noise.whiten(error).square().sum(-1).mean()))
    assert found[1] / found[0] == pytest.approx(1 if kind == "x0" else 4, rel=0.05)


def test_the_norm_of_white_noise_changes_nothing() -> None:
    process = sf.Scheduled(sf.VPLinear())
    net = sf.Preconditioned(nn.Identity(), process, sf.Prediction.V)
    net.network.forward = lambda x, level, cond: x  # type: ignore[method-assign]
    x = torch.randn(3, 2, 8)
    a, b = (
        sf.denoising_loss(net, x, 0.4, generator=sf.generator(0), whiten=w) for w in (False, True)
    )
    assert torch.equal(a, b)


def test_misfits_are_refused() -> None:
    field = sf.GaussianField(ROUGH, 2)
    process = sf.Scheduled(sf.EDM(), field)
    with pytest.raises(ValueError, match="driven by a GaussianField"):
        sf.Wiener(None, sf.Scheduled(sf.EDM()), field, (8, 8))
    with pytest.raises(ValueError, match="on the box of the noise"):
        sf.Wiener(None, process, sf.GaussianField(SMOOTH, 2, REFLECTING), (8, 8))
    with pytest.raises(ValueError, match="grid of 2 axes"):
        sf.Wiener(None, process, field, (8,))
    with pytest.raises(ValueError, match="no network"):
        w = sf.Wiener(None, process, field, (8, 8))
        w.residual(*[torch.zeros(1, 1, 8, 8)] * 1, 0.1, *[torch.zeros(1, 1, 8, 8)] * 2)


# Langevin: exact moments


def gaussian(n: int = 5) -> Linear:
    root = torch.randn(n, n, dtype=F64, generator=sf.generator(9)) / n**0.5
    process = sf.Scheduled(sf.VE(0.01, 10.0), Scripted())
    data = root @ root.T + 0.1 * torch.eye(n, dtype=F64)
    field = dense(sf.GaussianField(ROUGH, 1), n)
    return Linear(process, torch.linspace(-1, 1, n, dtype=F64), data, field)


def settled(averaged: bool, size: float, inner: int) -> tuple[Tensor, Tensor]:
    """Covariance of a state that was settled at t by some steps, and the exact one."""
    denoiser, t = gaussian(), 0.5
    solver = AnnealedLangevin(inner, size, averaged)
    start = denoiser.state(t)
    mean, cov = propagate(denoiser, solver, torch.tensor([t, t - 1e-9], dtype=F64), start)
    torch.testing.assert_close(mean, start[0], atol=1e-6, rtol=0)
    return cov, start[1]


def test_averaged_noise_keeps_gaussian_laws_exactly() -> None:
    """From the exact law, after any number of steps of any size: settled, the variance is exact."""
    for size in (0.2, 0.9):
        cov, want = settled(True, size, 150)
        torch.testing.assert_close(cov, want, atol=1e-5, rtol=0.01)


def test_plain_steps_widen_by_the_known_factor() -> None:
    """1/(1 - h a/2) in the mode that is pulled with strength a = σ²c/(k + σ²c)."""
    denoiser, t, h = gaussian(), 0.5, 0.4
    cov, want = settled(False, h, 120)
    noise = float(denoiser.process.marginal(t).cov) * denoiser.field
    # in the basis in which both are diagonal: want v = λ noise v, a = 1/λ
    low = torch.linalg.cholesky(noise)
    inverse = torch.linalg.inv(low)
    values, vectors = torch.linalg.eigh(inverse @ want @ inverse.T)
    got = (vectors.T @ inverse @ cov @ inverse.T @ vectors).diagonal()
    torch.testing.assert_close(got, values / (1 - h / values / 2), rtol=0.02, atol=0)


@pytest.mark.parametrize("times", [(0.7, 0.45, 0.2), (0.95, 0.05)])
def test_between_levels_the_state_is_scaled_with_the_signal(times: tuple[float, ...]) -> None:
    """Where α falls, by any number of steps, the exact mean α_t m goes to the exact α_s m."""
    process = sf.Scheduled(sf.VPCosine(), Scripted())
    like = gaussian()
    denoiser = Linear(process, like.mean, like.cov, like.field)
    for inner in (1, 4):
        solver = AnnealedLangevin(inner, 0.6)
        walk = torch.tensor(times, dtype=F64)
        mean, _ = propagate(denoiser, solver, walk, denoiser.state(times[0]))
        want = math.cos(math.pi * times[-1] / 2) * denoiser.mean
        torch.testing.assert_close(mean, want, atol=1e-9, rtol=0)


def test_a_step_of_langevin_is_its_equation() -> None:
    """Dense matrices: drift and averaged noise at t, then α_s/α_t of all of it."""
    noise, data = sf.GaussianField(ROUGH, 1), sf.GaussianField(SMOOTH, 1)
    process = sf.Scheduled(sf.VPCosine(), noise)
    denoiser = sf.Wiener(None, process, data, (12,))
    t, s, h = 0.8, 0.3, 0.5
    x = torch.randn(2, 1, 12, dtype=F64, generator=sf.generator(0))
    walk = torch.tensor([t, s], dtype=F64)
    made = sf.sample(denoiser, AnnealedLangevin(1, h), walk, x, generator=sf.generator(1)).x
    g = sf.generator(1)
    xi = (noise.sample(x, g) + noise.sample(x, g)) / 2
    alpha, sigma = math.cos(math.pi * t / 2), math.sin(math.pi * t / 2)
    k, c = dense(data, 12), dense(noise, 12)
    estimate = x @ (alpha * k @ torch.linalg.inv(alpha**2 * k + sigma**2 * c)).T
    want = x + h * (alpha * estimate - x) + (2 * h) ** 0.5 * sigma * xi
    torch.testing.assert_close(made, math.cos(math.pi * s / 2) / alpha * want)


@pytest.mark.parametrize("n", [32, 128])
def test_langevin_is_stable_and_right_on_every_grid(n: int) -> None:
    """Annealed from noise to a Gaussian field: the first ten modes' variances within 10 %."""
    noise, data = (
        sf.GaussianField(sf.Matern(0.1, 0.75), 1),
        sf.GaussianField(sf.Matern(0.15, 1.5), 1),
    )
    process = sf.Scheduled(sf.EDM(), noise)
    denoiser = sf.Wiener(None, process, data, (32,))
    levels = torch.logspace(0.7, -2.3, 12, dtype=F64) / 80
    times = torch.cat([levels, levels.new_zeros(1)])
    g = sf.generator(0)
    x = process.prior_sample((3000, 1, n), g, t=float(times[0]), dtype=F64)
    solution = sf.sample(denoiser, AnnealedLangevin(20, 0.9), times, x, generator=g)
    assert solution.nfe == 12 * 20 + 1
    modes = torch.fft.fft(solution.x[:, 0], norm="forward").abs().square().mean(0)
    ratio = modes[:11] / data.power((n,))[:11]
    assert float((ratio - 1).abs().max()) < 0.1


def test_langevin_refuses_what_it_is_not_for() -> None:
    process = sf.Scheduled(sf.RectifiedFlow(), sf.GaussianField(ROUGH, 1))
    data, x = sf.GaussianField(SMOOTH, 1), torch.zeros(2, 1, 8, dtype=F64)
    for inner, size in ((0, 0.3), (3, 0.0), (3, 2.0)):
        with pytest.raises(ValueError, match="inner >= 1"):
            AnnealedLangevin(inner, size)
    nothing = sf.Wiener(None, process, data, (8,))
    with pytest.raises(ValueError, match="got none at t = 1"):
        sf.sample(nothing, AnnealedLangevin(), torch.tensor([1.0, 0.5], dtype=F64), x)
    assert AnnealedLangevin().order == 2 and AnnealedLangevin(averaged=False).order == 1
