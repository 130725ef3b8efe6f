"""From the bytes of one picture to all of its pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from sfumato.data.decode import flat, opened


def whole(data: bytes, max_side: int | None = None) -> Image.Image:
    """The whole picture, RGB.

    Turned as its EXIF orientation says and transparent parts composited on white, as `decode`
    does; not cropped.

    Args:
        data: the bytes of the file.
        max_side: reduce the picture, without aliasing, until neither side is longer.

    Raises:
        BrokenImage: not a picture, cut short, of an unsupported kind, or larger than
            64 million pixels.
    """
    with opened(data) as found:
        if max_side is not None:  # a JPEG can be decoded at a half or a quarter
            found.draft(None, _within(*found.size, max_side))
        found.load()
        picture = flat(ImageOps.exif_transpose(found), "RGB")
    if max_side is not None and max(picture.size) > max_side:
        picture = picture.resize(_within(*picture.size, max_side), Image.Resampling.LANCZOS)
    return picture


def _within(width: int, height: int, most: int) -> tuple[int, int]:
    longer = max(width, height, most)
    return max(1, round(width * most / longer)), max(1, round(height * most / longer))


def planes(picture: Image.Image) -> np.ndarray:
    """The pixels as uint8 (3, H, W)."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
