"""From the bytes of one picture to all of its pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from sfumato.data.decode import MAX_PIXELS, BrokenImage, _flat


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise BrokenImage(f"{width}x{height} pixels, more than {MAX_PIXELS:,}")
                if max_side is not None:  # a JPEG can be decoded at a half or a quarter
                    opened.draft(None, _within(width, height, max_side))
                opened.load()
                picture = _flat(ImageOps.exif_transpose(opened), "RGB")
    except BrokenImage:
        raise
    except Exception as error:  # whatever a codec raises for damaged data, the picture is broken
        raise BrokenImage(str(error) or type(error).__name__) from error
    if max_side is not None and max(picture.size) > max_side:
        picture = picture.resize(_within(*picture.size, max_side), Image.Resampling.LANCZOS)
    return picture


def _within(width: int, height: int, most: int) -> tuple[int, int]:
    longer = max(width, height, most)
    return max(1, round(width * most / longer)), max(1, round(height * most / longer))


def planes(picture: Image.Image) -> np.ndarray:
    """The pixels as uint8 (3, H, W)."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
