"""The parts of the networks against explicit formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from sfumato.nn import best_dtype
from sfumato.nn.attention import Attention, attend, attend_explicitly
from sfumato.nn.blocks import Resample, ResidualBlock
from sfumato.nn.dispatch import explicit_attention
from sfumato.nn.norm import GroupNorm, groups_for, scaled_conv, scaled_linear
from sfumato.nn.resample import downsample, upsample, upsample_convolve

FIR = np.array([1.0, 3.0, 3.0, 1.0])


@pytest.mark.parametrize("side", [4, 6, 28])
def test_fir_downsampling_is_the_explicit_convolution(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    # y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8, zeros outside
    p = F.pad(x, (1, 1, 1, 1))
    rows = sum(w * p[:, :, k : k + side : 2] for k, w in enumerate(FIR / 8))
    want = sum(w * rows[..., k : k + side : 2] for k, w in enumerate(FIR / 8))
    torch.testing.assert_close(downsample(x, fir=True), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [2, 5, 14])
def test_fir_upsampling_is_scipys_upfirdn(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    got = upsample(x, fir=True)
    assert got.shape == (2, 3, 2 * side, 2 * side)
    for b in range(2):
        for c in range(3):
            full = scipy.signal.upfirdn(FIR / 4, x[b, c].numpy(), up=2, axis=0)
            full = scipy.signal.upfirdn(FIR / 4, full, up=2, axis=1)
            want = full[1 : 2 * side + 1, 1 : 2 * side + 1]
            np.testing.assert_allclose(got[b, c].numpy(), want, rtol=0, atol=1e-12)


def test_fir_up_is_four_times_the_transpose_of_down():
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    y = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    left = (downsample(x, fir=True) * y).sum()
    right = (x * upsample(y, fir=True)).sum() / 4
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("fir", [False, True])
def test_resampling_keeps_constants_inside(fir):
    x = torch.full((1, 2, 8, 8), 1.7)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(downsample(x, fir)[inside], x[:, :, :2, :2])
    torch.testing.assert_close(upsample(x, fir)[inside], torch.full((1, 2, 14, 14), 1.7))


def test_merged_upsampling_is_repetition_then_convolution():
    conv = torch.nn.Conv2d(3, 5, 3, padding=1).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    want = conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    got = upsample_convolve(x, conv)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    weights = torch.randn_like(want)
    inputs = (x, conv.weight, conv.bias)
    a = torch.autograd.grad((got * weights).sum(), inputs)
    b = torch.autograd.grad((want * weights).sum(), inputs)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("grad", [False, True])
def test_group_norm_scale_shift_silu_is_the_formula(memory, grad):
    norm = GroupNorm(48).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (3 + 2 * torch.randn(4, 48, 6, 6, dtype=torch.float64)).contiguous(memory_format=memory)
    scale, shift = torch.randn(2, 4, 48, dtype=torch.float64)
    g = x.reshape(4, norm.groups, -1)
    u = (g - g.mean(-1, keepdim=True)) / (g.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    u = u.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
    v = u * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    before = x.clone()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(norm(x), u)
        torch.testing.assert_close(norm.modulate(x), u * u.sigmoid())
        torch.testing.assert_close(norm.modulate(x, scale, shift), v * v.sigmoid())
    assert torch.equal(x, before), "the in-place path must not touch its input"


def test_groups_divide_and_are_wide():
    for channels in range(1, 600):
        groups = groups_for(channels)
        assert channels % groups == 0
        assert groups == 1 or channels // groups >= 16


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_explicit_softmax(heads):
    torch.manual_seed(0)
    layer = Attention(32, 32 // heads, scale=0.7).double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 32, 3, 5, dtype=torch.float64)
    got = layer(x)
    n = layer.norm(x)
    d = 32 // heads
    want = torch.zeros_like(x)
    for b in range(2):
        pixels = n[b].reshape(32, 15).T
        q, k, v = (pixels @ layer.qkv.weight.T + layer.qkv.bias).split(32, dim=1)
        parts = []
        for h in range(heads):
            s = slice(h * d, (h + 1) * d)
            logits = q[:, s] @ k[:, s].T / math.sqrt(d)
            weights = logits.exp() / logits.exp().sum(1, keepdim=True)
            parts.append(weights @ v[:, s])
        y = torch.cat(parts, dim=1) @ layer.out.weight.T + layer.out.bias
        want[b] = 0.7 * (x[b] + y.T.reshape(32, 3, 5))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_both_attention_paths_agree(dtype, tolerance):
    q, k, v = torch.randn(3, 2, 2, 17, 16, dtype=torch.float64).to(dtype)
    fused = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend_explicitly(q, k, v), fused, rtol=0, atol=tolerance)
    torch.testing.assert_close(attend(q, k, v), fused, rtol=0, atol=tolerance)


def test_explicit_attention_only_where_low_precision_trains_on_a_cpu():
    q = torch.zeros(1, 1, 4, 8)
    low = q.bfloat16().requires_grad_()
    assert explicit_attention(low)
    with torch.no_grad():
        assert not explicit_attention(low)
    assert not explicit_attention(q.requires_grad_())
    assert not explicit_attention(low.to("meta"))


@pytest.mark.parametrize("has", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", ""])
def test_bfloat16_where_the_cpu_multiplies_it(has, monkeypatch):
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda probe=probe: probe == has, raising=False)
    assert best_dtype("cpu") == (torch.bfloat16 if has else torch.float32)


def test_best_dtype_is_float32_or_bfloat16():
    assert best_dtype("cpu") in (torch.float32, torch.bfloat16)
    assert best_dtype("meta") == torch.float32


def test_scale_folded_into_weights():
    conv, linear = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.nn.Linear(3, 5)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(scaled_conv(x, conv, 0.3), 0.3 * conv(x))
    torch.testing.assert_close(
        scaled_linear(x.mT[..., :3], linear, 0.3), 0.3 * linear(x.mT[..., :3])
    )


@pytest.mark.parametrize("fir", [False, True])
@pytest.mark.parametrize("direction", ["same", "down", "up"])
@pytest.mark.parametrize("outputs", [16, 32])
def test_residual_block_is_its_formula(direction, fir, outputs):
    """Also checks that resampling and the 1x1 convolution of the skip may change places."""
    block = ResidualBlock(16, outputs, direction=direction, fir=fir, scale=0.6).double()
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    modulation = torch.randn(2, 2 * outputs, dtype=torch.float64)
    shift, scale = modulation[:, :outputs, None, None], modulation[:, outputs:, None, None]

    def resample(z):
        return {"same": lambda z, _: z, "down": downsample, "up": upsample}[direction](z, fir)

    h = block.conv0(resample(F.silu(block.norm0(x))))
    h = block.conv1(F.silu(block.norm1(h) * (1 + scale) + shift))
    skip = resample(x) if block.skip is None else block.skip(resample(x))
    torch.testing.assert_close(block(x, modulation), 0.6 * (h + skip))


def test_plain_resampling_layers():
    x = torch.randn(2, 4, 8, 8)
    down, up = Resample(4, 6, "down"), Resample(4, 6, "up")
    want = F.conv2d(x, down.conv.weight, down.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(down(x), want)
    big = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(up(x), F.conv2d(big, up.conv.weight, up.conv.bias, padding=1))
    smooth = Resample(4, 6, "down", fir=True)
    torch.testing.assert_close(smooth(x), smooth.conv(downsample(x, fir=True)))
