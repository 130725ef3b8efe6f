r"""Paint in four colours to a mask for each of them.

A pixel of a painting has a colour c and an opacity a. Where a stroke ends over nothing its edge has
the stroke's colour and 0 < a < 1; where it ends over another stroke, c lies between two of the
colours. So each pixel is taken for the point nearest to c on the segments between any two colours,
:math:`(1 - t)\, p_i + t\, p_j`, and its masks are :math:`a (1 - t)` and :math:`a t`: the share
of the pixel that each stroke covers. A pixel that is far from all segments is not paint.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final, final

import numpy as np
from numpy.typing import NDArray


@final
@dataclass(frozen=True)
class Colour:
    """A colour of the palette, and what people call it."""

    name: str
    rgb: tuple[int, int, int]

    @property
    def hex(self) -> str:
        """As in CSS."""
        return "#" + "".join(f"{v:02x}" for v in self.rgb)


PALETTE: Final = (
    Colour("blue", (0, 114, 178)),
    Colour("orange", (230, 159, 0)),
    Colour("green", (0, 158, 115)),
    Colour("pink", (204, 121, 167)),
)
"""Four that are told apart by the colour-blind as well (Okabe and Ito 2008)."""

_FAR = 12.0
"""Distance from paint, in levels of 255, beyond which a colour is not paint."""


def masks(painting: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much of each pixel is painted in each colour: (4, H, W) in [0, 1].

    Args:
        painting: (H, W, 4) uint8, red, green, blue and opacity.
    """
    flat = painting.reshape(-1, 4)
    made = np.zeros((len(PALETTE), len(flat)), np.float32)
    there = np.flatnonzero(flat[:, 3])
    # Few values differ: the insides of strokes are one colour.
    packed = np.ascontiguousarray(flat[there]).view(np.uint32).reshape(-1)
    kinds, which = np.unique(packed, return_inverse=True)
    pixels = kinds.view(np.uint8).reshape(-1, 4).astype(np.float64)
    made[:, there] = _shares(pixels)[:, which.reshape(-1)]
    return made.reshape(len(PALETTE), *painting.shape[:2])


def _shares(pixels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Shares (4, N) of pixels (N, 4)."""
    colour, opacity = pixels[:, :3], pixels[:, 3] / 255
    palette = np.array([c.rgb for c in PALETTE], np.float64)
    best = np.full(len(pixels), np.inf)
    share = np.zeros((len(PALETTE), len(pixels)))
    for i, j in combinations(range(len(PALETTE)), 2):
        along = palette[j] - palette[i]
        t = ((colour - palette[i]) @ along / (along @ along)).clip(0, 1)
        # Browsers keep colours multiplied by the opacity, so a faint pixel's colour is a rough one.
        away = np.linalg.norm(colour - palette[i] - t[:, None] * along, axis=1)
        nearer = away < best - 1e-9
        best = np.where(nearer, away, best)
        share[:, nearer] = 0
        share[i, nearer], share[j, nearer] = (1 - t)[nearer], t[nearer]
    paint = best <= _FAR + 0.5 * np.sqrt(3) / opacity.clip(1e-3)
    return (share * (paint * opacity)).astype(np.float32)
