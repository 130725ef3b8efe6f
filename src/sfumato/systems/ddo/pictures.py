"""Sheets of fields: rows of tiles on one scale of colours, which is drawn beside them.

Importing this module imports neither torch nor matplotlib. Fields are arrays, or tensors on the
CPU, (N, C, *grid) with one, two or three axes of space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sfumato.systems.ddo.data.base import Axis, Frame

__all__ = ["field_sheet", "frame_sheet", "is_signed", "north_up", "rendered"]

_TILE, _GAP, _TALLEST = 96, 3, 320  # pixels: longest side of a tile, between tiles, colour bar
_DPI = 100
_LARGEST: Final = 4  # quantities on one sheet
_NORTH: Final = ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn")
"""Units of latitude in the CF conventions, in lower case."""

Array = NDArray[np.float64]


def rendered(figure: Figure) -> Image.Image:
    """The RGB picture of a matplotlib figure, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))


def field_sheet(
    x: Any,
    columns: int | None = None,
    *,
    channel: int = 0,
    symmetric: bool = True,
    label: str = "",
    extent: Sequence[float] = (),
    row_labels: Sequence[str] = (),
) -> Image.Image:
    """One channel of many fields, all on one scale.

    Fields of two axes are coloured cell by cell, the first axis downwards; of three axes, the
    middle slice of the first. Fields of one axis are curves, values at the middle of their cells.
    Values that are not finite are grey, or gaps in the curve.

    Args:
        x: (N, C, *grid), laid out in rows of ``columns``; or a list of such arrays, each one row,
            whose grids may differ: all tiles have the same size.
        columns: fields in a row; about √N, or the longest row of a list, unless given.
        channel: which channel, from 0.
        symmetric: a blue-white-red scale from -max|x| to max|x|; else viridis from min to max.
        label: beside the scale, such as "vorticity [1/s]".
        extent: side lengths, whose ratio the tiles have; () takes the first row's grid.
        row_labels: at the left of the rows, at most one for each.

    Raises:
        ValueError: another shape, no field, a channel that is not there, columns below 1, or too
            many labels.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    rows = _rows(x, columns, channel)
    if len(row_labels) > len(rows):
        raise ValueError(f"a sheet of {len(rows)} rows got {len(row_labels)} row labels")
    low, high = _limits(rows, symmetric)
    curves = rows[0].ndim == 2
    h, w = _tile([row.shape[1:] for row in rows], extent)
    left, top = 20 + 10 * max(map(len, row_labels), default=0), 20
    total = len(rows) * (h + _GAP) - _GAP
    right = left + max(map(len, rows)) * (w + _GAP) + 5
    size = (right + 200, total + 2 * top)
    figure = Figure((size[0] / _DPI, size[1] / _DPI), dpi=_DPI)
    sheet = figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[])
    sheet.set(xlim=(0, size[0]), ylim=(size[1], 0), autoscale_on=False)  # in pixels from the top
    colours = matplotlib.colormaps["RdBu_r" if symmetric else "viridis"].with_extremes(bad="0.6")
    scale = ScalarMappable(Normalize(low, high), colours)
    for i, row in enumerate(rows):
        y = top + i * (h + _GAP)
        if i < len(row_labels):
            sheet.text(left - 6, y + h / 2, row_labels[i], fontsize=8, ha="right", va="center")
        for j, field in enumerate(row):
            x0 = left + j * (w + _GAP)
            if curves:
                if low < 0 < high:
                    sheet.hlines(y + h * high / (high - low), x0, x0 + w, "0.84", linewidth=0.72)
                at = x0 + w * (np.arange(len(field)) + 0.5) / len(field)
                up = np.where(np.isfinite(field), y + h * (high - field) / (high - low), np.nan)
                sheet.plot(at, up, ".-", color="#0072B2", linewidth=1, markersize=1.5)
            else:
                sheet.imshow(
                    scale.to_rgba(np.ma.masked_invalid(field)), extent=(x0, x0 + w, y + h, y),
                    interpolation="nearest", aspect="auto",
                )  # fmt: skip
            sheet.add_patch(Rectangle((x0, y), w, h, fill=False, color="0.84", linewidth=0.72))
    tall = h if curves else min(total, max(h, _TALLEST))
    box = (right / size[0], 1 - (top + tall) / size[1], 12 / size[0], tall / size[1])
    bar = figure.add_axes(box, ylim=(low, high))
    if curves:
        bar.spines[["left", "top", "bottom"]].set_visible(False)
        bar.set_xticks([])
        bar.yaxis.tick_right()
        bar.yaxis.set_label_position("right")
    else:
        figure.colorbar(scale, cax=bar)
    bar.set_ylabel(label, fontsize=8)
    bar.tick_params(labelsize=7)
    bar.yaxis.get_offset_text().set_fontsize(7)
    picture = rendered(figure)
    used = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    x0, y0, x1, y1 = used or (0, 0, *picture.size)
    return picture.crop((x0 - _GAP, y0 - _GAP, x1 + _GAP, y1 + _GAP))


def _rows(x: Any, columns: int | None, channel: int) -> list[Array]:
    """Rows of fields (n, *grid) of one or two axes."""
    if columns is not None and columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    listed = isinstance(x, list | tuple)
    arrays = [np.asarray(part, dtype=np.float64) for part in (x if listed else [x])]
    if not arrays or len({a.ndim for a in arrays}) != 1 or arrays[0].ndim not in (3, 4, 5):
        raise ValueError(
            "fields must be (N, C, *grid) with 1, 2 or 3 axes of space, the same in every row; "
            f"got shapes {[a.shape for a in arrays]}"
        )
    if not all(a.size for a in arrays):
        raise ValueError("a sheet needs at least one field in each row")
    if not all(0 <= channel < a.shape[1] for a in arrays):
        raise ValueError(f"channel {channel} is not in fields of shape {arrays[0].shape}")
    found = [a[:, channel] for a in arrays]
    if found[0].ndim == 4:
        found = [a[:, a.shape[1] // 2] for a in found]
    if listed:
        return [a[:columns] for a in found]
    wide = columns or max(1, math.ceil(math.sqrt(len(found[0]))))
    return [found[0][i : i + wide] for i in range(0, len(found[0]), wide)]


def _limits(rows: list[Array], symmetric: bool) -> tuple[float, float]:
    finite = np.concatenate([row[np.isfinite(row)] for row in rows])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    return (low, high) if low < high else (low - 1, high + 1)


def _tile(grids: list[tuple[int, ...]], extent: Sequence[float]) -> tuple[int, int]:
    """Height and width of every tile: a whole number of pixels for each cell, where that fits."""
    if len(grids[0]) == 1:
        return _TILE, _TILE * 3 // 2
    shape = tuple(extent)[-2:] or grids[0]
    if len(shape) != 2 or min(shape) <= 0:
        raise ValueError(f"extent must have a length above 0 for each axis, got {tuple(extent)}")
    longest = int(np.argmax(shape))
    counts = [grid[longest] for grid in grids]
    common = math.lcm(*counts)
    fits = common <= max(4 * _TILE, *counts)
    side = common * math.ceil(_TILE / common) if fits else max(_TILE, *counts)
    other = max(1, round(side * min(shape) / max(shape)))
    return (side, other) if longest == 0 else (other, side)


def frame_sheet(
    values: NDArray[Any],
    frame: Frame,
    columns: int | None = None,
    row_labels: Sequence[str] = (),
) -> Image.Image:
    """A sheet for each of the first 4 quantities, one below the other, each with its own scale.

    Args:
        values: (N, C, *grid), in the units of the frame's quantities. Maps are turned `north_up`.
        frame: axes and quantities.
        columns, row_labels: as of `field_sheet`.
    """
    shown, extent = north_up(np.asarray(values), frame)
    sheets = [
        field_sheet(
            shown, columns, channel=c, symmetric=is_signed(shown[:, c]), label=q.label,
            extent=extent, row_labels=row_labels,
        )
        for c, q in enumerate(frame.quantities[:_LARGEST])
    ]  # fmt: skip
    whole = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    for c, sheet in enumerate(sheets):
        whole.paste(sheet, (0, sum(s.height for s in sheets[:c])))
    return whole


def north_up(values: NDArray[Any], frame: Frame) -> tuple[NDArray[Any], tuple[float, ...]]:
    """Fields (N, C, *grid) for a picture whose first axis runs downwards, and their side lengths.

    Maps, whose one axis of two is a latitude, have north at the top; others are as they were.
    """
    latitudes = [_is_latitude(axis) for axis in frame.axes]
    if frame.dims != 2 or sum(latitudes) != 1:
        return values, frame.extent
    if latitudes[0]:
        return values[:, :, ::-1], frame.extent
    return values.swapaxes(2, 3)[:, :, ::-1], frame.extent[::-1]


def _is_latitude(axis: Axis) -> bool:
    return axis.units.lower() in _NORTH or axis.name.lower() in ("lat", "latitude")


def is_signed(values: NDArray[Any]) -> bool:
    """Whether the scale should be symmetric: values of both signs, |mean| <= deviation."""
    mean, deviation = np.mean(values, dtype=np.float64), np.std(values, dtype=np.float64)
    return bool(values.min() < 0 < values.max() and abs(mean) <= deviation)
