"""Small heads on the features of a trained network (GENIE's mixed network)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.blocks import ResidualBlock, convolution
from sfumato.nn.config import UNetConfig
from sfumato.nn.mlp import MLP
from sfumato.nn.norm import GroupNorm, groups_for
from sfumato.nn.resample import upsample
from sfumato.nn.unet import UNet

__all__ = ["DerivativeHead"]

OUTPUTS = 3
"""Outputs per channel of the data; `genie.derivative` mixes them."""


@final
class _Convolutions(nn.Module):
    """At each resolution, coarse to fine: features -> 3x3, plus what came -> residual block."""

    def __init__(self, config: UNetConfig, embedding: int, width: int) -> None:
        super().__init__()
        self.patch = config.patch
        channels = config.out_channels * self.patch**2
        inputs = list(config.widths[::-1])
        self.groups = [groups_for(n) for n in inputs]
        inputs[-1] += 2 * channels  # the finest sees the state and the noise estimate as well
        self.inputs = nn.ModuleList(convolution(n, width) for n in inputs)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, width, scale=config.skip_scale) for _ in inputs
        )
        self.modulation = nn.Linear(embedding, 2 * width * len(inputs))
        nn.init.zeros_(self.modulation.bias)
        self.norm = GroupNorm(width)
        self.output = convolution(width, OUTPUTS * channels, zero=True)

    def forward(
        self, x: Tensor, eps: Tensor, features: Sequence[Tensor], embedding: Tensor
    ) -> Tensor:
        if self.patch > 1:
            x, eps = (F.pixel_unshuffle(end, self.patch) for end in (x, eps))
        modulations = self.modulation(embedding).chunk(len(self.blocks), dim=1)
        h: Tensor | None = None
        for i, (first, block) in enumerate(zip(self.inputs, self.blocks, strict=True)):
            # without weights: they would learn nothing that the convolution does not, and torch
            # 2.13 crashes in their gradient where features need none and are channels-last
            u = F.group_norm(features[i], self.groups[i])
            if i + 1 == len(self.blocks):
                u = torch.cat([x, eps, u], dim=1)
            u = first(u)
            h = block(u if h is None else (u + upsample(h)) * math.sqrt(0.5), modulations[i])
        assert h is not None  # noqa: S101
        y: Tensor = self.output(self.norm.modulate(h))
        if self.patch == 1:
            return y
        outputs = [F.pixel_shuffle(part, self.patch) for part in y.chunk(OUTPUTS, dim=1)]
        return torch.cat(outputs, dim=1)


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

    def forward(
        self, x: Tensor, eps: Tensor, features: Sequence[Tensor], embedding: Tensor
    ) -> Tensor:
        last = F.layer_norm(features[-1], features[-1].shape[1:])
        h = self.input(torch.cat([x, eps, last], dim=1))
        shift, scale = self.modulation(embedding).chunk(2, dim=1)
        u = F.layer_norm(self.first(F.silu(h)), (self.width,))
        h = h + self.second(F.silu(torch.addcmul(shift, u, 1 + scale)))
        y: Tensor = self.output(F.silu(h))
        return y


@final
class DerivativeHead(nn.Module):
    """head(x, eps, features, embedding): three numbers per number of the data, (B, 3C, ...).

    x (B, C, ...) is the scaled state, eps (B, C, ...) the noise that the network predicts there,
    features what its last blocks computed, embedding its conditioning vector. GENIE's mixed
    network (Dockhorn et al. 2022, arXiv 2210.05475, section 3.2) is a convolution, one residual
    block, and a convolution that starts at zero, on the last features alone. They have 128
    channels there; a network as narrow at full resolution as ours (16) keeps in them little but
    its answer, so the head reads the last features of every resolution, and has one residual block
    for each. The features are normalised first.

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
            self.body = _Convolutions(network.config, embedding, width)
        else:
            features, channels = network.output.in_features, network.config.out_features
            self.body = _Perceptron(channels, features, embedding, width)

    def forward(
        self, x: Tensor, eps: Tensor, features: Sequence[Tensor], embedding: Tensor
    ) -> Tensor:
        """The three outputs, one after the other on axis 1."""
        y: Tensor = self.body(x, eps, features, embedding)
        return y
