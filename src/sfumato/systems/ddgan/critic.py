"""The discriminator of pairs (x_s, x_t) of points, for denoising diffusion GANs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast, final

import torch
from torch import Tensor, nn

from sfumato.nn.mlp import MLP, MLPConfig

__all__ = ["Critic", "CriticConfig"]


@final
@dataclass(frozen=True)
class CriticConfig:
    """Sizes of a `Critic` of points with `features` coordinates.

    octaves: cosines and sines of each coordinate, of 1/2, 1, 2, ... cycles per unit; 0 has none.

    Raises ValueError if a size is out of range; see `MLPConfig` for those of the perceptron.
    """

    FOLLOWS: ClassVar = ("features", "labels")
    features: int = 2
    width: int = 128
    blocks: int = 2
    octaves: int = 4
    labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, low in (("features", 1), ("octaves", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} >= {low}, got {getattr(self, name)}")
        object.__setattr__(self, "labels", self.network.labels)

    @property
    def network(self) -> MLPConfig:
        """Sizes of the perceptron: both points and their waves in, one number out."""
        inputs = 2 * self.features * (1 + 2 * self.octaves)
        return MLPConfig(inputs, 1, self.width, self.blocks, self.labels)


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
        self.network = MLP(config.network)

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
