"""Grounds: the same at every resolution, by seed alone, told apart, without aliasing."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.systems.ediffi.data.grounds import GROUNDS, Ground, draw_ground

ALL = pytest.mark.parametrize("ground", GROUNDS, ids=[ground.name for ground in GROUNDS])


def halved(picture: np.ndarray) -> np.ndarray:
    side = len(picture) // 2
    reduced: np.ndarray = picture.reshape(side, 2, side, 2, 3).mean((1, 3))
    return reduced


@ALL
def test_a_finer_ground_is_the_same_ground(ground: Ground) -> None:
    fine, middle, coarse = (draw_ground(ground, 3, r) for r in (128, 64, 32))
    assert coarse.shape == (32, 32, 3) and coarse.dtype == np.float32
    assert abs(halved(middle) - coarse).max() < 1e-5  # both from one grid of 128
    assert abs(halved(fine) - middle).mean() < 0.004
    assert abs(halved(fine) - middle).max() < 0.15
    odd = draw_ground(ground, 3, 48)
    assert abs(odd.mean((0, 1)) - coarse.mean((0, 1))).max() < 0.005


@ALL
def test_it_depends_on_the_seed_alone_and_is_textured(ground: Ground) -> None:
    pictures = np.stack([draw_ground(ground, seed, 32) for seed in range(6)])
    assert np.array_equal(pictures[4], draw_ground(ground, 4, 32))
    assert pictures.min() >= 0 and pictures.max() <= 1
    for a in range(6):
        for b in range(a):
            assert abs(pictures[a] - pictures[b]).mean() > 0.005
    assert (pictures.std((1, 2)).max(-1) > 0.01).all()


def test_grounds_are_told_apart_by_their_mean_colours() -> None:
    means = {
        g.name: np.stack([draw_ground(g, seed, 32).mean((0, 1)) for seed in range(12)])
        for g in GROUNDS
    }
    for a in means:
        for b in means:
            if a < b:
                apart = np.linalg.norm(means[a].mean(0) - means[b].mean(0))
                spread = means[a].std(0).max() + means[b].std(0).max()
                assert apart > max(0.09, 2 * spread), (a, b)
