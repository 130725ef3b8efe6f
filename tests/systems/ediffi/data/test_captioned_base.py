"""Captioned sets: pictures in [-1, 1], one sentence each by seed alone, subsets, messages."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from sfumato.data.sets import DataCard, Lazy
from sfumato.seeds import generator, generators
from sfumato.systems.ediffi.data.base import Captioned, LazySequence

CARD = DataCard("toy", "nowhere", "none", "small")


class Grey(Lazy):
    """Image i is all i."""

    def __init__(self, n: int) -> None:
        self.n = n

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.n, 3, 2, 2

    def take(self, index: np.ndarray) -> np.ndarray:
        return index.astype(np.uint8).repeat(12).reshape(-1, 3, 2, 2)


def words(i: int) -> tuple[str, ...]:
    return tuple(f"{way} {i}" for way in ("number", "the number", "no.")[: 1 + i % 3])


def toy(n: int = 9, lazy: bool = False) -> Captioned:
    images = Grey(n)
    if lazy:
        return Captioned("toy", images, LazySequence(n, words), CARD)
    return Captioned("toy", np.array(images[:]), tuple(words(i) for i in range(n)), CARD)


@pytest.mark.parametrize("lazy", [False, True])
def test_pictures_come_as_those_of_other_sets(lazy: bool) -> None:
    data = toy(200, lazy)
    x, cond = data.batch([199, 0, 51])
    assert cond is None
    assert x.dtype == torch.float32 and x.shape == (3, 3, 2, 2)
    assert torch.allclose(x[:, 0, 0, 0], torch.tensor([199.0, 0.0, 51.0]) / 127.5 - 1)
    assert (len(data), data.resolution) == (200, 2)
    part = data.subset([5, 3])
    assert isinstance(part.images, np.ndarray)
    assert part.captions == (words(5), words(3))
    assert torch.equal(part.batch([1])[0], data.batch([3])[0])


@pytest.mark.parametrize("lazy", [False, True])
def test_a_sentence_depends_on_seed_and_picture_alone(lazy: bool) -> None:
    data = toy(60, lazy)
    everything = data.draw_captions(np.arange(60), 7)
    assert all(said in words(i) for i, said in enumerate(everything))
    order = np.random.default_rng(0).permutation(60)
    assert data.draw_captions(order, 7) == tuple(everything[i] for i in order)
    assert data.draw_captions([44], 7) == (everything[44],)
    assert data.draw_captions(np.arange(60), 8) != everything
    assert data.draw_captions([3, 4], generators(7, [3, 4])) == everything[3:5]
    one = [data.draw_captions([2, 5, 8], generator(0, "train", step)) for step in (0, 0, 1, 2, 3)]
    assert one[0] == one[1]
    assert len(set(one)) > 1
    assert data.draw_captions([], 0) == ()


def test_every_sentence_is_as_likely() -> None:
    data = toy(3)
    counts = Counter(data.draw_captions([2], seed)[0] for seed in range(3000))
    assert set(counts) == set(words(2))
    assert all(abs(k - 1000) < 5 * np.sqrt(3000 * 2 / 9) for k in counts.values())


def test_sentences_made_when_asked_for_read_like_a_tuple() -> None:
    said = LazySequence(7, words)
    assert tuple(said) == tuple(words(i) for i in range(7))
    assert said[-1] == words(6)
    assert said[2:6:2] == (words(2), words(4))
    assert len(said) == 7
    for i in (7, -8):
        with pytest.raises(IndexError, match=f"picture {i} is out of range for 7"):
            said[i]


def test_what_does_not_go_together_is_refused() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    good = (("a",), ("b", "c"))
    for bad in (images.astype(np.float32), images[:, :1], images[:, :, :3], images[0]):
        with pytest.raises(ValueError, match=r"toy: images must be uint8 of shape \(N, 3, H, H\)"):
            Captioned("toy", bad, good, CARD)
    with pytest.raises(ValueError, match="2 images need as many groups of captions, got 1"):
        Captioned("toy", images, good[:1], CARD)
    with pytest.raises(ValueError, match="one or more captions for image 1, got ()"):
        Captioned("toy", images, (("a",), ()), CARD)
    with pytest.raises(ValueError, match="one or more captions for image 0, got 'red'"):
        Captioned("toy", images, ("red", "blue"), CARD)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image 0 has an empty caption"):
        Captioned("toy", images, (("a", " "), ("b",)), CARD)
    silent = Captioned("toy", images, LazySequence(2, lambda i: ("a",) * i), CARD)
    assert silent.draw_captions([1], 0) == ("a",)
    with pytest.raises(ValueError, match="captions for image 0"):
        silent.draw_captions([0], 0)
    data = toy(2)
    for ask in (data.batch, data.draw_captions, data.subset):
        with pytest.raises(ValueError, match=r"toy: indices must lie in 0..1, got 2..2"):
            ask([2])
    with pytest.raises(ValueError, match="one generator per sample"):
        data.draw_captions([0, 1], generators(0, [0]))
