"""From the bytes of one picture to pixels: a square of uint8, or the whole picture."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from sfumato.errors import SfumatoError, require

Channels: TypeAlias = Literal[1, 3]

MAX_PIXELS = 64_000_000
MAX_BYTES = 512_000_000


# Not every kind that Pillow knows: some of them start other programs.
KINDS: Final = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
MORE_KINDS: Final = (*KINDS, "MPO", "JPEG2000", "AVIF", "HEIF", "QOI", "PCX")
"""What the pictures of a folder may be besides; TGA has no mark and goes by its ending."""
_TGA: Final = (".tga", ".vda", ".icb", ".vst")
_HEIC: Final = (".heic", ".heif", ".hif")
FULL: Final = (0, 65535)
"""What becomes black and white in pictures of 16 bits."""

Fit: TypeAlias = Literal["crop", "pad", "stretch"]


class BrokenImage(ValueError):
    """A picture that cannot be used, and why."""


class DecodedPicture(NamedTuple):
    """A decoded picture, and what it was before.

    Args:
        x: uint8 (channels, R, R).
        size: width and height before.
        depth: least and greatest value if it had 16 bits, else None.
        frames: pages or frames of the file, of which the first was read.
        grey: whether it had one channel.
    """

    x: np.ndarray
    size: tuple[int, int]
    depth: tuple[int, int] | None
    frames: int
    grey: bool


def kinds_of(name: str) -> tuple[str, ...]:
    """The kinds that a file of this name may be, as Pillow calls them.

    Raises:
        BrokenImage: it needs a package that is not installed.
    """
    ending = name.lower()
    if ending.endswith(_HEIC):
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise BrokenImage("HEIC is read after pip install 'sfumato[heic]'") from error
        register_heif_opener()
    if ending.endswith((".avif", ".avifs")) and not features.check("avif"):
        raise BrokenImage("this Pillow cannot read AVIF: pip install --upgrade pillow")
    Image.init()
    more = ("TGA",) if ending.endswith(_TGA) else ()
    return tuple(kind for kind in (*MORE_KINDS, *more) if kind in Image.OPEN)


def _what_it_is(data: bytes) -> str:
    """What stands in the place of a picture."""
    start = data[:200].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS in place of the picture; run git lfs pull"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page in place of the picture; download it again"
    return "not a picture of a kind that is read here, or damaged"


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow's inside.

    Python's warnings are shared by all threads: hiding them in several at once can leave them
    hidden for good. So only the main thread does; who starts threads that decode does it for them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def opened(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    hint: str = "",
    kinds: tuple[str, ...] = KINDS,
) -> Iterator[Image.Image]:
    """A picture of which only the header was read; whatever happens inside is the picture's fault.

    Args:
        data: the bytes of the file.
        max_pixels: more are refused; Pillow's own limit of 178,956,970 stands in any case.
        hint: what the message about too many pixels adds.
        kinds: what the file may be, as Pillow calls it.

    Raises:
        BrokenImage: not a picture of a kind that is read, cut short, damaged, or too large (a few
            bytes can claim a picture that fills the memory).
    """
    try:
        with quiet(), Image.open(io.BytesIO(data), formats=kinds) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise BrokenImage(f"{width}x{height} pixels, more than {max_pixels:,}{hint}")
            yield picture
    except (BrokenImage, SfumatoError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage(_what_it_is(data)) from error
    except Image.DecompressionBombError as error:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise BrokenImage(f"more than {limit:,} pixels{hint}") from error
    except Exception as error:  # whatever a codec raises for damaged data, the picture is broken
        raise BrokenImage(str(error) or type(error).__name__) from error


def decode(
    data: bytes,
    resolution: int,
    channels: Channels,
    name: str = "",
    fit: Fit = "crop",
    levels: tuple[int, int] = FULL,
    image_width: int = 0,
) -> DecodedPicture:
    """The picture as uint8 (channels, R, W).

    Turned as its EXIF orientation says, transparent parts composited on white, 16-bit grey
    scaled to 8 bits, and resized with a Lanczos filter as wide as the reduction asks for (so
    without aliasing). The first frame of an animation.

    Args:
        data: the bytes of the file.
        resolution: R.
        channels: 1 or 3.
        name: of the file; its ending tells some kinds.
        fit: what is done where it has other proportions: "crop" cuts out the middle, "pad" puts
            black bars at the two sides, "stretch" changes its proportions.
        levels: values of 16 bits that become 0 and 255.
        image_width: W; R if 0.

    Raises:
        BrokenImage: not a picture, cut short, of an unsupported kind, or larger than
            64 million pixels (a few bytes can claim a picture that fills the memory).
    """
    with opened(data, kinds=kinds_of(name)) as found:
        frames = getattr(found, "n_frames", 1)
        found.load()
        upright = ImageOps.exif_transpose(found)
        depth = depth_of(upright)
        grey = upright.mode in ("1", "L", "LA", "La") or depth is not None
        picture = flat(upright, "L" if channels == 1 else "RGB", levels)
    width = image_width or resolution
    fitted = _fitted(picture, width, resolution, fit)
    pixels = np.asarray(fitted).reshape(resolution, width, channels)
    return DecodedPicture(
        np.ascontiguousarray(pixels.transpose(2, 0, 1)), picture.size, depth, frames, grey
    )


def _fitted(picture: Image.Image, width: int, height: int, fit: Fit) -> Image.Image:
    """The picture in so many pixels."""
    w, h = picture.size
    filtering = Image.Resampling.LANCZOS
    if fit == "stretch":
        return picture.resize((width, height), filtering)
    wide = w * height >= h * width
    if fit == "pad":
        size = (width, max(1, round(h * width / w)))
        if not wide:
            size = (max(1, round(w * height / h)), height)
        padded = Image.new(picture.mode, (width, height))
        padded.paste(
            picture.resize(size, filtering), ((width - size[0]) // 2, (height - size[1]) // 2)
        )
        return padded
    across, down = (h * width / height, h) if wide else (w, w * height / width)
    left, top = (w - across) / 2, (h - down) / 2
    return picture.resize((width, height), filtering, (left, top, left + across, top + down))


def depth_of(picture: Image.Image) -> tuple[int, int] | None:
    """The least and the greatest value of a grey picture of 16 bits; None for any other.

    Raises:
        BrokenImage: more than 16 bits a pixel.
    """
    if not picture.mode.startswith("I"):
        return None
    deep = np.asarray(picture)
    low, high = int(deep.min()), int(deep.max())
    if low < 0 or high > FULL[1]:
        raise BrokenImage("more than 16 bits a pixel")
    return low, high


def flat(picture: Image.Image, mode: str, levels: tuple[int, int] = FULL) -> Image.Image:
    """The picture as "L" or "RGB": transparent parts on white, 16-bit grey scaled to 8 bits.

    Raises:
        BrokenImage: more than 16 bits a pixel, or floating-point ones.
    """
    if depth_of(picture) is not None:
        low, high = levels
        scaled = (np.asarray(picture).astype(np.float64) - low) * 255 / max(1, high - low)
        picture = Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))
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


def whole(data: bytes, max_side: int | None = None, name: str = "") -> Image.Image:
    """The whole picture, RGB.

    Turned as its EXIF orientation says and transparent parts composited on white, as `decode`
    does; not cropped.

    Args:
        data: the bytes of the file.
        max_side: reduce the picture, without aliasing, until neither side is longer.
        name: of the file; its ending tells some kinds.

    Raises:
        BrokenImage: not a picture, cut short, of an unsupported kind, or larger than
            64 million pixels.
    """
    with opened(data, kinds=kinds_of(name)) as found:
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


def drawn(svg: str, side: int, mode: str, **options: str) -> Image.Image:
    """An SVG document as a picture of side x side pixels, "RGB" or "RGBA".

    Args:
        options: of ``resvg_py.svg_to_bytes``, such as the background.

    Raises:
        MissingExtra: the rasteriser is not installed.
        ValueError: a document that it does not take.
    """
    png = require("resvg_py", "data").svg_to_bytes(
        svg_string=svg, width=side, height=side, skip_system_fonts=True, **options
    )
    return Image.open(io.BytesIO(bytes(png))).convert(mode)


def planes(picture: Image.Image) -> np.ndarray:
    """The pixels as uint8 (3, H, W)."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
