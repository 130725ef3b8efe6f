"""The U-Net: size by formula, independence, conditions, gradients, dtypes, compilation."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sfumato.nn import UNet, UNetConfig

TINY = UNetConfig(
    1, 1, channels=16, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=0, resolution=8
)
VARIANTS = {
    "ddpm": UNetConfig(
        3, 3, channels=16, multipliers=(1, 2), attention=(8,), head_channels=0, resolution=16,
        resample_blocks=False, skip_scale=1.0,
    ),
    "ddpm++": UNetConfig(
        3, 3, channels=16, multipliers=(2, 2, 3), attention=(8,), head_channels=0, resolution=16,
        labels=(10,),
    ),
    "ncsn++": UNetConfig(
        3, 3, channels=16, multipliers=(1, 2, 2), blocks=1, attention=(8,), head_channels=0,
        resolution=16, fir=True, residual_input=True,
    ),
    "adm": UNetConfig(
        3, 6, channels=16, multipliers=(1, 2), attention=(16, 8), head_channels=16, resolution=16,
        labels=(10, 3), skip_scale=1.0,
    ),
    "cheap": UNetConfig(
        2, 1, channels=16, multipliers=(1, 2, 3), blocks=(1, 2, 1), attention=(), resolution=28,
        embedding=5, narrow_upsampling=True,
    ),
    "cheap-plain": UNetConfig(
        1, 1, channels=16, multipliers=(1, 2), blocks=1, attention=(), resolution=8,
        narrow_upsampling=True, resample_blocks=False, fir=True,
    ),
}  # fmt: skip


def awake(config: UNetConfig, seed: int = 0) -> UNet:
    """A network none of whose parameters is zero."""
    torch.manual_seed(seed)
    net = UNet(config)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=1 / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.3)
    return net


def inputs(config: UNetConfig, n: int = 3, seed: int = 1):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, config.in_channels, config.resolution, config.resolution, generator=g)
    level = torch.rand(n, generator=g) * 3.5 - 2
    cond = None
    if config.labels:
        cond = torch.stack([torch.randint(k, (n,), generator=g) for k in config.labels], 1)
    elif config.embedding:
        cond = torch.randn(n, config.embedding, generator=g)
    return x, level, cond


def parameters_by_formula(c: UNetConfig) -> int:
    """The number of parameters, counted from the paper's description of the network."""

    def conv(i, o, k=3):
        return i * o * k * k + o

    modulated = []

    def block(i, o, attends=False):
        modulated.append(o)
        n = 2 * i + conv(i, o) + 2 * o + conv(o, o) + (conv(i, o, 1) if i != o else 0)
        return n + (2 * o + conv(o, 3 * o, 1) + conv(o, o, 1) if attends else 0)

    def change(i, o):
        return block(i, o) if c.resample_blocks else conv(i, o)

    levels = len(c.multipliers)
    blocks = (c.blocks,) * levels if isinstance(c.blocks, int) else c.blocks
    widths = [c.channels * m for m in c.multipliers]
    attends = [c.resolution // 2**i in c.attention for i in range(levels)]
    e = 4 * c.channels
    total = c.channels * e + e + e * e + e  # noise level
    total += e * sum(n + 1 for n in c.labels) + (e * c.embedding + c.embedding)
    total += conv(c.in_channels, widths[0])
    skips, w, image = [widths[0]], widths[0], c.in_channels
    for i in range(levels):
        if i:
            total += change(w, w) + (conv(image, w) if c.residual_input else 0)
            image = w
            skips.append(w)
        for _ in range(blocks[i]):
            total += block(w, widths[i], attends[i])
            w = widths[i]
            skips.append(w)
    total += block(w, w, bool(c.attention)) + block(w, w)
    for i in reversed(range(levels)):
        for _ in range(blocks[i] + 1):
            total += block(w + skips.pop(), widths[i], attends[i])
            w = widths[i]
        if i:
            o = widths[i - 1] if c.narrow_upsampling else w
            total += change(w, o)
            w = o
    total += sum((e + 1) * 2 * o for o in modulated)
    assert not skips
    return total + 2 * w + conv(w, c.out_channels)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_size_shape_and_zero_start(config):
    net = UNet(config)
    assert sum(p.numel() for p in net.parameters()) == parameters_by_formula(config)
    x, level, cond = inputs(config)
    y = net(x, level, cond)
    assert y.shape == (3, config.out_channels, config.resolution, config.resolution)
    assert not y.any(), "the output starts at zero"
    assert all(p.is_contiguous() for p in net.state_dict().values())


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_gradient_reaches_every_parameter(config):
    net = awake(config)
    x, level, cond = inputs(config, n=4)
    if cond is not None and not config.labels:
        net(x, level, None).square().mean().backward()  # the absent vector
    elif config.labels:  # every class of every axis and each null
        n = max(config.labels) + 1
        x, level, _ = inputs(config, n=n)
        cond = torch.stack([torch.arange(n) % (k + 1) for k in config.labels], 1)
    net(x, level, cond).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name
        if name == "conditioning.table":
            assert bool((p.grad.abs().sum(1) > 0).all())


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_a_sample_does_not_depend_on_its_batch(config):
    net = awake(config).eval()
    x, level, cond = inputs(config, n=5)
    with torch.no_grad():
        together = net(x, level, cond)
        for i in range(5):
            one = slice(i, i + 1)
            alone = net(x[one], level[one], None if cond is None else cond[one])
            torch.testing.assert_close(alone, together[one], rtol=1e-5, atol=1e-5)
    assert together.std() > 0.01


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_head_of_features_is_the_output_and_modes_agree(config):
    net = awake(config).double().eval()
    x, level, cond = inputs(config)
    x = x.double()
    kept = x.clone()
    with torch.no_grad():
        features = net.features(x, level, cond)
        y = net(x, level, cond)
    want = net.output(torch.nn.functional.silu(net.norm(features)))
    assert features.shape[2:] == x.shape[2:]
    torch.testing.assert_close(want, y)
    torch.testing.assert_close(net(x, level, cond), y)  # with gradients: other kernels
    assert torch.equal(x, kept)


def test_null_labels_are_no_condition_and_labels_matter():
    config = replace(TINY, labels=(4, 3))
    net = awake(config)
    x, level, _ = inputs(config)
    none = net(x, level, None)
    torch.testing.assert_close(net(x, level, torch.tensor([[4, 3]] * 3)), none)
    some = net(x, level, torch.tensor([[4, 3], [1, 3], [4, 0]]))
    torch.testing.assert_close(some[0], none[0])
    assert (some[1:] - none[1:]).abs().flatten(1).amax(1).min() > 1e-3
    # the same class index on different axes is a different thing
    a, b = net(x, level, torch.tensor([[1, 3]] * 3)), net(x, level, torch.tensor([[4, 1]] * 3))
    assert (a - b).abs().max() > 1e-3


def test_one_axis_takes_flat_labels():
    config = replace(TINY, labels=(4,))
    net = awake(config)
    x, level, _ = inputs(config)
    flat = torch.tensor([0, 3, 4])
    assert torch.equal(net(x, level, flat), net(x, level, flat[:, None]))
    assert torch.equal(net(x, level, flat.int()), net(x, level, flat))


def test_noise_level_matters_over_its_whole_range():
    net = awake(TINY)
    x = inputs(TINY, n=1)[0].expand(8, -1, -1, -1)
    y = net(x, torch.linspace(-2, 1.5, 8)).flatten(1)
    distance = torch.cdist(y, y) + torch.eye(8) * 1e9
    assert distance.min() > 1e-2 * y.norm(dim=1).mean()


def test_a_phase_space_network_has_its_own_input_width():
    config = replace(TINY, in_channels=2)
    x, level, _ = inputs(config)
    assert UNet(config)(x, level).shape == (3, 1, 8, 8)


def test_dropout_only_in_training():
    config = replace(TINY, dropout=0.5)
    net = awake(config)
    x, level, _ = inputs(config)
    assert not torch.equal(net(x, level), net(x, level))
    net.eval()
    assert torch.equal(net(x, level), net(x, level))


@pytest.mark.parametrize("train", [False, True])
def test_bfloat16_is_close_to_float32(train):
    config = VARIANTS["ddpm++"]
    net = awake(config)
    x, level, cond = inputs(config)
    with torch.set_grad_enabled(train):
        want = net(x, level, cond)
        with torch.autocast("cpu", torch.bfloat16):
            got = net(x, level, cond)
        assert got.dtype == torch.float32
        error = (got - want).norm() / want.norm()
        assert 0 < error < 0.03
        low = net.bfloat16()(x.bfloat16(), level, cond)
        assert low.dtype == torch.bfloat16
        assert (low.float() - want).norm() / want.norm() < 0.03


@pytest.mark.slow
def test_compiled_is_eager_without_graph_breaks():
    config = replace(TINY, labels=(3,))
    net = awake(config)
    x, level, cond = inputs(config)
    compiled = torch.compile(net, fullgraph=True, dynamic=False, backend="eager")
    torch.testing.assert_close(compiled(x, level, cond), net(x, level, cond))
    with pytest.raises(IndexError):  # checked by the embedding where Python cannot look
        compiled(x, level, torch.tensor([0, 1, 4]))


BAD_CONFIGS = [
    ({"resolution": 10, "multipliers": (1, 1, 1)}, "divisible by 4.*got 10"),
    ({"attention": (7,)}, r"resolutions of the network, which are \(8, 4\), got \(7,\)"),
    ({"head_channels": 24}, "head_channels=24 and width 32"),
    ({"blocks": (1, 2, 3)}, "one for each of 2 levels"),
    ({"blocks": 0}, "blocks >= 1"),
    ({"multipliers": ()}, "multipliers >= 1"),
    ({"channels": 3}, "channels even and at least 4, got 3"),
    ({"labels": (0,)}, r"at least one class per label axis, got \(0,\)"),
    ({"labels": (2,), "embedding": 3}, "labels or an embedding, got both"),
    ({"dropout": 1.0}, "0 <= dropout < 1, got 1.0"),
    ({"skip_scale": 0.0}, "skip_scale > 0"),
    ({"in_channels": 0}, "in_channels >= 1, got 0"),
    ({"embedding": -1}, "embedding >= 0"),
    ({"head_channels": -1}, "head_channels >= 0"),
]


@pytest.mark.parametrize("change, message", BAD_CONFIGS, ids=[m for _, m in BAD_CONFIGS])
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_lists_from_json_become_tuples():
    config = replace(TINY, multipliers=[1, 2], blocks=[1, 1], attention=[4], labels=[2])
    assert config == replace(TINY, blocks=(1, 1), labels=(2,))
    hash(config)


def test_bad_inputs_are_refused():
    net = UNet(replace(TINY, labels=(4, 3)))
    x, level = torch.zeros(2, 1, 8, 8), torch.zeros(2)
    for bad, message in [
        (torch.zeros(2, 3, 8, 8), r"shape \(B, 1, 8, 8\), got \(2, 3, 8, 8\)"),
        (torch.zeros(2, 1, 8, 9), r"got \(2, 1, 8, 9\)"),
        (torch.zeros(1, 8, 8), r"got \(1, 8, 8\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            net(bad, level)
    with pytest.raises(ValueError, match=r"noise_level of shape \(2,\), got \(1,\)"):
        net(x, level[:1])
    for bad, message in [
        (torch.tensor([[0, 0], [0, 4]]), r"0\.\.3 on axis 1 \(3 = no label\), got 4 for sample 1"),
        (torch.tensor([[-1, 0], [0, 0]]), r"0\.\.4 on axis 0 .* got -1 for sample 0"),
        (torch.tensor([0, 0]), r"labels of shape \(2, 2\), .* got \(2,\)"),
        (torch.tensor([[0, 0]]), r"labels of shape \(2, 2\), .* got \(1, 2\)"),
        (torch.zeros(2, 2), "expected integer labels, got torch.float32"),
    ]:
        with pytest.raises(ValueError, match=message):
            net(x, level, bad)
    with pytest.raises(ValueError, match="expected cond=None"):
        UNet(TINY)(x, level, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"float condition of shape \(2, 5\), got .*int64 \(2,\)"):
        UNet(replace(TINY, embedding=5))(x, level, torch.tensor([0, 1]))
