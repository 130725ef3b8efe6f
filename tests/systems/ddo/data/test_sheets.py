"""Sheets of fields: maps with north at the top, scales that fit, one sheet for each quantity."""

import numpy as np

from sfumato.systems.ddo.data.base import Axis, Frame, Quantity
from sfumato.systems.ddo.data.sheets import sheet_of, signed, upright
from sfumato.systems.ddo.nn.harmonic import Domain

LAT, LON = Axis("lat", 40, 50, "degrees_north"), Axis("lon", 0, 20, "degrees_east")


def frame(*axes: Axis, names: tuple[str, ...] = ("u",)) -> Frame:
    return Frame(Domain.REFLECTING, axes, tuple(map(Quantity, names)))


def test_maps_have_north_at_the_top() -> None:
    x = np.zeros((1, 1, 4, 8), np.float32)
    x[0, 0, -1, 0] = 1  # north-west
    shown, extent = upright(x, frame(LAT, LON))
    assert shown[0, 0, 0, 0] == 1 and extent == (0.5, 1.0)
    shown, extent = upright(x.swapaxes(2, 3), frame(LON, LAT))
    assert shown.shape == x.shape and shown[0, 0, 0, 0] == 1 and extent == (0.5, 1.0)
    phi = Axis("phi", 40, 50, "Degrees_North")
    assert upright(x, frame(phi, Axis("x")))[0][0, 0, 0, 0] == 1


def test_others_are_as_they_were() -> None:
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 8)).astype(np.float32)
    assert upright(x, frame(Axis("y"), Axis("x")))[0] is x
    assert upright(x[:, :, 0], frame(LAT))[0].shape == (2, 1, 8)
    deep = frame(Axis("depth"), LAT, LON)
    assert upright(np.zeros((1, 1, 4, 4, 4)), deep)[0].shape == (1, 1, 4, 4, 4)


def test_a_scale_has_0_in_the_middle_for_values_on_both_sides() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    assert signed(x) and signed(x * 1e30)
    assert not signed(x + 5) and not signed(np.abs(x)) and not signed(np.ones(3))


def test_each_quantity_has_its_sheet() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 8, 8)).astype(np.float32)
    x[:, 1] += 1e5
    box = (Axis("y"), Axis("x"))
    one = sheet_of(x[:, :1], frame(*box))
    two = sheet_of(x[:, :2], frame(*box, names=("u", "p")))
    many = sheet_of(x, frame(*box, names=tuple("abcdef")))
    assert two.height == 2 * one.height + 8 and many.height == 4 * one.height + 24
    below = np.asarray(two)[one.height + 8 :]
    assert len(np.unique(below.reshape(-1, 3), axis=0)) > 50  # not all of one colour
