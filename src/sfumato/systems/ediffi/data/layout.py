"""The things of scenes, which of them are seen together where, and sentences about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Final, TypeAlias, final

import numpy as np

from sfumato.data.emoji import VENDORS
from sfumato.data.kept import split_of
from sfumato.data.sets import Split
from sfumato.seeds import fold
from sfumato.systems.ediffi.data.grounds import GROUNDS, Ground
from sfumato.systems.ediffi.data.words import with_article


@final
@dataclass(frozen=True)
class Thing:
    """One thing that all four vendors draw so that it can be recognised at ten pixels.

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


def _thing(entry: str) -> Thing:
    """From ICON or ICON:GROUND,GROUND, the grounds that it is hidden on."""
    icon, _, grounds = entry.partition(":")
    words = _WORDS.get(icon, icon.replace("-", " "))
    return Thing(icon, words, tuple(filter(None, grounds.split(","))))


_WORDS: Final = {"automobile": "car", "jack-o-lantern": "jack-o-lantern"}
_TABLE: Final = """
    red-heart yellow-heart green-heart:grass blue-heart:water,sky purple-heart red-circle
    orange-circle yellow-circle green-circle:grass blue-circle:water,sky purple-circle red-square
    green-square:grass blue-square:water,sky purple-square red-apple green-apple:grass
    blue-book:water,sky green-book:grass banana:sand strawberry pineapple:grass,wood pear
    carrot:grass mushroom hamburger:sand,bricks doughnut:bricks,wood pizza cat-face
    dog-face:sand,bricks,tiles tropical-fish:water,sky turtle:grass
    elephant:bricks,snow,asphalt,tiles penguin:snow,asphalt,tiles octopus:bricks butterfly:water,sky
    frog:grass fox panda:snow,tiles owl:bricks,wood crab automobile:bricks rocket:water,sky
    sailboat:sky tractor bus:asphalt fire-engine umbrella bell balloon alarm-clock:snow,tiles crown
    wrapped-gift:sand basketball:wood backpack camera:asphalt cactus:grass sunflower
    evergreen-tree:grass house:sand,tiles star robot:water,sky,asphalt,tiles jack-o-lantern
    top-hat:night,asphalt
"""
THINGS: Final = tuple(map(_thing, _TABLE.split()))


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


Cell: TypeAlias = tuple[int, int, int]
"""Left, top and side of a square."""

GRID: Final = 32
_SIDES: Final = {1: (13, 22), 2: (10, 15), 3: (9, 11)}
_SHARES: Final = (0.25, 0.75)  # a quarter of one thing, half of two, a quarter of three
_CLEAR: Final = 1.5
_GAP: Final = 1
_SIDE: Final = re.compile(r"\b(left|right) of\b")


@final
@dataclass(frozen=True)
class SceneLayout:
    """A scene before it is drawn; the same whoever draws it and at whatever resolution.

    Args:
        things: one to three, all different.
        cells: for each the square it is drawn in the middle of, as large as fits, in units of
            1/32 of the picture; no two are nearer than 1, nor is any to the border.
        ground: what they are on.
        ground_seed: for `draw_ground`.
        vendor: who draws it if nobody is asked for.
    """

    things: tuple[Thing, ...]
    cells: tuple[Cell, ...]
    ground: Ground
    ground_seed: int
    vendor: str


def relation(a: Cell, b: Cell) -> str | None:
    """Where a is from b: "left of", "right of", "above", "below", or None if that is not clear.

    Clear is, that the squares are apart in one direction, and that in this direction their
    centres are 1.5 times as far apart as in the other, or more.
    """
    across, down = a[0] + a[2] / 2 - b[0] - b[2] / 2, a[1] + a[2] / 2 - b[1] - b[2] / 2
    apart = (a[2] + b[2]) / 2 + _GAP
    if abs(across) >= max(apart, _CLEAR * abs(down)):
        return "left of" if across < 0 else "right of"
    if abs(down) >= max(apart, _CLEAR * abs(across)):
        return "above" if down < 0 else "below"
    return None


def _apart(a: Cell, b: Cell) -> bool:
    return (
        a[0] + a[2] + _GAP <= b[0]
        or b[0] + b[2] + _GAP <= a[0]
        or a[1] + a[2] + _GAP <= b[1]
        or b[1] + b[2] + _GAP <= a[1]
    )


@final
class _Draws:
    """Uniform numbers of one generator, one at a time."""

    def __init__(self, seed: int) -> None:
        self.numbers = self._more(np.random.default_rng(seed))

    @staticmethod
    def _more(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(64).tolist()

    def uniform(self) -> float:
        """In [0, 1)."""
        return next(self.numbers)

    def below(self, n: int) -> int:
        """One of 0..n-1."""
        return int(next(self.numbers) * n)

    def one_of(self, chosen: np.ndarray) -> int:
        """The place of one of the true elements; there must be one."""
        places = np.flatnonzero(chosen)
        return int(places[self.below(len(places))])


def _things(draws: _Draws, count: int, split: Split) -> tuple[list[int], int] | None:
    """Numbers of things and of a ground for them in that split; None if these do not go."""
    test, alone, seen = pairs_for_test(), places_for_test(), places_seen()
    first = draws.below(len(THINGS))
    if count == 1:
        grounds = seen[first] & (alone[first] == (split == "test"))
        return ([first], draws.one_of(grounds)) if grounds.any() else None
    others = np.asarray(test[first] == (split == "test"))
    others[first] = False
    if not others.any():
        return None
    chosen = [first, draws.one_of(others)]
    if count == 3:
        third = np.asarray(~test[chosen].any(0) | (split == "test"))
        third[chosen] = False
        chosen.append(draws.one_of(third))
    for k in range(count - 1, 0, -1):  # shuffled: the pair for test is not always named first
        j = draws.below(k + 1)
        chosen[k], chosen[j] = chosen[j], chosen[k]
    common = np.asarray(seen[chosen].all(0))
    return (chosen, draws.one_of(common)) if common.any() else None


def _cells(draws: _Draws, count: int) -> tuple[Cell, ...]:
    low, high = _SIDES[count]
    while True:
        cells: list[Cell] = []
        for _ in range(count):
            side = low + draws.below(high - low + 1)
            free = GRID - 2 * _GAP - side + 1
            cells.append((_GAP + draws.below(free), _GAP + draws.below(free), side))
        pairs = [(a, b) for k, a in enumerate(cells) for b in cells[:k]]
        clear = sum(relation(a, b) is not None for a, b in pairs)
        if clear >= count - 1 and all(_apart(a, b) for a, b in pairs):
            return tuple(cells)


def plan(index: int, split: Split = "train", seed: int = 0) -> SceneLayout:
    """Scene number `index` of a split, which depends on (seed, split, index) alone.

    Everything in it is drawn uniformly: of things, those that may be seen together in this
    split; of grounds, those that none of the things is hidden on; of places, those where at
    least one thing is clearly left of, right of, above or below every other.
    """
    own = fold(seed, "scenes", split, index)
    draws = _Draws(own)
    vendor = VENDORS[draws.below(len(VENDORS))]
    u = draws.uniform()
    count = 1 + sum(u >= share for share in _SHARES)
    while (found := _things(draws, count, split)) is None:
        pass
    chosen, ground = found
    cells = _cells(draws, count)
    return SceneLayout(
        tuple(THINGS[k] for k in chosen), cells, GROUNDS[ground], fold(own, "ground"), vendor
    )


def sentences(made: SceneLayout) -> tuple[str, ...]:
    """What is true of a scene: three sentences or more, all of which name every thing."""
    names, where = [thing.phrase for thing in made.things], made.ground.phrase
    if len(names) == 1:
        return (
            f"{names[0]} {where}",
            f"a picture of {names[0]} {where}",
            f"{where}, there is {names[0]}",
        )
    found = []
    for order in permutations(range(len(names))):
        ways = [relation(made.cells[order[0]], made.cells[k]) for k in order[1:]]
        if all(way is not None for way in ways):
            more = " and ".join(f"{way} {names[k]}" for way, k in zip(ways, order[1:]))
            found.append(f"{names[order[0]]} {more} {where}")
            longer = _SIDE.sub(r"to the \1 of", more)
            found.append(f"{where}, {names[order[0]]} is {longer}")
    listed = ", ".join(names[:-1]) + f" and {names[-1]}"
    return (*found, f"{listed} {where}", f"a picture of {listed} {where}")
