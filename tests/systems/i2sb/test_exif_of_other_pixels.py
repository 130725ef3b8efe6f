"""EXIF of a picture whose pixels were changed: nothing of the old ones, and the new size."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.cli import main
from sfumato.systems.i2sb.exif import of_other_pixels
from sfumato.systems.i2sb.picture import read_picture
from sfumato.systems.i2sb.write import write_picture


def jpeg(size: tuple[int, int], seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def camera(order: str, thumbnail: bytes, notes: bytes, short: bool = False) -> bytes:
    """EXIF as cameras write it: a make, sizes, settings with notes, and a thumbnail."""
    make = b"a camera\0"
    size = (3, 1) if short else (4, 1)

    def entry(tag: int, kind: int, n: int, value: int) -> bytes:
        if kind == 3:
            return struct.pack(f"{order}HHIHH", tag, kind, n, value, 0)
        return struct.pack(f"{order}HHII", tag, kind, n, value)

    first, inner, second = 8, 8 + 2 + 12 * 4 + 4, 8 + 2 + 12 * 4 + 4 + 2 + 12 * 3 + 4
    data = second + 2 + 12 * 3 + 4
    at_make, at_notes = data, data + len(make)
    at_thumbnail = at_notes + len(notes)
    parts = [{"<": b"II*\0", ">": b"MM\0*"}[order], struct.pack(f"{order}I", first)]
    parts += [struct.pack(f"{order}H", 4), entry(0x0100, *size, 4000), entry(0x0101, *size, 3000)]
    parts += [entry(0x010F, 2, len(make), at_make), entry(0x8769, 4, 1, inner)]
    parts += [struct.pack(f"{order}I", second), struct.pack(f"{order}H", 3)]
    parts += [entry(0x927C, 7, len(notes), at_notes), entry(0xA002, *size, 4000)]
    parts += [entry(0xA003, *size, 3000), struct.pack(f"{order}I", 0)]
    parts += [struct.pack(f"{order}H", 3), entry(0x0103, 3, 1, 6)]
    parts += [entry(0x0201, 4, 1, at_thumbnail), entry(0x0202, 4, 1, len(thumbnail))]
    parts += [struct.pack(f"{order}I", 0), make, notes, thumbnail]
    return b"Exif\0\0" + b"".join(parts)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("short", [False, True])
def test_thumbnail_previews_and_sizes(order: str, short: bool) -> None:
    thumbnail, preview = jpeg((12, 16), 1), b"Maker\0" + jpeg((20, 30), 2) + b"end"
    before = camera(order, thumbnail, preview, short)
    found = Image.Exif()
    found.load(before)
    assert found[0x0100] == 4000 and len(found.get_ifd(0x8769)) == 3  # Pillow reads what we made
    assert thumbnail in before
    after = of_other_pixels(before, 600, 800)
    assert after is not None and len(after) == len(before)
    assert b"\xff\xd8\xff" not in after and thumbnail[20:60] not in after
    got = Image.Exif()
    got.load(after)
    assert (got[0x0100], got[0x0101], got[0x010F]) == (800, 600, "a camera")
    inner = got.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (800, 600)
    assert not any(inner[0x927C]) and not got.get_ifd(1)
    # Notes without a picture in them stay, byte for byte.
    plain = camera(order, thumbnail, b"Maker\0settings", short)
    kept = of_other_pixels(plain, 3000, 4000)
    assert kept is not None and b"Maker\0settings" in kept
    changed = {i for i, (a, b) in enumerate(zip(plain, kept, strict=True)) if a != b}
    assert min(changed) > 8  # the thumbnail, its directory and the link to it


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\0\0", b"Exif\0\0XX"])
def test_what_cannot_be_read_is_left_out(data: bytes) -> None:
    assert of_other_pixels(data, 2, 3) is None


def test_any_damage_is_no_error() -> None:
    whole = camera("<", jpeg((12, 16), 1), b"Maker\0" + jpeg((20, 30), 2))
    random = np.random.default_rng(0)
    for _ in range(500):
        data = bytearray(whole[: random.integers(6, len(whole))])
        for place in random.integers(6, max(7, len(data)), 3):
            if place < len(data):
                data[place] = random.integers(256)
        made = of_other_pixels(bytes(data), 10, 20)
        assert made is None or len(made) == len(data)


def test_a_file_with_other_pixels_keeps_nothing_of_the_old(tmp_path: Path) -> None:
    thumbnail = jpeg((12, 16), 1)
    exif = camera("<", thumbnail, b"Maker\0settings")
    Image.open(io.BytesIO(jpeg((30, 40), 3))).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg")
    for ending in ("jpg", "png", "webp"):
        other = picture.replaced(torch.zeros(3, 15, 20), None)
        write_picture(other, tmp_path / f"b.{ending}")
        data = (tmp_path / f"b.{ending}").read_bytes()
        assert thumbnail[20:60] not in data
        with Image.open(tmp_path / f"b.{ending}") as opened:
            found = opened.getexif()
            assert found[0x010F] == "a camera" and found[0x0100] == 20 and found[0x0101] == 15


def test_a_mask_of_ones_own_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "a.mask.png"
    Image.new("L", (32, 32)).save(mine)
    before = mine.read_bytes()
    words = ["degrade", str(tmp_path / "a.png"), str(tmp_path / "out" / "a.png")]
    words += ["--task", "inpaint"]
    assert main(words) == 2
    assert "a.mask.png exists already; --force" in capsys.readouterr().err
    assert mine.read_bytes() == before and not (tmp_path / "out" / "a.png").exists()
    assert main([*words, "--force"]) == 0
    assert mine.read_bytes() != before
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.bmp")
    (tmp_path / "both").mkdir()
    for name in ("a.png", "a.bmp"):
        (tmp_path / name).rename(tmp_path / "both" / name)
    words = ["degrade", str(tmp_path / "both"), str(tmp_path / "o"), "--task", "inpaint"]
    assert main(words) == 2  # both masks would be a.mask.png
    assert "a.mask.png, like another file; rename one" in capsys.readouterr().err
