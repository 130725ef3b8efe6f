"""Every record's own gradient, against one backward pass for each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.denoise import Preconditioned
from sfumato.loss import denoising_loss
from sfumato.nn import UNet, UNetConfig
from sfumato.process import Scheduled
from sfumato.schedule import EDM
from sfumato.seeds import generators
from sfumato.systems.dpdm import per_example
from sfumato.systems.dpdm.per_example import per_example_gradients


def disturbed(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return network.to(dtype)


def one_by_one(losses, records: int, draws: int, parameters: list) -> list[Tensor]:
    """The definition: g_i = ∇ mean over its own draws, a fresh graph for each."""
    rows = []
    for i in range(records):
        mean = losses(i, i + 1).sum() / draws
        found = torch.autograd.grad(mean, parameters, allow_unused=True)
        rows.append([torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)])
    return [torch.stack(column) for column in zip(*rows)]


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Largest relative distance over records, of all parameters together."""
    worst = 0.0
    for i in range(len(a[0])):
        apart = sum(float((x[i].double() - y[i].double()).square().sum()) for x, y in zip(a, b))
        whole = sum(float(y[i].double().square().sum()) for y in b)
        worst = max(worst, (apart / max(whole, 1e-30)) ** 0.5)
    return worst


def diffusion(network, shape, labels, records, draws, dtype=torch.float32, seed=0):
    """The denoising loss of made-up records, with labels if the network has axes."""
    denoiser = Preconditioned(disturbed(network, dtype), Scheduled(EDM()))
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(records, *shape, generator=g).to(dtype).repeat_interleave(draws, 0)
    t = torch.rand(records * draws, generator=g, dtype=torch.float64) * 0.1 + 1e-3
    cond = None
    if labels:
        columns = [torch.randint(0, n + 1, (records,), generator=g) for n in labels]
        cond = torch.stack(columns, 1).repeat_interleave(draws, 0)

    def losses(low: int, high: int) -> Tensor:
        here = slice(low * draws, high * draws)
        noise = generators(seed, range(low * draws, high * draws))
        c = None if cond is None else cond[here]
        return denoising_loss(denoiser, x[here], t[here], cond=c, generator=noise)

    return losses, list(denoiser.parameters())


unets = st.builds(
    UNetConfig,
    st.just(1),
    st.just(1),
    channels=st.sampled_from([4, 8, 16]),
    multipliers=st.sampled_from([(1,), (1, 2), (2, 1)]),
    blocks=st.integers(1, 2),
    attention=st.sampled_from([(), (8,)]),
    head_channels=st.sampled_from([0, 4]),
    resolution=st.just(8),
    labels=st.sampled_from([(), (3,), (3, 2)]),
    fir=st.booleans(),
    resample_blocks=st.booleans(),
    residual_input=st.booleans(),
    narrow_upsampling=st.booleans(),
    skip_scale=st.sampled_from([1.0, 0.5**0.5]),
)


@pytest.mark.parametrize("draws", [1, 4, 16])
@settings(max_examples=12, deadline=None)
@given(config=unets, seed=st.integers(0, 99))
def test_random_networks(draws: int, config: UNetConfig, seed: int) -> None:
    torch.manual_seed(seed)
    losses, parameters = diffusion(UNet(config), (1, 8, 8), config.labels, 3, draws, seed=seed)
    got, values = per_example_gradients(losses, 3, draws, parameters)
    assert distance(got, one_by_one(losses, 3, draws, parameters)) < 1e-5
    assert torch.allclose(values, losses(0, 3), atol=1e-5)


@pytest.mark.parametrize("draws", [1, 4, 16])
@pytest.mark.parametrize("patch", [1, 2])
def test_in_double_precision_nothing_is_left(draws: int, patch: int) -> None:
    config = UNetConfig(
        1, 1, channels=8, multipliers=(1, 2), blocks=1, attention=(8 // patch // 2,),
        head_channels=0, resolution=8, labels=(3,), patch=patch, resample_blocks=False,
    )  # fmt: skip
    losses, parameters = diffusion(UNet(config), (1, 8, 8), (3,), 3, draws, torch.float64)
    got, _ = per_example_gradients(losses, 3, draws, parameters)
    assert distance(got, one_by_one(losses, 3, draws, parameters)) < 1e-12


class Odd(nn.Module):
    """What our networks do not have: strides, dilation, groups, shared and stray weights."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.a = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.b = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.c = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)
        self.norm = nn.LayerNorm(8)
        self.group = nn.GroupNorm(2, 4)
        self.shared = nn.Linear(4, 4)
        self.stray = nn.Parameter(torch.randn(4))
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.b(torch.tanh(self.a(x)))
        h = self.norm(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        h = self.group(torch.tanh(self.c(h))).mean((2, 3))
        h = self.shared(torch.tanh(self.shared(h)))
        if self.what == "stray":
            h = h * self.stray
        if self.what == "unit":
            h = F.linear(h, F.normalize(self.shared.weight))  # computed from a parameter
        return h.square().sum(1)


@pytest.mark.parametrize("what", ["plain", "stray", "unit"])
@pytest.mark.parametrize("draws", [1, 3, 9])
def test_what_our_networks_do_not_have(what: str, draws: int, monkeypatch) -> None:
    network = Odd(what).double()
    x = torch.randn(4 * draws, 4, 8, 8, dtype=torch.float64)

    def losses(low: int, high: int) -> Tensor:
        return network(x[low * draws : high * draws])

    slow = []
    whole = per_example.one_at_a_time
    monkeypatch.setattr(per_example, "one_at_a_time", lambda *a: (slow.append(1), whole(*a))[1])
    got, _ = per_example_gradients(losses, 4, draws, list(network.parameters()))
    want = one_by_one(losses, 4, draws, list(network.parameters()))
    assert distance(got, want) < 1e-12
    assert bool(slow) == (what == "stray")  # noticed, and done the other way
    assert float(got[[n for n, _ in network.named_parameters()].index("unused")].abs().max()) == 0


@pytest.mark.parametrize("draws", [1, 8])
@pytest.mark.parametrize("side", [4, 12, 28])
def test_each_way_through_a_convolution_in_both_precisions(draws: int, side: int) -> None:
    """Unfolded, grouped, and one call a record; float32, and bfloat16 within its rounding."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 5, 3, padding=1)
    )
    x = torch.randn(3 * draws, 3, side, side).contiguous(memory_format=torch.channels_last)
    for low, limit in ((False, 1e-5), (True, 2e-2)):

        def losses(a: int, b: int, low: bool = low) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                y = network(x[a * draws : b * draws])
            return y.float().square().mean((1, 2, 3))

        got, _ = per_example_gradients(losses, 3, draws, list(network.parameters()))
        want = one_by_one(losses, 3, draws, list(network.parameters()))
        assert distance(got, want) < limit, (low, side, draws)


def test_losses_of_another_number_are_refused() -> None:
    layer = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"expected 3 x 2 losses in one axis, got \(3,\)"):
        per_example_gradients(
            lambda a, b: layer(torch.ones(3, 2))[:, 0], 3, 2, list(layer.parameters())
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("draws", [1, 8])
def test_on_a_gpu(draws: int) -> None:
    config = UNetConfig(
        1, 1, channels=16, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=0,
        resolution=8, labels=(3,), resample_blocks=False,
    )  # fmt: skip
    network = UNet(config)
    network = disturbed(network).cuda()
    x = torch.randn(3 * draws, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x, level = x.cuda(), torch.linspace(-1, 1, 3 * draws).cuda()
    cond = torch.arange(3).repeat_interleave(draws).cuda()

    def on_gpu(low: int, high: int) -> Tensor:
        here = slice(low * draws, high * draws)
        return network(x[here], level[here], cond[here]).square().mean((1, 2, 3))

    got, _ = per_example_gradients(on_gpu, 3, draws, list(network.parameters()))
    assert distance(got, one_by_one(on_gpu, 3, draws, list(network.parameters()))) < 1e-4
