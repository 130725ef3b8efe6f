"""A toy of captioned pictures: plain squares, each with the name of its colour."""

from __future__ import annotations

from typing import Final

import numpy as np

from sfumato.data.sets import DataCard
from sfumato.systems.ediffi.data import Captioned

COLOURS: Final = {
    "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255),
    "black": (0, 0, 0), "yellow": (255, 255, 0), "pink": (255, 150, 200), "cyan": (0, 255, 255),
    "brown": (120, 70, 20), "grey": (128, 128, 128),
}  # fmt: skip


def squares(n: int = 8, side: int = 16, shift: int = 0) -> Captioned:
    """The first n colours; with a shift, each with the sentence of another one."""
    names = list(COLOURS)[:n]
    rgb = np.array([COLOURS[name] for name in names], np.uint8)
    images = np.broadcast_to(rgb[:, :, None, None], (n, 3, side, side)).copy()
    said = tuple((f"a {names[(k + shift) % n]} square",) for k in range(n))
    return Captioned("squares", images, said, DataCard("squares", "made here", "none", "small"))
