"""The things of scenes, the grounds they can be seen on, and which pairs are only for test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import numpy as np

from sfumato.data.kept import Split, split_of
from sfumato.systems.ediffi.data.grounds import GROUNDS
from sfumato.systems.ediffi.data.words import with_article


@final
@dataclass(frozen=True)
class Thing:
    """One thing that all four vendors draw so that it can be told at ten pixels.

    Args:
        icon: its name in the packages.
        words: what it is called in sentences; no other thing has the same words.
        hidden_on: grounds of about its colour, on which it is never put.
    """

    icon: str
    words: str
    hidden_on: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        """The words after "a" or "an"."""
        return with_article(self.words)


def _thing(icon: str, *hidden_on: str, words: str = "") -> Thing:
    return Thing(icon, words or icon.replace("-", " "), hidden_on)


THINGS: Final = (
    _thing("red-heart"),
    _thing("yellow-heart"),
    _thing("green-heart", "grass"),
    _thing("blue-heart", "water", "sky"),
    _thing("purple-heart"),
    _thing("red-circle"),
    _thing("orange-circle"),
    _thing("yellow-circle"),
    _thing("green-circle", "grass"),
    _thing("blue-circle", "water", "sky"),
    _thing("purple-circle"),
    _thing("red-square"),
    _thing("green-square", "grass"),
    _thing("blue-square", "water", "sky"),
    _thing("purple-square"),
    _thing("red-apple"),
    _thing("green-apple", "grass"),
    _thing("blue-book", "water", "sky"),
    _thing("green-book", "grass"),
    _thing("banana", "sand"),
    _thing("strawberry"),
    _thing("pineapple", "grass", "wood"),
    _thing("pear"),
    _thing("carrot", "grass"),
    _thing("mushroom"),
    _thing("hamburger", "sand", "bricks"),
    _thing("doughnut", "bricks", "wood"),
    _thing("pizza"),
    _thing("cat-face"),
    _thing("dog-face", "sand", "bricks", "tiles"),
    _thing("tropical-fish", "water", "sky"),
    _thing("turtle", "grass"),
    _thing("elephant", "bricks", "snow", "asphalt", "tiles"),
    _thing("penguin", "snow", "asphalt", "tiles"),
    _thing("octopus", "bricks"),
    _thing("butterfly", "water", "sky"),
    _thing("frog", "grass"),
    _thing("fox"),
    _thing("panda", "snow", "tiles"),
    _thing("owl", "bricks", "wood"),
    _thing("crab"),
    _thing("automobile", "bricks", words="car"),
    _thing("rocket", "water", "sky"),
    _thing("sailboat", "sky"),
    _thing("tractor"),
    _thing("bus", "asphalt"),
    _thing("fire-engine"),
    _thing("umbrella"),
    _thing("bell"),
    _thing("balloon"),
    _thing("alarm-clock", "snow", "tiles"),
    _thing("crown"),
    _thing("wrapped-gift", "sand"),
    _thing("basketball", "wood"),
    _thing("backpack"),
    _thing("camera", "asphalt"),
    _thing("cactus", "grass"),
    _thing("sunflower"),
    _thing("evergreen-tree", "grass"),
    _thing("house", "sand", "tiles"),
    _thing("star"),
    _thing("robot", "water", "sky", "asphalt", "tiles"),
    _thing("jack-o-lantern", words="jack-o-lantern"),
    _thing("top-hat", "night", "asphalt"),
)


def pair_split(a: str, b: str) -> Split:
    """The split of two things (their words, in any order); about one pair in ten is for test."""
    return split_of(" with ".join(sorted((a, b))))


def place_split(thing: str, ground: str) -> Split:
    """The split of a thing alone on a ground; about one in ten is for test."""
    return split_of(f"{thing} alone on {ground}")


@lru_cache(maxsize=1)
def pairs_for_test() -> np.ndarray:
    """Boolean (T, T), symmetric: whether two of `THINGS` are only seen together in test."""
    words = [thing.words for thing in THINGS]
    made = np.array([[pair_split(a, b) == "test" for b in words] for a in words])
    np.fill_diagonal(made, val=False)
    return made


@lru_cache(maxsize=1)
def places_for_test() -> np.ndarray:
    """Boolean (T, G): whether one of `THINGS` is only seen alone on one of `GROUNDS` in test."""
    return np.array([[place_split(t.words, g.name) == "test" for g in GROUNDS] for t in THINGS])


@lru_cache(maxsize=1)
def places_seen() -> np.ndarray:
    """Boolean (T, G): whether one of `THINGS` can be seen on one of `GROUNDS`."""
    return np.array([[g.name not in t.hidden_on for g in GROUNDS] for t in THINGS])
