"""From the bytes of one picture to a square of uint8 pixels."""

from __future__ import annotations

import io
import warnings
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps

Channels: TypeAlias = Literal[1, 3]

MAX_PIXELS = 64_000_000
MAX_BYTES = 512_000_000


class BrokenImage(ValueError):
    """A picture that cannot be used, and why."""


def decode(data: bytes, resolution: int, channels: Channels) -> np.ndarray:
    """The picture as uint8 (channels, R, R).

    Turned as its EXIF orientation says, transparent parts composited on white, 16-bit grey
    scaled to 8 bits, the central square cut out and resized with a Lanczos filter as wide as the
    reduction asks for (so without aliasing). The first frame of an animation.

    Raises:
        BrokenImage: not a picture, cut short, of an unsupported kind, or larger than
            64 million pixels (a few bytes can claim a picture that fills the memory).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise BrokenImage(f"{width}x{height} pixels, more than {MAX_PIXELS:,}")
                opened.load()
                picture = _flat(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB")
    except BrokenImage:
        raise
    except Exception as error:  # whatever a codec raises for damaged data, the picture is broken
        raise BrokenImage(str(error) or type(error).__name__) from error
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = picture.resize(
        (resolution, resolution), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
    )
    pixels = np.asarray(square).reshape(resolution, resolution, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _flat(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):
        deep = np.asarray(picture)
        if deep.min() < 0 or deep.max() > 65535:
            raise BrokenImage("more than 16 bits a pixel")
        picture = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if picture.mode == "F":
        raise BrokenImage("floating-point pixels")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        above = picture.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        picture = Image.alpha_composite(white, above)
    return picture.convert("RGB").convert(mode) if mode == "L" else picture.convert(mode)
