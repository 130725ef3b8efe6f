"""Files of pictures of every odd kind, made here: 16 bits, CMYK, profiles, bombs, animations."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import png
import torch
from PIL import Image, ImageCms
from torch import Tensor

from sfumato.systems.i2sb.picture import Picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def levels(height: int, width: int, channels: int, top: int = 255, seed: int = 0) -> np.ndarray:
    """Random levels (H, W, C)."""
    dtype = np.uint8 if top == 255 else np.uint16
    return np.random.default_rng(seed).integers(0, top + 1, (height, width, channels), dtype)


def saved(image: Image.Image, form: str, **more: Any) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **more)
    return buffer.getvalue()


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file, with its folders."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def deep_png(array: np.ndarray, **more: Any) -> bytes:
    """A PNG of 16 bits, by pypng."""
    height, width, channels = array.shape
    buffer = io.BytesIO()
    writer = png.Writer(
        width, height, bitdepth=16, greyscale=channels < 3, alpha=channels in (2, 4), **more
    )
    writer.write(buffer, array.reshape(height, -1).tolist())
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int = 50000, height: int = 50000) -> bytes:
    """A PNG of a few bytes that claims many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animation(form: str, frames: int = 3) -> bytes:
    """GIF, PNG, WEBP or TIFF with several frames."""
    pictures = [Image.fromarray(levels(8, 8, 3, seed=i)) for i in range(frames)]
    return saved(pictures[0], form, save_all=True, append_images=pictures[1:])


def cmyk_profile() -> bytes:
    """A small ICC profile for CMYK: a table of two points an axis, from ink to Lab."""
    corners = []
    for i in range(16):
        ink = [(i >> s) & 1 for s in (3, 2, 1, 0)]  # the last channel varies fastest
        rgb = [(1 - v) * (1 - ink[3]) for v in ink[:3]]
        corners.append(_lab(rgb))
    table = b"".join(bytes(c) for c in corners)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + table + ramp * 3
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"inks\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    mark = b"text" + bytes(4) + b"none\0"
    tags, body = [], b""
    at = 128 + 4 + 12 * 4
    for name, data in ((b"desc", text), (b"wtpt", white), (b"cprt", mark), (b"A2B0", lut)):
        data += bytes(-len(data) % 4)
        tags.append(name + struct.pack(">II", at + len(body), len(data)))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\0\0\0\0", 0x02400000, b"prtr", b"CMYK",
                       b"Lab ")  # fmt: skip
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(68 - len(head)) + struct.pack(">3i", 63190, 65536, 54061)
    head += bytes(128 - len(head))
    return head + struct.pack(">I", 4) + b"".join(tags) + body


def _lab(rgb: Sequence[float]) -> tuple[int, int, int]:
    image = Image.new("RGB", (1, 1), tuple(round(255 * v) for v in rgb))
    lab = ImageCms.createProfile("LAB")
    made = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    light, a, b = made.tobytes()
    return light, (a + 128) % 256, (b + 128) % 256


def back(tensor: Tensor, top: int, low: float = -1) -> np.ndarray:
    """(C, H, W) -> levels (H, W, C), which they are near to within 1e-3 of a level."""
    found = ((tensor.double() - low) / (1 - low) * top).numpy().transpose(1, 2, 0)
    assert np.abs(found - np.rint(found)).max() < 5e-3
    return np.rint(found).astype(int)


def same(a: Picture, b: Picture, within: float = 0.5) -> None:
    """Equal to half a level, and in all that their files say."""
    top = 2**a.depth - 1
    assert (a.depth, a.icc, a.exif) == (b.depth, b.icc, b.exif)
    torch.testing.assert_close(a.pixels, b.pixels, rtol=0, atol=within * 2 / top)
    assert (a.alpha is None) == (b.alpha is None)
    if a.alpha is not None:
        torch.testing.assert_close(a.alpha, b.alpha, rtol=0, atol=within / top)


def made(channels: int, depth: int, **more: object) -> Picture:
    """A random picture on its levels."""
    top = 2**depth - 1
    part = torch.from_numpy(levels(6, 9, channels, top).astype(np.float32).transpose(2, 0, 1))
    colours = channels - (channels in (2, 4))
    alpha = part[colours:] / top if channels in (2, 4) else None
    return Picture(part[:colours] / top * 2 - 1, alpha, depth, **more)  # type: ignore[arg-type]
