"""Pictures of many images: contact sheets, scatter plots, PNG bytes.

Only numpy and pillow; importing this module does not import torch. Images are uint8 arrays
(N, C, H, W) with C = 1 (grey), 3 (RGB) or 4 (RGB and alpha, composited on white).
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sfumato.files.atomic import write

__all__ = ["described", "encode", "image", "save", "scatter", "sheet"]

_PAPER = (255, 255, 255)
_INK = (70, 70, 76)
_TILE = 64  # the sheet enlarges small images until a tile is about this wide (pixels)


def sheet(
    images: NDArray[np.uint8],
    columns: int | None = None,
    *,
    scale: int | None = None,
    gap: int = 2,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    transparent: bool = False,
) -> Image.Image:
    """Lay ``images`` (N, C, H, W) uint8 out in rows, left to right, on a white sheet.

    ``columns`` is about the square root of N unless given; ``scale`` repeats every pixel that
    many times (chosen so that small images can be seen, unless given); ``gap`` is the white space
    between tiles in pixels. Labels are written to the left of the rows and above the columns.
    With ``transparent`` the sheet is RGBA, its gaps see-through, and has no labels.

    Raises ValueError for another shape or dtype, or more labels than there are rows or columns.
    """
    tiles = _rgb(images)
    n, height, width, _ = tiles.shape
    if columns is None:
        columns = max(1, math.ceil(math.sqrt(n)))
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    rows = math.ceil(n / columns)
    if len(row_labels) > rows or len(column_labels) > columns:
        raise ValueError(
            f"a sheet of {rows} rows and {columns} columns got {len(row_labels)} row labels "
            f"and {len(column_labels)} column labels"
        )
    if scale is None:
        scale = max(1, round(_TILE / max(height, width)))
    if scale > 1:
        tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    step_y, step_x = height * scale + gap, width * scale + gap
    if transparent:
        tiles = np.concatenate([tiles, np.full_like(tiles[..., :1], 255)], axis=-1)
    paper = (255, 255, 255, 0) if transparent else _PAPER
    canvas = np.empty((rows * step_y + gap, columns * step_x + gap, len(paper)), np.uint8)
    canvas[:] = paper
    for i in range(n):
        y, x = gap + (i // columns) * step_y, gap + (i % columns) * step_x
        canvas[y : y + height * scale, x : x + width * scale] = tiles[i]
    picture = Image.fromarray(canvas)
    if transparent or not (row_labels or column_labels):
        return picture
    return _label(picture, row_labels, column_labels, (step_x, step_y), gap)


def scatter(
    points: NDArray[np.floating],
    *,
    groups: NDArray[np.integer] | None = None,
    behind: NDArray[np.floating] | None = None,
    limit: float | None = None,
    size: int = 480,
) -> Image.Image:
    """A square scatter plot of ``points`` (N, 2), coloured by ``groups`` (N,) where given.

    ``behind`` (M, 2) is drawn first, in light grey (the real data, for comparison). The axes run
    over [-limit, limit] (from the points unless given); ``size`` is in pixels.
    Raises ValueError unless the points are (N, 2) and finite points remain.
    """
    points = _plane(points)
    behind = np.empty((0, 2)) if behind is None else _plane(behind)
    if limit is None:
        everything = np.concatenate([points, behind])
        everything = everything[np.isfinite(everything).all(axis=1)]
        limit = float(np.quantile(np.abs(everything), 0.999)) * 1.1 if len(everything) else 1.0
        limit = limit or 1.0
    fine = 3  # draw three times too large, then reduce: smooth dots
    picture = Image.new("RGB", (size * fine, size * fine), _PAPER)
    draw = ImageDraw.Draw(picture)

    def dots(where: NDArray[np.floating], colours: Sequence[tuple[int, int, int]]) -> None:
        radius = fine * float(np.clip(40 / math.sqrt(len(where) + 1), 1.0, 3.0))
        for (x, y), colour in zip(where.tolist(), colours, strict=True):
            if not (math.isfinite(x) and math.isfinite(y)):
                continue
            u, v = (x / limit + 1) / 2 * size * fine, (1 - y / limit) / 2 * size * fine
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), fill=colour)

    dots(behind, [(214, 214, 218)] * len(behind))
    kinds = [0] * len(points) if groups is None else np.asarray(groups).tolist()
    dots(points, [_PALETTE[k % len(_PALETTE)] for k in kinds])
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def image(pixels: NDArray[np.uint8]) -> Image.Image:
    """One picture from one image (C, H, W) uint8, its channels kept (grey stays grey)."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"an image must be uint8 (C, H, W) with C = 1, 3 or 4; got {pixels.dtype} "
            f"{tuple(pixels.shape)}"
        )
    if pixels.shape[0] == 1:
        return Image.fromarray(np.ascontiguousarray(pixels[0]))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def encode(picture: Image.Image, form: str = "PNG", about: str = "") -> bytes:
    """The bytes of ``picture`` as a file of that form (PNG, or lossless WEBP).

    ``about`` is kept inside the file (EXIF: image description) and read by :func:`described`.
    """
    buffer = io.BytesIO()
    exif = Image.Exif()
    if about:
        exif[_DESCRIPTION] = about
    if form.upper() == "WEBP":
        picture.save(buffer, "WEBP", lossless=True, exif=exif.tobytes() if about else b"")
    else:
        picture.save(buffer, form, optimize=True, exif=exif if about else None)
    return buffer.getvalue()


def described(path: Path | str) -> str:
    """What :func:`save` was told about the picture at ``path``; empty for any other file."""
    try:
        with Image.open(path) as picture:
            return str(picture.getexif().get(_DESCRIPTION, ""))
    except (OSError, ValueError, SyntaxError):
        return ""


def save(picture: Image.Image, path: Path | str, about: str = "") -> Path:
    """Write ``picture`` to ``path`` (.png or .webp), making its folder; whole or not at all.

    Raises ValueError for another suffix.
    """
    path = Path(path)
    form = {".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower())
    if form is None:
        raise ValueError(f"a picture is written as .png or .webp, got {path.name!r}")
    write(path, encode(picture, form, about))
    return path


_DESCRIPTION = 0x010E  # EXIF ImageDescription
_PALETTE = (
    (38, 84, 124), (224, 122, 63), (67, 140, 94), (178, 58, 72), (120, 94, 160),
    (140, 98, 57), (204, 121, 167), (90, 90, 96), (153, 153, 51), (51, 160, 175),
)  # fmt: skip


def _rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, C, H, W) -> (N, H, W, 3): grey repeated, alpha composited on white."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"images must be uint8 (N, C, H, W) with C = 1, 3 or 4; got {images.dtype} "
            f"{tuple(images.shape)}"
        )
    if len(images) == 0:
        raise ValueError("a sheet needs at least one image, got none")
    tiles = images.transpose(0, 2, 3, 1)
    if tiles.shape[-1] == 1:
        return tiles.repeat(3, axis=-1)
    if tiles.shape[-1] == 4:
        alpha = tiles[..., 3:].astype(np.float32) / 255
        mixed = tiles[..., :3] * alpha + 255 * (1 - alpha)
        return np.round(mixed).astype(np.uint8)
    return tiles


def _plane(points: NDArray[np.floating]) -> NDArray[np.floating]:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be (N, 2), got {tuple(points.shape)}")
    return points


def _label(
    picture: Image.Image,
    rows: Sequence[str],
    columns: Sequence[str],
    step: tuple[int, int],
    gap: int,
) -> Image.Image:
    font = ImageFont.load_default(size=max(11, min(14, step[1] // 4)))
    left = max((math.ceil(font.getlength(text)) + 8 for text in rows), default=0)
    top = 20 if columns else 0
    whole = Image.new("RGB", (picture.width + left, picture.height + top), _PAPER)
    whole.paste(picture, (left, top))
    draw = ImageDraw.Draw(whole)
    for i, text in enumerate(rows):
        middle = top + gap + i * step[1] + step[1] // 2
        draw.text((left - 5, middle), text, fill=_INK, font=font, anchor="rm")
    for i, text in enumerate(columns):
        middle = left + gap + i * step[0] + step[0] // 2
        draw.text((middle, top - 4), text, fill=_INK, font=font, anchor="mb")
    return whole
