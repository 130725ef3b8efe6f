"""Parts of a face: where they are must be where the picture changes when they do."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

pytest.importorskip("dicebear", reason="needs the extra: pip install 'sfumato[data]'")
pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

from sfumato.data import avatar
from sfumato.data.faces import PARTS, Avatar, FaceParts
from sfumato.data.faces.parts import _eyes
from sfumato.data.faces.styles import HAIR_COLOURS, STYLES

R = 64
INDICES = range(2)


@cache
def faces(style: str, **change: str) -> list[tuple[Avatar, FaceParts]]:
    found = []
    for index in INDICES:
        face = avatar(index, R, change={"style": style, **change}, part_masks=True)
        assert face.parts is not None
        found.append((face, face.parts))
    return found


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the pixels that touch it: antialiasing reaches one pixel."""
    padded = np.pad(mask, 1)
    return np.any(
        [np.roll(padded, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0
    )[1:-1, 1:-1]


def moved(a: Avatar, b: Avatar) -> np.ndarray:
    """(R, R): how much each pixel differs."""
    return np.abs(a.image.astype(int) - b.image.astype(int)).sum(0)


@pytest.mark.parametrize("style", list(STYLES))
def test_masks_divide_the_picture(style: str) -> None:
    for _, parts in faces(style, glasses="glasses", facial_hair="none"):
        total = np.sum([parts.mask(part) for part in PARTS], axis=0)
        assert np.array_equal(total, np.ones((R, R)))
        for part in ("background", "skin", "hair", "mouth", "glasses"):
            assert parts.mask(part).any(), part
        assert not parts.mask("facial_hair").any()
        with pytest.raises(ValueError, match="no part 'ear'"):
            parts.mask("ear")


@pytest.mark.parametrize("style", list(STYLES))
def test_a_face_is_arranged_like_a_face(style: str) -> None:
    for _, parts in faces(style, glasses="none", facial_hair="none"):
        at = parts.landmarks
        assert set(at) >= {"left_eye", "right_eye", "mouth_left", "mouth_right"}
        assert at["left_eye"][0] < at["right_eye"][0]
        assert at["mouth_left"][0] < at["mouth_right"][0]
        eyes = max(at["left_eye"][1], at["right_eye"][1])
        assert eyes < min(at["mouth_left"][1], at["mouth_right"][1])
        if "nose" in at:
            assert eyes < at["nose"][1] + 0.05
        rows = {part: np.nonzero(parts.mask(part))[0].mean() for part in ("hair", "skin", "mouth")}
        assert rows["mouth"] > rows["hair"]
        skin, mouth = parts.boxes["skin"], parts.boxes["mouth"]
        assert skin[0] < mouth[0] < mouth[2] < skin[2]
        assert skin[1] < mouth[1] < mouth[3] < skin[3]


@pytest.mark.parametrize("style", list(STYLES))
def test_recolouring_the_hair_changes_the_hair_mask_only(style: str) -> None:
    for face, parts in faces(style, hair_colour="black", facial_hair="none"):
        other = avatar(face.index, R, change={**face.attributes, "hair_colour": "pink"})
        difference = moved(face, other)
        assert difference[grown(parts.mask("hair"))].sum() > 0.98 * difference.sum() > 0
        inner = parts.mask("hair")
        assert (difference[inner] > 30).mean() > 0.5


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize(
    ("axis", "part", "values"),
    [
        ("mouth", "mouth", ("smile", "open")),
        ("glasses", "glasses", ("none", "glasses")),
        ("facial_hair", "facial_hair", ("none", "some")),
    ],
)
def test_changing_one_part_changes_the_picture_where_its_masks_are(
    style: str, axis: str, part: str, values: tuple[str, str]
) -> None:
    fixed = {"facial_hair": "none", "glasses": "none"}
    fixed.pop(axis, None)
    pairs = zip(
        faces(style, **fixed, **{axis: values[0]}),
        faces(style, **fixed, **{axis: values[1]}),
        strict=True,
    )
    for (a, before), (b, after) in pairs:
        difference = moved(a, b)
        inside = np.zeros((R, R), bool)
        for parts in (before, after):
            if part in parts.boxes:  # the box, because lenses are glass and beards let mouths show
                x0, y0, x1, y1 = (round(v * R) for v in parts.boxes[part])
                inside[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
        assert difference[inside].sum() > 0.99 * difference.sum() > 0
        masks = before.mask(part) | after.mask(part)
        assert difference[masks].mean() > 4 * difference[~grown(masks)].mean()


def test_changing_only_the_mouth_stays_within_the_mouth_masks() -> None:
    for style in STYLES:
        fixed = {"glasses": "none", "facial_hair": "none"}
        for (a, before), (b, after) in zip(
            faces(style, mouth="smile", **fixed), faces(style, mouth="open", **fixed), strict=True
        ):
            difference = moved(a, b)
            masks = grown(grown(before.mask("mouth") | after.mask("mouth")))
            assert difference[masks].sum() > 0.95 * difference.sum()


def test_hidden_parts_keep_their_positions() -> None:
    for style in STYLES:
        clear = faces(style, glasses="none", facial_hair="none", hair="short")
        covered = faces(style, glasses="glasses", facial_hair="some", hair="long")
        for (_, a), (_, b) in zip(clear, covered, strict=True):
            for name, (x, y) in a.landmarks.items():
                assert np.hypot(b.landmarks[name][0] - x, b.landmarks[name][1] - y) < 0.02, name


def test_positions_do_not_depend_on_the_resolution() -> None:
    small, large = (avatar(5, r, part_masks=True).parts for r in (16, 100))
    assert small is not None
    assert large is not None
    assert small.boxes == large.boxes
    assert small.landmarks == large.landmarks
    assert small.map.shape == (16, 16)


def test_hair_pixels_have_the_hair_colour_in_the_crisp_style() -> None:
    for face, parts in faces("pixel-art", facial_hair="none"):
        colour = bytes.fromhex(HAIR_COLOURS[face.attributes["hair_colour"]])
        is_hair = (face.image == np.array(list(colour), np.uint8)[:, None, None]).all(0)
        assert np.array_equal(is_hair, parts.mask("hair"))


def test_parts_are_made_only_when_asked_for() -> None:
    assert avatar(0, 16).parts is None


def test_two_eyes_are_divided_at_the_gap() -> None:
    drawn = np.zeros((9, 20), bool)
    drawn[2:4, 1:4] = drawn[2:4, 9:19] = True
    left, right = _eyes(drawn)
    assert left.sum() == 6
    assert right.sum() == 20
    assert not (left & right).any()
