"""Reading and writing pictures: every kind, nothing lost, and each odd one refused in words."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from odd_pictures import (
    SRGB,
    animation,
    bomb,
    chunk,
    cmyk_profile,
    deep_png,
    levels,
    put,
    saved,
)
from sfumato.data.decode import BrokenImage
from sfumato.errors import MissingExtra, SfumatoError, UsageError
from sfumato.restore import WRITTEN as all_written
from sfumato.restore import Picture, read_mask, read_picture, write_picture
from sfumato.restore import picture as picture_module

WRITTEN = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")


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


# --- reading ---


HAVE = {"PNG": (1, 2, 3, 4), "TIFF": (1, 2, 3, 4), "WEBP": (1, 2, 3, 4), "BMP": (1, 3),
        "PPM": (1, 3), "GIF": (1,)}  # fmt: skip


@pytest.mark.parametrize(("form", "channels"), [(f, c) for f, cs in HAVE.items() for c in cs])
def test_eight_bits(tmp_path: Path, form: str, channels: int) -> None:
    array = levels(5, 7, channels)
    image = Image.fromarray(array[..., 0] if channels == 1 else array)
    more = {"lossless": True, "exact": True} if form == "WEBP" else {}
    got = read_picture(put(tmp_path, "a", saved(image, form, **more)))
    colours = channels - (channels in (2, 4))
    want = array[..., :colours]
    if form in ("WEBP", "GIF") and colours == 1:
        want = want.repeat(3, -1)
    assert got.depth == 8
    assert got.pixels.dtype == torch.float32
    assert np.array_equal(back(got.pixels, 255), want)
    assert (got.alpha is not None) == (channels in (2, 4))
    if got.alpha is not None:
        assert np.array_equal(back(got.alpha, 255, 0), array[..., colours:])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_png_of_sixteen_bits(tmp_path: Path, channels: int, interlace: bool) -> None:
    array = levels(5, 7, channels, 65535)
    got = read_picture(put(tmp_path, "a.png", deep_png(array, interlace=interlace)))
    colours = channels - (channels in (2, 4))
    assert got.depth == 16
    assert np.array_equal(back(got.pixels, 65535), array[..., :colours])
    assert (got.alpha is not None) == (channels in (2, 4))
    if got.alpha is not None:
        assert np.array_equal(back(got.alpha, 65535, 0), array[..., colours:])


@pytest.mark.parametrize("channels", [1, 3])
def test_one_colour_that_is_transparent_in_sixteen_bits(tmp_path: Path, channels: int) -> None:
    array = levels(5, 7, channels, 65535)
    clear = tuple(int(v) for v in array[2, 3])
    data = deep_png(array, transparent=clear if channels == 3 else clear[0])
    got = read_picture(put(tmp_path, "a.png", data))
    assert got.alpha is not None
    want = (array != array[2, 3]).any(-1)[None]
    assert np.array_equal(got.alpha.numpy(), want.astype(np.float32))
    assert np.array_equal(back(got.pixels, 65535), array)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_of_sixteen_bits(tmp_path: Path, channels: int, planar: str) -> None:
    array = levels(5, 7, channels, 65535)
    more: dict[str, object] = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    laid = array[..., 0] if channels == 1 else array
    if channels > 1:
        more |= {"planarconfig": planar}
        laid = array if planar == "contig" else array.transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", laid, photometric="rgb" if channels > 1 else "minisblack", **more
    )
    got = read_picture(tmp_path / "a.tif")
    assert got.depth == 16
    assert np.array_equal(back(got.pixels, 65535), array[..., : min(channels, 3)])
    if channels == 4:
        assert np.array_equal(back(got.alpha, 65535, 0), array[..., 3:])


def test_tiff_whose_colours_were_multiplied_by_alpha_or_whose_white_is_zero(tmp_path: Path) -> None:
    array = levels(5, 7, 4, 65535)
    array[..., 3] |= 0x4000
    made = array.astype(float)
    made[..., :3] *= made[..., 3:] / 65535
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.rint(made).astype(np.uint16),
        photometric="rgb",
        extrasamples=["assocalpha"],
    )
    got = read_picture(tmp_path / "a.tif")
    assert np.abs(back(got.pixels, 65535) - array[..., :3]).max() <= 2
    tifffile.imwrite(tmp_path / "b.tif", array[..., 0], photometric="miniswhite")
    assert np.array_equal(
        back(read_picture(tmp_path / "b.tif").pixels, 65535), 65535 - array[..., :1].astype(int)
    )


def test_sixteen_bits_compressed_by_a_further_package(tmp_path: Path) -> None:
    """LZW of 9 bits a code, a clear code now and then: Pillow reads it, tifffile alone does not."""
    array = levels(8, 8, 3, 65535)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    raw = array.astype("<u2").tobytes()
    codes = [c for i in range(0, len(raw), 200) for c in (256, *raw[i : i + 200])] + [257]
    bits = "".join(f"{c:09b}" for c in codes)
    strip = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        for code, value in ((259, 5), (273, len(data)), (279, len(strip))):
            tag = file.pages[0].tags[code]
            form = {3: "<H", 4: "<I", 16: "<Q"}[int(tag.dtype)]
            struct.pack_into(form, data, tag.valueoffset, value)
    path = put(tmp_path, "b.tif", bytes(data) + strip)
    with Image.open(path) as opened:
        assert np.array_equal(np.asarray(opened), array >> 8)
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(BrokenImage, match="LZW, which needs a further package"):
            read_picture(path)
    else:
        assert np.array_equal(back(read_picture(path).pixels, 65535), array)


def test_palettes(tmp_path: Path) -> None:
    array = levels(6, 6, 3)
    image = Image.fromarray(array).quantize(8)
    got = read_picture(put(tmp_path, "a.png", saved(image, "PNG")))
    assert np.array_equal(back(got.pixels, 255), np.asarray(image.convert("RGB")))
    assert got.alpha is None
    clear = int(np.asarray(image)[2, 3])
    got = read_picture(put(tmp_path, "b.png", saved(image, "PNG", transparency=clear)))
    assert got.pixels.shape == (3, 6, 6)
    assert np.array_equal(got.alpha[0].numpy() == 0, np.asarray(image) == clear)
    got = read_picture(put(tmp_path, "c.gif", saved(image, "GIF", transparency=clear)))
    assert float(got.alpha[0, 2, 3]) == 0


def test_one_bit_and_transparent_grey(tmp_path: Path) -> None:
    array = levels(6, 9, 1)[..., 0]
    image = Image.fromarray(array > 127)
    got = read_picture(put(tmp_path, "a.png", saved(image, "PNG")))
    assert np.array_equal(back(got.pixels, 255)[..., 0], np.where(array > 127, 255, 0))
    clear = int(array[1, 2])
    data = saved(Image.fromarray(array), "PNG", transparency=clear)
    got = read_picture(put(tmp_path, "b.png", data))
    assert got.pixels.shape == (1, 6, 9)
    assert np.array_equal(got.alpha[0].numpy() == 0, array == clear)


def test_one_pixel(tmp_path: Path) -> None:
    for name, channels in (("a.png", 1), ("b.png", 3), ("c.png", 4)):
        array = levels(1, 1, channels)
        image = Image.fromarray(array[..., 0] if channels == 1 else array)
        got = read_picture(put(tmp_path, name, saved(image, "PNG")))
        assert got.size == (1, 1)
        write_picture(got, tmp_path / f"to-{name}")
        same(read_picture(tmp_path / f"to-{name}"), got)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(tmp_path: Path, form: str, orientation: int) -> None:
    """As Pillow turns them; all other tags are kept, and the picture says that it stands."""
    image = Image.fromarray(levels(16, 24, 3)).resize((24, 16), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x829A: 0.01}
    more = {"lossless": True} if form == "WEBP" else {}
    path = put(tmp_path, "a", saved(image, form, exif=exif.tobytes(), dpi=(300, 150), **more))
    with Image.open(path) as opened:
        want = np.asarray(ImageOps.exif_transpose(opened))
    got = read_picture(path)
    assert np.array_equal(back(got.pixels, 255), want)
    if form != "WEBP":
        assert got.dpi == pytest.approx((150, 300) if orientation >= 5 else (300, 150), abs=0.02)
    ending = {"JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}.get(form, ".png")
    write_picture(got, tmp_path / f"b{ending}")
    with Image.open(tmp_path / f"b{ending}") as opened:
        assert opened.size == want.shape[1::-1]
        tags = opened.getexif()
        assert tags.get(0x0112, 1) == 1
        assert tags[0x010F] == "a camera"
        assert tags.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_of_a_deep_tiff(tmp_path: Path, orientation: int) -> None:
    array = levels(4, 7, 3, 65535)
    more = {"extratags": [(274, "H", 1, orientation, True)], "resolution": (300, 150)}
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", resolutionunit=2, **more)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = Image.fromarray((array >> 8).astype(np.uint8))
    with Image.open(put(tmp_path, "b.png", saved(shallow, "PNG", exif=exif))) as opened:
        want = np.asarray(ImageOps.exif_transpose(opened))
    got = read_picture(tmp_path / "a.tif")
    assert np.array_equal(back(got.pixels, 65535) >> 8, want)
    assert got.dpi == pytest.approx((150, 300) if orientation >= 5 else (300, 150))


def test_exif_is_kept_byte_for_byte_but_for_the_orientation(tmp_path: Path) -> None:
    image = Image.fromarray(levels(8, 8, 3))
    for order in "<>":
        mark = b"II*\0" if order == "<" else b"MM\0*"
        maker = b"offsets of a camera's own \0\x01\x02"
        head = mark + struct.pack(f"{order}IH", 8, 2)
        tags = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
        tags += struct.pack(f"{order}HHII", 0x927C, 7, len(maker), 38)
        raw = b"Exif\0\0" + head + tags + struct.pack(f"{order}I", 0) + maker
        got = read_picture(put(tmp_path, "a.jpg", saved(image, "JPEG", exif=raw)))
        where = 6 + 8 + 2 + 8
        want = raw[:where] + struct.pack(f"{order}H", 1) + raw[where + 2 :]
        assert got.exif == want
        for name in ("b.jpg", "b.png", "b.webp"):
            write_picture(got, tmp_path / name)
            assert read_picture(tmp_path / name).exif == want


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\0\0", b"nonsense"])
def test_exif_that_cannot_be_read_is_no_reason_to_refuse(tmp_path: Path, exif: bytes) -> None:
    image = Image.fromarray(levels(8, 8, 3))
    got = read_picture(put(tmp_path, "a.png", saved(image, "PNG", exif=exif)))
    assert got.exif is None
    assert got.size == (8, 8)


def test_wrong_orientations_count_as_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    image = Image.fromarray(levels(8, 16, 3))
    assert read_picture(put(tmp_path, "a.jpg", saved(image, "JPEG", exif=exif))).size == (8, 16)


def test_cmyk_by_its_profile_or_not_at_all(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = saved(image, "JPEG", quality=100, icc_profile=cmyk_profile())
    got = read_picture(put(tmp_path, "a.jpg", data))
    assert np.abs(back(got.pixels, 255) - [0, 255, 255]).max() <= 2  # cyan
    assert got.icc is not None
    assert got.icc[16:20] == b"RGB "
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(got.icc)))
    with pytest.raises(BrokenImage, match="CMYK without a colour profile.*convert it to RGB"):
        read_picture(put(tmp_path, "b.jpg", saved(image, "JPEG")))
    with pytest.raises(BrokenImage, match="CMYK with a colour profile that does not work"):
        read_picture(put(tmp_path, "c.jpg", saved(image, "JPEG", icc_profile=b"x" * 200)))
    with pytest.raises(BrokenImage, match="CMYK with a colour profile that does not work"):
        read_picture(put(tmp_path, "d.tif", saved(image, "TIFF", icc_profile=SRGB)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture at all",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        b"\x89PNG\r\n\x1a\n",
        saved(Image.new("F", (3, 3)), "TIFF"),
        saved(Image.new("LAB", (3, 3)), "TIFF"),
        saved(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF"),
    ],
    ids=["empty", "text", "eps", "png-signature", "float", "lab", "more-than-16-bits"],
)
def test_other_kinds_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BrokenImage) as caught:
        read_picture(put(tmp_path, "a.png", data))
    assert "object at 0x" not in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_files_that_are_cut_short(tmp_path: Path, form: str, part: float) -> None:
    image = Image.fromarray(levels(64, 64, 3))
    data = saved(image, form)
    with pytest.raises(BrokenImage):
        read_picture(put(tmp_path, "a", data[: int(part * len(data))]))


@pytest.mark.parametrize("channels", [1, 3])
def test_files_of_sixteen_bits_that_are_cut_short(tmp_path: Path, channels: int) -> None:
    data = deep_png(levels(64, 64, channels, 65535))
    for part in (0.1, 0.5, 0.97):
        with pytest.raises(BrokenImage):
            read_picture(put(tmp_path, "a.png", data[: int(part * len(data))]))
    array = levels(64, 64, 3, 65535)
    tifffile.imwrite(tmp_path / "b.tif", array, photometric="rgb", compression="zlib")
    data = (tmp_path / "b.tif").read_bytes()
    with pytest.raises(BrokenImage):
        read_picture(put(tmp_path, "c.tif", data[: len(data) // 2]))


def test_damaged_bytes(tmp_path: Path) -> None:
    data = bytearray(deep_png(levels(64, 64, 3, 65535)))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(BrokenImage):
        read_picture(put(tmp_path, "a.png", bytes(data)))


def test_bombs_are_refused_from_the_header(tmp_path: Path) -> None:
    """50000 x 50000 would take 7.5 GB; nothing is decoded."""
    path = put(tmp_path, "a.png", bomb())
    assert path.stat().st_size < 200
    with pytest.raises(BrokenImage, match="more than 64,000,000 pixels.*--max-pixels"):
        read_picture(path)
    with pytest.raises(BrokenImage, match="more than 178,956,970 pixels"):
        read_picture(path, max_pixels=10**12)
    with pytest.raises(BrokenImage, match="10000x10000 pixels, more than 64,000,000"):
        read_picture(put(tmp_path, "b.png", bomb(10000, 10000)))
    with pytest.raises(BrokenImage, match="8x8 pixels, more than 63 "):
        read_picture(put(tmp_path, "c.png", saved(Image.new("L", (8, 8)), "PNG")), max_pixels=63)
    assert read_picture(tmp_path / "c.png", max_pixels=64).size == (8, 8)


def test_files_too_large_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_module, "MAX_BYTES", 50)
    with pytest.raises(BrokenImage, match="bytes, more than 50"):
        read_picture(put(tmp_path, "a.png", bomb()))


@pytest.mark.parametrize(("form", "what"), [("GIF", "frames"), ("PNG", "frames"),
                                            ("WEBP", "frames"), ("TIFF", "pages")])  # fmt: skip
def test_animations_are_refused(tmp_path: Path, form: str, what: str) -> None:
    with pytest.raises(BrokenImage, match=f"3 {what}.*save the one that is meant"):
        read_picture(put(tmp_path, "a", animation(form)))
    still = read_picture(put(tmp_path, "b", animation(form, frames=1)))
    assert still.size == (8, 8)


def test_the_first_of_a_camera_s_several_pictures_is_taken(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jpg", animation("MPO"))
    with Image.open(path) as opened:
        assert opened.n_frames == 3
        want = np.asarray(opened.convert("RGB"))
    assert np.array_equal(back(read_picture(path).pixels, 255), want)


def test_a_missing_package_has_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "png", None)
    with pytest.raises(MissingExtra, match=r"'png'.*pip install 'sfumato\[restore\]'"):
        read_picture(put(tmp_path, "a.png", deep_png(levels(3, 3, 3, 65535))))
    read_picture(put(tmp_path, "b.png", deep_png(levels(3, 3, 1, 65535))))  # Pillow's own


def test_missing_files_are_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")


# --- writing ---


def made(channels: int, depth: int, **more: object) -> Picture:
    """A random picture on its levels."""
    top = 2**depth - 1
    part = torch.from_numpy(levels(6, 9, channels, top).astype(np.float32).transpose(2, 0, 1))
    colours = channels - (channels in (2, 4))
    alpha = part[colours:] / top if channels in (2, 4) else None
    return Picture(part[:colours] / top * 2 - 1, alpha, depth, **more)  # type: ignore[arg-type]


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
    with pytest.raises(SfumatoError, match="No space left"):
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


# --- masks ---


def test_white_is_painted_anew(tmp_path: Path) -> None:
    array = np.array([[0, 127, 128, 255]], np.uint8)
    path = put(tmp_path, "m.png", saved(Image.fromarray(array), "PNG"))
    assert read_mask(path, (1, 4)).tolist() == [[[0, 0, 1, 1]]]
    rgb = np.zeros((2, 2, 3), np.uint8)
    rgb[0, 0] = 255
    rgb[0, 1] = (255, 0, 0)
    path = put(tmp_path, "n.png", saved(Image.fromarray(rgb), "PNG"))
    assert read_mask(path, (2, 2)).tolist() == [[[1, 0], [0, 0]]]


@pytest.mark.parametrize("ink", [0, 90, 255])
def test_a_layer_of_one_colour_is_a_mask_by_its_alpha(tmp_path: Path, ink: int) -> None:
    array = np.zeros((1, 4, 4), np.uint8)
    array[0, :, 3] = (0, 100, 200, 255)
    array[0, 1:, :3] = ink  # what cannot be seen may have any colour
    path = put(tmp_path, "m.png", saved(Image.fromarray(array), "PNG"))
    assert read_mask(path, (1, 4)).tolist() == [[[0, 0, 1, 1]]]


def test_alpha_dims_a_mask_of_several_colours(tmp_path: Path) -> None:
    array = np.array([[[255, 255], [255, 100], [0, 255], [255, 200]]], np.uint8)
    path = put(tmp_path, "m.png", saved(Image.fromarray(array), "PNG"))
    assert read_mask(path, (1, 4)).tolist() == [[[1, 0, 0, 1]]]


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    path = put(tmp_path, "m.png", saved(Image.new("L", (20, 30), 255), "PNG"))
    with pytest.raises(UsageError, match=r"m\.png has 20x30 pixels.*the picture 20x31"):
        read_mask(path, (31, 20))
    path = put(tmp_path, "n.png", saved(Image.new("L", (4, 4)), "PNG"))
    with pytest.raises(UsageError, match="marks nothing: white is"):
        read_mask(path, (4, 4))
    with pytest.raises(BrokenImage, match=r"the mask .*o\.png: more than"):
        read_mask(put(tmp_path, "o.png", bomb()), (4, 4))


def test_masks_are_turned_as_they_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    array = np.array([[255, 0, 0]], np.uint8)
    path = put(tmp_path, "m.png", saved(Image.fromarray(array), "PNG", exif=exif))
    assert read_mask(path, (3, 1)).tolist() == [[[1], [0], [0]]]


def test_pngs_with_further_chunks(tmp_path: Path) -> None:
    """A chunk nobody knows, and text, are no trouble."""
    data = deep_png(levels(3, 3, 3, 65535))
    data = data[:33] + chunk(b"tEXt", b"Comment\0hello") + chunk(b"abCd", b"?") + data[33:]
    assert read_picture(put(tmp_path, "a.png", data)).depth == 16


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
