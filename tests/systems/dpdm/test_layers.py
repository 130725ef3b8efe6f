"""Every record's own gradient where a network does what ours do not, and where precision is low."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sfumato.denoise import Preconditioned
from sfumato.loss import denoising_loss
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.process import Scheduled
from sfumato.schedule import EDM
from sfumato.seeds import generators
from sfumato.systems.dpdm import layers
from sfumato.systems.dpdm.coupling import can_be_watched
from sfumato.systems.dpdm.per_example import agree, per_example_gradients
from sfumato.train import Microbatch, standard_loss

Losses = Callable[[int, int], Tensor]


def defined(losses: Losses, records: int, draws: int, parameters: list) -> Tensor:
    """The definition, a graph for each record: (records, all coordinates)."""
    rows = []
    for i in range(records):
        found = torch.autograd.grad(
            losses(i, i + 1).sum() / draws, parameters, allow_unused=True, materialize_grads=True
        )
        rows.append(torch.cat([g.flatten() for g in found]).double())
    return torch.stack(rows)


def furthest(losses: Losses, records: int, draws: int, parameters: list) -> float:
    """Largest distance of a record's gradient from its definition, relative to its norm."""
    made, values = per_example_gradients(losses, records, draws, parameters)
    assert all(g.shape == (records, *p.shape) for g, p in zip(made, parameters, strict=True))
    got = torch.cat([g.flatten(1).double() for g in made], 1)
    want = defined(losses, records, draws, parameters)
    assert float(want.norm(dim=1).min()) > 0
    assert torch.allclose(values.double(), losses(0, records).detach().double(), rtol=1e-2)
    return float(((got - want).norm(dim=1) / want.norm(dim=1)).max())


def denoising(
    network: nn.Module,
    shape: tuple[int, ...],
    labels: tuple[int, ...],
    records: int,
    draws: int,
    dtype: torch.dtype = torch.float64,
    other: int = -1,
    low: bool = False,
) -> tuple[Losses, list]:
    """The loss of made-up records with disturbed weights; record ``other`` is another one."""
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    denoiser = Preconditioned(network.to(dtype), Scheduled(EDM()))
    x = torch.randn(records, *shape, generator=g)
    t = torch.rand(records * draws, generator=g, dtype=torch.float64) * 0.1 + 1e-3
    cond = torch.zeros(records, len(labels), dtype=torch.int64)
    for axis, n in enumerate(labels):
        cond[:, axis] = torch.randint(0, n + 1, (records,), generator=g)
    if other >= 0:
        x[other] += 3.0
        cond[other] = 0
    x, cond = x.to(dtype).repeat_interleave(draws, 0), cond.repeat_interleave(draws, 0)

    def losses(first: int, last: int) -> Tensor:
        here = slice(first * draws, last * draws)
        noise = generators(1, range(first * draws, last * draws))
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return denoising_loss(
                denoiser, x[here], t[here], cond=cond[here] if labels else None, generator=noise
            )

    return losses, list(denoiser.parameters())


@settings(max_examples=15, deadline=None)
@given(
    width=st.sampled_from([4, 6, 32]),
    blocks=st.integers(1, 3),
    features=st.integers(1, 5),
    labels=st.sampled_from([(), (3,), (2, 4)]),
    records=st.integers(1, 4),
    draws=st.sampled_from([1, 2, 4, 16]),
)
def test_points(width, blocks, features, labels, records, draws) -> None:
    network = MLP(MLPConfig(features, features, width=width, blocks=blocks, labels=labels))
    losses, parameters = denoising(network, (features,), labels, records, draws)
    assert furthest(losses, records, draws, parameters) < 1e-11


@settings(max_examples=10, deadline=None)
@given(
    side=st.sampled_from([(1, 4), (1, 8), (2, 8), (4, 16)]),
    attention=st.booleans(),
    labels=st.sampled_from([(), (3,), (2, 4)]),
    fir=st.booleans(),
    resample=st.booleans(),
    channels=st.sampled_from([1, 3]),
    records=st.sampled_from([1, 3]),
    draws=st.sampled_from([1, 3, 8]),
)
def test_images(side, attention, labels, fir, resample, channels, records, draws) -> None:
    patch, resolution = side
    inside = resolution // patch // 2
    config = UNetConfig(
        channels, channels, channels=4, multipliers=(1, 2), blocks=1, patch=patch, fir=fir,
        attention=(inside,) if attention else (), head_channels=0, resolution=resolution,
        labels=labels, resample_blocks=resample,
    )  # fmt: skip
    shape = (channels, resolution, resolution)
    losses, parameters = denoising(UNet(config), shape, labels, records, draws)
    assert furthest(losses, records, draws, parameters) < 1e-11


IMAGES = UNetConfig(
    1, 1, channels=16, multipliers=(1, 2), blocks=1, attention=(7,), head_channels=0,
    resolution=28, labels=(3,), resample_blocks=False, patch=2,
)  # fmt: skip


@pytest.mark.parametrize("draws", [1, 8])
def test_a_whole_network_in_bfloat16(draws: int) -> None:
    """As a private run computes it: float32 weights, autocast, within bfloat16's rounding."""
    torch.manual_seed(0)
    losses, parameters = denoising(
        UNet(IMAGES), (1, 28, 28), (3,), 3, draws, torch.float32, low=True
    )
    assert furthest(losses, 3, draws, parameters) < 2e-2


@pytest.mark.parametrize("draws", [1, 3, 8])
def test_another_record_does_not_change_a_bit(draws: int) -> None:
    torch.manual_seed(0)
    found = []
    for other in (-1, 1):
        torch.manual_seed(0)
        losses, parameters = denoising(
            UNet(IMAGES), (1, 28, 28), (3,), 4, draws, torch.float32, other
        )
        found.append(per_example_gradients(losses, 4, draws, parameters)[0])
    for a, b in zip(*found, strict=True):
        assert all(torch.equal(a[i], b[i]) for i in (0, 2, 3))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(*found))


@pytest.mark.parametrize(
    ("draws", "side", "dtype", "way"),
    [
        (1, 8, torch.float32, "_unfolded"),
        (1, 9, torch.float32, "_grouped"),
        (7, 20, torch.bfloat16, "_unfolded"),
        (7, 21, torch.bfloat16, "_grouped"),
        (8, 8, torch.float32, None),
        (8, 21, torch.bfloat16, None),
    ],
)
@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
def test_every_way_through_a_convolution(draws, side, dtype, way, padding, monkeypatch) -> None:
    """Which way is taken, and that it is right; padding of each side, kernels not square."""
    torch.manual_seed(0)
    taken = set()
    for name in ("_unfolded", "_grouped"):
        real = getattr(layers, name)
        monkeypatch.setattr(
            layers, name, lambda *a, name=name, real=real: (taken.add(name), real(*a))[1]
        )
    layer = nn.Conv2d(3, 5, (3, 2), padding=padding)
    x = torch.randn(3 * draws, 3, side, side)

    def losses(first: int, last: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(x[first * draws : last * draws])
        return y.float().square().mean((1, 2, 3))

    limit = 1e-5 if dtype == torch.float32 else 2e-2
    assert furthest(losses, 3, draws, list(layer.parameters())) < limit
    assert taken == ({way} if way else set())


class Unusual(nn.Module):
    """A small network that uses its weights in a way of which ``what`` tells."""

    def __init__(self, what: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.what = what
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, 2)
        self.gain = nn.Parameter(torch.randn(6))
        self.convolution = nn.Conv2d(1, 6, 3, padding=1)
        self.line = nn.Conv1d(2, 3, 3, padding=1)
        self.slope = nn.PReLU()
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))
        self.places, self.padded = nn.Embedding(6, 6), nn.Embedding(4, 6, padding_idx=0)
        self.norm, self.grouped = nn.LayerNorm(6), nn.GroupNorm(2, 6)
        self.heads = nn.MultiheadAttention(6, 2, batch_first=True)
        self.register_buffer("table", torch.randn(6, 6))

    def forward(self, x: Tensor, level: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        h = self.first(x)
        ways: dict[str, Callable[[], Tensor]] = {
            "number times a weight": lambda: F.linear(h, 0.5 * self.second.weight),
            "weight times a number": lambda: F.linear(h, self.second.weight * 0.5),
            "sum of weights": lambda: F.linear(h, self.second.weight + self.normed.weight),
            "weight norm": lambda: self.normed(h),
            "matrix product": lambda: h @ self.second.weight.T + self.second.bias,
            "multi-head attention": lambda: self.heads(h[:, None].tanh(), h[:, None], h[:, None])[
                0
            ][:, 0],
            "one-dimensional": lambda: self.line(h.view(-1, 2, 3)).flatten(1)[:, :6],
            "prelu": lambda: self.slope(h),
            "group norm of a vector": lambda: self.grouped(h),
            "padded embedding": lambda: h + self.padded((x > 0).sum(1)),
            "embedding of each draw": lambda: h * self.places((x > 0).sum(1)),
            "embedding of several": lambda: h * self.places((x > 0).long()).sum(1),
            "used twice": lambda: self.second(self.second(h).tanh()),
            "both known and not": lambda: self.second(h) * self.second.bias,
            "frozen": lambda: self.second(h),
            "two axes": lambda: self.second(torch.stack([h, h.sin(), h.cos()], 1)).sum(1),
            "scaled, then multiplied": lambda: h * (self.gain * 0.5),
            "scaled twice": lambda: F.linear(h, (self.second.weight * 0.5) * 3.0),
            "scaled, padding by name": lambda: F.conv2d(
                h.view(-1, 1, 2, 3), self.convolution.weight * 0.5, padding="same"
            ).flatten(1)[:, :6],
            "in place": lambda: h.relu_() + 0.1 * x.sum(1, keepdim=True),
            "records second": lambda: self.second(
                torch.stack([h, h * 2, h * h, h + 1, h.sin(), h.cos()]).tanh()
            ).sum(0),
            "places": lambda: h * self.places(torch.arange(6)).sum(0),
            "a table through a layer": lambda: h * self.second(self.table).sum(0),
            "a table through a norm": lambda: h * self.norm(self.table).sum(0),
        }
        return self.last(ways[self.what]())


def unusual(what: str, records: int, draws: int) -> float:
    network = Unusual(what).double()
    if what == "frozen":
        network.second.requires_grad_(False)
    x = torch.randn(records * draws, 2, dtype=torch.float64)

    def losses(first: int, last: int) -> Tensor:
        return network(x[first * draws : last * draws]).tanh().square().sum(1)

    return furthest(losses, records, draws, [p for p in network.parameters() if p.requires_grad])


@pytest.mark.parametrize("draws", [1, 2, 8])
@pytest.mark.parametrize(
    "what",
    [
        "number times a weight",
        "weight times a number",
        "sum of weights",
        "weight norm",
        "matrix product",
        "multi-head attention",
        "one-dimensional",
        "prelu",
        "group norm of a vector",
        "padded embedding",
        "embedding of each draw",
        "embedding of several",
        "used twice",
        "both known and not",
        "frozen",
        "two axes",
    ],
)
def test_unusual_uses_of_a_weight(what: str, draws: int) -> None:
    assert unusual(what, 3, draws) < 1e-12
    assert unusual(what, 1, draws) < 1e-12


@pytest.mark.parametrize(
    "what", ["scaled, then multiplied", "scaled twice", "scaled, padding by name"]
)
def test_a_scaled_weight_used_otherwise(what: str) -> None:
    assert unusual(what, 3, 2) < 1e-12


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize(
    "what",
    [
        "records second",
        "places",
        "a table through a layer",
        "a table through a norm",
        "in place",
        "two axes",
        "weight norm",
    ],
)
def test_the_door_knows_where_records_are_not_the_first_axis(what: str, draws: int) -> None:
    """A gradient that goes to another record is not clipped with its own: such are found out."""
    network = Unusual(what).double()
    x = torch.randn(2 * draws, 2, dtype=torch.float64)

    def losses(first: int, last: int) -> Tensor:
        return network(x[first * draws : last * draws]).tanh().square().sum(1)

    right = agree(losses, 2, draws, list(network.parameters()))
    assert right == (what in ("two axes", "weight norm"))


class Modulated(nn.Module):
    """A kernel for each example, all of them in one convolution of as many groups."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.style = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Linear(1, 4)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        n, *_, height, width = x.shape
        style = 1 + self.style(x.mean((2, 3)))
        kernels = (self.kernel * style.view(n, 4, 1, 1, 1)).view(n * 4, 1, 3, 3)
        h = F.conv2d(x.view(1, n, height, width), kernels, padding=1, groups=n)
        return self.last(h.view(n, 4, height, width))


def test_the_door_knows_a_kernel_for_each_example() -> None:
    denoiser = Preconditioned(Modulated(), Scheduled(EDM()))
    assert not can_be_watched(denoiser, standard_loss, (1, 4, 4), None)


def test_the_door_asks_the_loss_that_is_trained_with() -> None:
    """A loss that looks at other examples is found out, even where its gradient does not."""
    denoiser = Preconditioned(MLP(MLPConfig(2, 2, width=8, blocks=1)), Scheduled(EDM()))

    def relative(denoiser: nn.Module, part: Microbatch) -> Tensor:
        losses = standard_loss(denoiser, part)
        return losses / losses.mean().detach()

    assert can_be_watched(denoiser, standard_loss, (2,), None)
    assert not can_be_watched(denoiser, relative, (2,), None)
