"""Contact sheets of fields: colours with a scale, the same size of tile for every grid.

Only numpy and pillow, and matplotlib's colour maps when something is drawn; importing this module
imports neither torch nor matplotlib. Fields are arrays, or tensors in the computer's memory,
(N, C, *grid) with one, two or three axes of space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["field_sheet", "nearest", "round_numbers"]

_PAPER, _INK, _FRAME, _NOTHING = (255, 255, 255), (70, 70, 76), (214, 214, 218), (150, 150, 150)
_LINE = (0, 114, 178)
_LEVELS = 257  # colours: odd, so that 0 is the one in the middle of a symmetric scale
_BAR, _PAD, _FINE = 12, 3, 3  # pixels: width of the bar, space above curves; lines drawn larger
_TALLEST = 320  # of the bar

Array = NDArray[np.float64]


def field_sheet(
    x: Any,
    columns: int | None = None,
    *,
    channel: int = 0,
    limits: tuple[float, float] | None = None,
    symmetric: bool = True,
    colours: str | None = None,
    label: str = "",
    extent: Sequence[float] = (),
    tile: int = 96,
    gap: int = 3,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Image.Image:
    """One channel of many fields on a white sheet, all on one scale, drawn at its right.

    Fields of two axes are coloured, the first axis downwards; of three, the slice in the middle of
    the first. Each value fills its cell (nearest neighbour). Fields of one axis are drawn as curves
    over the axis, values at the middle of their cells. Values beyond the scale have its last
    colour, or end at its edge; those that are not finite are grey, or gaps in the curve.

    Args:
        x: (N, C, *grid), laid out in rows of ``columns``; or a list of such arrays, each one row,
            whose grids may differ: tiles have the same size.
        columns: about the square root of N, or the longest row, unless given.
        limits: of the scale; the data's own if None, and then the same below and above 0 if
            ``symmetric``.
        colours: a colour map of matplotlib; "RdBu_r" if symmetric, else "viridis".
        label: beside the scale, e.g. "vorticity [1/s]".
        extent: side lengths; the tile has their shape. () takes the first row's grid for it.
        tile: longest side of a tile in pixels, at least; more where whole numbers of pixels for
            each value need it.
        gap: white pixels between tiles.

    Raises:
        ValueError: another shape, no field, a channel that is not there, limits that do not
            increase, or more labels than rows or columns.
    """
    rows = _rows(x, columns, channel)
    wide = max(map(len, rows)) if columns is None else columns
    if len(row_labels) > len(rows) or len(column_labels) > wide:
        raise ValueError(
            f"a sheet of {len(rows)} rows and {wide} columns got {len(row_labels)} row labels "
            f"and {len(column_labels)} column labels"
        )
    low, high = _limits(rows, limits, symmetric)
    height, width = _size([row.shape[1:] for row in rows], extent, tile)
    step_y, step_x = height + gap, width + gap
    canvas = np.full((len(rows) * step_y + gap, wide * step_x + gap, 3), 255, np.uint8)
    palette = None if rows[0].ndim == 2 else _palette(colours, symmetric)
    for i, row in enumerate(rows):
        for j, field in enumerate(row):
            if palette is None:
                drawn = _curve(field, (height, width), low, high)
            else:
                drawn = _coloured(nearest(field, (height, width)), palette, low, high)
            y, x_at = gap + i * step_y, gap + j * step_x
            canvas[y : y + height, x_at : x_at + width] = drawn
    picture = Image.fromarray(canvas)
    tall = canvas.shape[0] - 2 * gap
    tall = height if palette is None else min(tall, max(height, _TALLEST))
    picture = _beside(picture, _scale(palette, low, high, tall, label), gap)
    return _labelled(picture, row_labels, column_labels, (step_x, step_y), gap)


def nearest(field: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """A field (h, w) on a grid of ``size``, each new cell with the value of the one it lies in."""
    i, j = (
        ((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(field.shape, size, strict=True)
    )
    return np.asarray(field[np.ix_(i, j)])


def round_numbers(low: float, high: float, most: int = 5) -> list[tuple[float, str]]:
    """At most ``most`` multiples of 1, 2 or 5 times a power of ten in [low, high], as written."""
    span = high - low
    for exponent in range(math.floor(math.log10(span / most)) - 1, math.ceil(math.log10(span)) + 1):
        for m in (1, 2, 5):
            step = m * 10.0**exponent
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first < most:
                digits = max(0, -exponent)
                plain = digits <= 4 and max(abs(low), abs(high)) < 1e5
                form = f".{digits}f" if plain else ".4g"
                return [(k * step, format(k * step + 0.0, form)) for k in range(first, last + 1)]
    return []


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
        return found if columns is None else [a[:columns] for a in found]
    wide = columns or max(1, math.ceil(math.sqrt(len(found[0]))))
    return [found[0][i : i + wide] for i in range(0, len(found[0]), wide)]


def _limits(
    rows: list[Array], limits: tuple[float, float] | None, symmetric: bool
) -> tuple[float, float]:
    if limits is None:
        finite = np.concatenate([row[np.isfinite(row)] for row in rows])
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if symmetric:
            high = max(-low, high)
            low = -high
        return (low, high) if low < high else (low - 1, high + 1)
    if not (math.isfinite(limits[0]) and math.isfinite(limits[1]) and limits[0] < limits[1]):
        raise ValueError(f"limits must increase and be finite, got {limits}")
    return limits


def _size(grids: list[tuple[int, ...]], extent: Sequence[float], tile: int) -> tuple[int, int]:
    """Height and width of every tile."""
    if len(grids[0]) == 1:
        return tile, round(1.5 * tile)
    shape = tuple(extent)[-2:] or grids[0]
    if len(shape) != 2 or min(shape) <= 0:
        raise ValueError(f"extent must have a length above 0 for each axis, got {tuple(extent)}")
    longest = int(np.argmax(shape))
    counts = [grid[longest] for grid in grids]
    common = math.lcm(*counts)
    if common <= max(4 * tile, *counts):
        side = common * math.ceil(tile / common)
    else:
        side = max(tile, *counts)
    other = max(1, round(side * min(shape) / max(shape)))
    return (side, other) if longest == 0 else (other, side)


def _palette(colours: str | None, symmetric: bool) -> NDArray[np.uint8]:
    """(levels, 3)."""
    import matplotlib

    name = colours or ("RdBu_r" if symmetric else "viridis")
    if name not in matplotlib.colormaps:
        raise ValueError(f"matplotlib has no colour map {name!r}")
    made = matplotlib.colormaps[name].resampled(_LEVELS)(np.linspace(0, 1, _LEVELS))
    return np.round(made[:, :3] * 255).astype(np.uint8)


def _coloured(
    field: Array, palette: NDArray[np.uint8], low: float, high: float
) -> NDArray[np.uint8]:
    share = np.clip((field - low) / (high - low), 0, 1)
    level = np.round(np.nan_to_num(share) * (len(palette) - 1)).astype(int)
    drawn = palette[level]
    drawn[~np.isfinite(field)] = _NOTHING
    return drawn


def _height(value: float, low: float, high: float, tall: int) -> float:
    """Where a value of a curve is, in pixels from the top of its tile."""
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return _PAD + (1 - share) * (tall - 1 - 2 * _PAD)


def _curve(field: Array, size: tuple[int, int], low: float, high: float) -> NDArray[np.uint8]:
    tall, wide = size
    picture = Image.new("RGB", (wide * _FINE, tall * _FINE), _PAPER)
    draw = ImageDraw.Draw(picture)

    def v(value: float) -> float:
        return (_height(value, low, high, tall) + 0.5) * _FINE

    draw.rectangle((0, 0, wide * _FINE - 1, tall * _FINE - 1), outline=_FRAME, width=_FINE)
    if low < 0 < high:
        draw.line((0, v(0), wide * _FINE, v(0)), fill=_FRAME, width=_FINE)
    run: list[tuple[float, float]] = []
    for i, value in enumerate([*field.tolist(), math.nan]):
        if math.isfinite(value):
            run.append(((i + 0.5) / len(field) * wide * _FINE, v(value)))
        elif run:
            if len(run) == 1:  # a lone value is as wide as its cell, or as can be seen
                (at, y), half = run[0], max(0.5 / len(field) * wide, 1.0) * _FINE
                run = [(at - half, y), (at + half, y)]
            draw.line(run, fill=_LINE, width=round(1.5 * _FINE), joint="curve")
            run = []
    return np.asarray(picture.resize((wide, tall), Image.Resampling.BOX))


def _scale(
    palette: NDArray[np.uint8] | None, low: float, high: float, tall: int, label: str
) -> Image.Image:
    """The bar of colours, or a bare axis for curves, with numbers and the label."""
    font = ImageFont.load_default(size=11)
    marks = round_numbers(low, high, max(2, min(5, tall // 20)))
    bar = _BAR if palette is not None else 1
    text_at = bar + 7
    wide = text_at + math.ceil(max((font.getlength(t) for _, t in marks), default=0)) + 3
    name = _turned(label, tall) if label else None
    picture = Image.new("RGB", (wide + (name.width + 2 if name else 0), tall), _PAPER)
    if palette is not None:
        level = np.round((1 - np.arange(tall) / (tall - 1)) * (len(palette) - 1)).astype(int)
        picture.paste(Image.fromarray(np.repeat(palette[level][:, None], bar, axis=1)), (0, 0))
    draw = ImageDraw.Draw(picture)
    if palette is None:
        draw.line((bar, 0, bar, tall), fill=_INK)
    for value, text in marks:
        share = 1 - (value - low) / (high - low)
        y = share * (tall - 1) if palette is not None else _height(value, low, high, tall)
        draw.line((bar, round(y), bar + 3, round(y)), fill=_INK)
        draw.text((text_at, min(max(y, 6), tall - 7)), text, fill=_INK, font=font, anchor="lm")
    if name:
        picture.paste(name, (wide, (tall - name.height) // 2))
    return picture


def _turned(text: str, tall: int) -> Image.Image:
    """Text that runs upwards, smaller if it is too long."""
    for size in (12, 11, 10, 9, 8):
        font = ImageFont.load_default(size=size)
        if font.getlength(text) <= tall:
            break
    line = Image.new("RGB", (min(math.ceil(font.getlength(text)) + 2, tall), size + 6), _PAPER)
    ImageDraw.Draw(line).text((1, (size + 6) / 2), text, fill=_INK, font=font, anchor="lm")
    return line.transpose(Image.Transpose.ROTATE_90)


def _beside(picture: Image.Image, scale: Image.Image, gap: int) -> Image.Image:
    space = 8
    whole = Image.new(
        "RGB", (picture.width + space + scale.width, max(picture.height, scale.height + 2 * gap)),
        _PAPER,
    )  # fmt: skip
    whole.paste(picture, (0, 0))
    whole.paste(scale, (picture.width + space, gap))
    return whole


def _labelled(
    picture: Image.Image,
    rows: Sequence[str],
    columns: Sequence[str],
    step: tuple[int, int],
    gap: int,
) -> Image.Image:
    if not (rows or columns):
        return picture
    font = ImageFont.load_default(size=max(11, min(14, step[1] // 4)))
    left = max((math.ceil(font.getlength(text)) + 8 for text in rows), default=0)
    top = 20 if columns else 0
    whole = Image.new("RGB", (picture.width + left, picture.height + top), _PAPER)
    whole.paste(picture, (left, top))
    draw = ImageDraw.Draw(whole)
    for i, text in enumerate(rows):
        middle = top + gap + i * step[1] + (step[1] - gap) // 2
        draw.text((left - 5, middle), text, fill=_INK, font=font, anchor="rm")
    for i, text in enumerate(columns):
        middle = left + gap + i * step[0] + (step[0] - gap) // 2
        draw.text((middle, top - 4), text, fill=_INK, font=font, anchor="mb")
    return whole
