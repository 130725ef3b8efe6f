"""An ε-network that was trained on x_t itself and is told a step of 1,000, as diffusers' are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sfumato as sf
from analytic import F64
from sfumato.solve import DDIM

SCHEDULE = sf.VPLinear()


class Told(nn.Module):
    """Calls a network by diffusers' convention, ``network(x_t, step)``, from our noise level."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        time = SCHEDULE.time(-8 * level.double())  # level = ln(σ/α)/4 = -λ/8
        return self.network(x, 1000 * time - 1)


class Theirs(nn.Module):
    """Some ε(x_t, step), which keeps what it saw."""

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        self.x, self.step = x, step
        return torch.tanh(x) * (1 + step[:, None].to(x) / 1000)


def test_ddim_of_a_network_without_input_scaling() -> None:
    """Against the published step, x' = √ᾱ' x̂_0 + √(1 - ᾱ') ε, on the cumulated ᾱ."""
    network = Theirs()
    process = sf.Scheduled(SCHEDULE)
    denoiser = sf.Preconditioned(Told(network), process, sf.Prediction.EPSILON, scale_input=False)
    steps = torch.tensor([799, 399, 49])
    times = (steps + 1).double() / 1000
    x = process.prior_sample((4, 2), sf.generator(0), t=times[0], dtype=F64)
    got = sf.sample(denoiser, DDIM(), times, x).x
    bar = (-SCHEDULE.integral(times)).exp()
    want = x
    for i in range(2):
        eps = network(want, steps[i].expand(4))
        x0 = (want - (1 - bar[i]).sqrt() * eps) / bar[i].sqrt()
        want = bar[i + 1].sqrt() * x0 + (1 - bar[i + 1]).sqrt() * eps
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)  # a step is told in float32
    denoiser(x, float(times[0]))
    assert torch.equal(network.x, x)
    torch.testing.assert_close(network.step, torch.full((4,), 799.0, dtype=F64), atol=1e-2, rtol=0)
    scaled = sf.Preconditioned(Told(network), process, sf.Prediction.EPSILON)
    scaled(x, float(times[0]))
    assert not torch.equal(network.x, x)
