r"""JPEG: the published arithmetic, through which gradients can flow, and the real codec.

The arithmetic of I²SB's JPEG tasks (Liu et al. 2023, arXiv 2302.05872): BT.601 luma and chroma,
chroma at half resolution by keeping every second pixel ("4:2:0 by dropping"), orthonormal 8 x 8
cosine transforms, rounding of each coefficient to multiples of the tables of ITU-T T.81, annex K,
scaled for quality q as the Independent JPEG Group does (`tables`), and the way back. There is no
rounding to bytes and no clamp. A real codec averages chroma instead of dropping it, smooths it
when it is brought back, and rounds to bytes: `JpegFile`.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from sfumato.data.degrade.base import Degradation, DegradationCard, check_range, need_picture
from sfumato.seeds import Generators, rand

LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
"""ITU-T T.81, tables K.1 and K.2, rows of the vertical frequency."""

FORWARD = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
"""BT.601 full range, as in JFIF 1.02: Y, Cb - 128 and Cr - 128 of (R, G, B)."""
BACKWARD = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
"""R, G, B of (Y, Cb - 128, Cr - 128), as in JFIF 1.02."""


class Rounding(Enum):
    """How coefficients are rounded.

    NEAREST has no derivative worth having; CUBIC, r + (x - r)³ with r the nearest integer, is near
    it and has one (Shin & Song 2017).
    """

    NEAREST = "nearest"
    CUBIC = "cubic"


def tables(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Luma and chroma tables (B, 8, 8) for qualities (B,): ⌊(s Q + 50)/100⌋ within 1 ... 255.

    s = ⌊5000/q⌋ below 50 and 200 - 2q from there on. The floor is libjpeg's, so that the tables are
    those of files; the published arithmetic has 5000/q. They differ for 34 qualities, all below
    49, by at most 2.
    """
    q = quality.double()
    s = torch.where(q < 50, torch.floor(5000 / q), 200 - 2 * q)[:, None, None]
    both = torch.tensor([LUMA, CHROMA], dtype=torch.float64)
    luma, chroma = (((s * t + 50) / 100).floor().clamp(1, 255) for t in both)
    return luma, chroma


def cosines(dtype: torch.dtype = torch.float64) -> Tensor:
    """The orthonormal DCT-II matrix D (8, 8): coefficients of a block X are D X Dᵀ."""
    k = torch.arange(8, dtype=torch.float64)
    d = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    d[0] /= math.sqrt(2)
    return d.to(dtype)


def blocks(plane: Tensor) -> Tensor:
    """(B, H, W) -> (B, H/8, W/8, 8, 8)."""
    b, h, w = plane.shape
    return plane.reshape(b, h // 8, 8, w // 8, 8).transpose(2, 3)


def unblocked(x: Tensor) -> Tensor:
    """The inverse of `blocks`."""
    b, h, w = x.shape[:3]
    return x.transpose(2, 3).reshape(b, 8 * h, 8 * w)


def _rounded(x: Tensor, rounding: Rounding) -> Tensor:
    r = x.detach().round()
    return r if rounding is Rounding.NEAREST else r + (x - r) ** 3


def quantised(plane: Tensor, table: Tensor, rounding: Rounding) -> Tensor:
    """A plane in levels about 0, through its coefficients' multiples of ``table`` (B, 8, 8)."""
    d = cosines().to(plane)
    step = table.to(plane)[:, None, None]
    found = _rounded(d @ blocks(plane) @ d.T / step, rounding) * step
    return unblocked(d.T @ found @ d)


def quality_of(quality: tuple[int, int], n: int, generator: Generators) -> Tensor:
    """Whole qualities for n pictures, each as likely; equal ends draw nothing."""
    low, high = quality
    if low == high:
        return torch.full((n,), float(low), dtype=torch.float64)
    return low + (rand((n, 1), generator)[:, 0] * (high - low + 1)).floor()


@final
@dataclass(frozen=True)
class Jpeg(Degradation):
    """The published arithmetic, see the module's text.

    Args:
        quality: lowest and highest, 1 ... 95; drawn for each picture.
        subsample: chroma at half resolution (4:2:0), or whole (4:4:4).
        rounding: CUBIC where gradients are wanted.

    Raises:
        ValueError: qualities outside 1 ... 95 or that do not rise.
    """

    quality: tuple[int, int] = (10, 10)
    subsample: bool = True
    rounding: Rounding = Rounding.NEAREST

    def __post_init__(self) -> None:
        check_range("quality", self.quality, 1, 95)

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"JPEG artefacts of quality {self.quality[0]} to {self.quality[1]}",
            "I²SB's JPEG tasks (arXiv 2302.05872); ITU-T T.81; JFIF 1.02",
            linear=False,
            differentiable=self.rounding is Rounding.CUBIC,
            note="no rounding to bytes and no clamp: values leave [-1, 1] at low quality",
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The decoded picture; one of any size, continued by its edge to whole blocks."""
        need_picture(x, channels=(1, 3))
        b, c, h, w = x.shape
        luma, chroma = tables(quality_of(self.quality, b, generator))
        whole = 16 if self.subsample and c == 3 else 8
        x = pad(x, (0, -w % whole, 0, -h % whole), mode="replicate") * 127.5
        if c == 1:
            y = quantised(x[:, 0] - 0.5, luma, self.rounding)[:, None] + 0.5
            return y[:, :, :h, :w] / 127.5
        # 255-levels less 128 are 127.5 x - 1/2 for luma; chroma has no offset
        planes = torch.einsum("ij,bjhw->bihw", torch.tensor(FORWARD, dtype=torch.float64).to(x), x)
        light = quantised(planes[:, 0] - 0.5, luma, self.rounding) + 0.5
        step = 2 if self.subsample else 1
        colours = [
            quantised(planes[:, i, ::step, ::step], chroma, self.rounding)
            .repeat_interleave(step, 1)
            .repeat_interleave(step, 2)
            for i in (1, 2)
        ]
        made = torch.stack([light, *colours], 1)
        back = torch.einsum(
            "ij,bjhw->bihw", torch.tensor(BACKWARD, dtype=torch.float64).to(x), made
        )
        return back[:, :, :h, :w] / 127.5


@final
@dataclass(frozen=True)
class JpegFile(Degradation):
    """The real codec: encoded by Pillow (libjpeg) with 4:2:0 chroma, and decoded again.

    Args:
        quality: lowest and highest, 1 ... 95; drawn for each picture.

    Raises:
        ValueError: qualities outside 1 ... 95 or that do not rise.
    """

    quality: tuple[int, int] = (10, 10)

    def __post_init__(self) -> None:
        check_range("quality", self.quality, 1, 95)

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"JPEG files of quality {self.quality[0]} to {self.quality[1]}",
            "libjpeg, through Pillow",
            linear=False,
            differentiable=False,
            note="picture by picture on the CPU; 256 levels",
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The decoded pictures, (B, 1 or 3, H, W), on 256 levels."""
        need_picture(x, channels=(1, 3))
        levels = x.detach().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        found = []
        for one, q in zip(levels, quality_of(self.quality, len(x), generator), strict=True):
            file = io.BytesIO()
            picture = Image.fromarray(one[0] if len(one) == 1 else one.transpose(1, 2, 0))
            picture.save(file, "JPEG", quality=int(q), subsampling="4:2:0")
            made = np.asarray(Image.open(file))
            found.append(made[None] if made.ndim == 2 else made.transpose(2, 0, 1))
        return torch.from_numpy(np.stack(found)).to(x) / 127.5 - 1
