"""The discriminator of pairs (x_s, x_t) of points, for denoising diffusion GANs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .embed import Conditioning

__all__ = ["Critic", "CriticConfig"]

SLOPE = 0.2


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
