"""Is in a picture what was asked for? Shares of hits in what a reader of scenes has read.

Each kind of hit is a tensor of booleans, one for each thing that could be right or wrong, in the
order of the prompts: so two sets of pictures of the same prompts can be compared pair by pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from scene_reader.reading import Names, SceneReading
from sfumato.errors import UsageError
from sfumato.metrics.accuracy import percentage
from sfumato.metrics.score import Score

COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple")
"""First words of a thing's name that say its colour."""

WAYS: Final = ("left of", "right of", "above", "below")


@final
@dataclass(frozen=True)
class PromptContent:
    """What a prompt says.

    Args:
        things: what is in the picture.
        ground: what it is on; "" if that is not said.
        relations: (a, way, b): a is left of, right of, above or below b.

    Raises:
        UsageError: a relation of something else, or another way.
    """

    things: tuple[str, ...]
    ground: str = ""
    relations: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        for a, way, b in self.relations:
            if way not in WAYS or a not in self.things or b not in self.things:
                raise UsageError(
                    f"expected relations between {self.things} such as {WAYS[0]!r}, got "
                    f"{(a, way, b)}"
                )


def relation_between(a: tuple[float, float], b: tuple[float, float]) -> str | None:
    """Where a centre (x, y) is from b: along the axis on which they are further apart.

    None where both are equally far apart on both axes, or at one place.
    """
    across, down = a[0] - b[0], a[1] - b[1]
    if abs(across) == abs(down):
        return None
    if abs(across) > abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def object_hits(reading: SceneReading, asked: Sequence[PromptContent]) -> Tensor:
    """For each thing of each prompt, whether it is found. Raises UsageError as `scores`."""
    return _bools(
        bool(reading.found[b, reading.names.thing(name)])
        for b, one in _pairs(reading, asked)
        for name in one.things
    )


def coloured(names: Names, name: str) -> tuple[str, ...]:
    """All things that differ from this one in colour at most; none if no colour is said."""
    colour, _, noun = name.partition(" ")
    if colour not in COLOURS or not noun:
        return ()
    same = (f"{c} {noun}" for c in COLOURS)
    return tuple(n for n in same if n in names.things)


def attribute_hits(reading: SceneReading, asked: Sequence[PromptContent]) -> tuple[Tensor, Tensor]:
    """For each thing with a colour of each prompt: is its noun found, and in the right colour?

    The noun is found if the thing is, or another one of the same noun that the prompt does not ask
    for itself. The colour is right if the thing is found.
    """
    noun, right = [], []
    for b, one in _pairs(reading, asked):
        for name in one.things:
            same = coloured(reading.names, name)
            if not same:
                continue
            mine = [n for n in same if n == name or n not in one.things]
            noun.append(any(bool(reading.found[b, reading.names.thing(n)]) for n in mine))
            right.append(bool(reading.found[b, reading.names.thing(name)]))
    return _bools(noun), _bools(right)


def ground_hits(reading: SceneReading, asked: Sequence[PromptContent]) -> Tensor:
    """For each prompt that says the ground, whether it is that."""
    return _bools(
        int(reading.ground[b]) == reading.names.ground(one.ground)
        for b, one in _pairs(reading, asked)
        if one.ground
    )


def relation_hits(reading: SceneReading, asked: Sequence[PromptContent]) -> tuple[Tensor, Tensor]:
    """For each relation of each prompt: are both things found, and are they so to each other?

    By `relation_between` the centres of where they are found; 1 in 4 by chance if both are.
    """
    found = [_related(reading, b, r) for b, one in _pairs(reading, asked) for r in one.relations]
    return _bools(both for both, _ in found), _bools(right for _, right in found)


def exact_hits(reading: SceneReading, asked: Sequence[PromptContent]) -> Tensor:
    """For each prompt, whether all is right: its things and no others, its ground and relations."""
    hits = []
    for b, one in _pairs(reading, asked):
        mine = reading.found[b].nonzero()[:, 0].tolist()
        right = sorted(mine) == sorted(reading.names.thing(n) for n in one.things)
        right &= not one.ground or int(reading.ground[b]) == reading.names.ground(one.ground)
        hits.append(right and all(_related(reading, b, r)[1] for r in one.relations))
    return _bools(hits)


def vendor_hits(reading: SceneReading, vendors: Sequence[str]) -> Tensor:
    """For each picture, whether it is read as this vendor's. Raises UsageError as `scores`."""
    if len(vendors) != len(reading):
        raise UsageError(
            f"expected a vendor for each of {len(reading)} pictures, got {len(vendors)}"
        )
    wanted = torch.tensor([reading.names.vendor(v) for v in vendors])
    return reading.vendor == wanted


def scores(
    reading: SceneReading, asked: Sequence[PromptContent], features: str
) -> dict[str, Score]:
    """Shares in %, each with the error of a share, by short names; what nothing asks for is absent.

    "object", "noun" (of things with a colour), "attribute" (of these, the right colour), "exact",
    "ground", "both" (things of a relation), "relation" (of all), "relation of found" (of both).

    Args:
        features: the name of the reader.

    Raises:
        UsageError: not a prompt for each picture, or a name that the reader does not know.
    """
    noun, colour = attribute_hits(reading, asked)
    both, way = relation_hits(reading, asked)
    hits: Mapping[str, Tensor] = {
        "object": object_hits(reading, asked),
        "noun": noun,
        "attribute": colour[noun],
        "exact": exact_hits(reading, asked),
        "ground": ground_hits(reading, asked),
        "both": both,
        "relation": way,
        "relation of found": way[both],
    }
    return {name: share(name, hit, features) for name, hit in hits.items() if len(hit)}


def share(name: str, hits: Tensor, features: str) -> Score:
    """The share of True in %, with the error of a share. Raises UsageError for none at all."""
    if not len(hits):
        raise UsageError(f"nothing can be right or wrong in {name!r}")
    return percentage(name, hits, len(hits), features)


def overlap(a: Tensor, b: Tensor) -> float:
    """|a ∩ b| / |a ∪ b| of two regions, bool (H, W); 0 if both are empty.

    Raises:
        ValueError: regions of different shapes, or of numbers.
    """
    if a.shape != b.shape or a.dtype != torch.bool or b.dtype != torch.bool:
        raise ValueError(
            f"expected two bool regions of one shape, got {a.dtype} {tuple(a.shape)} and "
            f"{b.dtype} {tuple(b.shape)}"
        )
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def boxed(region: Tensor) -> Tensor:
    """The smallest box around a region, bool (H, W); empty around nothing."""
    rows, columns = region.any(1).nonzero(), region.any(0).nonzero()
    made = torch.zeros_like(region)
    if len(rows):
        made[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1] = 1
    return made


def inside(centre: tuple[float, float] | None, region: Tensor) -> bool:
    """Whether a centre (x, y) lies in a pixel of a region, bool (H, W); not if there is none."""
    return centre is not None and bool(region[int(centre[1]), int(centre[0])])


def _related(reading: SceneReading, b: int, relation: tuple[str, str, str]) -> tuple[bool, bool]:
    """Whether both things are found, and whether they are so to each other."""
    first, way, second = relation
    here = reading.centre(b, reading.names.thing(first))
    there = reading.centre(b, reading.names.thing(second))
    if here is None or there is None:
        return False, False
    return True, relation_between(here, there) == way


def _pairs(
    reading: SceneReading, asked: Sequence[PromptContent]
) -> list[tuple[int, PromptContent]]:
    if len(asked) != len(reading):
        raise UsageError(f"expected a prompt for each of {len(reading)} pictures, got {len(asked)}")
    return list(enumerate(asked))


def _bools(values: Iterable[bool]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.bool)
