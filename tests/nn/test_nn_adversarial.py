"""Mapping, discriminators, and a U-Net that sees patches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sfumato.nn import (
    Critic,
    CriticConfig,
    Discriminator,
    DiscriminatorConfig,
    Mapping,
    UNet,
    UNetConfig,
)
from sfumato.nn.discriminator import minibatch_deviation

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


@pytest.mark.parametrize("batch, groups", [(8, 4), (6, 3), (5, 1), (2, 2)])
def test_minibatch_deviation_by_hand(batch, groups):
    h = torch.randn(batch, 3, 2, 2, dtype=torch.float64)
    got = minibatch_deviation(h, 4)
    assert got.shape == (batch, 4, 2, 2)
    torch.testing.assert_close(got[:, :3], h)
    step = batch // groups
    for i in range(batch):
        mates = h[i % step :: step].float()
        want = (mates.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(got[i, 3].float(), want.expand(2, 2))


@pytest.mark.parametrize(
    "side, patch, multipliers", [(28, 1, (1, 2, 2)), (28, 2, (1, 2)), (9, 1, (1, 1))]
)
def test_discriminator_of_any_side(side, patch, multipliers):
    config = DiscriminatorConfig(
        1, channels=8, multipliers=multipliers, resolution=side, labels=(10,), patch=patch
    )
    judge = Discriminator(config)
    x, y = torch.randn(2, 6, 1, side, side)
    level, label = torch.linspace(-1, 1, 6), torch.arange(6)
    out = judge(x, y, level, label)
    assert out.shape == (6,)
    out.sum().backward()
    assert all(p.grad is not None for p in judge.parameters())
    with torch.no_grad():
        judge.match.weight.normal_()
    for other in (
        judge(y, x, level, label),
        judge(x, y, -level, label),
        judge(x, y, level, 9 - label),
    ):
        assert (other - judge(x, y, level, label)).abs().min() > 1e-5


def test_without_groups_an_example_is_judged_alone():
    judge = Discriminator(DiscriminatorConfig(channels=8, multipliers=(1,), group=0))
    x, y = torch.randn(2, 4, 1, 28, 28)
    level = torch.zeros(4)
    torch.testing.assert_close(
        judge(x[:1], y[:1], level[:1]), judge(x, y, level)[:1], rtol=1e-4, atol=1e-5
    )


def test_critic_of_points():
    alone = Critic(CriticConfig(2, 16, 2, group=0))
    a, b = torch.randn(2, 5, 2)
    torch.testing.assert_close(alone(a[:1], b[:1], torch.zeros(1)), alone(a, b, torch.zeros(5))[:1])
    with pytest.raises(ValueError, match="octaves >= 0, got -1"):
        CriticConfig(octaves=-1)
    judge = Critic(CriticConfig(2, 16, 2, labels=(3,)))
    x, y = torch.randn(2, 5, 2)
    assert judge(x, y, torch.zeros(5), torch.tensor([0, 1, 2, 3, 0])).shape == (5,)
    with pytest.raises(ValueError, match=r"expected points \(B, 2\)"):
        judge(x[:, :1], y, torch.zeros(5))


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


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"channels": 3}, "channels even and at least 4, got 3"),
        ({"multipliers": ()}, "multipliers >= 1"),
        ({"patch": 3}, "a patch that divides the resolution 28, got 3"),
        ({"group": -1}, "group >= 0, got -1"),
        ({"in_channels": 0}, "in_channels >= 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        DiscriminatorConfig(**wrong)
