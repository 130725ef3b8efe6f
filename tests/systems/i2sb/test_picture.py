"""Reading pictures: every kind, nothing lost, and each odd one refused in words."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from odd_pictures import (
    SRGB,
    animation,
    back,
    bomb,
    chunk,
    cmyk_profile,
    deep_png,
    levels,
    put,
    same,
    saved,
)
from sfumato.data.decode import BrokenImage
from sfumato.errors import MissingExtra
from sfumato.systems.i2sb import picture as picture_module
from sfumato.systems.i2sb.picture import jpeg_quality, read_picture
from sfumato.systems.i2sb.write import write_picture

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


def test_pngs_with_further_chunks(tmp_path: Path) -> None:
    """A chunk nobody knows, and text, are no trouble."""
    data = deep_png(levels(3, 3, 3, 65535))
    data = data[:33] + chunk(b"tEXt", b"Comment\0hello") + chunk(b"abCd", b"?") + data[33:]
    assert read_picture(put(tmp_path, "a.png", data)).depth == 16


@pytest.mark.parametrize("quality", [1, 5, 20, 49, 50, 60, 61, 80, 95, 100])
def test_the_quality_of_a_jpeg_file_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    picture.save(tmp_path / "a.jpg", quality=quality)
    assert jpeg_quality(tmp_path / "a.jpg") == quality
    picture.save(tmp_path / "a.png")
    assert jpeg_quality(tmp_path / "a.png") == jpeg_quality(tmp_path / "none.jpg") == 0
