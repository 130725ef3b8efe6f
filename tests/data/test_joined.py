"""Joined sets: proportions, every image reached, nothing copied, nothing depending on batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data.joined import Joined, joined, pattern
from sfumato.data.sets import DataCard, ImageSet


def counting(name: str, n: int, first: int, resolution: int = 4) -> ImageSet:
    """Image k is filled with first + k."""
    images = np.broadcast_to(
        np.arange(first, first + n, dtype=np.uint8)[:, None, None, None],
        (n, 3, resolution, resolution),
    )
    return ImageSet(name, images, None, (), DataCard(name, f"made {name}", f"free {name}", "few"))


A, B = counting("a", 5, 0), counting("b", 12, 100)


def values(data: ImageSet) -> list[int]:
    return [int(image[0, 0, 0]) for image in data.images[:]]


def test_sets_take_turns_and_start_again() -> None:
    data = joined(A, B)
    assert values(data)[:12] == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 0, 105]
    assert len(data) == 24
    assert (data.labels, data.axes, data.name) == (None, (), "a + b")
    assert set(values(data)) == {*range(5), *range(100, 112)}


def test_proportions_are_kept_in_every_round() -> None:
    data = joined(A, B, weights=(1, 3))
    got = np.array(values(data)) >= 100
    assert (got.reshape(-1, 4).sum(1) == 3).all()
    assert len(data) == 20  # five rounds of four: all of a; b once and a bit
    assert "25% a, 75% b" in data.card.size
    assert "a: free a; b: free b" in data.card.licence


@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=6))
def test_any_weights_are_kept_to_a_thousandth_and_evenly(weights: list[float]) -> None:
    turns = pattern(weights)
    share = np.array(weights) / sum(weights)
    assert 1 <= len(turns) <= 1000
    counts = np.bincount(turns, minlength=len(weights))
    assert (counts > 0).all()
    assert np.abs(counts / len(turns) - share).max() < 0.001 * len(weights) + 1e-9
    for part in range(len(weights)):  # after k turns each set has had about its share of them
        so_far = np.cumsum(turns == part)
        due = counts[part] / len(turns) * np.arange(1, len(turns) + 1)
        assert np.abs(so_far - due).max() <= len(weights)


def test_a_pattern_is_as_short_as_can_be() -> None:
    assert pattern([2, 2]).tolist() == [0, 1]
    assert sorted(pattern([0.5, 0.25, 0.25]).tolist()) == [0, 0, 1, 2]
    assert pattern([7.5]).tolist() == [0]
    assert len(pattern([0.8, 0.2])) == 5
    assert np.bincount(pattern([1e-9, 1])).tolist() == [1, 999]


def test_an_image_depends_on_its_number_alone() -> None:
    data = joined(A, B, weights=(2, 1))
    everything = data.images[:]
    order = np.random.default_rng(0).permutation(len(data))
    assert np.array_equal(data.images[order], everything[order])
    assert np.array_equal(data.images[7], everything[7])
    x, labels = data.batch(order[:4])
    assert labels is None
    np.testing.assert_allclose(x.numpy(), everything[order[:4]] / 127.5 - 1, atol=1e-6)
    part, place = data.images.origin(order)  # type: ignore[attr-defined]
    first = np.where(part == 0, 0, 100)
    assert np.array_equal(everything[order][:, 0, 0, 0], first + place)


def test_nothing_is_copied_and_joins_can_be_joined() -> None:
    source = np.zeros((3, 3, 4, 4), np.uint8)
    once = Joined([source, np.ones((3, 3, 4, 4), np.uint8)], [1, 1])
    source[2] = 9
    assert (once[4] == 9).all()
    twice = Joined([once, source], [1, 1])
    assert (twice[0:8:2] == once[:4]).all()


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one set"):
        joined()
    with pytest.raises(ValueError, match="must have one shape"):
        joined(A, counting("c", 3, 0, resolution=8))
    with pytest.raises(ValueError, match="a weight for each"):
        joined(A, B, weights=(1,))
    with pytest.raises(ValueError, match="a weight for each"):
        joined(A, A.subset([]))
    for weights in ((1, 0), (1, -1), (1, float("nan")), (1, float("inf"))):
        with pytest.raises(ValueError, match="positive numbers"):
            joined(A, B, weights=weights)
