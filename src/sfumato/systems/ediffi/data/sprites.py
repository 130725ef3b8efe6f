"""Emoji cut out along their outlines, at any size, kept in memory."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from sfumato.data.emoji import _collections, svg_of_icon
from sfumato.errors import SfumatoError, require

_FINE: Final = 256


def cut_out(svg: str, resolution: int) -> Image.Image:
    """The document on nothing, mode "RGBA", R x R.

    Raises:
        MissingExtra: the rasteriser is not installed.
        ValueError: a document that it does not take.
    """
    png = require("resvg_py", "data").svg_to_bytes(
        svg_string=svg, width=resolution, height=resolution, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


@lru_cache(maxsize=1024)
def _fine(root: Path, vendor: str, icon: str) -> Image.Image:
    """An icon in the middle of the smallest square that holds it, colours times alpha ("RGBa").

    What it covers by less than half at this size does not count, and is cut off.
    """
    icons = _collections(root)[vendor]
    try:
        whole = cut_out(svg_of_icon(icons, icon), _FINE)
    except (KeyError, ValueError) as error:  # not there, or what the rasteriser raises
        raise SfumatoError(f"'{icon}' of {vendor} cannot be drawn: {error}") from error
    drawn = np.asarray(whole)[..., 3] >= 128
    if not drawn.any():
        raise SfumatoError(f"'{icon}' of {vendor} is an empty drawing")
    y, x = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    box = (int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1)
    cut = whole.crop(box).convert("RGBa")
    side = max(cut.size) + max(cut.size) % 2
    square = Image.new("RGBa", (side, side))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return square


@lru_cache(maxsize=16_384)
def sprite(root: Path, vendor: str, icon: str, side: int) -> np.ndarray:
    """An icon, as large as fits into a square of `side` pixels and in the middle of it.

    Rendered at 256 pixels, cut along its outline and averaged over areas: without aliasing, and
    at twice the size the same picture, finer.

    Args:
        root: the data folder with the emoji.
        vendor, icon: which, by the names of the packages.
        side: in pixels, 1 or more.

    Returns:
        uint8 (side, side, 4), read-only: red, green and blue times alpha, and alpha.

    Raises:
        MissingExtra: the rasteriser is not installed.
        SfumatoError: the packages are not there (the message says what to run), are damaged, or
            have no such icon.
    """
    fine = _fine(root, vendor, icon)
    made = np.array(fine.resize((side, side), Image.Resampling.BOX))
    made.setflags(write=False)
    return made
