"""Preconditioning: exact predictions give the data back, and the loss has the right minimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from analytic import PROCESSES, Scripted
from sfumato.process import mix

F64 = torch.float64
SCHEDULED = [n for n in PROCESSES if PROCESSES[n]().k == 1]
PHASE = [n for n in PROCESSES if PROCESSES[n]().k == 2]
P = sf.Prediction
CASES = [
    *[(n, p, False) for n in SCHEDULED for p in P if p is not P.VELOCITY_NOISE],
    *[(n, p, m) for n in PHASE for p, m in (
        (P.X0, False), (P.VELOCITY_NOISE, False), (P.VELOCITY_NOISE, True))],
]  # fmt: skip
each = pytest.mark.parametrize(("name", "predicts", "mixed"), CASES)


class Answer(nn.Module):
    """A network that returns what it was told to, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.zeros(1)
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        self.seen = x, noise_level
        return self.value


def truth(denoiser: sf.Preconditioned, t: float, x0: Tensor, eps: Tensor, x: Tensor) -> Tensor:
    """The exact prediction from its definition in words, (B, C)."""
    process, predicts = denoiser.process, denoiser.predicts
    if predicts is P.X0:
        return x0
    if predicts is P.VELOCITY_NOISE:
        c = x0.shape[1]
        e_v = eps[:, c:]
        if not denoiser.mixed:
            return e_v
        cov = process.marginal(t).cov
        ell = (cov[0, 0] / torch.linalg.det(cov)).sqrt()
        # score_v of u given x_0 is -ℓ ε_v; the network is left what a normal velocity is not
        return (ell * e_v - x[:, c:] / cov[1, 1]) / ell
    a, s = process.schedule.alpha(t), process.schedule.sigma(t)
    match predicts:
        case P.EPSILON:
            return eps
        case P.SCORE:
            return s * process.score(x, x0, t)
        case P.V:
            return a * eps - s * x0
        case P.FLOW:
            return process.schedule.alpha_dot(t) * x0 + process.schedule.sigma_dot(t) * eps
    sd, c_in = 0.5, (a**2 * 0.25 + s**2).rsqrt()
    c_skip, c_out = a * sd**2 * c_in**2, s * sd * c_in
    return (x0 - c_skip * x) / c_out


@each
@pytest.mark.parametrize("t", [0.01, 0.3, 0.9])
def test_exact_prediction_gives_the_data_back(
    name: str, predicts: sf.Prediction, mixed: bool, t: float
) -> None:
    process, network = PROCESSES[name](), Answer()
    denoiser = sf.Preconditioned(network, process, predicts, sigma_data=0.5, mixed=mixed)
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(4, 3, generator=g, dtype=F64)
    x, eps = process.perturb(x0, t, g)
    network.value = truth(denoiser, t, x0, eps, x)
    torch.testing.assert_close(denoiser(x, t), x0, rtol=1e-7, atol=1e-7)
    residual = denoiser.residual(x, t, x0, eps)
    scale = float(network.value.abs().max())
    assert float(residual.abs().max()) < 1e-8 * scale


@each
def test_an_error_in_the_prediction_is_the_residual(
    name: str, predicts: sf.Prediction, mixed: bool
) -> None:
    """residual = (x̂_0 - x_0)/c_out, for any output of the network: one loss, two readings."""
    process, network = PROCESSES[name](), Answer()
    denoiser = sf.Preconditioned(network, process, predicts, mixed=mixed)
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(4, 3, generator=g, dtype=F64)
    t = torch.tensor([0.05, 0.2, 0.5, 0.8], dtype=F64)
    x, eps = process.perturb(x0, t, g)
    network.value = torch.randn(4, 3, generator=g, dtype=F64)
    c_out = denoiser.coefficients(t)[1][:, 0, -1:]
    want = (denoiser(x, t) - x0) / c_out
    torch.testing.assert_close(denoiser.residual(x, t, x0, eps), want, rtol=1e-7, atol=1e-7)


def test_karras_table() -> None:
    """c_skip, c_out, c_in and c_noise of Karras et al. 2022, table 1, and the loss weight λ."""
    process, network = PROCESSES["edm"](), Answer()
    sd = 0.7
    denoiser = sf.Preconditioned(network, process, P.EDM, sigma_data=sd)
    sigma = torch.tensor([0.002, 0.3, 5.0, 80.0], dtype=F64)
    x = torch.randn(4, 2, dtype=F64)
    network.value = torch.randn(4, 2, dtype=F64)
    s = sigma[:, None]
    want = sd**2 / (s**2 + sd**2) * x + s * sd / (s**2 + sd**2).sqrt() * network.value
    torch.testing.assert_close(denoiser(x, sigma / 80), want)
    assert network.seen is not None
    torch.testing.assert_close(network.seen[0], x / (s**2 + sd**2).sqrt())
    torch.testing.assert_close(network.seen[1], (sigma.log() / 4).float())


def test_edm_loss_is_the_weighted_error_of_the_estimate() -> None:
    """λ(σ)|D - x_0|² with λ = (σ² + σ_d²)/(σ σ_d)² (Karras et al. 2022, eq. 2 and 8)."""
    noise, network, sd = Scripted(), Answer(), 0.5
    process = sf.Scheduled(sf.EDM(), noise)
    denoiser = sf.Preconditioned(network, process, P.EDM, sigma_data=sd)
    x0, z = torch.randn(5, 2, dtype=F64), torch.randn(5, 2, dtype=F64)
    network.value = torch.randn(5, 2, dtype=F64)
    sigma = torch.tensor([0.01, 0.2, 0.5, 3.0, 70.0], dtype=F64)
    noise.play(z)
    loss = sf.denoising_loss(denoiser, x0, sigma / 80)
    weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    error = (denoiser(x0 + sigma[:, None] * z, sigma / 80) - x0).square().mean(1)
    assert loss.shape == (5,)
    torch.testing.assert_close(loss, weight * error)


@each
def test_inputs_have_unit_variance(name: str, predicts: sf.Prediction, mixed: bool) -> None:
    """c_in: with data of variance σ_d², every block that the network sees has variance 1."""
    process = PROCESSES[name]()
    denoiser = sf.Preconditioned(Answer(), process, predicts, sigma_data=0.4, mixed=mixed)
    for t in (0.01, 0.5, 1.0):
        q = process.marginal(t)
        total = 0.16 * q.A @ q.A.mT + q.cov
        c_in = denoiser.coefficients(t)[0]
        got = (c_in @ total @ c_in.mT).diagonal()
        torch.testing.assert_close(got, torch.ones_like(got), rtol=1e-9, atol=0)


class Slope(nn.Module):
    """F = w · input block by block: the right family for one Gaussian with mean 0."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(k, dtype=F64))

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        return x @ self.w[:, None]


@each
def test_the_loss_is_least_at_the_posterior_mean(
    name: str, predicts: sf.Prediction, mixed: bool
) -> None:
    """For Gaussian data: minimise over linear networks, by Gauss-Hermite quadrature and Newton."""
    noise, t, spread = Scripted(), 0.3, 0.6
    process = PROCESSES[name](noise)
    k = process.k
    network = Slope(k)
    denoiser = sf.Preconditioned(network, process, predicts, mixed=mixed)
    nodes, heights = np.polynomial.hermite_e.hermegauss(4)  # exact to degree 7
    mesh = torch.from_numpy(np.stack(np.meshgrid(*[nodes] * (k + 1)), -1).reshape(-1, k + 1))
    weight = torch.ones(len(mesh), dtype=F64)
    for axis in np.meshgrid(*[heights / heights.sum()] * (k + 1)):
        weight = weight * torch.from_numpy(axis.reshape(-1))

    def objective(w: Tensor) -> Tensor:
        noise.play(*[mesh[:, i : i + 1] for i in range(1, k + 1)])
        network.w.data.copy_(w)
        return (weight * sf.denoising_loss(denoiser, spread * mesh[:, :1], t)).sum()

    def slope(w: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(objective(w), network.w)
        return g

    zero, eye = torch.zeros(k, dtype=F64), torch.eye(k, dtype=F64)
    hessian = torch.stack([slope(e) - slope(zero) for e in eye])
    network.w.data.copy_(torch.linalg.solve(hessian, -slope(zero)))
    q = process.marginal(t)
    gain = spread**2 * q.A.mT @ torch.linalg.inv(spread**2 * q.A @ q.A.mT + q.cov)
    x = torch.randn(6, k, dtype=F64)
    torch.testing.assert_close(denoiser(x, t).detach(), x @ gain.T, rtol=1e-8, atol=1e-9)


def test_a_bridge_is_trained_on_its_own_states() -> None:
    """I²SB: the EPSILON network is compared with (x_t - x_0)/σ_t."""
    noise, network = Scripted(), Answer()
    process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian(), noise))
    denoiser = sf.Preconditioned(network, process, P.EPSILON)
    x0, x1, z = (torch.randn(2, 3, dtype=F64) for _ in range(3))
    t = torch.tensor([0.2, 0.7], dtype=F64)
    noise.play(z)
    x_t, _ = process.perturb(x0, t, x1=x1)
    network.value = (x_t - x0) / process.inner.schedule.sigma(t)[:, None]
    noise.play(z)
    loss = sf.denoising_loss(denoiser, x0, t, x1=x1)
    torch.testing.assert_close(loss, torch.zeros(2, dtype=F64), atol=1e-24, rtol=0)
    torch.testing.assert_close(denoiser(x_t, t), x0)


def test_each_sample_has_its_own_noise() -> None:
    """With one generator per sample, a loss does not depend on the batch."""
    process = PROCESSES["cld"]()
    network = Answer()
    network.value = torch.zeros(1, 2, dtype=F64)
    denoiser = sf.Preconditioned(network, process, P.VELOCITY_NOISE)
    x0 = torch.randn(5, 2, dtype=F64)
    t = torch.linspace(0.1, 0.9, 5, dtype=F64)
    whole = sf.denoising_loss(denoiser, x0, t, generator=sf.generators(3, range(5)))
    for i in range(5):
        seeds = sf.generators(3, [i])
        alone = sf.denoising_loss(denoiser, x0[i : i + 1], t[i : i + 1], generator=seeds)
        torch.testing.assert_close(alone[0], whole[i])


def test_the_network_sees_its_own_type() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=torch.bfloat16))

        def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
            assert x.dtype == torch.bfloat16
            assert noise_level.dtype == torch.float32
            assert noise_level.shape == (len(x),)
            return self.scale * x

    denoiser = sf.Preconditioned(Half(), PROCESSES["edm"]())
    assert denoiser(torch.randn(3, 2), 0.1).dtype == torch.float32
    assert list(denoiser.state_dict()) == ["network.scale"]


def test_mix_is_linear_in_every_end() -> None:
    """The preconditioning is affine: doubling state and output doubles the estimate."""
    process, network = PROCESSES["cld"](), Answer()
    denoiser = sf.Preconditioned(network, process, P.VELOCITY_NOISE, mixed=True)
    x, f = torch.randn(3, 4, dtype=F64), torch.randn(3, 2, dtype=F64)
    network.value = f
    one = denoiser(x, 0.4)
    network.value = 2 * f
    torch.testing.assert_close(denoiser(2 * x, 0.4), 2 * one)
    torch.testing.assert_close(one, mix(denoiser.coefficients(0.4)[1], x, f))
