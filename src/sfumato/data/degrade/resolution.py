r"""Fewer pixels: 4x super-resolution's inputs, by pooling or by an antialiased bicubic filter.

Both are what I²SB's experiments used (Liu et al. 2023, arXiv 2302.05872, appendix B, after DDRM):
the observation has a quarter of the side, and is brought back to the grid by repeating pixels.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.degrade.base import Degradation, DegradationCard, mirrored, need_picture
from sfumato.seeds import Generators


def repeat_pixels(y: Tensor, factor: int) -> Tensor:
    """Each pixel as a square of factor x factor."""
    return y.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


@dataclass(frozen=True)
class Reduction(Degradation, ABC):
    """``factor`` times fewer pixels along each side; lifted by repeating pixels.

    Raises:
        ValueError: a factor outside 2 ... 16.
    """

    factor: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.factor <= 16:
            raise ValueError(f"expected a factor from 2 to 16, got {self.factor}")

    @property
    def scale(self) -> int:
        """How many times smaller along each side: ``factor``."""
        return self.factor

    def lift(self, y: Tensor) -> Tensor:
        """(B, C, H/factor, W/factor) -> (B, C, H, W), each pixel as a square."""
        return repeat_pixels(y, self.factor)


@final
@dataclass(frozen=True)
class Pooled(Reduction):
    """The mean of each square of ``factor`` x ``factor`` pixels."""

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"{self.factor}x fewer pixels by averaging squares",
            "I²SB's sr4x-pool (arXiv 2302.05872)",
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Means, (B, C, H/factor, W/factor)."""
        need_picture(x, multiple=self.factor)
        return F.avg_pool2d(x, self.factor)


def cubic(x: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel, |x| < 2 (Keys 1981, eq. 15 for a = -1/2)."""
    x = x.abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@final
@dataclass(frozen=True)
class Bicubic(Reduction):
    r"""Antialiased bicubic reduction: Keys' kernel (a = -1/2), widened by the factor f.

    Output i is centred on f i + (f - 1)/2 and weighs the 4f pixels around it by
    k((j - centre)/f), normalised; beyond the border the picture is mirrored, so constants are kept
    everywhere. In the interior it is torch's ``interpolate(mode="bicubic", antialias=True)``,
    which leaves out the taps beyond the border instead.
    """

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"{self.factor}x fewer pixels by an antialiased bicubic filter",
            "I²SB's sr4x-bicubic (arXiv 2302.05872); Keys 1981",
        )

    def weights(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """The 4 f taps, whose first lies at f i - ⌊3f/2⌋; their sum is 1."""
        f = self.factor
        at = torch.arange(4 * f, dtype=torch.float64) - (3 * f) // 2 - (f - 1) / 2
        taps = cubic(at / f)
        return (taps / taps.sum()).to(dtype)

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The reduced picture, (B, C, H/factor, W/factor)."""
        need_picture(x, multiple=self.factor)
        f, taps = self.factor, self.weights(x.dtype).to(x.device)
        before = (3 * f) // 2
        channels = x.shape[1]
        for dim in (2, 3):
            x = mirrored(x, before, 4 * f - before - f, dim)
            shape = (channels, 1, 4 * f, 1) if dim == 2 else (channels, 1, 1, 4 * f)
            kernel = taps.reshape(1, 1, *shape[2:]).expand(shape)
            x = F.conv2d(x, kernel, stride=(f, 1) if dim == 2 else (1, f), groups=channels)
        return x
