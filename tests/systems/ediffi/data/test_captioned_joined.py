"""Joined captioned sets: each sentence beside its own picture, in the stated proportions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sfumato.data.sets import DataCard
from sfumato.systems.ediffi.data import Captioned, LazySequence, joined_captioned


def numbered(name: str, n: int, first: int, lazy: bool = False, side: int = 4) -> Captioned:
    """Picture k is filled with first + k, and both its sentences say so."""
    images = np.broadcast_to(
        np.arange(first, first + n, dtype=np.uint8)[:, None, None, None], (n, 3, side, side)
    )

    def of(k: int) -> tuple[str, ...]:
        return f"{name} {first + k}", f"the number {first + k} of {name}"

    captions = LazySequence(n, of) if lazy else tuple(of(k) for k in range(n))
    return Captioned(name, images, captions, DataCard(name, f"made {name}", f"free {name}", "few"))


A, B, C = numbered("a", 5, 0), numbered("b", 12, 100, lazy=True), numbered("c", 2, 200)
SETS = {"a": range(5), "b": range(100, 112), "c": range(200, 202)}


def test_every_picture_has_its_own_sentences() -> None:
    data = joined_captioned(A, B, C, weights=(2, 3, 1))
    seen = Counter()
    for k in range(len(data)):
        value = int(data.images[k][0, 0, 0])
        name = next(name for name, values in SETS.items() if value in values)
        assert data.captions[k] == (f"{name} {value}", f"the number {value} of {name}")
        seen[value] += 1
    assert set(seen) == {*SETS["a"], *SETS["b"], *SETS["c"]}
    # Four rounds of six are all of b; a and c have started again, all of each equally often.
    assert len(data) == 24
    assert [sum(seen[v] for v in values) for values in SETS.values()] == [8, 12, 4]
    assert sorted(seen[v] for v in SETS["a"]) == [1, 1, 2, 2, 2]
    assert {seen[v] for v in SETS["b"]} == {1} and {seen[v] for v in SETS["c"]} == {2}
    for start in range(0, 24, 6):
        names = Counter(said[0].split()[0] for said in data.captions[start : start + 6])
        assert names == {"a": 2, "b": 3, "c": 1}


def test_turns_are_equal_unless_said_otherwise() -> None:
    data = joined_captioned(A, B)
    assert [said[0] for said in data.captions[:4]] == ["a 0", "b 100", "a 1", "b 101"]
    assert data.captions[10][0] == "a 0"  # a begins again
    assert data.captions[-1][0] == "b 111" and len(data) == 24
    assert [said[0] for said in data.captions] == [data.captions[k][0] for k in range(24)]


def test_it_reads_as_any_other_set() -> None:
    data = joined_captioned(A, B, C, weights=(2, 3, 1))
    order = np.random.default_rng(0).permutation(len(data))
    x, cond = data.batch(order)
    said = data.draw_captions(order, 3)
    assert cond is None
    value = np.rint((x[:, 0, 0, 0].numpy() + 1) * 127.5).astype(int)
    assert [int(next(w for w in s.split() if w.isdigit())) for s in said] == value.tolist()
    assert len({s.startswith("the number") for s in said}) == 2
    part = data.subset(order[:7])
    assert part.captions == tuple(data.captions[k] for k in order[:7])
    assert np.array_equal(part.images[:], data.images[order[:7]])
    twice = joined_captioned(data, C)
    for k in range(0, len(twice), 2):
        assert twice.captions[k] == data.captions[k // 2]
    with pytest.raises(IndexError, match="picture 24 is out of range for 24"):
        data.captions[24]


def test_its_card_names_all() -> None:
    card = joined_captioned(A, B, weights=(1, 3)).card
    assert card.name == "a + b"
    assert card.source == "a: made a; b: made b"
    assert card.licence == "a: free a; b: free b"
    assert card.size == "20 images, 4x4, 25% a, 75% b"
    assert joined_captioned(A, A).card.licence == "a: free a"  # once
    again = joined_captioned(A, B, A, weights=(1, 2, 1)).card
    assert again.name == "a + b" and again.size.endswith(", 50% a, 50% b")


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="joined_captioned needs at least one set"):
        joined_captioned()
    with pytest.raises(ValueError, match="must have one shape"):
        joined_captioned(A, numbered("d", 3, 0, side=8))
    with pytest.raises(ValueError, match="a weight for each"):
        joined_captioned(A, B, weights=(1,))
    with pytest.raises(ValueError, match="sets with images"):
        joined_captioned(A, A.subset([]))
    for weights in ((1, 0), (1, -1), (1, float("nan"))):
        with pytest.raises(ValueError, match="positive numbers"):
            joined_captioned(A, B, weights=weights)
