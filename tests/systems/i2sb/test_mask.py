"""Masks: white is painted anew, and what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odd_pictures import (
    bomb,
    put,
    saved,
)
from sfumato.data.decode import BrokenImage
from sfumato.errors import UsageError
from sfumato.systems.i2sb.picture import read_mask


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
