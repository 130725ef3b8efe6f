"""From the bytes of one picture to pixels: a square of uint8, or the whole picture."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sfumato.errors import SfumatoError

Channels: TypeAlias = Literal[1, 3]

MAX_PIXELS = 64_000_000
MAX_BYTES = 512_000_000


# Not every kind that Pillow knows: some of them start other programs.
KINDS: Final = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")


class BrokenImage(ValueError):
    """A picture that cannot be used, and why."""


@contextmanager
def opened(data: bytes, max_pixels: int = MAX_PIXELS, hint: str = "") -> Iterator[Image.Image]:
    """A picture of which only the header was read; whatever happens inside is the picture's fault.

    Args:
        data: the bytes of the file.
        max_pixels: more are refused; Pillow's own limit of 178,956,970 stands in any case.
        hint: what the message about too many pixels adds.

    Raises:
        BrokenImage: not a picture of a kind that is read, cut short, damaged, or too large (a few
            bytes can claim a picture that fills the memory).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=KINDS) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise BrokenImage(f"{width}x{height} pixels, more than {max_pixels:,}{hint}")
                yield picture
    except (BrokenImage, SfumatoError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage("not a picture of a kind that is read here, or damaged") from error
    except Image.DecompressionBombError as error:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise BrokenImage(f"more than {limit:,} pixels{hint}") from error
    except Exception as error:  # whatever a codec raises for damaged data, the picture is broken
        raise BrokenImage(str(error) or type(error).__name__) from error


def decode(data: bytes, resolution: int, channels: Channels) -> np.ndarray:
    """The picture as uint8 (channels, R, R).

    Turned as its EXIF orientation says, transparent parts composited on white, 16-bit grey
    scaled to 8 bits, the central square cut out and resized with a Lanczos filter as wide as the
    reduction asks for (so without aliasing). The first frame of an animation.

    Raises:
        BrokenImage: not a picture, cut short, of an unsupported kind, or larger than
            64 million pixels (a few bytes can claim a picture that fills the memory).
    """
    with opened(data) as found:
        found.load()
        picture = flat(ImageOps.exif_transpose(found), "L" if channels == 1 else "RGB")
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    square = picture.resize(
        (resolution, resolution), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
    )
    pixels = np.asarray(square).reshape(resolution, resolution, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def flat(picture: Image.Image, mode: str) -> Image.Image:
    """The picture as "L" or "RGB": transparent parts on white, 16-bit grey scaled to 8 bits.

    Raises:
        BrokenImage: more than 16 bits a pixel, or floating-point ones.
    """
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


def middle(pixels: np.ndarray) -> np.ndarray:
    """The middle square (S, S, ...) of pixels (H, W, ...), S the smaller of the two; a view."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


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
