r"""Inpainting: part of the picture is lost, and noise stands in its place.

I²SB (Liu et al. 2023, arXiv 2302.05872, appendix B) fills the hole of x_1 with N(0, I): a constant
would make all bridges begin at one point. The published free-form masks are a fixed file of
Palette's, used for training and evaluation alike; here they are drawn anew for each picture.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sfumato.data.degrade.base import (
    Degradation,
    DegradationCard,
    Degraded,
    check_range,
    need_picture,
)
from sfumato.seeds import Generators, rand, randn

_ATTEMPTS = 64


def with_hole(x: Tensor, hole: Tensor, generator: Generators = None) -> Degraded:
    """x where ``hole`` (B or 1, 1, H, W) is 0, standard normal noise where it is 1.

    Raises:
        ValueError: no pictures; a hole of another shape, or neither 0 nor 1.
    """
    need_picture(x)
    b, _, h, w = x.shape
    if tuple(hole.shape) not in ((b, 1, h, w), (1, 1, h, w)):
        raise ValueError(f"expected a hole ({b} or 1, 1, {h}, {w}), got {tuple(hole.shape)}")
    if bool(((hole != 0) & (hole != 1)).any()):
        raise ValueError("expected a hole of zeros and ones, 1 where the picture is lost")
    hole = hole.to(x).expand(len(x), -1, -1, -1)
    noise = randn(x.shape, generator, dtype=x.dtype, device=x.device)
    return Degraded(torch.where(hole > 0, noise, x), 1 - hole)


@dataclass(frozen=True)
class _Masked(Degradation, ABC):
    """A part of the picture is lost: standard normal noise stands there."""

    @abstractmethod
    def holes(self, x: Tensor, generator: Generators = None) -> Tensor:
        """1 where a picture is lost, (B or 1, 1, H, W)."""

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The picture with noise in the hole."""
        return self.degrade(x, generator).x1

    def degrade(self, x: Tensor, generator: Generators = None) -> Degraded:
        """The picture with noise in the hole, and the mask of what is known."""
        need_picture(x)
        return with_hole(x, self.holes(x, generator), generator)


@final
@dataclass(frozen=True)
class CentreMask(_Masked):
    """⌊H/2⌋ rows from row ⌊H/4⌋ and ⌊W/2⌋ columns from column ⌊W/4⌋ are lost, as published."""

    def _card(self) -> DegradationCard:
        return DegradationCard(
            "the middle quarter is lost", "I²SB's inpaint-center (arXiv 2302.05872)"
        )

    def hole(self, x: Tensor) -> Tensor:
        """1 where the picture is lost, (1, 1, H, W)."""
        h, w = x.shape[2:]
        hole = torch.zeros(1, 1, h, w, dtype=x.dtype, device=x.device)
        hole[..., h // 4 : h // 4 + h // 2, w // 4 : w // 4 + w // 2] = 1
        return hole

    def holes(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The same hole for all pictures."""
        return self.hole(x)


@final
@dataclass(frozen=True)
class FreeForm(_Masked):
    """Brush strokes are lost, of a stated share of the picture.

    Strokes are drawn until their share is at least a target, which is uniform in the range; each
    is a walk of a few turns with a round brush (after Yu et al. 2019, arXiv 1806.03589,
    algorithm 1). Where the last stroke goes beyond the range, its end is left out.

    Args:
        low, high: the share that is lost, from .01 to .95 and at least .02 apart.

    Raises:
        ValueError: shares outside the range, or nearer to each other than .02.
    """

    low: float = 0.1
    high: float = 0.3

    def __post_init__(self) -> None:
        check_range("share", (self.low, self.high), 0.01, 0.95)
        if self.high - self.low < 0.02 - 1e-9:
            raise ValueError(f"expected shares .02 apart or more, got {self.low} and {self.high}")

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"brush strokes over {self.low:.0%} to {self.high:.0%} are lost",
            "after Yu et al. 2019 (arXiv 1806.03589); I²SB's shares are 10-20 % and 20-30 %",
        )

    def hole(self, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
        """One mask of (H, W), bool: true where the picture is lost.

        Raises:
            ValueError: the picture is too small for a share in the range.
        """
        for _ in range(_ATTEMPTS):
            hole = self._strokes(shape, random)
            if self.low <= hole.mean() <= self.high:
                return hole
        raise ValueError(
            f"no mask of {self.low:.0%} to {self.high:.0%} was found for {shape[0]} x {shape[1]} "
            "pixels: take a wider range or a larger picture"
        )

    def _strokes(self, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
        h, w = shape
        side = min(h, w)
        canvas = Image.new("L", (w, h))
        pen = ImageDraw.Draw(canvas)
        target = random.uniform(self.low, self.high)
        done = np.asarray(canvas) > 0
        while done.mean() < target:
            x, y = random.uniform(0, w), random.uniform(0, h)
            angle = random.uniform(0, 2 * math.pi)
            width = max(1.0, random.uniform(0.06, 0.2) * side)
            for _ in range(int(random.integers(2, 8))):
                angle += random.uniform(-0.7, 0.7) * math.pi
                length = random.uniform(0.05, 0.25) * side
                nx, ny = x + length * math.cos(angle), y + length * math.sin(angle)
                pen.line((x, y, nx, ny), fill=255, width=round(width))
                r = width / 2
                pen.ellipse((nx - r, ny - r, nx + r, ny + r), fill=255)
                x, y = min(max(nx, 0.0), float(w)), min(max(ny, 0.0), float(h))
                now = np.asarray(canvas) > 0
                if now.mean() > self.high:
                    return done
                done = now
                if done.mean() >= target:
                    break
        return done

    def holes(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Strokes for each picture, from its own draws."""
        seeds = (rand((len(x), 1), generator)[:, 0] * 2**53).long().tolist()
        shape = (x.shape[2], x.shape[3])
        holes = [self.hole(shape, np.random.default_rng(seed)) for seed in seeds]
        return torch.from_numpy(np.stack(holes)[:, None]).to(x)
