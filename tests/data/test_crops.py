"""Crops: exact pieces of the reduced photograph, drawn by counters, and folders of any pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data.crops import Crops, crops_of, pyramid, uniforms
from sfumato.data.decode import BrokenImage, planes, whole
from sfumato.data.sets import DataCard, ImageSet
from sfumato.errors import SfumatoError, UsageError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def some(resolution: int = 8, n: int = 500, seed: int = 0) -> Crops:
    pictures = [Image.fromarray(noise(40, 70, 1)), Image.fromarray(noise(17, 20, 2))]
    return Crops([pyramid(p, resolution) for p in pictures], resolution, n, seed)


def test_a_pyramid_stops_at_twice_the_crop_and_means_stay() -> None:
    picture = Image.fromarray(noise(130, 200))
    levels = pyramid(picture, 16)
    assert [level.shape for level in levels] == [(3, 130, 200), (3, 65, 100), (3, 32, 50)]
    assert np.array_equal(levels[0], planes(picture))
    assert len(pyramid(Image.fromarray(noise(1024, 1024)), 16)) == 4  # an eighth at most
    for level in levels[1:]:
        assert abs(level.mean() - levels[0].mean()) < 1
    assert len(pyramid(Image.fromarray(noise(16, 16)), 16)) == 1
    with pytest.raises(BrokenImage, match="200x15 pixels, too small for crops of 16"):
        pyramid(Image.fromarray(noise(15, 200)), 16)


def test_reduction_does_not_alias() -> None:
    fine = np.indices((128, 128)).sum(0) % 2 * 255  # a checkerboard of single pixels
    levels = pyramid(Image.fromarray(fine.astype(np.uint8)).convert("RGB"), 8)
    for level in levels[1:]:
        assert abs(level[:, 2:-2, 2:-2].astype(int) - 127.5).max() < 4


def test_crops_are_exact_pieces_where_they_say() -> None:
    crops = some()
    at = crops.places(range(len(crops)))
    images = crops[:]
    for k, image in enumerate(images):
        level = crops.photographs[at.photograph[k]][at.level[k]]
        piece = level[:, at.top[k] : at.top[k] + 8, at.left[k] : at.left[k] + 8]
        assert np.array_equal(image, piece[:, :, ::-1] if at.flipped[k] else piece)
    assert {(int(p), int(k)) for p, k in zip(at.photograph, at.level, strict=True)} == {
        (0, 0), (0, 1), (1, 0),
    }  # fmt: skip


def test_a_crop_depends_on_the_seed_and_its_number_alone() -> None:
    crops = some(n=500)
    everything = crops[:]
    order = np.random.default_rng(0).permutation(500)
    assert np.array_equal(crops[order], everything[order])
    assert np.array_equal(crops[123], everything[123])
    assert np.array_equal(crops[-1], everything[499])
    assert np.array_equal(crops[10:20:3], everything[10:20:3])
    assert np.array_equal(some(n=40)[:], everything[:40])
    assert not np.array_equal(some(seed=1)[:], everything)
    assert np.array_equal(crops[[7, 7]], everything[[7, 7]])


def test_it_reads_like_an_array() -> None:
    crops = some(n=30)
    assert (crops.shape, crops.dtype, crops.ndim, len(crops)) == ((30, 3, 8, 8), np.uint8, 4, 30)
    assert np.array_equal(np.asarray(crops), crops[:])
    assert np.array_equal(crops[np.arange(30) % 2 == 0], crops[::2])
    assert crops[[]].shape == (0, 3, 8, 8)
    assert sum(1 for _ in crops) == 30
    for key in (30, -31, [0, 30]):
        with pytest.raises(IndexError, match="out of range for 30"):
            crops[key]
    with pytest.raises(IndexError, match="flat array of integers"):
        crops[[0.5]]  # type: ignore[list-item]


def test_an_image_set_takes_crops() -> None:
    crops = some(n=50)
    data = ImageSet("toy", crops, None, (), DataCard("toy", "here", "none", "few"))  # type: ignore[arg-type]
    assert (len(data), data.resolution, data.channels) == (50, 8, 3)
    x, labels = data.batch([4, 2])
    assert labels is None
    np.testing.assert_allclose(x.numpy(), crops[[4, 2]] / 127.5 - 1, atol=1e-6)
    part = data.subset([4, 2])
    assert np.array_equal(part.images, crops[[4, 2]])
    with pytest.raises(ValueError, match=r"0..49"):
        data.batch([50])


def test_positions_are_uniform_and_flips_even() -> None:
    n = 200_000
    crops = Crops([pyramid(Image.fromarray(noise(11, 14)), 8)], 8, n)
    at = crops.places(range(n))
    counts = np.bincount(at.top * 7 + at.left, minlength=28)  # (11 - 7) x (14 - 7) positions
    assert len(counts) == 28
    expected = n / 28
    assert ((counts - expected) ** 2 / expected).sum() < 60  # chi squared, 27 degrees: p > 0.0003
    assert abs(at.flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    flipped = np.bincount((at.top * 7 + at.left)[at.flipped], minlength=28)
    assert ((flipped - n / 56) ** 2 / (n / 56)).sum() < 60  # the flip does not know the position


def test_photographs_come_by_area_and_scales_by_how_many_have_them() -> None:
    sizes = [(32, 64), (16, 16), (100, 40)]
    n = 100_000
    crops = Crops([pyramid(Image.fromarray(noise(*s)), 8) for s in sizes], 8, n)
    assert [len(levels) for levels in crops.photographs] == [2, 1, 2]
    at = crops.places(range(n))
    level = np.bincount(at.level) / n
    np.testing.assert_allclose(level, [3 / 5, 2 / 5], atol=0.01)
    for k, areas in ((0, [2048, 256, 4000]), (1, [512, 0, 1000])):
        share = np.bincount(at.photograph[at.level == k], minlength=3) / (at.level == k).sum()
        np.testing.assert_allclose(share, np.array(areas) / sum(areas), atol=0.01)
    assert abs(crops.chances.sum() - 1) < 1e-12


def test_the_draws_are_splitmix64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.crops.fold", lambda *_: 1234567)
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    drawn = uniforms(0, np.arange(2), 2)  # the published first values for this seed
    np.testing.assert_allclose(drawn.reshape(-1), np.array(known) / 2.0**64, rtol=1e-12)


def test_what_crops_refuse() -> None:
    good = pyramid(Image.fromarray(noise(16, 16)), 8)
    with pytest.raises(ValueError, match="at least one photograph"):
        Crops([], 8, 5)
    with pytest.raises(ValueError, match="n >= 1"):
        Crops([good], 8, 0)
    with pytest.raises(ValueError, match="photograph 1.*smaller than 32"):
        Crops([[np.zeros((3, 40, 40), np.uint8)], good], 32, 5)
    with pytest.raises(ValueError, match="photograph 0 must be uint8"):
        Crops([[np.zeros((3, 40, 40), np.float32)]], 8, 5)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_any_folder_gives_crops(tmp_path: Path) -> None:
    top = tmp_path / "pictures"
    save(top / "b.png", noise(30, 50, 1))
    save(top / "in" / "a.png", noise(20, 20, 2))
    (top / "notes.txt").write_text("not a picture")
    data = crops_of(top, 8, 200, seed=3, progress=False)
    assert (data.images.shape, data.labels, data.name) == ((200, 3, 8, 8), None, "pictures")
    expected = [pyramid(Image.fromarray(p), 8) for p in (noise(30, 50, 1), noise(20, 20, 2))]
    assert np.array_equal(data.images[:], Crops(expected, 8, 200, 3)[:])


def test_large_pictures_are_reduced_first(tmp_path: Path) -> None:
    top = tmp_path / "pictures"
    save(top / "wide.png", noise(50, 200))
    save(top / "wide.jpg", noise(400, 1600))
    crops = crops_of(top, 8, 10, max_side=100, progress=False).images
    assert [levels[0].shape for levels in crops.photographs] == [(3, 25, 100)] * 2  # type: ignore[attr-defined]


def test_broken_and_small_pictures_are_all_named(tmp_path: Path) -> None:
    top = tmp_path / "pictures"
    save(top / "good.png", noise(30, 30))
    save(top / "small.png", noise(7, 90))
    (top / "cut.png").write_bytes((top / "good.png").read_bytes()[:900])
    (top / "junk.jpg").write_bytes(b"junk")
    with pytest.raises(SfumatoError, match="3 of 4 pictures") as caught:
        crops_of(top, 8, 10, progress=False)
    assert all(name in str(caught.value) for name in ("small.png: 90x7", "cut.png", "junk.jpg"))
    with pytest.warns(UserWarning, match="junk.jpg"):
        data = crops_of(top, 8, 10, skip_broken=True, progress=False)
    assert "1 picture" in data.card.size
    (top / "good.png").unlink()
    with pytest.raises(SfumatoError, match="none of the pictures"):
        crops_of(top, 8, 10, skip_broken=True, progress=False)


def test_what_crops_of_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        crops_of(tmp_path / "nowhere", 8)
    with pytest.raises(UsageError, match="holds no pictures"):
        crops_of(tmp_path, 8)
    with pytest.raises(UsageError, match="resolution must lie in 8..1024, got 4"):
        crops_of(tmp_path, 4)
    with pytest.raises(UsageError, match="n must be at least 1"):
        crops_of(tmp_path, 8, 0)
    with pytest.raises(UsageError, match="max_side must be at least 64"):
        crops_of(tmp_path, 64, max_side=32)
    save(tmp_path / "a.png", noise(40, 40))
    monkeypatch.setattr("sfumato.data.crops.MAX_HELD", 1000)
    with pytest.raises(SfumatoError, match="smaller max_side than 2000"):
        crops_of(tmp_path, 8, progress=False)


def test_whole_pictures_are_turned_and_put_on_white() -> None:
    wide = noise(6, 9)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "png", exif=turned)
    expected = np.rot90(wide, -1).transpose(2, 0, 1)
    assert np.array_equal(planes(whole(file.getvalue())), expected)
    file = io.BytesIO()
    Image.new("RGBA", (5, 4), (0, 0, 0, 128)).save(file, "png")
    assert np.array_equal(planes(whole(file.getvalue())), np.full((3, 4, 5), 127))


def test_a_picture_that_claims_to_be_huge_is_refused_unread() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    data += struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    with pytest.raises(BrokenImage):
        whole(data + struct.pack(">I", zlib.crc32(b"IDAT")))
