"""The temporal convolution is what its formula says, and frames meet nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.nn import UNetConfig
from sfumato.systems.dsno.temporal import TemporalConvolution, TemporalUNet

CONFIG = UNetConfig(
    1, 1, channels=8, multipliers=(1, 2), blocks=1, attention=(4,), head_channels=0, resolution=8,
    labels=(3,),
)  # fmt: skip


def random(module: torch.nn.Module, scale: float = 0.1) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn_like(p))


def by_fft(conv: TemporalConvolution, h: Tensor, frames: int) -> Tensor:
    """h + LeakyReLU(irfft(R rfft h)) by torch.fft, over the T axis of (B, T, C, ...)."""
    spectrum = torch.fft.rfft(h.unflatten(0, (-1, frames)), dim=1)
    modes = min(len(conv.weight), spectrum.shape[1])
    r = torch.complex(conv.weight[:modes, 0], conv.weight[:modes, 1])
    out = torch.zeros_like(spectrum)
    out[:, :modes] = torch.einsum("moc,bmc...->bmo...", r, spectrum[:, :modes])
    return h + F.leaky_relu(torch.fft.irfft(out, n=frames, dim=1), 0.01).flatten(0, 1)


@pytest.mark.parametrize("modes", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 8])
def test_equals_the_transforms_of_torch(frames, modes):
    conv = TemporalConvolution(5, modes)
    random(conv)
    for layout in (torch.contiguous_format, torch.channels_last):
        h = torch.randn(3 * frames, 5, 6, 7).contiguous(memory_format=layout)
        assert torch.allclose(conv(h, frames), by_fft(conv, h, frames), atol=1e-5)


def test_points_have_no_pixels():
    conv = TemporalConvolution(5)
    random(conv)
    h = torch.randn(8, 5)
    assert torch.allclose(conv(h, 4), by_fft(conv, h, 4), atol=1e-5)


def test_a_shift_in_time_shifts_the_result():
    conv = TemporalConvolution(4)
    random(conv, 1.0)
    h = torch.randn(2, 6, 4, 3, 3)
    shifted = conv(h.roll(2, 1).flatten(0, 1), 6).unflatten(0, (2, 6))
    assert torch.allclose(
        shifted, conv(h.flatten(0, 1), 6).unflatten(0, (2, 6)).roll(2, 1), atol=1e-5
    )


def test_more_frames_of_the_same_motion_agree():
    """A signal of the lowest two frequencies, seen at 4 times and at 8: equal where both see it."""
    conv = TemporalConvolution(4)
    random(conv, 1.0)
    mean, even, odd = torch.randn(3, 2, 1, 4, 3, 3)

    def motion(frames: int) -> Tensor:
        phase = 2 * math.pi * torch.arange(frames).reshape(1, -1, 1, 1, 1) / frames
        h = mean + even * phase.cos() + odd * phase.sin()
        return conv(h.flatten(0, 1), frames).unflatten(0, (2, frames))

    assert torch.allclose(motion(4), motion(8)[:, ::2], atol=1e-5)
    assert torch.allclose(motion(3), motion(9)[:, ::3], atol=1e-5)


def test_the_transform_is_taken_in_float32():
    conv = TemporalConvolution(4)
    random(conv, 1.0)
    h = torch.randn(8, 4, 2, 2).bfloat16()
    want = (by_fft(conv, h.float(), 4) - h.float()).bfloat16() + h
    got = conv(h, 4)
    assert got.dtype == torch.bfloat16 and torch.equal(got, want)


def test_without_modes_it_is_the_unet_frame_by_frame():
    net = TemporalUNet(CONFIG).eval()
    random(net.unet)
    x, level, labels = torch.randn(2, 1, 8, 8), torch.randn(2), torch.tensor([0, 2])
    for frames in (1, 4):
        made = net(x, level, torch.linspace(0.7, 0, frames), labels)
        assert made.shape == (2, frames, 1, 8, 8)
        want = net.unet(x, level, labels)
        assert torch.allclose(made, want[:, None].expand_as(made), atol=1e-6)
    # with an embedding of the frame but no modes, a frame does not depend on the others
    random(net.place)
    alone = net(x, level, torch.tensor([0.25]), labels)[:, 0]
    among = net(x, level, torch.tensor([0.75, 0.25, 0.0]), labels)
    assert torch.allclose(among[:, 1], alone, atol=1e-6)
    assert not torch.allclose(among[:, 2], alone, atol=1e-3)
    for conv in net.temporal.values():
        random(conv, 0.3)
    assert not torch.allclose(
        net(x, level, torch.tensor([0.75, 0.25, 0.0]), labels)[:, 1], alone, atol=1e-3
    )


def test_examples_do_not_meet():
    net = TemporalUNet(CONFIG).eval()
    random(net)
    x, level, places = torch.randn(3, 1, 8, 8), torch.randn(3), torch.tensor([0.6, 0.3, 0.0])
    labels = torch.tensor([0, 1, 2])
    whole = net(x, level, places, labels)
    for i in range(3):
        one = net(x[i : i + 1], level[i : i + 1], places, labels[i : i + 1])
        assert torch.allclose(one[0], whole[i], atol=1e-5)


def test_each_residual_block_has_its_convolution():
    net = TemporalUNet(CONFIG, modes=3)
    sizes = [conv.weight.shape for conv in net.temporal.values()]
    assert len(sizes) == len(net.unet.sizes)
    assert [2 * s[2] for s in sizes] == net.unet.sizes and {s[0] for s in sizes} == {3}


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"channels and modes >= 1, got 0"):
        TemporalConvolution(0)
    with pytest.raises(ValueError, match=r"\(B·3, 4, ...\), got \(8, 4, 2, 2\)"):
        TemporalConvolution(4)(torch.randn(8, 4, 2, 2), 3)
    net = TemporalUNet(CONFIG)
    with pytest.raises(ValueError, match=r"positions of shape \(T,\)"):
        net(torch.randn(1, 1, 8, 8), torch.zeros(1), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="expected x of shape"):
        net(torch.randn(1, 1, 9, 9), torch.zeros(1), torch.zeros(2))
