"""Small heads on the features of a trained network (GENIE's mixed network)."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ResidualBlock, convolution
from .mlp import MLP
from .norm import GroupNorm, groups_for
from .unet import UNet

__all__ = ["DerivativeHead"]

OUTPUTS = 3
"""Outputs per channel of the data; `sfumato.derivative` mixes them."""


@final
class _Convolutions(nn.Module):
    """concat -> 3x3 -> residual block -> norm, SiLU -> 3x3, zero at the start."""

    def __init__(self, channels: int, features: int, embedding: int, width: int) -> None:
        super().__init__()
        self.groups = groups_for(features)
        self.input = convolution(2 * channels + features, width)
        self.modulation = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.modulation.bias)
        self.block = ResidualBlock(width, width)
        self.output_norm = GroupNorm(width)
        self.output = convolution(width, OUTPUTS * channels, zero=True)

    def forward(self, x: Tensor, eps: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        # without weights: they would learn nothing that the convolution does not, and torch 2.13
        # crashes in their gradient where the features need none and are channels-last
        unit = F.group_norm(features, self.groups)
        h = self.input(torch.cat([x, eps, unit], dim=1))
        h = self.block(h, self.modulation(embedding))
        y: Tensor = self.output(self.output_norm.modulate(h))
        return y


@final
class _Perceptron(nn.Module):
    """The same for points: concat -> linear -> residual block -> SiLU -> linear, zero first."""

    def __init__(self, channels: int, features: int, embedding: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.input = nn.Linear(2 * channels + features, width)
        self.modulation = nn.Linear(embedding, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.output = nn.Linear(width, OUTPUTS * channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, eps: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        features = F.layer_norm(features, features.shape[1:])
        h = self.input(torch.cat([x, eps, features], dim=1))
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        u = F.layer_norm(self.first(F.silu(h)), (self.width,))
        h = h + self.second(F.silu(torch.addcmul(shift, u, 1 + scale)))
        y: Tensor = self.output(F.silu(h))
        return y


@final
class DerivativeHead(nn.Module):
    """head(x, eps, features, embedding): three numbers per number of the data, (B, 3C, ...).

    x (B, C, ...) is the scaled state, eps (B, C, ...) the noise that the network predicts there,
    features what its last block computed, embedding its conditioning vector: GENIE's mixed
    network (Dockhorn et al. 2022, arXiv 2210.05475, section 3.2 and appendix), a convolution, one
    residual block, and a convolution that starts at zero. The features are normalised first.

    Args:
        network: the network whose features come in; it is not kept.
        width: channels of the head.

    Raises:
        ValueError: width below 1.
    """

    def __init__(self, network: UNet | MLP, width: int = 24) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"expected a width of at least 1, got {width}")
        self.width = width
        embedding = network.modulation.in_features
        self.body: _Convolutions | _Perceptron
        if isinstance(network, UNet):
            features, channels = network.output.in_channels, network.config.out_channels
            self.body = _Convolutions(channels, features, embedding, width)
        else:
            features, channels = network.output.in_features, network.config.out_features
            self.body = _Perceptron(channels, features, embedding, width)

    def forward(self, x: Tensor, eps: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """The three outputs, one after the other on axis 1."""
        y: Tensor = self.body(x, eps, features, embedding)
        return y
