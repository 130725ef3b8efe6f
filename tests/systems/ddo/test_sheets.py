"""Sheets of fields: colours of known values, curves through known points, north at the top."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from sfumato.systems.ddo.data.base import Axis, Frame, Quantity
from sfumato.systems.ddo.nn.harmonic import Domain
from sfumato.systems.ddo.pictures import field_sheet, frame_sheet, is_signed, north_up

BLUEST, REDDEST, GREY = (5, 48, 97), (103, 0, 31), (153, 153, 153)  # ends of RdBu_r
TILE, GAP = 96, 3
LAT, LON = Axis("lat", 40, 50, "degrees_north"), Axis("lon", 0, 20, "degrees_east")


def tile(sheet, row: int = 0, column: int = 0, size: tuple[int, int] = (TILE, TILE)) -> np.ndarray:
    """The inside of a tile, one pixel within its frame."""
    pixels = np.asarray(sheet).astype(int)
    grey = (pixels == 214).all(-1)
    y, x = np.argwhere(grey & (grey.sum(1) > 40)[:, None])[0]  # the first corner of a frame
    y, x = y + row * (size[0] + GAP), x + column * (size[1] + GAP)
    return pixels[y + 2 : y + size[0] - 1, x + 2 : x + size[1] - 1]


def frame(*axes: Axis, names: tuple[str, ...] = ("u",)) -> Frame:
    return Frame(Domain.REFLECTING, axes, tuple(map(Quantity, names)))


def near(pixels: np.ndarray, colour: tuple[int, int, int], by: int = 2) -> bool:
    return bool((np.abs(pixels - colour) <= by).all())


def test_values_have_the_colours_of_a_scale_about_zero() -> None:
    x = np.array([[-2.0, 0.0], [0.5, 1.0]])[None, None]
    drawn = tile(field_sheet(x, 1))
    assert near(drawn[:44, :44], BLUEST)  # -2, the largest in size, is the end of the scale
    assert drawn[20, 70].min() > 240  # 0: white
    half, one = drawn[70, 20], drawn[70, 70]
    assert half[0] > half[2] and one[0] > one[2]  # above 0: red,
    assert one[1] < half[1] < 240  # and stronger for more
    assert near(tile(field_sheet(-x, 1))[:44, :44], REDDEST)


def test_other_scales_run_from_the_lowest_to_the_highest() -> None:
    x = np.array([[3.0, 4.0], [5.0, 3.5]])[None, None]
    drawn = tile(field_sheet(x, 1, symmetric=False))
    assert near(drawn[:44, :44], (68, 1, 84)) and near(drawn[52:, :44], (253, 231, 37))


def test_one_scale_serves_all_tiles_and_constants_have_one_too() -> None:
    x = np.stack([np.full((1, 2, 2), v) for v in (-1.0, 0.25, 0.0)])
    sheet = field_sheet(x, 3)
    assert near(tile(sheet), BLUEST)
    assert near(tile(field_sheet(x[2:])), tuple(tile(sheet, 0, 2)[0, 0]))


def test_what_is_not_finite_is_grey() -> None:
    x = np.array([[math.nan, 1.0], [math.inf, -1.0]])[None, None]
    drawn = tile(field_sheet(x, 1))
    assert near(drawn[:, :44], GREY)
    assert near(drawn[:44, 52:], REDDEST) and near(drawn[52:, 52:], BLUEST)
    assert near(tile(field_sheet(x * math.nan, 1)), GREY)


def test_rows_of_other_grids_have_the_same_tiles() -> None:
    """Each pixel has the colour of its own cell at 8, 16 and 32 points."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n_fields, 1, n, n)) for n, n_fields in ((8, 2), (16, 3), (32, 1))]
    sheet, most = field_sheet(rows), max(float(np.abs(row).max()) for row in rows)
    for i, row in enumerate(rows):
        for j, field in enumerate(row[:, 0]):
            n = TILE // len(field)
            drawn = tile(sheet, i, j)
            for a, b in ((1, 2), (len(field) // 2, len(field) - 2)):  # two cells, inside
                middle = drawn[a * n + n // 2 - 1, b * n + n // 2 - 1]
                if abs(field[a, b]) > 0.05 * most:
                    assert (middle[0] > middle[2]) == (field[a, b] > 0)
    blank = tile(sheet, 2, 1)
    assert (blank == 255).all()


def test_tiles_have_the_shape_of_the_box_and_the_first_axis_runs_down() -> None:
    x = np.linspace(-1, 1, 32)[None, None, None, :] * np.ones((1, 1, 16, 1))
    assert near(tile(field_sheet(x, 1), size=(48, 96))[:, 0], BLUEST, 24)
    square = tile(field_sheet(x, 1, extent=(1.0, 1.0)))
    assert near(square[:, 0], BLUEST, 24) and near(square[:, -1], REDDEST, 24)
    tall = tile(field_sheet(x.swapaxes(2, 3), 1), size=(96, 48))
    assert near(tall[0], BLUEST, 24) and near(tall[-1], REDDEST, 24)
    odd = field_sheet([np.ones((1, 1, n, n)) for n in (97, 401)])  # no common size that fits
    assert abs(odd.height - (2 * 401 + 3 * GAP)) < 8
    with pytest.raises(ValueError, match="extent"):
        field_sheet(x, extent=(1.0, 0.0))


def test_three_axes_show_the_middle_slice_and_tensors_are_taken() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4, 4))
    volume = field_sheet(torch.from_numpy(x), 2, channel=1)
    assert np.array_equal(np.asarray(volume), np.asarray(field_sheet(x[:, 1:2, 2], 2)))
    listed = field_sheet([x[:1, 1:2, 2], x[1:, 1:2, 2]], 1)
    assert np.array_equal(np.asarray(listed), np.asarray(field_sheet(x[:, 1:2, 2], 1)))


def test_labels_stand_beside_their_rows() -> None:
    x = np.ones((4, 1, 4, 4))
    bare, named = field_sheet(x, 2), field_sheet(x, 2, row_labels=["a", "bb"], label="u [m]")
    left = named.width - bare.width
    assert left > 20
    words = np.asarray(named.convert("L"))[:, :14]
    assert all((words[GAP + i * 99 : GAP + i * 99 + 96] < 128).any() for i in range(2))


def test_importing_them_is_light() -> None:
    code = "import sys, sfumato.systems.ddo.pictures\n"
    code += "print(*[m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def blue(drawn: np.ndarray) -> np.ndarray:
    return drawn[..., 2] - drawn[..., 0] > 60


def test_curves_run_through_their_values_and_break_where_there_are_none() -> None:
    size = (96, 144)
    x = (2 * (np.arange(50) + 0.5) / 50 - 1)[None, None]
    ink = blue(tile(field_sheet(x, 1), size=size))
    for column in range(5, 138):
        where = np.flatnonzero(ink[:, column])
        share = 0.5 - 0.5 * (2 * (column + 2) / 144 - 1) / 0.98
        assert where.size and abs(where.mean() + 2 - 96 * share) < 2 and np.ptp(where) <= 4
    x = np.full((1, 1, 30), 0.5)
    x[..., 10:20] = math.nan
    x[..., 14], x[..., 0] = 0.5, -1.0  # alone; for the scale
    ink = blue(tile(field_sheet(x, 1), size=size)).any(0)
    assert ink[5:44].all() and ink[99:138].all() and ink[67:71].any()
    assert not ink[50:64].any() and not ink[74:92].any()


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


# Of a frame ---------------------------------------------------------------------------------------


def test_maps_have_north_at_the_top() -> None:
    x = np.zeros((1, 1, 4, 8), np.float32)
    x[0, 0, -1, 0] = 1  # north-west
    shown, extent = north_up(x, frame(LAT, LON))
    assert shown[0, 0, 0, 0] == 1 and extent == (0.5, 1.0)
    shown, extent = north_up(x.swapaxes(2, 3), frame(LON, LAT))
    assert shown.shape == x.shape and shown[0, 0, 0, 0] == 1 and extent == (0.5, 1.0)
    phi = Axis("phi", 40, 50, "Degrees_North")
    assert north_up(x, frame(phi, Axis("x")))[0][0, 0, 0, 0] == 1


def test_others_are_as_they_were() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 8)).astype(np.float32)
    assert north_up(x, frame(Axis("y"), Axis("x")))[0] is x
    assert north_up(x[:, :, 0], frame(LAT))[0].shape == (2, 1, 8)
    deep = frame(Axis("depth"), LAT, LON)
    assert north_up(np.zeros((1, 1, 4, 4, 4)), deep)[0].shape == (1, 1, 4, 4, 4)


def test_a_scale_has_0_in_the_middle_for_values_on_both_sides() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    assert is_signed(x) and is_signed(x * 1e30)
    assert not is_signed(x + 5) and not is_signed(np.abs(x)) and not is_signed(np.ones(3))


def test_each_quantity_has_its_sheet() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 8, 8)).astype(np.float32)
    x[:, 1] += 1e5
    box = (Axis("y"), Axis("x"))
    one = frame_sheet(x[:, :1], frame(*box))
    two = frame_sheet(x[:, :2], frame(*box, names=("u", "p")))
    many = frame_sheet(x, frame(*box, names=tuple("abcdef")))
    assert two.height > 1.9 * one.height and 3.5 * one.height < many.height < 5 * one.height
    below = np.asarray(two)[one.height + 8 :]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) > 50  # not all of one colour
