"""Where painted things end up, and whose style a shown picture gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ediffi_drawn import Place, Prompts, draw
from ediffi_judged import mean, real_pictures
from scene_reader.emoji import FINE
from scene_reader.reading import SceneReader, SceneReading
from scene_reader.scores import (
    PromptContent,
    boxed,
    exact_hits,
    inside,
    object_hits,
    overlap,
    share,
    vendor_hits,
)
from torch import Tensor

from sfumato.data.emoji import VENDORS
from sfumato.errors import SfumatoError, UsageError
from sfumato.seeds import fold
from sfumato.systems.ediffi.data import THINGS, Scenes
from sfumato.systems.ediffi.data.grounds import GROUNDS
from sfumato.systems.ediffi.data.layout import (
    GRID,
    Cell,
    pairs_for_test,
    places_for_test,
    places_seen,
)
from sfumato.systems.ediffi.model import Modality
from sfumato.systems.ediffi.pipeline import Cascade

SIDES = (11, 14)
"""Least and most side of a painted box, in 1/32 of the picture; scenes of two have 10 to 15."""


@dataclass(frozen=True, eq=False)
class Painting:
    """Prompts of two things that are never together in training, and a box for each of them.

    said: "a fox and a bell on sand".
    asked: what they ask for.
    boxes, halves: bool (n, 2, 32, 32): of the first and the second thing.
    """

    said: tuple[str, ...]
    asked: tuple[PromptContent, ...]
    boxes: Tensor
    halves: Tensor

    def prompts(self, strength: float, guidance: float) -> Prompts:
        """Each thing painted in its box."""
        places = tuple(
            Place([a.things[k] for a in self.asked], self.boxes[:, k].float()) for k in (0, 1)
        )
        return Prompts(self.said, places=places, strength=strength, guidance=guidance)


def paintings(n: int, seed: int) -> Painting:
    """n of them; which things, the ground and the places are drawn uniformly.

    One thing has the left half and the other the right, or one the top and the other the bottom; a
    box lies anywhere in its half, 1/32 from the border at least.
    """
    rng = np.random.default_rng(fold(seed, "paint"))
    seen = places_seen()
    pairs = [
        (int(i), int(j)) for i, j in np.argwhere(pairs_for_test()) if (seen[i] & seen[j]).any()
    ]  # in both orders
    said, asked = [], []
    boxes = torch.zeros(n, 2, GRID, GRID, dtype=torch.bool)
    halves = torch.zeros_like(boxes)
    for b in range(n):
        i, j = pairs[rng.integers(len(pairs))]
        ground = GROUNDS[rng.choice(np.flatnonzero(seen[i] & seen[j]))]
        first, second = THINGS[i], THINGS[j]
        said.append(f"{first.phrase} and {second.phrase} {ground.phrase}")
        asked.append(PromptContent((first.words, second.words), ground.name))
        across = bool(rng.integers(2))
        order = rng.permutation(2)
        for k in (0, 1):
            left, top, side = _box(rng, int(order[k]), across)
            boxes[b, k, top : top + side, left : left + side] = True
            here = slice(int(order[k]) * GRID // 2, (int(order[k]) + 1) * GRID // 2)
            halves[(b, k, slice(None), here) if across else (b, k, here)] = True
    return Painting(tuple(said), tuple(asked), boxes, halves)


def _box(rng: np.random.Generator, half: int, across: bool) -> Cell:
    side = int(rng.integers(SIDES[0], SIDES[1] + 1))
    along = int(rng.integers(1 + 15 * half, 16 + 16 * half - side))
    other = int(rng.integers(1, GRID - side))
    return (along, other, side) if across else (other, along, side)


def painted_figures(reading: SceneReading, painting: Painting) -> dict[str, Any]:
    """How well painted boxes and found things agree; a thing that is not found overlaps by 0.

    ``overlap`` is with the found pixels, ``overlap_box`` with the smallest box around them; their
    errors are from the spread over pictures. ``inside`` is how often both centres lie in their own
    boxes, ``inside_halves`` in their own halves.
    """
    own: list[list[float]] = [[], []]
    within: list[list[bool]] = [[], []]
    for b, one in enumerate(painting.asked):
        things = [reading.names.thing(name) for name in one.things]
        where = [reading.where(b, t) for t in things]
        centres = [reading.centre(b, t) for t in things]
        for k, regions in enumerate((where, [boxed(w) for w in where])):
            parts = [overlap(w, box) for w, box in zip(regions, painting.boxes[b], strict=True)]
            own[k].append(sum(parts) / 2)
        for k, aims in enumerate((painting.boxes[b], painting.halves[b])):
            within[k].append(all(inside(c, aim) for c, aim in zip(centres, aims, strict=True)))
    name = "reader"
    found = object_hits(reading, painting.asked)
    made = {
        "object": share("object", found, name),
        "both": share("both", found.view(-1, 2).all(1), name),
        "exact": share("exact", exact_hits(reading, painting.asked), name),
        "overlap": mean("overlap", torch.tensor(own[0]), name),
        "overlap_box": mean("overlap", torch.tensor(own[1]), name),
        "inside": share("inside", torch.tensor(within[0]), name),
        "inside_halves": share("inside", torch.tensor(within[1]), name),
    }
    return {
        k: v for name, s in made.items() for k, v in ((name, s.value), (f"{name}_error", s.error))
    }


def paint_rows(
    cascade: Cascade,
    reader: SceneReader,
    painting: Painting,
    strengths: Sequence[float],
    guidance: float,
    seed: int,
    steps: int | None,
) -> tuple[list[dict[str, Any]], dict[float, Tensor]]:
    """Figures and pictures for each strength.

    Raises:
        SfumatoError: paint of no strength changes a picture.
    """
    rows, drawn = [], {}
    for strength in strengths:
        made = draw(cascade, painting.prompts(strength, guidance), seed, steps)
        if strength == 0:
            plain = replace(painting.prompts(0, guidance), places=())
            if not torch.equal(draw(cascade, plain, seed, steps).x, made.x):
                raise SfumatoError("paint of strength 0 changes the picture")
        drawn[strength] = made.x
        rows.append(
            {
                "strength": strength,
                "nfe": made.nfe,
                "n": len(painting.said),
                **painted_figures(reader.read(made.x), painting),
            }
        )
    return rows, drawn


@dataclass(frozen=True, eq=False)
class Shown:
    """Prompts of single things, and for each vendor a picture of another thing for each prompt.

    said, asked: the sentences, and what they ask for.
    scenes: numbers of the test scenes that are shown.
    pictures: these by each vendor, (n, 3, 64, 64).
    """

    said: tuple[str, ...]
    asked: tuple[PromptContent, ...]
    scenes: tuple[int, ...]
    pictures: dict[str, Tensor]


def shown(n: int, seed: int) -> Shown:
    """Things alone on grounds on which they are never alone in training; scenes as references.

    A vendor's reference of prompt i is a test scene of that vendor without the thing, the same
    scene for all vendors.
    """
    rng = np.random.default_rng(fold(seed, "style"))
    places = np.argwhere(places_for_test() & places_seen())
    said, asked, scenes = [], [], []
    plain = Scenes("test", FINE)
    for _ in range(n):
        t, g = places[rng.integers(len(places))]
        said.append(f"{THINGS[t].phrase} {GROUNDS[g].phrase}")
        asked.append(PromptContent((THINGS[t].words,), GROUNDS[g].name))
        while True:
            scene = int(rng.integers(len(plain)))
            if THINGS[t] not in plain.plan(scene).things:
                break
        scenes.append(scene)
    pictures = {
        vendor: real_pictures(Scenes("test", FINE, vendor=vendor), scenes, FINE)
        for vendor in VENDORS
    }
    return Shown(tuple(said), tuple(asked), tuple(scenes), pictures)


def style_rows(
    cascade: Cascade,
    reader: SceneReader,
    asked: Shown,
    guidance: float,
    scales: Sequence[float],
    seed: int,
    steps: int | None,
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Whose drawings samples are read as, with no reference, and by scale with each vendor's.

    The pictures are those of the last scale.

    Raises:
        UsageError: a model that sees no pictures.
    """
    for stage in cascade.stages:
        if all(one.modality is not Modality.PICTURE for one in stage.model.encoders):
            raise UsageError("a model that listens to sentences only takes no style")
    rows, drawn = [], {}
    for scale, vendor in [(guidance, ""), *((w, v) for w in scales for v in VENDORS)]:
        prompts = Prompts(
            asked.said, asked.pictures.get(vendor), guidance=guidance, style_guidance=scale
        )
        made = draw(cascade, prompts, seed, steps)
        drawn[vendor] = made.x
        reading = reader.read(made.x)
        found = share("object", object_hits(reading, asked.asked), reader.name)
        counts = torch.bincount(reading.vendor, minlength=len(VENDORS)) / len(reading)
        row: dict[str, Any] = {
            "reference": vendor or "none",
            "n": len(reading),
            "nfe": made.nfe,
            "read": {v: 100 * float(c) for v, c in zip(VENDORS, counts, strict=True)},
            "object": found.value,
            "object_error": found.error,
        }
        if vendor:
            right = share("vendor", vendor_hits(reading, [vendor] * len(reading)), reader.name)
            row |= {"style_guidance": scale, "right": right.value, "right_error": right.error}
        rows.append(row)
    return rows, drawn


def right_styles(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By scale, how often the vendor is the one that was shown: the mean over vendors.

    Its error takes them as independent, though all have the same prompts and noise.
    """
    made = []
    for scale in dict.fromkeys(row["style_guidance"] for row in rows if "right" in row):
        mine = [row for row in rows if row.get("style_guidance") == scale]
        errors = [row["right_error"] or 0.0 for row in mine]
        made.append(
            {
                "style_guidance": scale,
                "right": sum(row["right"] for row in mine) / len(mine),
                "right_error": sum(e**2 for e in errors) ** 0.5 / len(mine),
                "object": sum(row["object"] for row in mine) / len(mine),
                "n": sum(row["n"] for row in mine),
            }
        )
    return made
