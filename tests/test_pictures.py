"""Contact sheets and scatter plots."""

import io

import numpy as np
import pytest
from PIL import Image

from sfumato.files import pictures


def numbered(n: int, channels: int = 1, side: int = 4) -> np.ndarray:
    return np.stack([np.full((channels, side, side), 10 * i + 5, np.uint8) for i in range(n)])


def test_tiles_stand_where_they_belong() -> None:
    sheet = np.asarray(pictures.sheet(numbered(5), 3, scale=2, gap=1))
    assert sheet.shape == (2 * 9 + 1, 3 * 9 + 1, 3)
    for i in range(5):
        y, x = 1 + (i // 3) * 9, 1 + (i % 3) * 9
        assert (sheet[y : y + 8, x : x + 8] == 10 * i + 5).all()
    assert (sheet[10:, 19:] == 255).all()  # no sixth tile
    assert (sheet[0] == 255).all() and (sheet[9] == 255).all()


def test_alpha_is_composited_and_gaps_can_be_transparent() -> None:
    half = numbered(1, 4)
    half[:, :3], half[:, 3] = 100, 127
    pixel = np.asarray(pictures.sheet(half, scale=1, gap=0))[0, 0]
    assert pixel.tolist() == [round(100 * 127 / 255 + 255 * 128 / 255)] * 3
    clear = np.asarray(pictures.sheet(numbered(2), 2, scale=1, gap=2, transparent=True))
    assert clear.shape[-1] == 4
    assert clear[0, 0, 3] == 0 and clear[3, 3, 3] == 255


def test_labels_make_the_sheet_larger() -> None:
    plain = pictures.sheet(numbered(4), 2)
    named = pictures.sheet(numbered(4), 2, row_labels=["ddim", "heun"], column_labels=["1", "2"])
    assert named.width > plain.width and named.height > plain.height
    corner = named.crop((named.width - plain.width, named.height - plain.height, *named.size))
    assert np.array_equal(np.asarray(corner), np.asarray(plain))


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 1, 4, 4)), np.zeros((2, 2, 4, 4), np.uint8), np.zeros((4, 4), np.uint8),
     np.zeros((0, 1, 4, 4), np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError):
        pictures.sheet(bad)


def test_too_many_labels_and_no_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="2 row labels"):
        pictures.sheet(numbered(2), 2, row_labels=["a", "b"])
    with pytest.raises(ValueError, match="columns"):
        pictures.sheet(numbered(2), 0)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_files_are_exact_and_described(tmp_path, suffix: str) -> None:
    sheet = pictures.sheet(numbered(9, 3))
    path = pictures.save(sheet, tmp_path / "new" / f"a{suffix}", "how it was made")
    assert pictures.described(path) == "how it was made"
    with Image.open(path) as back:
        assert np.array_equal(np.asarray(back.convert("RGB")), np.asarray(sheet))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(ValueError, match="jpg"):
        pictures.save(sheet, tmp_path / "a.jpg")
    (tmp_path / "text.png").write_text("no picture")
    assert pictures.described(tmp_path / "text.png") == ""


def test_images_keep_their_channels() -> None:
    assert [pictures.image(numbered(1, c)[0]).mode for c in (1, 3, 4)] == ["L", "RGB", "RGBA"]
    data = pictures.encode(pictures.image(numbered(1)[0]))
    with Image.open(io.BytesIO(data)) as back:
        assert back.mode == "L"
    with pytest.raises(ValueError, match="float64"):
        pictures.image(np.zeros((1, 4, 4)))


def test_points_are_drawn_at_their_places() -> None:
    drawn = np.asarray(pictures.scatter(np.array([[0.5, 0.5]]), limit=1.0, size=80)).astype(int)
    dark = np.argwhere(drawn.sum(-1) < 600)
    assert np.abs(dark.mean(0) - [19.5, 59.5]).max() < 1  # right of the middle, above it
    odd = np.array([[np.nan, 0], [np.inf, 1], [0, 0]])
    assert pictures.scatter(odd, behind=np.zeros((3, 2))).size == (480, 480)
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        pictures.scatter(np.zeros((3, 3)))
