"""From a latent vector to one that modulates: the mapping network of StyleGAN and DDGAN."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Mapping"]


@final
class Mapping(nn.Module):
    """z (B, latent) -> (B, width): unit length per coordinate, `layers` of SiLU, a linear map.

        u = z / sqrt(mean z^2 + 1e-8);   u <- SiLU(W u + b) per layer;   y = W u + b

    Pixel norm: Karras et al. 2018, arXiv 1710.10196, section 4.2. The mapping of DDGAN (Xiao,
    Kreis, Vahdat 2022, arXiv 2112.07804, appendix C). Raises ValueError for a size below 1 or a z
    of another shape.
    """

    def __init__(self, latent: int, width: int, layers: int = 3) -> None:
        super().__init__()
        if min(latent, width, layers) < 1:
            raise ValueError(
                f"expected latent, width and layers >= 1, got {latent}, {width} and {layers}"
            )
        self.latent = latent
        self.layers = nn.ModuleList(nn.Linear(width if i else latent, width) for i in range(layers))
        self.output = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, width)."""
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(f"expected z of shape (B, {self.latent}), got {tuple(z.shape)}")
        u = z.to(self.output.weight.dtype)
        u = u * (u.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            u = F.silu(layer(u))
        y: Tensor = self.output(u)
        return y
