"""What a file says about its picture: EXIF, made to say that the picture stands upright."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from PIL import Image

_HEAD: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_PARTS: Final = (0x8769, 0x8825)  # the camera's settings, and where it stood
# A TIFF's own directory is its EXIF: these are about the picture, the others about the file.
_ABOUT: Final = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)


def read_exif(opened: Image.Image) -> tuple[bytes | None, int]:
    """EXIF with its orientation set to 1, every other byte as it was; and the orientation, 1 to 8.

    Of a TIFF, the tags that are about the picture. EXIF that cannot be read counts as none.
    """
    try:
        found = opened.getexif()
        orientation = found.get(_ORIENTATION, 1)
        raw = opened.info.get("exif")
        if opened.format == "TIFF":
            raw = _about(found)
        elif isinstance(raw, bytes) and raw:
            raw = _upright(raw)
        elif len(found):  # it came in another coat, as a text of PNG
            if _ORIENTATION in found:
                found[_ORIENTATION] = 1
            raw = found.tobytes()
    except Exception:  # whatever a parser raises for damaged EXIF: the picture may be whole
        return None, 1
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    if not raw:
        return None, orientation
    return (raw if raw.startswith(_HEAD) else _HEAD + raw), orientation


def for_tiff(exif: bytes) -> bytes:
    """What of EXIF may stand in a TIFF's own directory: nothing of how pixels are laid out."""
    found = Image.Exif()
    found.load(exif)
    return _about(found)


def _about(found: Image.Exif) -> bytes:
    kept = Image.Exif()
    for tag in _ABOUT:
        if tag in found:
            kept[tag] = found[tag]
    for tag in _PARTS:
        if part := found.get_ifd(tag):
            kept[tag] = dict(part)
    return kept.tobytes() if len(kept) else b""


def _upright(exif: bytes) -> bytes:
    """The orientation overwritten in place, so that offsets elsewhere, as in notes of cameras,
    stay true."""
    start = len(_HEAD) if exif.startswith(_HEAD) else 0
    order = {b"II": "<", b"MM": ">"}[exif[start : start + 2]]
    (directory,) = struct.unpack_from(f"{order}I", exif, start + 4)
    (count,) = struct.unpack_from(f"{order}H", exif, start + directory)
    changed = bytearray(exif)
    for i in range(count):
        at = start + directory + 2 + 12 * i
        tag, kind = struct.unpack_from(f"{order}HH", exif, at)
        if tag == _ORIENTATION:
            struct.pack_into(order + ("I" if kind == 4 else "H"), changed, at + 8, 1)
    return bytes(changed)


def turned(levels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C) as it is to be looked at, for an EXIF orientation of 1 to 8."""
    if orientation >= 5:
        levels = levels.swapaxes(0, 1)
    down = orientation in (3, 4, 7, 8)
    across = orientation in (2, 3, 6, 7)
    return levels[:: -1 if down else 1, :: -1 if across else 1]
