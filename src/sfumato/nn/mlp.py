"""A residual multilayer perceptron for points."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.config import MLPConfig
from sfumato.nn.embed import Conditioning

__all__ = ["MLP", "MLPConfig"]


@final
class MLP(nn.Module):
    """network(x, noise_level, cond): (B, in_features), (B,), cond -> (B, out_features).

        h = W_in x;   h <- h + B SiLU(LayerNorm(A SiLU(h)) (1 + scale) + shift)  per block
        y = W_out SiLU(h)

    scale and shift are linear in the conditioning vector; `cond` and `latent` are as for `UNet`.
    The output starts at zero. Raises ValueError for wrong shapes.
    """

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.conditioning = Conditioning(w, w, config.labels, config.embedding, config.latent)
        self.input = nn.Linear(config.in_features, w)
        self.first = nn.ModuleList(nn.Linear(w, w) for _ in range(config.blocks))
        self.second = nn.ModuleList(nn.Linear(w, w) for _ in range(config.blocks))
        self.modulation = nn.Linear(w, 2 * w * config.blocks)
        self.output = nn.Linear(w, config.out_features)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def features(
        self,
        x: Tensor,
        noise_level: Tensor,
        cond: Tensor | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """The last hidden features (B, width)."""
        if x.ndim != 2 or x.shape[1] != self.config.in_features:
            raise ValueError(
                f"expected x of shape (B, {self.config.in_features}), got {tuple(x.shape)}"
            )
        if tuple(noise_level.shape) != (x.shape[0],):
            raise ValueError(
                f"expected noise_level of shape ({x.shape[0]},), got {tuple(noise_level.shape)}"
            )
        w = self.config.width
        e = self.modulation(self.conditioning(noise_level, cond, latent))
        h = self.input(x.to(self.input.weight.dtype))
        for i, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            shift, scale = e[:, 2 * w * i : 2 * w * (i + 1)].chunk(2, dim=1)
            u = F.layer_norm(first(F.silu(h)), (w,))
            h = h + second(F.silu(torch.addcmul(shift, u, 1 + scale)))
        return h

    def head(self, features: Tensor) -> Tensor:
        """Features -> output."""
        y: Tensor = self.output(F.silu(features))
        return y

    def forward(
        self,
        x: Tensor,
        noise_level: Tensor,
        cond: Tensor | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """x (B, in_features), noise_level (B,), cond, z -> (B, out_features)."""
        return self.head(self.features(x, noise_level, cond, latent)).to(x.dtype)
