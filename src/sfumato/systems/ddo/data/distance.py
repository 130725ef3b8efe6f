r"""Signed distance functions of shapes: how far each point is from the border, negative inside.

    d(x) = ∓ min { |x - y| : y on the border of the shape },   |∇d| = 1 almost everywhere,

so that the shape is {d < 0}, on any grid. Distances are in sides of the square box. The frame is
REFLECTING: a mirrored copy of the shape is never nearer than the shape itself, so d inside the box
is that of the shape with all its mirror images, and needs nothing from outside.

Computed on a grid of four times as many points (`FINER`) by the Euclidean distance transform
between pixels' centres (half a pixel less: the border runs between them), then taken at the
centres of the cells asked for. The error is 0.08 of their spacing (root mean square, discs and half
planes in any direction) and hardly above 0.15 anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from sfumato.data.emoji import VENDORS, _collections, emoji_names, svg_of_icon
from sfumato.data.mnist import DIGITS_CARD, digits
from sfumato.data.packages import EMOJI
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, Split, check_split
from sfumato.errors import SfumatoError, UsageError, require, unknown
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.cache import cached_fields
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["FINER", "digits_sdf", "icons_sdf", "inked", "signed_distance"]

FINER: Final = 4
"""Points along an axis of the grid that distances are computed on, for each cell asked for."""

_FRAME: Final = Frame(
    Domain.REFLECTING, (Axis("y"), Axis("x")), (Quantity("signed distance", "box side"),)
)
_GENERATION = 1
_LOOKED_AT = 48
"""Pixels of an icon as it is compared with others."""
_ALIKE = 0.9
"""Icons whose common area is this part of their joint area count as one."""


def signed_distance(mask: np.ndarray, spacing: float = 1.0) -> np.ndarray:
    """The distance of each pixel's centre to the shape's border, negative inside.

    From the centre of the nearest pixel of the other kind, half a pixel taken off: exact for
    straight borders along the axes, within half a pixel for slanted and round ones.

    Args:
        mask: bool (..., H, W), True inside.
        spacing: between pixels' centres, on both axes.

    Returns:
        float64 (..., H, W), of magnitude ``spacing / 2`` at least, in the units of ``spacing``.

    Raises:
        UsageError: not such a mask, or a mask that is all True or all False and has no border.
        MissingExtra: scipy is not installed.
    """
    if mask.dtype != np.bool_ or mask.ndim < 2:
        raise UsageError(f"expected a bool mask (..., H, W), got {mask.dtype} {mask.shape}")
    if not spacing > 0:
        raise UsageError(f"expected a spacing > 0, got {spacing}")
    flat = mask.reshape(-1, *mask.shape[-2:])
    plain = flat.all((1, 2)) | ~flat.any((1, 2))
    if plain.any():
        raise UsageError(
            f"{plain.sum()} of {len(flat)} masks (the first is number {plain.argmax()}) are all "
            "inside or all outside: they have no border to measure from"
        )
    transform = require("scipy.ndimage", "fields").distance_transform_edt
    made = np.empty(flat.shape)
    for i, inside in enumerate(flat):
        made[i] = np.where(inside, 0.5 - transform(inside), transform(~inside) - 0.5)
    return (made * spacing).reshape(mask.shape)


@lru_cache(maxsize=4)
def _spline(n: int, size: int) -> np.ndarray:
    """The matrix (size, n) from n pixels to finer ones: cubic splines, mirrored at the border."""
    zoom = require("scipy.ndimage", "fields").zoom
    made: np.ndarray = zoom(np.eye(n), (size / n, 1), order=3, mode="reflect", grid_mode=True)
    return made


def inked(images: np.ndarray, size: int) -> np.ndarray:
    """Where grey pictures are more than half white, on a finer grid.

    A pixel's grey is the part of it that is ink. Where the cubic spline through the greys crosses
    one half the outline is known far below the size of a pixel.

    Args:
        images: uint8 (N, H, H), 255 for ink.
        size: pixels along each axis of the masks, >= H.

    Returns:
        bool (N, size, size).

    Raises:
        MissingExtra: scipy is not installed.
    """
    matrix = _spline(images.shape[-1], size)
    inside: np.ndarray = matrix @ (images / 255.0) @ matrix.T > 0.5
    return inside


def _at_centres(mask: np.ndarray) -> np.ndarray:
    """Signed distances, in box sides, of masks (N, F g, F g) at the centres of g x g cells.

    A centre is the corner where four pixels meet: the mean of theirs is linear interpolation.
    """
    n = mask.shape[-1]
    fine = signed_distance(mask, 1 / n)
    parts = fine.reshape(-1, n // FINER, FINER, n // FINER, FINER)
    middle = slice(FINER // 2 - 1, FINER // 2 + 1)
    made: np.ndarray = parts[:, :, middle][..., middle].mean((2, 4), dtype=np.float64)
    return made.astype(np.float32)


def _ready(what: str, split: Split, grid: int) -> None:
    check_split(split)
    if not 16 <= grid <= 256 or grid % 2:
        raise UsageError(f"{what}: expected an even grid in 16..256, got {grid}")


def digits_sdf(
    split: Split = "train", grid: int = 64, root: Path | None = None, progress: bool = True
) -> FieldSet:
    """Signed distances to the outlines of handwritten digits; field i is of `digits`' picture i.

    Made once (5 ms for each at 64 points) and kept in the data folder.

    Args:
        split: "train" (8,004) or "test" (1,996).
        grid: points along each axis, even, 16..256.
        root: the data folder; `data_root()` when None.
        progress: show a progress bar while they are made.

    Returns:
        float32 values (N, 1, grid, grid), rows first and downwards, as pictures are.

    Raises:
        UsageError: another split, or a grid out of range.
        MissingExtra: scipy is not installed and needed.
        SfumatoError: the digits are not there (the message says what to run), or something is
            damaged or cannot be written.
    """
    _ready("digits_sdf", split, grid)
    root = data_root() if root is None else root

    def make() -> tuple[int, Iterator[np.ndarray]]:
        images = digits(split, root / "digits").images[:, 0]
        return len(images), (_at_centres(inked(image[None], FINER * grid)) for image in images)

    card = DataCard(
        name="digits-sdf",
        source=f"signed distances to the outlines of: {DIGITS_CARD.source}",
        licence=DIGITS_CARD.licence,
        size="",
        note=DIGITS_CARD.note,
    )
    return cached_fields(
        root / "digits-sdf" / f"{split}-{grid}-g{_GENERATION}", card, split, _FRAME, (grid, grid),
        make, f"measuring digits at {grid} points", progress,
    )  # fmt: skip


def _silhouette(vendor: str, name: str, pixels: int, root: Path) -> np.ndarray:
    """Where an icon is more than half opaque, bool (pixels, pixels)."""
    png = require("resvg_py", "data").svg_to_bytes(
        svg_string=svg_of_icon(_collections(root)[vendor], name),
        width=pixels,
        height=pixels,
        skip_system_fonts=True,
    )
    inside: np.ndarray = (
        np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))[..., 3] > 127
    )
    return inside


@lru_cache(maxsize=4)
def _distinct(vendors: tuple[str, ...], root: Path) -> dict[Split, tuple[tuple[str, str], ...]]:
    """(name, vendor) of the icons in each split, without those much like an earlier one.

    Training icons come first, so that none for test is much like one of them.
    """
    found: dict[Split, list[tuple[str, str]]] = {"train": [], "test": []}
    masks: list[np.ndarray] = []
    for split, chosen in found.items():
        for name in emoji_names(split, root):
            for vendor in vendors:
                new = _silhouette(vendor, name, _LOOKED_AT, root).ravel().astype(np.float32)
                if masks:
                    known = np.stack(masks)
                    common = known @ new
                    if (common > _ALIKE * (known.sum(1) + new.sum() - common)).any():
                        continue
                masks.append(new)
                chosen.append((name, vendor))
    return {split: tuple(chosen) for split, chosen in found.items()}


def icons_sdf(
    split: Split = "train",
    grid: int = 64,
    vendors: Sequence[str] = ("noto",),
    root: Path | None = None,
    progress: bool = True,
) -> FieldSet:
    """Signed distances to the silhouettes of emoji, by name; no two shapes much alike.

    An emoji fills the middle three quarters of the box, as does its vendor's square. A silhouette
    is what is more than half opaque. Many emoji are the same disc, square or head: one whose
    common area with an earlier one is 0.9 of their joint area is left out, and so is one for test
    that is like one for training. All vendors' shapes are usable; OpenMoji's are smaller in the
    box and thinner.

    Made once (half a minute for noto at 64 points) and kept in the data folder.

    Args:
        split: "train" or "test", by name (`sfumato.data.kept.split_of`); noto alone has 845 and 77.
        grid: points along each axis, even, 16..256.
        vendors: some of "noto", "twemoji", "openmoji", "fluent".
        root: the data folder; `data_root()` when None.
        progress: show a progress bar while they are made.

    Returns:
        float32 values (N, 1, grid, grid), rows first and downwards, as pictures are.

    Raises:
        UsageError: another split or vendor, one vendor twice, or a grid out of range.
        MissingExtra: scipy or the rasteriser is not installed and needed.
        SfumatoError: the emoji are not there (the message says what to run), or something is
            damaged or cannot be written.
    """
    _ready("icons_sdf", split, grid)
    for vendor in vendors:
        if vendor not in VENDORS:
            raise unknown("vendor", vendor, VENDORS)
    if not vendors or len(set(vendors)) != len(vendors):
        raise UsageError(f"icons_sdf: expected different vendors, got {list(vendors)}")
    root = data_root() if root is None else root
    which = "-".join(vendors)

    def make() -> tuple[int, Iterator[np.ndarray]]:
        chosen = _distinct(tuple(vendors), root)[split]
        return len(chosen), (field(*one) for one in chosen)

    def field(name: str, vendor: str) -> np.ndarray:
        around = FINER * grid // 8
        mask = _silhouette(vendor, name, FINER * grid - 2 * around, root)
        try:
            return _at_centres(np.pad(mask, around)[None])
        except UsageError as error:
            raise SfumatoError(f"'{name}' of {vendor} has no silhouette") from error

    used = [p for p in EMOJI if p.key.removeprefix("emoji-") in vendors]
    card = DataCard(
        name="icons-sdf",
        source="signed distances to the silhouettes of npm packages "
        + ", ".join(f"{p.name} {p.version}" for p in used)
        + ", rasterised by resvg (PyPI resvg-py)",
        licence="; ".join(f"{p.key.removeprefix('emoji-')}: {p.licence}" for p in used),
        size="",
        note="Only what all four vendors draw under one name; silhouettes much alike are left out.",
    )
    return cached_fields(
        root / "icons-sdf" / f"{split}-{grid}-{which}-g{_GENERATION}", card, split, _FRAME,
        (grid, grid), make, f"measuring icons at {grid} points", progress,
    )  # fmt: skip
