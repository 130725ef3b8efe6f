"""Hits of prompts in readings that were made by hand: things, colours, places, regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from scene_reader.reading import Names, SceneReading
from scene_reader.scores import (
    PromptContent,
    attribute_hits,
    boxed,
    coloured,
    exact_hits,
    ground_hits,
    inside,
    object_hits,
    overlap,
    relation_between,
    relation_hits,
    scores,
    share,
    vendor_hits,
)

from sfumato.errors import UsageError

NAMES = Names(
    ("red apple", "green apple", "blue heart", "red heart", "fox", "bell", "red"),
    ("noto", "fluent"),
    ("sand", "snow"),
)
SIDE = 12


def reading(
    *pictures: Mapping[str, tuple[int, int]],
    ground: Sequence[str] = (),
    vendor: Sequence[str] = (),
) -> SceneReading:
    """Things as squares of 2 pixels, each with its left and top."""
    pixels = torch.zeros(len(pictures), SIDE, SIDE, dtype=torch.int64)
    for b, things in enumerate(pictures):
        for name, (left, top) in things.items():
            pixels[b, top : top + 2, left : left + 2] = NAMES.thing(name) + 1
    zeros = [0] * len(pictures)
    return SceneReading(
        NAMES,
        pixels,
        torch.tensor([NAMES.vendors.index(v) for v in vendor] or zeros),
        torch.tensor([NAMES.grounds.index(g) for g in ground] or zeros),
        least=3,
    )


def test_things_that_are_found() -> None:
    found = reading({"fox": (0, 0), "bell": (5, 5)}, {"red apple": (3, 3)}, {})
    asked = [
        PromptContent(("bell", "fox")),
        PromptContent(("fox", "red apple")),
        PromptContent(("bell",)),
    ]
    assert object_hits(found, asked).tolist() == [True, True, False, True, False]


def test_too_few_pixels_are_no_thing() -> None:
    found = reading({"fox": (11, 0)}, {"fox": (11, 11)})  # cut off at the border
    assert found.counts[:, NAMES.thing("fox")].tolist() == [2, 1]
    assert object_hits(found, [PromptContent(("fox",))] * 2).tolist() == [False, False]


def test_things_of_one_noun() -> None:
    assert coloured(NAMES, "red apple") == ("red apple", "green apple")
    assert coloured(NAMES, "blue heart") == ("red heart", "blue heart")
    assert coloured(NAMES, "fox") == () and coloured(NAMES, "red") == ()


@pytest.mark.parametrize(
    ("there", "things", "noun", "right"),
    [
        (("red apple",), ("red apple",), [True], [True]),
        (("green apple",), ("red apple",), [True], [False]),
        (("red heart", "fox"), ("red apple", "fox"), [False], [False]),
        (("red apple", "green apple"), ("red apple",), [True], [True]),
        # a variant that the prompt asks for itself counts for itself alone
        (("red heart",), ("red heart", "blue heart"), [True, False], [True, False]),
        (("red heart", "blue heart"), ("blue heart", "red heart"), [True] * 2, [True] * 2),
        (("fox",), ("fox",), [], []),
    ],
)
def test_colours(
    there: tuple[str, ...], things: tuple[str, ...], noun: list[bool], right: list[bool]
) -> None:
    found = reading({name: (4 * k, 0) for k, name in enumerate(there)})
    got = attribute_hits(found, [PromptContent(things)])
    assert (got[0].tolist(), got[1].tolist()) == (noun, right)


def test_grounds_and_vendors() -> None:
    found = reading({}, {}, {}, ground=("sand", "snow", "snow"), vendor=("noto", "fluent", "noto"))
    asked = [
        PromptContent(("fox",), "sand"),
        PromptContent(("fox",), "sand"),
        PromptContent(("fox",)),
    ]
    assert ground_hits(found, asked).tolist() == [True, False]
    assert vendor_hits(found, ("noto", "noto", "noto")).tolist() == [True, False, True]
    with pytest.raises(UsageError, match="a vendor for each of 3 pictures, got 1"):
        vendor_hits(found, ("noto",))


@pytest.mark.parametrize(
    ("a", "b", "way"),
    [
        ((0, 0), (5, 1), "left of"),
        ((5, 1), (0, 0), "right of"),
        ((1, 0), (0, 5), "above"),
        ((0, 5), (1, 0), "below"),
        ((0, 0), (3, 3), None),
        ((2, 2), (2, 2), None),
    ],
)
def test_where_one_centre_is_from_another(
    a: tuple[float, float], b: tuple[float, float], way: str | None
) -> None:
    assert relation_between(a, b) == way


def test_relations() -> None:
    right = PromptContent(("fox", "bell"), relations=(("fox", "left of", "bell"),))
    found = reading(
        {"fox": (0, 0), "bell": (8, 4)},
        {"fox": (8, 0), "bell": (0, 4)},
        {"fox": (0, 0), "bell": (4, 8)},
        {"fox": (0, 0)},
    )
    both, holds = relation_hits(found, [right] * 4)
    assert both.tolist() == [True, True, True, False]
    assert holds.tolist() == [True, False, False, False]
    three = PromptContent(
        ("fox", "bell", "red heart"),
        relations=(("fox", "above", "bell"), ("fox", "right of", "red heart")),
    )
    found = reading({"fox": (8, 0), "bell": (8, 8), "red heart": (0, 0)})
    assert [h.tolist() for h in relation_hits(found, [three])] == [[True, True], [True, True]]


def test_all_is_right_or_not() -> None:
    place = {"fox": (0, 0), "bell": (8, 0)}
    asked = PromptContent(("bell", "fox"), "sand", (("fox", "left of", "bell"),))
    grounds = ("sand", "snow", "sand", "sand", "sand")
    found = reading(
        place,
        place,
        place | {"red apple": (4, 4)},
        {"fox": (8, 0), "bell": (0, 0)},
        {"fox": (0, 0)},
        ground=grounds,
    )
    assert exact_hits(found, [asked] * 5).tolist() == [True, False, False, False, False]
    loose = PromptContent(("bell", "fox"))  # neither ground nor places
    assert exact_hits(found, [loose] * 5).tolist() == [True, True, False, True, False]


def test_scores_are_shares_of_hits_with_their_errors() -> None:
    found = reading(
        {"fox": (0, 0), "bell": (8, 0)},
        {"green apple": (0, 0), "fox": (0, 8)},
        {"red apple": (0, 0)},
    )
    asked = [
        PromptContent(("fox", "bell"), "snow", (("fox", "left of", "bell"),)),
        PromptContent(("red apple", "bell"), "sand", (("red apple", "above", "bell"),)),
        PromptContent(("red apple",), "sand"),
    ]
    made = scores(found, asked, "reader")
    values = {name: (s.value, s.n) for name, s in made.items()}
    assert values == {
        "object": (pytest.approx(60), 5),
        "noun": (100, 2),
        "attribute": (50, 2),
        "exact": (pytest.approx(100 / 3), 3),
        "ground": (pytest.approx(200 / 3), 3),
        "both": (50, 2),
        "relation": (50, 2),
        "relation of found": (100, 1),
    }
    assert made["object"].error == pytest.approx(100 * math.sqrt(0.6 * 0.4 / 5))
    assert (made["object"].features, made["object"].unit) == ("reader", "%")
    plain = scores(reading({}), [PromptContent(("fox",))], "reader")
    assert set(plain) == {"object", "exact"} and plain["object"].value == 0


def test_what_cannot_be_scored() -> None:
    found = reading({}, {})
    with pytest.raises(UsageError, match="a prompt for each of 2 pictures, got 1"):
        object_hits(found, [PromptContent(("fox",))])
    with pytest.raises(UsageError, match="unknown thing 'zebra'"):
        object_hits(found, [PromptContent(("zebra",))] * 2)
    with pytest.raises(UsageError, match="unknown ground 'mud'"):
        ground_hits(found, [PromptContent(("fox",), "mud")] * 2)
    with pytest.raises(UsageError, match="nothing can be right or wrong in 'x'"):
        share("x", torch.zeros(0, dtype=torch.bool), "reader")
    for relation in (("fox", "near", "bell"), ("fox", "above", "cat"), ("cat", "above", "bell")):
        with pytest.raises(UsageError, match="expected relations between"):
            PromptContent(("fox", "bell"), relations=(relation,))


# ------------------------------------------------------------------------------------------ regions


def region(text: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in text.split()])


def test_overlap_of_regions() -> None:
    a, b = region("##. ##. ..."), region(".## .## ...")
    assert overlap(a, b) == pytest.approx(2 / 6) and overlap(a, a) == 1
    nothing = region("... ... ...")
    assert overlap(a, nothing) == 0 and overlap(nothing, nothing) == 0
    for wrong in (a.long(), a[:2]):
        with pytest.raises(ValueError, match="two bool regions of one shape"):
            overlap(a, wrong)


def test_the_smallest_box() -> None:
    assert torch.equal(boxed(region(".... #... ..#. ....")), region(".... ###. ###. ...."))
    assert not boxed(region("... ...")).any()


def test_inside() -> None:
    here = region(".## .## ...")
    assert inside((1.0, 0.0), here) and inside((2.9, 1.9), here)
    assert not inside((0.9, 0.5), here) and not inside((1.5, 2.0), here)
    assert not inside(None, here)
