"""Pictures of 16 bits that Pillow reads in 8: PNG with colours or alpha, and TIFF with colours.

Levels are uint16 (H, W, C): grey, grey and alpha, RGB, or RGB and alpha.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from PIL import Image

from sfumato.data.decode import BrokenImage
from sfumato.errors import require

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE: Final = {1: 0, 2: 4, 3: 2, 4: 6}


def is_deep_png(data: bytes) -> bool:
    """Whether the header of a PNG says 16 bits and more than plain grey."""
    return data[:8] == _SIGNATURE and data[12:16] == b"IHDR" and data[24] == 16 and data[25] != 0


def is_deep_tiff(opened: Image.Image) -> bool:
    """Whether a TIFF that Pillow opened has 16 bits and is more than grey with black as zero."""
    tags: Any = getattr(opened, "tag_v2", {})
    bits = tags.get(258, (8,))
    return 16 in bits and (len(bits) > 1 or tags.get(262) == 0)


def read_png(data: bytes) -> np.ndarray:
    """The levels of a PNG of 16 bits, by pypng.

    Raises:
        BrokenImage: rows are missing. Whatever else is wrong raises pypng's errors.
        MissingExtra: pypng is not installed.
    """
    reader = require("png", "restore").Reader(bytes=data)
    width, height, rows, about = reader.asDirect()
    channels = about["planes"]
    levels = np.empty((height, width * channels), np.uint16)
    count = 0
    for row, into in zip(rows, levels, strict=False):
        into[:] = row
        count += 1
    if count < height:
        raise BrokenImage(f"cut short: {count} of {height} rows")
    return levels.reshape(height, width, channels)


def write_png(levels: np.ndarray, icc: bytes | None, exif: bytes | None, ppi: Any) -> bytes:
    """The bytes of a PNG of 16 bits; each row is stored as its difference from the one above."""
    height, width, channels = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    raw = np.ascontiguousarray(levels, ">u2").view(np.uint8).reshape(height, -1)
    rows = np.full((height, raw.shape[1] + 1), 2, np.uint8)
    rows[0, 1:] = raw[0]
    rows[1:, 1:] = raw[1:] - raw[:-1]

    def chunks() -> Iterator[tuple[bytes, bytes]]:
        yield b"IHDR", header
        if icc:
            yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)
        if ppi:
            x, y = (round(v / 0.0254) for v in ppi)
            yield b"pHYs", struct.pack(">IIB", x, y, 1)
        if exif:
            yield b"eXIf", exif.removeprefix(b"Exif\0\0")
        yield b"IDAT", zlib.compress(rows.tobytes(), 6)
        yield b"IEND", b""

    parts = [_SIGNATURE]
    for kind, body in chunks():
        check = struct.pack(">I", zlib.crc32(kind + body))
        parts += [struct.pack(">I", len(body)), kind, body, check]
    return b"".join(parts)


def read_tiff(data: bytes) -> np.ndarray:
    """The levels of the first page of a TIFF of 16 bits, by tifffile.

    Raises:
        BrokenImage: neither grey nor RGB, or a compression that needs a further package.
        MissingExtra: tifffile is not installed.
    """
    tifffile = require("tifffile", "restore")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        kind = page.photometric.name if page.photometric is not None else "unknown"
        colours = {"RGB": 3, "MINISBLACK": 1, "MINISWHITE": 1}.get(kind)
        if colours is None or page.dtype != np.uint16:
            raise BrokenImage(
                f"TIFF with {kind} pixels of type {page.dtype}; "
                "expected grey or RGB of 8 or 16 bits"
            )
        try:
            levels = page.asarray()
        except (KeyError, ValueError) as error:
            if "imagecodecs" not in str(error):
                raise
            raise BrokenImage(
                f"16 bits with the compression {page.compression.name}, which needs a further "
                "package: pip install imagecodecs, or store it with deflate or without compression"
            ) from error
        extra = [int(e) for e in page.extrasamples]
        if page.axes == "SYX":
            levels = levels.transpose(1, 2, 0)
        levels = levels.reshape(page.imagelength, page.imagewidth, -1)
    colour, rest = levels[..., :colours], levels[..., colours : colours + 1]
    if kind == "MINISWHITE":
        colour = 65535 - colour
    if not extra or extra[0] == 0:  # nothing, or a channel whose meaning is not told
        return colour
    if extra[0] == 1:  # colours were multiplied by alpha
        part = np.maximum(rest, 1) / 65535
        colour = np.rint(np.minimum(colour / part, 65535)).astype(np.uint16)
    return np.concatenate([colour, rest], axis=-1)


def write_tiff(levels: np.ndarray, icc: bytes | None, ppi: Any) -> bytes:
    """The bytes of a TIFF of 16 bits with RGB or RGB and alpha, deflated."""
    tifffile = require("tifffile", "restore")
    buffer = io.BytesIO()
    more: dict[str, Any] = {}
    if levels.shape[2] == 4:
        more["extrasamples"] = ["unassalpha"]
    if ppi:
        more |= {"resolution": ppi, "resolutionunit": "INCH"}
    tifffile.imwrite(
        buffer,
        np.ascontiguousarray(levels),
        photometric="rgb",
        planarconfig="contig",
        compression="zlib",
        iccprofile=icc,
        metadata=None,
        software=False,
        **more,
    )
    return buffer.getvalue()
