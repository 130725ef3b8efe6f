"""The derivative along the flow against closed forms, differences, and through every network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES
from ring import Ring
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.schedule import Time, as_time
from sfumato.systems.genie.derivative import (
    ExactDerivative,
    LearnedDerivative,
    Target,
    along,
    derivative_loss,
    gamma,
    noise_estimate,
)
from sfumato.systems.genie.head import DerivativeHead

SCHEDULED = ["vp", "cosine", "ve", "edm", "flow"]
MIDDLE = {"edm": 0.01, "ve": 0.5}
"""A time at which the state holds both data and noise."""


class Normal(sf.Denoiser):
    """Data N(0, s²), for any schedule; s = 0 is a point mass at 0."""

    def __init__(self, process: sf.Process, s: float) -> None:
        super().__init__()
        self.process, self.s = process, s

    def forward(self, x_t, t, cond=None, generator=None):
        t = as_time(t).reshape(-1, 1)
        alpha, sigma = self.process.schedule.alpha(t), self.process.schedule.sigma(t)
        return alpha * self.s**2 / (alpha.square() * self.s**2 + sigma.square()) * x_t


def state(denoiser: sf.Denoiser, t: Time, n: int = 6) -> Tensor:
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    return denoiser.process.perturb(x0, t, torch.Generator().manual_seed(2))[0]


@pytest.mark.parametrize("name", SCHEDULED)
@pytest.mark.parametrize("s", [0.0, 0.5, 3.0])
def test_gaussian_data_in_closed_form(name: str, s: float) -> None:
    """d_γ ε = x̄ s²/(s² + γ²)², and 0 for a point mass."""
    denoiser = Normal(PROCESSES[name](), s)
    for t in (MIDDLE.get(name, 0.3), torch.linspace(0.01, 0.9, 6, dtype=F64)):
        x = state(denoiser, t)
        x0, got = ExactDerivative(denoiser).with_derivative(x, t)
        g = gamma(denoiser.process, as_time(t).reshape(-1, 1))
        bar = x / denoiser.process.schedule.alpha(as_time(t)).reshape(-1, 1)
        want = bar * s**2 / (s**2 + g.square()).square()
        torch.testing.assert_close(x0, denoiser(x, t))
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULED)
def test_equals_differences_in_the_plane_of_scaled_state_and_gamma(name: str) -> None:
    """d_γ ε(x̄, γ) by a central difference of step 1e-5 in (x̄, γ), which knows of no time."""
    denoiser = Ring(PROCESSES[name]())
    process, t = denoiser.process, torch.tensor(MIDDLE.get(name, 0.4), dtype=F64)
    x = state(denoiser, t)

    def eps(bar: Tensor, g: Tensor) -> Tensor:
        at = process.schedule.time(-2 * g.log())
        x_t = bar * process.schedule.alpha(at)
        return noise_estimate(process, at, x_t, denoiser(x_t, at))

    g, bar = gamma(process, t), x / process.schedule.alpha(t)
    h = 1e-5 * g
    slope = eps(bar, g)
    want = (eps(bar + h * slope, g + h) - eps(bar - h * slope, g - h)) / (2 * h)
    got = ExactDerivative(denoiser).with_derivative(x, t)[1]
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6 * float(want.abs().max()))


@pytest.mark.parametrize("name", SCHEDULED)
def test_the_difference_along_the_flow_is_the_derivative(name: str) -> None:
    denoiser = Ring(PROCESSES[name]())
    t = MIDDLE.get(name, 0.4)
    x = state(denoiser, t)
    x0, want = ExactDerivative(denoiser).with_derivative(x, t)
    errors = [float((along(denoiser, x, t, x0, h=h) - want).norm()) for h in (0.04, 0.02, 0.01)]
    assert errors[-1] < 1e-3 * float(want.norm())
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    "predicts",
    [p for p in sf.Prediction if p is not sf.Prediction.VELOCITY_NOISE],
    ids=lambda p: p.value,
)
@pytest.mark.parametrize("name", ["vp", "edm"])
def test_runs_through_a_perceptron_whatever_it_predicts(name: str, predicts: sf.Prediction) -> None:
    torch.manual_seed(0)
    network = MLP(MLPConfig(width=16, blocks=1, labels=(3,))).double()
    torch.nn.init.normal_(network.output.weight, std=0.3)
    denoiser = sf.Preconditioned(network, PROCESSES[name](), predicts)
    t = torch.full((6,), MIDDLE.get(name, 0.4), dtype=F64)
    x, label = state(denoiser, t), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        x0, got = ExactDerivative(denoiser).with_derivative(x, t, label)
        want = along(denoiser, x, t, x0, label, h=0.004)
    assert float((got - want).norm()) < 5e-3 * float(want.norm())  # it is told float32 levels


def unet() -> UNet:
    torch.manual_seed(0)
    net = UNet(
        UNetConfig(2, 2, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=8,
                   resolution=8, labels=(3,), fir=True)
    )  # fmt: skip
    for p in net.parameters():  # no weight stays zero
        torch.nn.init.normal_(p, std=0.15) if p.ndim > 1 else None
    return net


@pytest.mark.parametrize("grad", [False, True])
def test_runs_through_the_unet(grad: bool) -> None:
    denoiser = sf.Preconditioned(unet(), PROCESSES["edm"]())
    x = torch.randn(4, 2, 8, 8)
    t, label = torch.full((4,), 0.01, dtype=F64), torch.tensor([0, 1, 2, 3])
    with torch.set_grad_enabled(grad):
        x0, got = ExactDerivative(denoiser).with_derivative(x, t, label)
    with torch.no_grad():
        want = along(denoiser, x, t, x0, label, h=0.004)
        assert float((got - want).norm()) < 5e-3 * float(want.norm())


def test_what_has_no_gamma_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a scheduled process"):
        ExactDerivative(Normal(PROCESSES["cld"](), 1.0))
    exact = ExactDerivative(Normal(PROCESSES["cosine"](), 1.0))
    with pytest.raises(ValueError, match="infinite at t = 1"):
        exact.with_derivative(torch.zeros(1, 2, dtype=F64), 1.0)


def learned(width: int = 8) -> LearnedDerivative:
    network = unet()
    denoiser = sf.Preconditioned(network, PROCESSES["edm"](), sigma_data=0.7)
    return LearnedDerivative(denoiser, DerivativeHead(network, width))


def test_a_fresh_head_predicts_zero_and_shares_the_evaluation() -> None:
    denoiser = learned()
    calls = []
    denoiser.network.input.register_forward_hook(lambda *_: calls.append(1))
    x, t = torch.randn(3, 2, 8, 8), torch.full((3,), 0.02, dtype=F64)
    x0, slope = denoiser.with_derivative(x, t, torch.tensor([0, 1, 2]))
    assert len(calls) == 1
    assert not slope.any()
    torch.testing.assert_close(x0, denoiser(x, t, torch.tensor([0, 1, 2])))


@pytest.mark.parametrize("published", [False, True])
def test_the_loss_is_the_weighted_square_of_the_error(published: bool) -> None:
    """With a fresh head k = 0, so the loss is w γ² |d_γ ε̂|²/d, with w = 25 (1 + g²) or 1."""
    denoiser = learned()
    x0 = torch.rand(3, 2, 8, 8) * 2 - 1
    t, label = torch.tensor([0.001, 0.01, 0.2], dtype=F64), torch.tensor([0, 1, 2])
    loss = derivative_loss(
        denoiser, x0, t, cond=label, generator=sf.generator(0), published=published
    )
    x_t, _ = denoiser.process.perturb(x0, t, sf.generator(0))
    slope = ExactDerivative(denoiser.backbone).with_derivative(x_t, t, label)[1]
    g = 80 * t
    weight = g.square() * (1 if published else 25 * (1 + (g / 0.7).square()))
    want = weight.float() * slope.square().flatten(1).mean(1)
    torch.testing.assert_close(loss, want, rtol=1e-3, atol=1e-6)


def test_only_the_head_learns_and_it_learns_the_derivative() -> None:
    """A perceptron's head reaches less than a fifth of the loss of predicting nothing."""
    torch.manual_seed(0)
    network = MLP(MLPConfig(width=16, blocks=1))
    torch.nn.init.normal_(network.output.weight, std=0.3)
    backbone = sf.Preconditioned(network, PROCESSES["vp"](), sf.Prediction.V, sigma_data=1.0)
    denoiser = LearnedDerivative(backbone, DerivativeHead(network, 32))
    before = [p.clone() for p in network.parameters()]
    optimizer = torch.optim.Adam((p for p in denoiser.parameters() if p.requires_grad), 5e-3)
    denoiser.train()
    assert not backbone.training
    losses = []
    for step in range(150):
        seed = sf.generator(0, step)
        x0 = torch.randn(64, 2, generator=seed)
        t = sf.LogNormal(0.0, 1.0).draw(backbone.process, 64, seed)
        loss = derivative_loss(denoiser, x0, t, generator=seed, target=Target.DIFFERENCE).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-20:]) < 0.2 * sum(losses[:5]) * 4
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_the_head_is_small() -> None:
    """At most 5 % of the parameters of the networks that are shipped."""
    network = UNet(
        UNetConfig(3, 3, channels=16, multipliers=(1, 2, 6), blocks=(1, 1, 2), attention=(8,),
                   head_channels=0, resolution=32, resample_blocks=False)
    )  # fmt: skip
    share = sum(p.numel() for p in DerivativeHead(network).parameters()) / sum(
        p.numel() for p in network.parameters()
    )
    assert 0.01 < share < 0.05


def test_a_network_without_features_is_refused() -> None:
    denoiser = sf.Preconditioned(torch.nn.Identity(), PROCESSES["edm"]())
    head = DerivativeHead(MLP(MLPConfig()))
    with pytest.raises(ValueError, match="UNet or an MLP, got Identity"):
        LearnedDerivative(denoiser, head)
