"""Colours to masks: exact inside, the covered share at edges, nothing for other colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from sfumato.systems.ediffi.studio.colours import PALETTE, masks

RGB = np.array([c.rgb for c in PALETTE], np.uint8)


def test_plain_strokes_are_exact() -> None:
    painting = np.zeros((8, 10, 4), np.uint8)
    which = np.full((8, 10), -1)
    for k in range(4):
        which[2 * k : 2 * k + 2, 1:9] = k
    painting[which >= 0, :3] = RGB[which[which >= 0]]
    painting[which >= 0, 3] = 255
    want = np.stack([which == k for k in range(4)])
    assert np.array_equal(masks(painting), want.astype(np.float32))


@given(st.integers(0, 3), st.integers(1, 255))
def test_an_edge_over_nothing_is_its_opacity(k: int, opacity: int) -> None:
    """Also of colours as browsers keep them: multiplied by the opacity and rounded."""
    kept = np.rint(RGB[k] * (opacity / 255))
    seen = np.rint(kept * 255 / opacity).clip(0, 255)
    for rgb in (RGB[k], seen):
        found = masks(np.array([[[*rgb, opacity]]], np.uint8))[:, 0, 0]
        assert found.sum() == pytest.approx(opacity / 255, abs=1e-6)
        # The rounding of a faint pixel's colour moves a share of it, which is of little weight.
        assert abs(found[k] - opacity / 255) < 0.012


@given(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1))
def test_an_edge_between_two_strokes_is_shared(i: int, j: int, t: float) -> None:
    mixed = np.rint((1 - t) * RGB[i].astype(float) + t * RGB[j]).astype(np.uint8)
    found = masks(np.array([[[*mixed, 255]]], np.uint8))[:, 0, 0]
    want = np.zeros(4)
    want[i] += 1 - t
    want[j] += t
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert np.abs(found - want).max() < 0.012


def test_other_colours_are_no_paint() -> None:
    others = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (255, 255, 0), (40, 40, 60), (250, 240, 245)]
    painting = np.array([[(*rgb, 255) for rgb in others]], np.uint8)
    assert not masks(painting).any()


def test_a_painted_disc_has_its_area() -> None:
    """Drawn four times too large and reduced, as a browser smooths: the area to a tenth of a %."""
    side, fine = 96, 8
    big = Image.new("RGBA", (side * fine, side * fine))
    draw = ImageDraw.Draw(big)
    draw.ellipse((20 * fine, 30 * fine, 60 * fine, 70 * fine), fill=(*PALETTE[0].rgb, 255))
    draw.ellipse((50 * fine, 40 * fine, 80 * fine, 70 * fine), fill=(*PALETTE[1].rgb, 255))
    small = big.resize((side, side), Image.Resampling.BOX)
    found = masks(np.asarray(small))
    pixels = np.asarray(big)
    for k in (0, 1):
        covered = (pixels[..., :3] == RGB[k]).all(-1) & (pixels[..., 3] > 0)
        assert found[k].sum() == pytest.approx(covered.mean() * side**2, rel=1e-3)
    assert found[2:].sum() < 0.5  # of 9216: where an edge's colour is near another one
    assert (found.sum(0) <= 1 + 1e-6).all()


def test_the_palette_can_be_told_apart() -> None:
    apart = [np.linalg.norm(a - b) for a in RGB.astype(float) for b in RGB.astype(float)]
    assert min(d for d in apart if d) > 60
    assert [c.hex for c in PALETTE][0] == "#0072b2" and len({c.name for c in PALETTE}) == 4
