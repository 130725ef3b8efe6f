"""Writing pictures: what is written is read again, and what cannot be written is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from odd_pictures import (
    SRGB,
    back,
    made,
    put,
)
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.i2sb.picture import Picture, read_picture
from sfumato.systems.i2sb.write import WRITTEN as all_written
from sfumato.systems.i2sb.write import write_picture

WRITTEN = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")


@pytest.mark.parametrize("ending", [".png", ".tif", ".TIFF", ".webp", ".bmp", ".ppm", ".pgm"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_what_is_written_is_read_again(
    tmp_path: Path, ending: str, channels: int, depth: int
) -> None:
    """Depth, alpha, profile, EXIF and resolution, wherever the kind of file has them."""
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    kind = ending.lower()
    plain = kind in (".bmp", ".ppm", ".pgm")
    if plain and channels in (2, 4):
        with pytest.raises(UsageError, match=r"keeps no transparency.*write \.png"):
            write_picture(made(channels, depth), tmp_path / f"a{ending}")
        assert not any(tmp_path.iterdir())
        return
    deep = depth == 16 and (kind in (".png", ".tif", ".tiff") or (plain and channels == 1))
    deep = deep and kind != ".bmp"
    bare = kind in (".tif", ".tiff") and depth == 16 and channels > 1
    picture = made(channels, depth, icc=SRGB, exif=exif.tobytes(), dpi=(300.0, 150.0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_picture(picture, tmp_path / f"a{ending}", quality=100)
    words = " ".join(str(w.message) for w in caught)
    assert ("16 bits" in words) == (depth == 16 and not deep)
    assert ("the colour profile" in words) == plain
    assert ("EXIF" in words) == (plain or bare)
    got = read_picture(tmp_path / f"a{ending}")
    assert got.depth == (16 if deep else 8)
    pixels = picture.pixels
    if len(pixels) == 1 and (kind == ".webp" or (bare and channels == 2)):
        pixels = pixels.expand(3, -1, -1)
    torch.testing.assert_close(got.pixels, pixels, rtol=0, atol=1.001 / (2**got.depth - 1))
    if picture.alpha is not None:
        torch.testing.assert_close(
            got.alpha, picture.alpha, rtol=0, atol=0.5001 / (2**got.depth - 1)
        )
    if not plain:
        assert got.icc == SRGB  # byte for byte
        if not bare:
            assert got.exif is not None
            assert b"a camera" in got.exif
    if kind in (".png", ".tif", ".tiff", ".bmp"):
        assert got.dpi == pytest.approx((300, 150), abs=0.02)
    assert [p.name for p in tmp_path.iterdir()] == [f"a{ending}"]


def test_a_deep_png_of_ours_is_read_by_others(tmp_path: Path) -> None:
    picture = made(4, 16, icc=SRGB, dpi=(72.0, 72.0))
    write_picture(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        opened.load()
        assert opened.mode == "RGBA"
        assert opened.info["icc_profile"] == SRGB
        assert opened.info["dpi"] == pytest.approx((72, 72), abs=0.02)
        want = back(picture.pixels, 65535) // 256
        assert np.abs(np.asarray(opened)[..., :3].astype(int) - want).max() <= 1


def test_jpeg(tmp_path: Path) -> None:
    array = np.full((16, 16, 3), (200, 60, 90), np.uint8)
    pixels = torch.from_numpy(array.transpose(2, 0, 1).copy()).float() / 127.5 - 1
    write_picture(Picture(pixels, icc=SRGB, dpi=(300.0, 300.0)), tmp_path / "a.jpeg")
    got = read_picture(tmp_path / "a.jpeg")
    assert got.icc == SRGB
    assert got.dpi == (300, 300)
    assert np.abs(back(got.pixels, 255) - array).max() <= 3
    with pytest.raises(UsageError, match="JPEG keeps no transparency"):
        write_picture(Picture(pixels, torch.zeros(1, 16, 16)), tmp_path / "b.jpg")
    write_picture(Picture(pixels, torch.ones(1, 16, 16)), tmp_path / "c.jpg")  # all opaque
    assert read_picture(tmp_path / "c.jpg").alpha is None
    with pytest.warns(UserWarning, match=r"d\.jpg does not keep 16 bits; \.png does"):
        write_picture(Picture(pixels, depth=16), tmp_path / "d.jpg")
    sizes = []
    rough = made(3, 8)
    for quality in (30, 89, 95):
        write_picture(rough, tmp_path / f"{quality}.jpg", quality)
        sizes.append((tmp_path / f"{quality}.jpg").stat().st_size)
    assert sizes == sorted(sizes)


def test_a_profile_for_grey_is_not_put_on_colours(tmp_path: Path) -> None:
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    picture = made(1, 8, icc=grey)
    with pytest.warns(UserWarning, match="does not keep the colour profile"):
        write_picture(picture, tmp_path / "a.webp")
    assert read_picture(tmp_path / "a.webp").icc is None
    write_picture(picture, tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").icc == grey
    assert picture.replaced(picture.pixels, None).icc == grey
    assert picture.replaced(picture.pixels.expand(3, -1, -1), None).icc is None


@pytest.mark.parametrize("name", ["a.gif", "a.txt", "a", "a.avif"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="256 colours|expected a name that ends in .png"):
        write_picture(made(3, 8), tmp_path / name)


def test_out_of_range_values_are_clipped(tmp_path: Path) -> None:
    write_picture(Picture(torch.tensor([[[-7.0, 7.0]]])), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").pixels.tolist() == [[[-1.0, 1.0]]]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is a file (a folder without the right to write stops no superuser)."""
    put(tmp_path, "file", b"x")
    (tmp_path / "folder.png").mkdir()
    for target in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(SfumatoError, match="cannot be written.*choose a place"):
            write_picture(made(3, 8), target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]
    with pytest.raises(UsageError, match="quality of 1 to 100, got 0"):
        write_picture(made(3, 8), tmp_path / "a.png", quality=0)


def test_what_a_kind_of_file_is_too_small_for(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match=r"a\.webp cannot be written.*20000x1 pixels"):
        write_picture(Picture(torch.zeros(3, 1, 20000)), tmp_path / "a.webp")
    assert not any(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(made(3, 8), tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SfumatoError, match="the disk is full"):
        write_picture(made(1, 8), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_pictures_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 4, 4\)"):
        Picture(torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="8 or 16"):
        Picture(torch.zeros(3, 4, 4), depth=12)
    with pytest.raises(ValueError, match=r"expected alpha \(1, 4, 4\)"):
        Picture(torch.zeros(3, 4, 4), torch.zeros(1, 4, 5))


def test_exif_that_speaks_of_another_file_s_layout(tmp_path: Path) -> None:
    """A TIFF's directory is its EXIF: what a photograph says of its own pixels stays out."""
    exif = Image.Exif()
    for tag, value in ((0x0100, 9999), (0x0103, 6), (0x0106, 6), (0x010F, "a camera")):
        exif[tag] = value
    exif[0x8825] = {1: "N"}
    picture = made(3, 8, exif=exif.tobytes())
    write_picture(picture, tmp_path / "a.tif")
    torch.testing.assert_close(read_picture(tmp_path / "a.tif").pixels, picture.pixels)
    with Image.open(tmp_path / "a.tif") as opened:
        assert opened.getexif()[0x010F] == "a camera"
        assert opened.getexif().get_ifd(0x8825)[1] == "N"


def test_all_endings_are_tested() -> None:
    assert all_written == WRITTEN
