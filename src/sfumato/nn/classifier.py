"""A small convolutional classifier, for accuracy scores and as a feature extractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.dispatch import memory_format

__all__ = ["Classifier", "ClassifierConfig"]


@final
@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of a `Classifier`; `labels` = number of classes per label axis.

    `multipliers` has one entry per level; the resolution is halved (rounding up) between levels.
    Raises ValueError if a size is below 1 or there is no label axis.
    """

    in_channels: int
    labels: tuple[int, ...]
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("labels", "multipliers"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        for name in ("in_channels", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if not self.labels or min(self.labels) < 1:
            raise ValueError(
                f"expected at least one label axis of at least one class, got {self.labels}"
            )
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"expected multipliers >= 1, one per level, got {self.multipliers}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"expected 0 <= dropout < 1, got {self.dropout}")


@final
class _ResidualBlock(nn.Module):
    """y = ReLU(norm(conv(ReLU(norm(conv x)))) + W x), the block of ResNet (arXiv 1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm0(self.conv0(x)))
        return F.relu(self.norm1(self.conv1(h)) + self.skip(x))


@final
class Classifier(nn.Module):
    """images (B, C, H, W) in [-1, 1] -> one tensor of logits (B, classes) per label axis.

    A small residual network with batch norm: call `.eval()` before using it on few images.
    `features` gives what the last layer sees, the mean over pixels: (B, width). Any resolution.
    Raises ValueError for a wrong number of channels.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * m for m in config.multipliers]
        self.input = nn.Conv2d(config.in_channels, widths[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.blocks = nn.ModuleList(
            _ResidualBlock(widths[max(i - 1, 0)], w, 2) for i, w in enumerate(widths)
        )
        self.heads = nn.ModuleList(nn.Linear(widths[-1], n) for n in config.labels)

    @property
    def width(self) -> int:
        """Number of features F."""
        return self.config.channels * self.config.multipliers[-1]

    def features(self, images: Tensor) -> Tensor:
        """images (B, C, H, W) -> features (B, F)."""
        return self.layers(images)[-1].mean(dim=(2, 3))

    def layers(self, images: Tensor) -> tuple[Tensor, ...]:
        """What each level puts out, (B, width, H', W'): full resolution, a half, a quarter, ..."""
        if images.ndim != 4 or images.shape[1] != self.config.in_channels:
            raise ValueError(
                f"expected images of shape (B, {self.config.in_channels}, H, W), "
                f"got {tuple(images.shape)}"
            )
        x = images.to(self.input.weight.dtype)
        x = x.contiguous(memory_format=memory_format(x))
        out = [F.relu(self.norm(self.input(x)))]
        for block in self.blocks:
            out.append(block(out[-1]))
        return tuple(out)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images (B, C, H, W) -> logits (B, classes), one tensor per label axis."""
        h = F.dropout(self.features(images), self.config.dropout, self.training)
        return tuple(head(h) for head in self.heads)
