"""Pictures that arrive with a request: as text, bounded before they are decoded, never as files."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sfumato.data.decode import BrokenImage, flat, middle, opened
from sfumato.errors import UsageError
from sfumato.studio.limits import Limits

KINDS: Final = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WEBP"}
"""The kinds that are taken, by Pillow's names; some phones' JPEG files hold several pictures."""

CANVAS = 1024
"""The largest side of a painting, in pixels."""


def read(value: Any, name: str, limits: Limits) -> bytes:
    """The bytes of a file from ``data:...;base64,...``; b"" for nothing.

    Raises:
        UsageError: another form, or too many bytes.
    """
    if value is None or value == "":
        return b""
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected a picture as a data URL")
    head, comma, text = value.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise UsageError(f"{name}: expected a picture as a data URL (data:image/png;base64,...)")
    if len(text) * 3 // 4 > limits.bytes + 3:
        raise UsageError(f"{name}: the file is too large; {_megabytes(limits.bytes)} are the most")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"{name}: the file arrived damaged") from error
    if len(data) > limits.bytes:
        raise UsageError(f"{name}: the file is too large; {_megabytes(limits.bytes)} are the most")
    return data


def _megabytes(n: int) -> str:
    return f"{n / 1_000_000:g} MB"


def square(value: Any, name: str, limits: Limits) -> NDArray[np.uint8] | None:
    """The middle square of a picture, uint8 (3, H, H), or None where none came.

    Turned as its EXIF orientation says, transparent parts on white.

    Raises:
        UsageError: not a PNG, JPEG or WEBP picture, a damaged one, or one that is too large.
    """
    data = read(value, name, limits)
    if not data:
        return None
    try:
        with opened(data, limits.pixels) as picture:
            _known(picture)
            pixels = np.asarray(flat(ImageOps.exif_transpose(picture), "RGB"))
    except BrokenImage as error:
        raise UsageError(f"{name}: {error}") from error
    return np.ascontiguousarray(middle(pixels).transpose(2, 0, 1))


def painting(value: Any, limits: Limits) -> NDArray[np.uint8] | None:
    """A square painting, uint8 (H, H, 4), or None where none came or nothing is painted.

    Raises:
        UsageError: not a square PNG or WEBP picture, a damaged one, or one that is too large.
    """
    data = read(value, "painting", limits)
    if not data:
        return None
    try:
        with opened(data, min(limits.pixels, CANVAS**2)) as picture:
            if _known(picture) == "JPEG":
                raise BrokenImage("expected PNG or WEBP, in which colours stay as they are")
            if picture.width != picture.height:
                raise BrokenImage(
                    f"expected a square picture, got {picture.width}x{picture.height}"
                )
            pixels = np.asarray(picture.convert("RGBA"))
    except BrokenImage as error:
        raise UsageError(f"painting: {error}") from error
    return pixels if pixels[..., 3].any() else None


def _known(picture: Image.Image) -> str:
    """Its kind, one of those that are taken."""
    if picture.format not in KINDS:
        raise BrokenImage(f"expected PNG, JPEG or WEBP, got {picture.format}")
    return KINDS[picture.format]
