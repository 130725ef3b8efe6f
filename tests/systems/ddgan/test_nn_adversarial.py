"""Mapping, discriminators, and a U-Net that sees patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sfumato.nn import Mapping, UNet, UNetConfig
from sfumato.systems.ddgan.critic import Critic, CriticConfig
from sfumato.systems.ddgan.discriminator import Discriminator

SMALL = UNetConfig(2, 2, channels=16, multipliers=(1, 2), attention=(), resolution=8)


def test_mapping_sees_the_direction_of_z():
    mapping = Mapping(5, 12, 2)
    z = torch.randn(4, 5)
    torch.testing.assert_close(mapping(3 * z), mapping(z), rtol=1e-4, atol=1e-5)
    u = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in mapping.layers:
        u = F.silu(layer(u))
    torch.testing.assert_close(mapping(z), mapping.output(u), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="expected latent, width and layers >= 1"):
        Mapping(0, 4)


LEVELS, BEFORE = [1.0, 0.0], [0.0, -0.9]


def disturbed(module):
    """The module with every weight, the zero ones too, moved."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return module


@pytest.mark.parametrize(
    "side, patch, multipliers, blocks",
    [(8, 1, (1, 2), 1), (28, 2, (1, 2), (1, 2)), (12, 1, (1,), 2)],
)
def test_discriminator_reads_pair_time_and_label(side, patch, multipliers, blocks):
    config = UNetConfig(
        1,
        1,
        channels=16,
        multipliers=multipliers,
        blocks=blocks,
        attention=(),
        resolution=side,
        labels=(10,),
        patch=patch,
    )
    judge = disturbed(Discriminator(config, LEVELS, BEFORE))
    x, y = torch.randn(2, 6, 1, side, side)
    level, label = torch.tensor([1.0, 0.0] * 3), torch.arange(6)
    out = judge(x, y, level, label)
    assert out.shape == (6,)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in judge.parameters())
    for other in (
        judge(y, x, level, label),
        judge(x, y, 1 - level, label),
        judge(x, y, level, 9 - label),
    ):
        assert (other - out).abs().min() > 1e-5
    torch.testing.assert_close(judge(x[:1], y[:1], level[:1], label[:1]), out[:1])


def test_discriminator_begins_as_the_encoder_of_a_denoiser():
    """The features that its heads see are the denoiser's own, at the noise level of x_s."""
    network = disturbed(UNet(SMALL))
    judge = Discriminator(SMALL, LEVELS, BEFORE)
    judge.take_over(network)
    seen, want = {}, {}
    for number, head in judge.heads.items():
        head.register_forward_pre_hook(lambda m, h, n=number: seen.update({int(n): h[0]}))

    def keep(stage, h):
        want[stage] = h
        return h

    x, y = torch.randn(2, 3, 2, 8, 8)
    judge(x, y, torch.tensor([0.9, 0.1, -0.2]))
    network.walk(x, network.conditioning(torch.tensor([0.0, -0.9, -0.9]), None), keep)
    ends = [1, 4, 6]  # two blocks; down, two blocks; two blocks of the middle
    assert sorted(seen) == ends
    for i in ends:
        torch.testing.assert_close(seen[i], want[i])
    wider = UNet(UNetConfig(2, 2, channels=24, multipliers=(1, 2), attention=(), resolution=8))
    with pytest.raises(ValueError, match=r"expected conditioning.* of shape .*, got"):
        judge.take_over(wider)
    with pytest.raises(ValueError, match="as many levels of x_s as of x_t"):
        Discriminator(SMALL, LEVELS, BEFORE[:1])
    with pytest.raises(ValueError, match="two batches of images of 2 channels"):
        judge(x[:, :1], y, torch.zeros(3))


def test_the_penalty_reaches_through_attention():
    """R1 is a gradient of a gradient: against a difference of first gradients, in float64."""
    config = UNetConfig(
        1,
        1,
        channels=8,
        multipliers=(1, 2),
        blocks=1,
        attention=(4,),
        head_channels=0,
        resolution=8,
    )
    judge = disturbed(Discriminator(config, LEVELS, BEFORE)).double()
    x, y, way = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64)
    level = torch.tensor([1.0, 0.0])

    def slope(x, **more):
        x = x.clone().requires_grad_()
        return x, torch.autograd.grad(judge(x, y, level).sum(), x, **more)[0]

    at, first = slope(x, create_graph=True)
    (got,) = torch.autograd.grad((first * way).sum(), at)  # the Hessian times a direction
    h = 1e-5
    want = (slope(x + h * way)[1] - slope(x - h * way)[1]) / (2 * h)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_critic_of_points():
    judge = disturbed(Critic(CriticConfig(2, 16, 2, labels=(3,))))
    x, y = torch.randn(2, 5, 2)
    level, label = torch.zeros(5), torch.tensor([0, 1, 2, 3, 0])
    out = judge(x, y, level, label)
    assert out.shape == (5,)
    torch.testing.assert_close(judge(x[:1], y[:1], level[:1], label[:1]), out[:1])
    for other in (
        judge(y, x, level, label),
        judge(x, y, level + 1, label),
        judge(x, y, level, (label + 1) % 4),
    ):
        assert (other - out).abs().min() > 1e-6
    with pytest.raises(ValueError, match=r"expected points \(B, 2\)"):
        judge(x[:, :1], y, level)
    with pytest.raises(ValueError, match="octaves >= 0, got -1"):
        CriticConfig(octaves=-1)


def test_a_critic_with_waves_sees_what_is_fine():
    """A stripe pattern of period 1/4: two octaves above what a perceptron alone could fit."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(4096, 2, generator=g) * 2 - 1
    want = (x[:, 0] * 8 * torch.pi).sin().sign()
    found = {}
    for octaves in (0, 5):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            judge = Critic(CriticConfig(2, 32, 1, octaves))
        optimizer = torch.optim.Adam(judge.parameters(), 3e-3)
        for _ in range(150):
            loss = F.softplus(-want * judge(x, torch.zeros_like(x), torch.zeros(len(x)))).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[octaves] = float(loss.detach())
    assert found[5] < 0.2 < 0.5 < found[0]


def test_patches_are_channels_of_pixels():
    """patch=2 at 16 pixels is the network at 8 pixels with four times the channels."""
    whole = UNet(
        UNetConfig(
            1,
            1,
            channels=16,
            multipliers=(1, 2),
            attention=(4,),
            resolution=16,
            patch=2,
            head_channels=0,
        )
    )
    parts = UNet(
        UNetConfig(
            4, 4, channels=16, multipliers=(1, 2), attention=(4,), resolution=8, head_channels=0
        )
    )
    with torch.no_grad():
        for p in parts.parameters():
            p.add_(0.05 * torch.randn_like(p))
    whole.load_state_dict(parts.state_dict())
    x, level = torch.randn(2, 1, 16, 16), torch.zeros(2)
    want = F.pixel_shuffle(parts(F.pixel_unshuffle(x, 2), level), 2)
    torch.testing.assert_close(whole(x, level), want)
    with pytest.raises(
        ValueError, match=r"divisible by 8, .* halve it 1 times and patches have 4 pixels"
    ):
        UNetConfig(1, 1, multipliers=(1, 2), attention=(), resolution=28, patch=4)


def test_a_latent_vector_drives_every_block():
    network = UNet(UNetConfig(**{**SMALL.__dict__, "latent": 4}))
    assert set(UNet(SMALL).state_dict()) == {
        k for k in network.state_dict() if not k.startswith("conditioning.mapping.")
    }
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, level = torch.randn(3, 2, 8, 8), torch.zeros(3)
    one, two = (network(x, level, None, torch.randn(3, 4)) for _ in range(2))
    assert (one - two).abs().mean() > 1e-3
