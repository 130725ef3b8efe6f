"""Kinds of picture files, by what is in them: read, or named."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from sfumato.data import ImageSet, folder
from sfumato.errors import SfumatoError, UsageError

BLUE = (10, 60, 200)


def load(path: Path, **options: object) -> ImageSet:
    root = path.parent / f"cache of {path.name}"
    return folder(path, 8, root=root, progress=False, **options)  # type: ignore[arg-type]


def said(data: ImageSet) -> str:
    assert data.summary is not None
    return "\n".join(data.summary.lines())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.PNG", "PNG"), ("a.apng", "PNG"), ("a.Jpg", "JPEG"), ("a.jpe", "JPEG"),
        ("a.JFIF", "JPEG"), ("a.mpo", "MPO"), ("a.tga", "TGA"), ("a.pnm", "PPM"),
        ("a.jp2", "JPEG2000"), ("a.j2k", "JPEG2000"), ("a.TIF", "TIFF"), ("a.dib", "DIB"),
        ("a.pcx", "PCX"), ("a.qoi", "QOI"), ("a.avif", "AVIF"), ("a.webp", "WEBP"),
    ],
)  # fmt: skip
def test_what_pillow_reads_is_read(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    (tmp_path / "p").mkdir()
    Image.new("RGB", (16, 16), BLUE).save(tmp_path / "p" / name, kind)
    (image,) = load(tmp_path / "p").images
    assert np.abs(image.astype(int) - np.array(BLUE)[:, None, None]).max() <= 6


def test_bitmaps_and_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("1", (16, 16), 1).save(tmp_path / "p" / "a.pbm", "PPM")
    for name in ("README.txt", "b.txt", "c.mp4", "notes"):
        (tmp_path / "p" / name).write_text("x")
    data = load(tmp_path / "p", channels=1)
    assert int(data.images[0].min()) == 255
    assert "not read: 2 .txt, 1 .mp4, 1 without an ending" in said(data)
    (tmp_path / "p" / "a.pbm").unlink()
    with pytest.raises(UsageError, match=r"holds no pictures .*but 2 \.txt, 1 \.mp4, 1 without"):
        load(tmp_path / "p")


def test_kinds_that_are_not_read_are_named_like_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (16, 16), BLUE).save(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "b.SVG").write_text("<svg/>")
    with pytest.raises(SfumatoError, match=r"1 of 2 pictures(.|\n)*b\.SVG: this kind .*PNG"):
        load(tmp_path / "p")
    with pytest.warns(UserWarning, match="SVG"):
        data = load(tmp_path / "p", skip_broken=True)
    assert len(data) == 1 and "1 picture that cannot be used" in said(data)
    (tmp_path / "p" / "a.png").unlink()
    with pytest.raises(SfumatoError, match="none of the pictures"):
        load(tmp_path / "p")


def test_heic_by_an_optional_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p").mkdir()
    path = tmp_path / "p" / "IMG_1.HEIC"
    Image.new("RGB", (16, 16), BLUE).save(path, "PNG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(SfumatoError, match=r"pip install 'sfumato\[heic\]'"):
        load(tmp_path / "p")
    stand_in = types.ModuleType("pillow_heif")

    def register_heif_opener() -> None:
        Image.register_open("HEIF", PngImagePlugin.PngImageFile)

    stand_in.register_heif_opener = register_heif_opener  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    data = folder(tmp_path / "p", 8, root=tmp_path / "new", progress=False)
    assert tuple(data.images[0, :, 4, 4].tolist()) == BLUE


def test_heic_as_phones_write_it(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    (tmp_path / "p").mkdir()
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :16], wide[:, 16:] = BLUE, (200, 60, 10)
    heif = pillow_heif.from_bytes(mode="RGB", size=(32, 16), data=wide.tobytes())
    heif.save(tmp_path / "p" / "IMG_1.HEIC", quality=95)
    (image,) = load(tmp_path / "p", fit="stretch").images.astype(int)
    assert np.abs(image[:, 4, 1] - np.array(BLUE)).max() <= 12
    assert np.abs(image[:, 4, 6] - np.array((200, 60, 10))).max() <= 12


def deep(path: Path, low: int, high: int) -> None:
    path.parent.mkdir(exist_ok=True)
    x = np.full((16, 16), low, np.uint16)
    x[:, 8:] = high
    Image.fromarray(x).save(path)


def test_sixteen_bits_that_use_little_of_their_range(tmp_path: Path) -> None:
    deep(tmp_path / "p" / "a.png", 1000, 3000)
    deep(tmp_path / "p" / "b.tif", 1500, 5000)
    with pytest.warns(UserWarning, match=r"1,000 to 5,000 of 65,535, .* 19 of 255; --levels used"):
        data = load(tmp_path / "p", channels=1)
    assert data.images[:, 0, 4, [0, 7]].tolist() == [[4, 12], [6, 19]]
    data = load(tmp_path / "p", channels=1, levels="used")
    want = [[0, 128], [32, 255]]  # (v - 1000) 255 / 4000
    assert data.images[:, 0, 4, [0, 7]].tolist() == want
    deep(tmp_path / "q" / "a.png", 0, 65535)
    assert load(tmp_path / "q", channels=1).images[0, 0, 4, [0, 7]].tolist() == [0, 255]


def test_crop_pad_and_stretch(tmp_path: Path) -> None:
    x = np.zeros((8, 16, 3), np.uint8)
    x[:, :4], x[:, 4:12], x[:, 12:] = 50, 100, 200
    (tmp_path / "p").mkdir()
    Image.fromarray(x).save(tmp_path / "p" / "a.png")
    crop, pad, stretch = (load(tmp_path / "p", fit=fit) for fit in ("crop", "pad", "stretch"))
    assert (crop.images == 100).all()
    assert pad.images[0, 0, [0, 1, 6, 7]].max() == 0  # bars of two rows above and below
    assert pad.images[0, 0, 4, [0, 3, 7]].tolist() == pytest.approx([50, 100, 200], abs=8)
    assert stretch.images[0, 0, 0, [0, 3, 7]].tolist() == pytest.approx([50, 100, 200], abs=8)
    assert "16x8 pixels, now 8x8 colour (whole, with black bars, resized)" in said(pad)
    with pytest.raises(UsageError, match="cut"):
        load(tmp_path / "p", fit="cut")


def test_pages_and_frames_beyond_the_first_are_counted(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    pages = [Image.new("L", (8, 8), v) for v in (7, 9)]
    pages[0].save(tmp_path / "p" / "a.tif", save_all=True, append_images=pages[1:])
    data = load(tmp_path / "p")
    assert int(data.images[0, 0, 0, 0]) == 7
    assert "1 file with several pages or frames: the first is read" in said(data)
