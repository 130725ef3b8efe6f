"""A small U-shaped network that says what every pixel is, and what the whole picture is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.attention import Attention
from sfumato.nn.blocks import Resample, ResidualBlock, convolution
from sfumato.nn.dispatch import memory_format
from sfumato.nn.norm import GroupNorm

__all__ = ["Segmented", "Segmenter", "SegmenterConfig"]


@final
@dataclass(frozen=True)
class SegmenterConfig:
    """Sizes of a `Segmenter`.

    Args:
        in_channels: of the pictures.
        classes: what a pixel may be.
        labels: number of classes of each axis of the whole picture.
        channels, multipliers: level i has channels * multipliers[i] channels, at resolution / 2^i.
        dropout: before the heads of the whole picture.

    Raises:
        ValueError: a size below 1, fewer than two classes, or no labels.
    """

    in_channels: int
    classes: int
    labels: tuple[int, ...]
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 3)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("labels", "multipliers"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        for name, least in (("in_channels", 1), ("classes", 2), ("channels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} >= {least}, got {getattr(self, name)}")
        for name in ("labels", "multipliers"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1:
                raise ValueError(f"expected one or more {name}, each >= 1, got {sizes}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"expected 0 <= dropout < 1, got {self.dropout}")


class Segmented(NamedTuple):
    """What a `Segmenter` says of B pictures, all as logits but for the features.

    pixels: (B, classes, H, W).  labels: (B, n) for each axis of the whole picture.
    present: (B, classes - 1), whether a class but the first is anywhere.
    features: (B, F), what the heads of the whole picture see.
    """

    pixels: Tensor
    labels: tuple[Tensor, ...]
    present: Tensor
    features: Tensor


@final
class Segmenter(nn.Module):
    """pictures (B, C, H, W) in [-1, 1] -> `Segmented`.

    A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) of the residual blocks that the generative
    ones are made of, a block at each level of the way down and of the way up, and self-attention in
    the middle. The whole picture is judged by the means over pixels of the middle and of the last
    features. H and W are divisible by 2^(levels - 1).

    Raises ValueError for another number of channels, or a side that cannot be halved so often.
    """

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        self.input = convolution(config.in_channels, widths[0])
        self.down = nn.ModuleList(Resample(w, w, "down") for w in widths[:-1])
        self.encoder = nn.ModuleList(
            ResidualBlock(widths[max(i - 1, 0)], w) for i, w in enumerate(widths)
        )
        self.middle = ResidualBlock(widths[-1], widths[-1])
        self.attention = Attention(widths[-1], widths[-1], 1.0)
        self.decoder = nn.ModuleList(ResidualBlock(2 * w, w) for w in widths)
        self.up = nn.ModuleList(Resample(w, narrow, "up") for narrow, w in zip(widths, widths[1:]))
        self.norm = GroupNorm(widths[0])
        self.output = convolution(widths[0], config.classes, 1)
        self.width = widths[0] + widths[-1]
        self.heads = nn.ModuleList(nn.Linear(self.width, n) for n in config.labels)
        self.present = nn.Linear(self.width, config.classes - 1)

    def forward(self, pictures: Tensor) -> Segmented:
        """Of any resolution that can be halved often enough."""
        self._check(pictures)
        x = pictures.to(self.input.weight.dtype)
        h = self.input(x.contiguous(memory_format=memory_format(x)))
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            h = _plain(block, self.down[level - 1](h) if level else h)
            skips.append(h)
        h = self.attention(_plain(self.middle, h))
        whole = h.mean((2, 3))
        for level in reversed(range(len(skips))):
            h = _plain(self.decoder[level], torch.cat([h, skips[level]], 1))
            if level:
                h = self.up[level - 1](h)
        last = self.norm.modulate(h)
        features = torch.cat([whole, last.mean((2, 3))], 1)
        seen = F.dropout(features, self.config.dropout, self.training)
        return Segmented(
            self.output(last),
            tuple(head(seen) for head in self.heads),
            self.present(seen),
            features,
        )

    def _check(self, pictures: Tensor) -> None:
        c, factor = self.config.in_channels, 2 ** (len(self.config.multipliers) - 1)
        shape = tuple(pictures.shape)
        if len(shape) != 4 or shape[1] != c or shape[2] % factor or shape[3] % factor:
            raise ValueError(
                f"expected pictures of shape (B, {c}, H, W), H and W divisible by {factor}, "
                f"got {shape}"
            )


def _plain(block: nn.Module, h: Tensor) -> Tensor:
    """A residual block without any modulation."""
    residual = cast(ResidualBlock, block)
    return residual(h, h.new_zeros(1, 2 * residual.outputs).expand(len(h), -1))
