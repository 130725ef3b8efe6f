"""What a file says about its picture: EXIF, made to say that the picture stands upright."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from PIL import Image

_HEAD: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_JPEG: Final = b"\xff\xd8\xff"
_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Of a value of each type of TIFF."""
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


def of_other_pixels(exif: bytes, height: int, width: int) -> bytes | None:
    """EXIF for a picture whose pixels were changed; every other byte as it was.

    The thumbnail shows what was there before, and so may a preview in a camera's own notes: both
    are blanked. Sizes are those of the picture. None if the EXIF cannot be read.
    """
    try:
        return _HEAD + _renewed(exif.removeprefix(_HEAD), height, width)
    except (struct.error, LookupError):
        return None


def _renewed(tiff: bytes, height: int, width: int) -> bytes:
    order, data = {b"II": "<", b"MM": ">"}[tiff[:2]], bytearray(tiff)
    sizes = {0x0100: width, 0x0101: height, 0xA002: width, 0xA003: height}

    def directory(at: int) -> tuple[dict[int, tuple[int, int, int]], int]:
        """Of each tag type, number of values, and where they stand; and where the link stands."""
        (count,) = struct.unpack_from(f"{order}H", data, at)
        found = {}
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, n = struct.unpack_from(f"{order}HHI", data, place)
            small = n * _BYTES.get(kind, 1) <= 4
            found[tag] = (kind, n, place + 8 if small else number(place + 8))
        return found, at + 2 + 12 * count

    def number(at: int, kind: int = 4) -> int:
        return int(struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at)[0])

    def numbers(entry: tuple[int, int, int]) -> list[int]:
        kind, n, at = entry
        return [number(at + i * _BYTES[kind], kind) for i in range(n)]

    def blank(start: int, n: int) -> None:
        stop = min(start + n, len(data))
        data[start:stop] = bytes(max(stop - start, 0))

    def resize(found: dict[int, tuple[int, int, int]]) -> None:
        for tag in found.keys() & sizes.keys():
            kind, n, at = found[tag]
            if n == 1 and kind in (3, 4) and sizes[tag] < 1 << (8 * _BYTES[kind]):
                struct.pack_into(order + ("H" if kind == 3 else "I"), data, at, sizes[tag])

    first, link = directory(number(4))
    resize(first)
    if 0x8769 in first:
        camera, _ = directory(numbers(first[0x8769])[0])
        resize(camera)
        if 0x927C in camera:
            _, n, at = camera[0x927C]
            if _JPEG in data[at : at + n]:
                blank(at, n)
    if second := number(link):
        thumbnail, end = directory(second)
        for where, length in ((0x0201, 0x0202), (0x0111, 0x0117)):  # a JPEG, or bare strips
            if where in thumbnail and length in thumbnail:
                pairs = zip(numbers(thumbnail[where]), numbers(thumbnail[length]), strict=False)
                for start, n in pairs:
                    blank(start, n)
        blank(second, end + 4 - second)
        struct.pack_into(f"{order}I", data, link, 0)
    return bytes(data)


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
