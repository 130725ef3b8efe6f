"""Fields as people look at them: north up, and a scale that fits what the values are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from sfumato.systems.ddo.data.base import Axis, Frame

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["sheet_of", "signed", "upright"]

_NORTH: Final = ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn")
"""What the CF conventions call the units of latitudes, in small letters."""
_MOST: Final = 4


def _latitude(axis: Axis) -> bool:
    return axis.units.lower() in _NORTH or axis.name.lower() in ("lat", "latitude")


def upright(values: np.ndarray, frame: Frame) -> tuple[np.ndarray, tuple[float, ...]]:
    """Fields (N, C, *grid) for a picture whose first axis runs downwards, and their side lengths.

    Maps, whose one axis of two is a latitude, have north at the top; others are as they were.
    """
    latitudes = [_latitude(axis) for axis in frame.axes]
    if frame.dims != 2 or sum(latitudes) != 1:
        return values, frame.extent
    if latitudes[0]:
        return values[:, :, ::-1], frame.extent
    return values.swapaxes(2, 3)[:, :, ::-1], frame.extent[::-1]


def signed(values: np.ndarray) -> bool:
    """Whether 0 belongs in the middle of the scale: values on both sides, as of a difference."""
    mean, deviation = np.mean(values, dtype=np.float64), np.std(values, dtype=np.float64)
    return bool(values.min() < 0 < values.max() and abs(mean) <= deviation)


def sheet_of(
    values: np.ndarray,
    frame: Frame,
    columns: int | None = None,
    row_labels: Sequence[str] = (),
) -> Image.Image:
    """A sheet for each quantity, at most 4, one below the other, each with its own scale.

    Args:
        values: (N, C, *grid), in their units.
        frame: what they are.
        columns: about the square root of N when None.
        row_labels: beside the rows of each sheet.
    """
    from PIL import Image

    from sfumato.systems.ddo.pictures import field_sheet

    shown, extent = upright(np.asarray(values), frame)
    sheets = [
        field_sheet(
            shown,
            columns,
            channel=c,
            symmetric=signed(shown[:, c]),
            label=q.label,
            extent=extent,
            row_labels=row_labels,
        )
        for c, q in enumerate(frame.quantities[:_MOST])
    ]
    if len(sheets) == 1:
        return sheets[0]
    gap = 8
    size = (max(s.width for s in sheets), sum(s.height for s in sheets) + gap * (len(sheets) - 1))
    made, top = Image.new("RGB", size, (255, 255, 255)), 0
    for s in sheets:
        made.paste(s, (0, top))
        top += s.height + gap
    return made
