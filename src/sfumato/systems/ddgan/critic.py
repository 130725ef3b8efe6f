"""The discriminator of pairs (x_s, x_t) of points, for denoising diffusion GANs."""

from __future__ import annotations

import math
from typing import cast, final

import torch
from torch import Tensor, nn

from sfumato.nn.mlp import MLP
from sfumato.systems.ddgan.options import CriticConfig

__all__ = ["Critic", "CriticConfig"]


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
