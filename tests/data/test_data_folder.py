"""Any folder or zip of pictures: orientation, transparency, depth, cropping, labels, damage."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import ImageSet, folder
from sfumato.errors import SfumatoError, UsageError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def load(path: Path, resolution: int = 8, **options: object) -> ImageSet:
    root = path.parent / f"cache of {path.name}"
    return folder(path, resolution, root=root, progress=False, **options)  # type: ignore[arg-type]


def save(path: Path, colour: tuple[int, ...] | int, mode: str = "RGB", size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size), colour).save(path)
    return path


def colours(data: ImageSet) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in image[:, 4, 4]) for image in data.images]


def test_names_give_the_order_and_folders_the_labels(tmp_path: Path) -> None:
    top = tmp_path / "pictures"
    save(top / "10" / "b.png", RED)
    save(top / "10" / "a.png", GREEN)
    save(top / "9" / "c.bmp", BLUE)
    save(top / ".hidden" / "d.png", RED)
    (top / "notes.txt").write_text("not a picture")
    data = load(top)
    assert colours(data) == [GREEN, RED, BLUE]
    assert data.axes[0].values == ("9", "10")  # numbers by size
    assert data.labels is not None
    assert data.labels[:, 0].tolist() == [1, 1, 0]
    assert (data.name, data.resolution, data.channels) == ("pictures/", 8, 3)


def test_pictures_beside_folders_have_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.png", RED)
    save(tmp_path / "p" / "in" / "b.png", BLUE)
    data = load(tmp_path / "p")
    assert data.labels is None
    assert data.axes == ()


def test_a_zip_equals_its_folder_with_or_without_a_top_folder(tmp_path: Path) -> None:
    top = tmp_path / "pictures"
    save(top / "x" / "a.png", RED)
    save(top / "y" / "b.png", BLUE)
    for prefix in ("", "wrapped/"):
        path = tmp_path / f"{prefix.strip('/')}zip.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("x/a.png", "y/b.png"):
                archive.write(top / name, prefix + name)
            archive.writestr("__MACOSX/x/._a.png", b"junk")
        data, expected = load(path), load(top)
        assert np.array_equal(data.images, expected.images)
        assert data.axes == expected.axes
        assert np.array_equal(data.labels, expected.labels)


def test_grey_palette_and_transparent_pictures_mix(tmp_path: Path) -> None:
    top = tmp_path / "p"
    save(top / "a-grey.png", 77, "L")
    save(top / "b-clear.png", (255, 0, 0, 0), "RGBA")
    save(top / "c-half.png", (0, 0, 0, 128), "RGBA")
    save(top / "d-grey-half.png", (0, 51), "LA")
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255] + [0] * 762)
    palette.save(top / "e-palette.png")
    palette.save(top / "f-palette-clear.png", transparency=1)
    save(top / "g-bits.png", 1, "1")
    Image.fromarray(np.full((16, 16), 40 * 257, np.uint16)).save(top / "h-deep.png")
    save(top / "i-print.jpg", (0, 0, 0, 0), "CMYK")
    white = (255, 255, 255)
    assert colours(load(top)) == [
        (77, 77, 77), white, (127, 127, 127), (204, 204, 204), BLUE, white, white,
        (40, 40, 40), white,
    ]  # fmt: skip
    grey = load(top, channels=1)
    assert grey.images.shape == (9, 1, 8, 8)
    assert [int(image[0, 0, 0]) for image in grey.images[:3]] == [77, 255, 127]


def test_the_central_square_is_kept_and_exif_turns_the_picture(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8], wide[:, 8:12], wide[:, 12:16], wide[:, 16:] = RED, GREEN, BLUE, RED
    picture, turned = Image.fromarray(wide), Image.Exif()
    (tmp_path / "p").mkdir()
    picture.save(tmp_path / "p" / "a.png")
    turned[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    picture.save(tmp_path / "p" / "b.png", exif=turned)
    plain, rotated = load(tmp_path / "p").images
    assert [tuple(int(v) for v in plain[:, 4, x]) for x in (1, 6)] == [GREEN, BLUE]
    assert np.array_equal(rotated, np.rot90(plain, -1, (1, 2)))


def test_reduction_does_not_alias(tmp_path: Path) -> None:
    fine = np.indices((128, 128)).sum(0) % 2 * 255  # a checkerboard of single pixels
    (tmp_path / "p").mkdir()
    Image.fromarray(fine.astype(np.uint8)).save(tmp_path / "p" / "a.png")
    inner = load(tmp_path / "p").images[:, :, 1:-1, 1:-1].astype(int)
    assert abs(inner - 127.5).max() < 4


def test_csv_labels_may_have_several_axes(tmp_path: Path) -> None:
    top = tmp_path / "p"
    save(top / "img" / "a.png", RED)
    save(top / "img" / "b.png", BLUE)
    rows = "file,animal,age\nimg/b.png,dog,10\nimg/a.png,cat,9\nimg/gone.png,eel,11\n"
    (top / "labels.csv").write_text("\ufeff" + rows, "utf-8")
    data = load(top)
    assert [(axis.name, axis.values) for axis in data.axes] == [
        ("animal", ("cat", "dog", "eel")),
        ("age", ("9", "10", "11")),
    ]
    assert data.labels is not None
    assert data.labels.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    "content",
    [
        {"a.png": "x", "b.png": "y"},
        {"a.png": {"label": "x"}, "b.png": {"label": "y"}},
        [{"file": "b.png", "label": "y"}, {"file": "a.png", "label": "x"}],
    ],
)
def test_json_labels_in_each_form(tmp_path: Path, content: object) -> None:
    top = tmp_path / "p"
    save(top / "a.png", RED)
    save(top / "b.png", BLUE)
    (top / "labels.json").write_text(json.dumps(content))
    data = load(top)
    assert data.labels is not None
    assert data.labels[:, 0].tolist() == [0, 1]
    assert data.axes[0].values == ("x", "y")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.csv", "file,label\na.png,x\n", "no label for b.png"),
        ("labels.csv", "colour,label\na.png,x\n", "header is colour,label"),
        ("labels.csv", "file,label\na.png,x,y\n", "line 2 has 3 columns"),
        ("labels.csv", "file,label\na.png,x\na.png,y\n", "lists a.png twice"),
        ("labels.json", '{"a.png": "x"', "cannot be read"),
        ("labels.json", '{"a.png": {"k": 1}, "b.png": {"q": 1}}', "other label axes"),
        ("labels.json", "{}", "lists no files"),
        ("labels.json", "3", "neither an object nor a list"),
    ],
)
def test_bad_label_files_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    top = tmp_path / "p"
    save(top / "a.png", RED)
    save(top / "b.png", BLUE)
    (top / name).write_text(text)
    with pytest.raises(UsageError, match=f"{name}.*{said}"):
        load(top)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be enormous."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def test_broken_pictures_are_all_named_and_left_out_only_when_told(tmp_path: Path) -> None:
    top = tmp_path / "p"
    save(top / "good.png", RED)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    (top / "short.png").write_bytes(buffer.getvalue()[:3000])
    (top / "text.jpg").write_text("this is no picture")
    (top / "empty.png").write_bytes(b"")
    (top / "bomb.png").write_bytes(bomb(9000, 9000))
    (top / "monster.png").write_bytes(bomb(60000, 60000))
    bad = ["bomb.png", "empty.png", "monster.png", "short.png", "text.jpg"]
    for _ in range(2):  # decoded, then from the cache
        with pytest.raises(SfumatoError, match="5 of 6 pictures") as caught:
            load(top)
        assert [line.split(":")[0].strip() for line in str(caught.value).split("\n")[1:]] == bad
        assert "9000x9000 pixels, more than" in str(caught.value)
    with pytest.warns(UserWarning, match="short.png"):
        data = load(top, skip_broken=True)
    assert colours(data) == [RED]


def test_a_folder_with_nothing_but_broken_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"x")
    with pytest.raises(SfumatoError, match="none of the pictures"):
        load(tmp_path / "p", skip_broken=True)


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, colour in (("a.png", RED), ("b.png", BLUE)):
            archive.write(save(tmp_path / "src" / name, colour), name)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SfumatoError, match=r"1 of 2 pictures(.|\n)*a.png.*CRC"):
        load(path)


def test_places_without_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "no.zip").write_text("x")
    for name, said in (
        ("empty", "holds no pictures"),
        ("file.txt", "neither a folder nor a .zip"),
        ("gone", "does not exist"),
    ):
        with pytest.raises(UsageError, match=said):
            load(tmp_path / name)
    with pytest.raises(SfumatoError, match="cannot be opened as a zip"):
        load(tmp_path / "no.zip")
    with pytest.raises(UsageError, match="resolution"):
        load(tmp_path / "empty", 0)


def test_decoding_happens_once_and_again_when_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "p"
    path = save(top / "a.png", RED)
    assert colours(load(top)) == [RED]
    with monkeypatch.context() as patched:
        patched.setattr("sfumato.data.folders.decode", lambda *_: 1 / 0)
        data = load(top)
        assert isinstance(data.images, np.memmap)
        assert colours(data) == [RED]
    save(path, BLUE)
    os.utime(path, ns=(1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert colours(load(top)) == [BLUE]


def test_a_cut_cache_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.png", RED)
    load(tmp_path / "p")
    (cached,) = (tmp_path / "cache of p").glob("*/images.u8")
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(SfumatoError, match="damaged.*delete that folder"):
        load(tmp_path / "p")
