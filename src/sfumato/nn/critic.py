"""The discriminator of pairs (x_s, x_t) of points, for denoising diffusion GANs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor, nn

from .mlp import MLP, MLPConfig

__all__ = ["Critic", "CriticConfig"]


@final
@dataclass(frozen=True)
class CriticConfig:
    """Sizes of a `Critic` of points with `features` coordinates.

    octaves: cosines and sines of each coordinate, of 1/2, 1, 2, ... cycles per unit; 0 has none.

    Raises ValueError if a size is below 1 or `width` is odd or below 4.
    """

    features: int = 2
    width: int = 128
    blocks: int = 2
    octaves: int = 4
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(int(n) for n in self.labels))
        for name, low in (("features", 1), ("blocks", 1), ("octaves", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} >= {low}, got {getattr(self, name)}")
        if self.width < 4 or self.width % 2:
            raise ValueError(f"expected an even width of at least 4, got {self.width}")


@final
class Critic(nn.Module):
    """D(x_s, x_t, noise level of x_t, cond) -> logits (B,): an `MLP` of both points and waves.

    The waves, cos and sin of the coordinates, let it see structure that is fine in the units of the
    data, which a perceptron alone learns late (Tancik et al. 2020, arXiv 2006.10739). Raises
    ValueError for wrong shapes.
    """

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 2 * config.features * (1 + 2 * config.octaves)
        self.network = MLP(MLPConfig(inputs, 1, config.width, config.blocks, config.labels))

    def forward(
        self, x_s: Tensor, x_t: Tensor, noise_level: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """x_s, x_t (B, features), noise_level (B,), cond -> (B,)."""
        for x in (x_s, x_t):
            if x.ndim != 2 or x.shape[1] != self.config.features:
                raise ValueError(
                    f"expected points (B, {self.config.features}), got {tuple(x.shape)}"
                )
        h = torch.cat([x_s, x_t], dim=1)
        phases = [h * (math.pi * 2**k) for k in range(self.config.octaves)]
        h = torch.cat([h, *(p.cos() for p in phases), *(p.sin() for p in phases)], dim=1)
        return cast(Tensor, self.network(h, noise_level, cond))[:, 0]
