"""Sheets of fields: colours of known values, curves through known points, in pixels."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfumato.systems.ddo.pictures import _height, field_sheet, nearest, round_numbers

BLUEST, REDDEST = (5, 48, 97), (103, 0, 31)  # the ends of RdBu_r
INK_BLUE = (0, 114, 178)
GREY, WHITE = (150, 150, 150), (255, 255, 255)


def tile_of(sheet, row: int, column: int, size: tuple[int, int], gap: int = 3) -> np.ndarray:
    y, x = gap + row * (size[0] + gap), gap + column * (size[1] + gap)
    return np.asarray(sheet)[y : y + size[0], x : x + size[1]]


# Colours ------------------------------------------------------------------------------------------


def test_values_have_the_colours_of_a_scale_about_zero() -> None:
    x = np.array([[-2.0, 0.0], [0.5, 1.0]])[None, None]
    drawn = tile_of(field_sheet(x, 1, tile=20), 0, 0, (20, 20))
    assert (drawn[:10, :10] == BLUEST).all()  # -2, the largest in size, is the end of the scale
    assert np.ptp(drawn[:10, 10:].astype(int)) <= 2 and drawn[0, 19, 0] > 240  # 0: white
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 4
    mirrored = tile_of(field_sheet(-x, 1, tile=20), 0, 0, (20, 20))
    assert (mirrored[:10, :10] == REDDEST).all()
    half, one = drawn[15, 5].astype(int), drawn[15, 15].astype(int)
    assert half[0] > half[2] and one[0] > one[2]  # above 0: red,
    assert one[1] < half[1] < 240  # and stronger for more
    fixed = tile_of(field_sheet(x, 1, tile=20, limits=(-0.5, 0.5)), 0, 0, (20, 20))
    assert (fixed[:10, :10] == BLUEST).all() and (fixed[10:] == REDDEST).all()


def test_other_scales_run_from_the_lowest_to_the_highest() -> None:
    x = np.array([[3.0, 4.0], [5.0, 3.5]])[None, None]
    drawn = tile_of(field_sheet(x, 1, tile=20, symmetric=False), 0, 0, (20, 20))
    assert drawn[0, 0].tolist() == [68, 1, 84] and drawn[15, 5].tolist() == [253, 231, 37]
    grey = tile_of(field_sheet(x, 1, tile=20, symmetric=False, colours="gray"), 0, 0, (20, 20))
    assert grey[0, 19].tolist() == [128, 128, 128] and grey[19, 19].tolist() == [64, 64, 64]
    with pytest.raises(ValueError, match="no colour map"):
        field_sheet(x, colours="nonsense")


def test_one_scale_serves_all_tiles_and_constants_have_one_too() -> None:
    x = np.stack([np.full((1, 2, 2), v) for v in (-1.0, 0.25, 0.0)])
    sheet = field_sheet(x, 3, tile=8)
    assert (tile_of(sheet, 0, 0, (8, 8)) == BLUEST).all()
    zero = tile_of(sheet, 0, 2, (8, 8))
    alone = tile_of(field_sheet(x[2:], tile=8), 0, 0, (8, 8))
    assert (alone == zero[0, 0]).all()


def test_what_is_not_finite_is_grey() -> None:
    x = np.array([[math.nan, 1.0], [math.inf, -1.0]])[None, None]
    drawn = tile_of(field_sheet(x, 1, tile=8), 0, 0, (8, 8))
    assert (drawn[:, :4] == GREY).all()
    assert (drawn[:4, 4:] == REDDEST).all() and (drawn[4:, 4:] == BLUEST).all()
    assert (tile_of(field_sheet(x * math.nan, 1, tile=8), 0, 0, (8, 8)) == GREY).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_bar_shows_every_colour_in_order_and_its_marks_are_true(symmetric: bool) -> None:
    """A column of values, one for each number on the bar: its colours stand beside the marks."""
    marks = [-0.4, -0.2, 0.0, 0.2, 0.4]
    x = np.array(marks)[None, None, :, None]
    size = (200, 40)
    sheet = field_sheet(x, 1, tile=200, symmetric=symmetric, limits=(-0.5, 0.5), label="u [m]")
    pixels = np.asarray(sheet).astype(int)
    left = 3 + size[1] + 3 + 8
    bar = pixels[3:203, left : left + 12]
    assert (bar == bar[:, :1]).all()  # the same across
    levels = bar[:, 0]
    if symmetric:
        assert levels[0].tolist() == list(REDDEST) and levels[-1].tolist() == list(BLUEST)
        warmth = levels[:, 0] - levels[:, 2]  # rises to orange-red, then darkens
        assert (np.diff(warmth[40:160]) <= 0).all() and len(np.unique(warmth[40:160])) > 100
    else:
        light = levels @ [0.299, 0.587, 0.114]
        assert (np.diff(light) < 0.5).all() and len(np.unique(light)) > 150  # to rounding
        assert light[0] - light[-1] > 180
    ticks = [y for y in range(200) if (pixels[3 + y, left + 12] == (70, 70, 76)).all()]
    assert len(ticks) == 5
    drawn = tile_of(sheet, 0, 0, size).astype(int)
    for y, value in zip(ticks, reversed(marks), strict=True):
        tile = drawn[20 + 40 * marks.index(value), 20]
        assert np.abs(levels[y] - tile).max() <= 6
    assert sheet.width > field_sheet(x, 1, tile=200, limits=(-0.5, 0.5)).width  # the label


def test_the_sheet_is_white_between_tiles_and_labels_move_it() -> None:
    x = np.ones((5, 1, 4, 4))
    sheet = field_sheet(x, 3, tile=16, gap=2)
    pixels = np.asarray(sheet)
    for i in range(5):
        assert (tile_of(sheet, i // 3, i % 3, (16, 16), 2) == REDDEST).all()
    assert (tile_of(sheet, 1, 2, (16, 16), 2) == WHITE).all()  # no sixth
    assert (pixels[:, :2] == WHITE).all() and (pixels[18:20, :56] == WHITE).all()
    named = field_sheet(x, 3, tile=16, gap=2, row_labels=["a", "b"], column_labels=["c"])
    left, top = named.width - sheet.width, named.height - sheet.height
    assert left > 8 and top == 20
    assert np.array_equal(np.asarray(named)[top:, left:], pixels)
    words = np.asarray(named.convert("L"))
    rows = [words[top + 2 + 18 * i : top + 18 + 18 * i, :left] for i in range(2)]
    assert all((row < 128).any() for row in rows)
    assert (words[:top, left : left + 20] < 128).any() and (words[:top, left + 20 :] == 255).all()


# Grids --------------------------------------------------------------------------------------------


def test_rows_of_other_grids_have_the_same_tiles() -> None:
    """The same function at 8, 16 and 32 points: each pixel has the colour of its own cell."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n_fields, 1, n, n)) for n, n_fields in ((8, 2), (16, 3), (32, 1))]
    sheet = field_sheet(rows, tile=30, row_labels=["8", "16", "32"])
    left = sheet.width - field_sheet(rows, tile=30).width
    sheet = sheet.crop((left, 0, *sheet.size))
    top = max(float(np.abs(row).max()) for row in rows)
    for i, row in enumerate(rows):
        for j, field in enumerate(row[:, 0]):
            drawn = tile_of(sheet, i, j, (32, 32))
            scale = 32 // len(field)
            assert (drawn == drawn[::scale, ::scale].repeat(scale, 0).repeat(scale, 1)).all()
            alone = field_sheet(field[None, None], 1, tile=len(field), limits=(-top, top))
            assert (drawn[::scale, ::scale] == tile_of(alone, 0, 0, field.shape)).all()
    assert (tile_of(sheet, 2, 1, (32, 32)) == WHITE).all()


def test_tiles_have_the_shape_of_the_box() -> None:
    x = np.linspace(-1, 1, 32)[None, None, None, :] * np.ones((1, 1, 16, 1))
    flat = field_sheet(x, 1, tile=64)
    assert flat.height == 32 + 6
    square = tile_of(field_sheet(x, 1, tile=64, extent=(1.0, 1.0)), 0, 0, (64, 64))
    assert (square == square[:1]).all() and (square[0, 0] == BLUEST).all()
    assert (square[63, 63] == REDDEST).all()
    tall = tile_of(field_sheet(x.swapaxes(2, 3), 1, tile=64), 0, 0, (64, 32))
    assert (tall[0] == BLUEST).all() and (tall[63] == REDDEST).all()  # first axis downwards
    odd = [np.ones((1, 1, n, n)) for n in (97, 101)]  # no common size below 9,797 pixels
    assert field_sheet(odd, tile=32).height == 2 * 101 + 9
    with pytest.raises(ValueError, match="extent"):
        field_sheet(x, extent=(1.0, 0.0))


def test_three_axes_show_the_middle_slice_and_tensors_are_taken() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 4))
    volume = field_sheet(torch.from_numpy(x), 2, channel=1)
    assert np.array_equal(np.asarray(volume), np.asarray(field_sheet(x[:, 1:2, 2], 2)))
    listed = field_sheet([x[:1, 1:2, 2], x[1:, 1:2, 2]], 1)
    assert np.array_equal(np.asarray(listed), np.asarray(field_sheet(x[:, 1:2, 2], 1)))


def test_nearest_takes_the_cell_a_pixel_lies_in() -> None:
    field = np.arange(6).reshape(2, 3)
    assert nearest(field, (2, 3)).tolist() == field.tolist()
    assert nearest(field, (4, 6)).tolist() == field.repeat(2, 0).repeat(2, 1).tolist()
    assert nearest(field, (3, 4))[0].tolist() == [0, 1, 1, 2]
    assert nearest(field, (1, 1)).tolist() == [[4]]


def test_importing_them_is_light() -> None:
    code = "import sys, sfumato.systems.ddo.pictures, sfumato.systems.ddo.plots\n"
    code += "print(*[m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Curves -------------------------------------------------------------------------------------------


def test_curves_run_through_their_values() -> None:
    """A straight line from -1 to 1: blue where it should be, white away from it."""
    n, size = 50, (60, 90)
    x = (2 * (np.arange(n) + 0.5) / n - 1)[None, None]
    drawn = tile_of(field_sheet(x, 1, tile=60, limits=(-2.0, 2.0)), 0, 0, size)
    blue = (drawn.astype(int)[..., 2] - drawn.astype(int)[..., 0]) > 60
    for column in range(5, 85):
        value = 2 * (column + 0.5) / 90 - 1
        where = np.flatnonzero(blue[:, column])
        assert where.size and abs(where.mean() - _height(value, -2, 2, 60)) < 1.0
        assert np.ptp(where) <= 3
    middle = drawn[round(_height(0.0, -2, 2, 60)), 20]  # the line of 0, light grey
    assert (middle > 190).all() and (middle < 240).all()
    above = tile_of(field_sheet(x + 5, 1, tile=60, limits=(-2.0, 2.0)), 0, 0, size)
    assert (above[3, 45].astype(int) - INK_BLUE)[0] < 120  # beyond the scale: along its edge
    assert _height(-2.0, -2, 2, 60) == 56 and _height(2.0, -2, 2, 60) == 3


def test_curves_break_where_they_are_not_finite() -> None:
    x = np.full((1, 1, 30), 0.5)
    x[..., 10:20] = math.nan
    x[..., 14] = 0.5  # alone
    drawn = tile_of(field_sheet(x, 1, tile=60, limits=(0.0, 1.0)), 0, 0, (60, 90)).astype(int)
    blue = (drawn[..., 2] - drawn[..., 0] > 60).any(0)
    assert blue[3:28].all() and blue[62:88].all() and blue[42:45].all()
    assert not blue[30:41].any() and not blue[46:60].any()


def test_curves_have_a_scale_of_their_own() -> None:
    x = np.full((4, 1, 8), 0.5)
    sheet = np.asarray(field_sheet(x, 2, tile=60, limits=(0.0, 1.0)))
    left = 3 + 2 * 93 + 8
    ticks = [y for y in range(sheet.shape[0]) if (sheet[y, left + 3] == (70, 70, 76)).all()]
    assert ticks == [3 + round(_height(v, 0, 1, 60)) for v in (1.0, 0.5, 0.0)]
    drawn = tile_of(Image.fromarray(sheet), 1, 1, (60, 90)).astype(int)
    row = int(np.argmax((drawn[..., 2] - drawn[..., 0])[:, 45]))
    assert abs(3 + row - ticks[1]) <= 1


# Numbers on the scale -----------------------------------------------------------------------------


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(2, 6))
def test_round_numbers(low: float, span: float, most: int) -> None:
    high = low + span
    marks = round_numbers(low, high, most)
    assert 0 < len(marks) <= most
    for value, text in marks:
        assert low - 1e-6 * span <= value <= high + 1e-6 * span
        assert float(text) == pytest.approx(value, abs=1e-3 * span)
    if len(marks) > 2:
        assert np.allclose(np.diff([v for v, _ in marks]), marks[1][0] - marks[0][0])


def test_round_numbers_as_written() -> None:
    assert [t for _, t in round_numbers(-1.3, 1.3)] == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]
    assert [t for _, t in round_numbers(0, 40)] == ["0", "10", "20", "30", "40"]
    assert [t for _, t in round_numbers(-3e-7, 3e-7, 4)] == ["-2e-07", "0", "2e-07"]


def test_sheets_refuse() -> None:
    x = np.zeros((2, 1, 4, 4))
    for bad in (x[0, 0], [], [x, x[:, :, 0]], np.zeros((1, 1, 2, 2, 2, 2))):
        with pytest.raises(ValueError, match="1, 2 or 3 axes"):
            field_sheet(bad)
    for bad in (x[:0], [x, x[:0]]):
        with pytest.raises(ValueError, match="at least one field"):
            field_sheet(bad)
    with pytest.raises(ValueError, match="channel 1"):
        field_sheet(x, channel=1)
    with pytest.raises(ValueError, match="columns"):
        field_sheet(x, 0)
    with pytest.raises(ValueError, match="2 row labels"):
        field_sheet(x, 2, row_labels=["a", "b"])
    for limits in ((1.0, 1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="limits"):
            field_sheet(x, limits=limits)
