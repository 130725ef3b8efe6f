"""Discriminators of pairs (x_s, x_t) for denoising diffusion GANs: images, and points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import memory_format
from .embed import Conditioning

__all__ = ["Critic", "CriticConfig", "Discriminator", "DiscriminatorConfig"]

SLOPE = 0.2


@final
@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of a `Discriminator`; one residual block, which halves the resolution, per multiplier.

    in_channels: of the data; the pair has twice as many.
    patch: patch x patch pixels are channels of one from the start.
    group: examples that the deviation over the minibatch is taken over; 0 leaves it out.

    Raises ValueError if a size is below 1, or the patch does not divide the resolution.
    """

    in_channels: int = 1
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    resolution: int = 28
    labels: tuple[int, ...] = ()
    patch: int = 1
    group: int = 4

    def __post_init__(self) -> None:
        for name in ("multipliers", "labels"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        for name in ("in_channels", "resolution", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.channels < 4 or self.channels % 2:
            raise ValueError(f"expected channels even and at least 4, got {self.channels}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"expected multipliers >= 1, one per block, got {self.multipliers}")
        if self.resolution % self.patch:
            raise ValueError(
                f"expected a patch that divides the resolution {self.resolution}, got {self.patch}"
            )
        if self.group < 0:
            raise ValueError(f"expected group >= 0, got {self.group}")


def minibatch_deviation(h: Tensor, group: int) -> Tensor:
    """One more channel: the mean deviation over groups of examples, (B, C, ...) -> (B, C + 1, ...).

    Karras et al. 2018, arXiv 1710.10196, section 3: it shows a lack of variety. Where `group` does
    not divide the batch, the largest smaller number that does takes its place.
    """
    b = h.shape[0]
    size = max(n for n in range(1, max(group, 1) + 1) if b % n == 0)
    grouped = h.reshape(size, b // size, *h.shape[1:]).float()
    spread = (grouped.var(0, unbiased=False) + 1e-8).sqrt().flatten(1).mean(1)
    channel = spread.repeat(size).to(h.dtype).reshape(b, *[1] * (h.ndim - 1))
    return torch.cat([h, channel.expand(b, 1, *h.shape[2:])], dim=1)


@final
class _Block(nn.Module):
    """h = conv1(l(conv0(l(x)) + W e)); y = (down(h) + W down(x)) / sqrt(2), l = LeakyReLU(0.2)."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shift = nn.Linear(width, outputs)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv0(F.leaky_relu(x, SLOPE)) + self.shift(e)[:, :, None, None]
        h = F.avg_pool2d(self.conv1(F.leaky_relu(h, SLOPE)), 2, ceil_mode=True)
        return (h + self.skip(F.avg_pool2d(x, 2, ceil_mode=True))) * math.sqrt(0.5)


@final
class Discriminator(nn.Module):
    """D(x_s, x_t, noise level of x_t, cond) -> logits (B,), high where the pair is of real data.

    The two images are stacked on the channels (Xiao, Kreis, Vahdat 2022, arXiv 2112.07804,
    appendix C): a convolution, residual blocks that halve the resolution, into which the embedded
    time and label are added, the deviation over the minibatch, a convolution, a sum over pixels.
    The logit is w h + e' W h: with the second term the label and the time choose what to look for
    (Miyato & Koyama 2018, arXiv 1802.05637, eq. 4). Raises ValueError for wrong shapes.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        wide = 4 * config.channels
        self.conditioning = Conditioning(config.channels, wide, config.labels)
        self.input = nn.Conv2d(2 * config.in_channels * config.patch**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            _Block(widths[max(i - 1, 0)], w, wide) for i, w in enumerate(widths)
        )
        last = widths[-1]
        self.mix = nn.Conv2d(last + (config.group > 0), last, 3, padding=1)
        self.output = nn.Linear(last, 1)
        self.match = nn.Linear(wide, last, bias=False)
        nn.init.zeros_(self.match.weight)

    def forward(
        self, x_s: Tensor, x_t: Tensor, noise_level: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """x_s, x_t (B, C, R, R), noise_level (B,), cond -> (B,)."""
        c = self.config
        want = (c.in_channels, c.resolution, c.resolution)
        for x in (x_s, x_t):
            if tuple(x.shape[1:]) != want:
                raise ValueError(
                    f"expected images (B, {want[0]}, {want[1]}, {want[2]}), got {tuple(x.shape)}"
                )
        e = self.conditioning(noise_level, cond)
        h = torch.cat([x_s, x_t], dim=1).to(self.output.weight.dtype)
        h = h if c.patch == 1 else F.pixel_unshuffle(h, c.patch)
        h = self.input(h.contiguous(memory_format=memory_format(h)))
        for block in self.blocks:
            h = block(h, e)
        if c.group:
            h = minibatch_deviation(h, c.group)
        h = F.leaky_relu(self.mix(F.leaky_relu(h, SLOPE)), SLOPE).sum(dim=(2, 3))
        return self.output(h)[:, 0] + (h * self.match(e)).sum(1)


@final
@dataclass(frozen=True)
class CriticConfig:
    """Sizes of a `Critic` of points with `features` coordinates.

    octaves: cosines and sines of each coordinate, of 1/2, 1, 2, ... cycles per unit; 0 has none.
    group: examples that the deviation over the minibatch is taken over; 0 leaves it out.

    Raises ValueError if a size is below 1 or `width` is odd or below 4.
    """

    features: int = 2
    width: int = 256
    layers: int = 3
    octaves: int = 4
    group: int = 8
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(int(n) for n in self.labels))
        for name, low in (("features", 1), ("layers", 1), ("octaves", 0), ("group", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} >= {low}, got {getattr(self, name)}")
        if self.width < 4 or self.width % 2:
            raise ValueError(f"expected an even width of at least 4, got {self.width}")


@final
class Critic(nn.Module):
    """The `Discriminator` for points: a perceptron with LeakyReLU(0.2); time and label are added.

    h = l(W (x_s, x_t, waves) + W e);  h <- l(W h + W e) per layer;
    logit = w l(W (h, deviation over the minibatch)).

    The waves, cos and sin of the coordinates, let it see structure that is fine in the units of the
    data, which a perceptron alone learns late (Tancik et al. 2020, arXiv 2006.10739).
    """

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.conditioning = Conditioning(w, w, config.labels)
        self.layers = nn.ModuleList(
            nn.Linear(w if i else 2 * config.features * (1 + 2 * config.octaves), w)
            for i in range(config.layers)
        )
        self.shift = nn.Linear(w, w * config.layers)
        self.mix = nn.Linear(w + (config.group > 0), w)
        self.output = nn.Linear(w, 1)

    def forward(
        self, x_s: Tensor, x_t: Tensor, noise_level: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """x_s, x_t (B, features), noise_level (B,), cond -> (B,)."""
        for x in (x_s, x_t):
            if x.ndim != 2 or x.shape[1] != self.config.features:
                raise ValueError(
                    f"expected points (B, {self.config.features}), got {tuple(x.shape)}"
                )
        shifts = self.shift(self.conditioning(noise_level, cond)).chunk(len(self.layers), dim=1)
        h = torch.cat([x_s, x_t], dim=1).to(self.output.weight.dtype)
        phase = torch.cat(
            [h * (math.pi * 2**k) for k in range(self.config.octaves)] or [h[:, :0]], 1
        )
        h = torch.cat([h, phase.cos(), phase.sin()], dim=1)
        for layer, shift in zip(self.layers, shifts, strict=True):
            h = F.leaky_relu(layer(h) + shift, SLOPE)
        if self.config.group:
            h = minibatch_deviation(h, self.config.group)
        return self.output(F.leaky_relu(self.mix(h), SLOPE))[:, 0]
