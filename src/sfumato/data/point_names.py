"""The names of the point sets; nothing here imports torch."""

from __future__ import annotations

import enum
from typing import final


@final
class PointName(enum.StrEnum):
    """The names of the point sets in the plane."""

    GAUSSIANS_8 = "8-gaussians"
    GAUSSIANS_25 = "25-gaussians"
    DIAMOND = "diamond"
    SWISS_ROLL = "swiss-roll"
    MULTI_SWISS_ROLL = "multi-swiss-roll"
    CHECKERBOARD = "checkerboard"
    TWO_MOONS = "two-moons"
