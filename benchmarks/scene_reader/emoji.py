"""A reader of the scenes of emoji, and what their sentences ask for.

It is trained on scenes of the train split with a seed of its own, at 64 pixels lowered to 32 as the
pictures of small models are; so it has never seen the pairs of things that test scenes hold.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from scene_reader.reading import Names, SceneReader, save_reader
from scene_reader.scores import WAYS, PromptContent
from scene_reader.training import ReaderTraining, SceneSet, train_reader
from sfumato.data.emoji import VENDORS
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.progress import Progress
from sfumato.systems.ediffi.data import THINGS, Scene, Scenes
from sfumato.systems.ediffi.data.grounds import GROUNDS
from sfumato.systems.ediffi.data.scenes import scene_card

NAMES: Final = Names(
    tuple(thing.words for thing in THINGS), VENDORS, tuple(ground.name for ground in GROUNDS)
)
SEED: Final = 7
"""Of the scenes that readers are trained on; models are trained on those of 0 and 1."""

FINE: Final = 64
SIDE: Final = 32
TRAIN: Final = 20_000


def pixels_of(scene: Scene, side: int) -> np.ndarray:
    """A scene's mask in the numbers of `NAMES`, uint8 (side, side).

    A pixel is a thing's if that covers half of its area or more, as in the mask itself; no two
    things do, since they are apart.
    """
    factor = len(scene.mask) // side
    parts = scene.mask.reshape(side, factor, side, factor)
    made = np.zeros((side, side), np.uint8)
    for k, name in enumerate(scene.things, 1):
        made[2 * (parts == k).sum((1, 3)) >= factor**2] = NAMES.thing(name) + 1
    return made


def scene_set(scenes: Scenes, index: Sequence[int] | range, side: int = SIDE) -> SceneSet:
    """Scenes of these numbers with everything a reader is to learn, lowered to a side.

    Raises:
        UsageError: a side that does not divide that of the scenes.
    """
    if scenes.resolution % side:
        raise UsageError(f"expected a side that divides {scenes.resolution}, got {side}")
    n, factor = len(index), scenes.resolution // side
    pictures = np.empty((n, 3, side, side), np.uint8)
    pixels = np.empty((n, side, side), np.uint8)
    vendor, ground = np.empty(n, np.int64), np.empty(n, np.int64)
    for k, i in enumerate(index):
        scene = scenes.scene(i)
        fine = scene.image.reshape(3, side, factor, side, factor)
        pictures[k] = np.rint(fine.mean((2, 4), dtype=np.float32))
        pixels[k] = pixels_of(scene, side)
        vendor[k], ground[k] = NAMES.vendor(scene.vendor), NAMES.ground(scene.ground)
    return SceneSet(pictures, pixels, vendor, ground)


def train_scene_reader(
    out: Path,
    *,
    n: int = TRAIN,
    training: ReaderTraining | None = None,
    device: str = "cpu",
    replace: bool = False,
    run: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SceneReader:
    """Trains a reader and writes its folder.

    Args:
        out: the folder.
        n: scenes that it is trained on.
        replace: overwrite an existing folder.
        run: a folder of checkpoints and a log; goes on with what is in it. None keeps none.
        progress: of the training, once the scenes are drawn.

    Raises:
        MissingExtra, SfumatoError: the emoji are not there, or the folder exists.
    """
    if out.exists() and not replace:  # not after the work
        raise SfumatoError(f"{out} exists already; choose another folder or pass replace=True")
    training = training or ReaderTraining()
    began = time.monotonic()
    scenes = Scenes("train", FINE, n, seed=SEED)
    reader = train_reader(
        scene_set(scenes, range(n)), NAMES, training, device=device, run=run, progress=progress
    )
    seconds = time.monotonic() - began
    data = scene_card(n, FINE, "train")
    card: dict[str, Any] = {
        "name": reader.name,
        "system": "scene reader",
        "kind": "scene reader",
        "data": data.name,
        "source": data.source,
        "licence": f"weights Apache-2.0; data {data.licence}",
        "time": f"{seconds / 60:.1f} min, {torch.get_num_threads()} thread(s)",
        "resolution": reader.resolution,
        "params": sum(p.numel() for p in reader.network.parameters()),
        "labels": {"vendor": list(NAMES.vendors), "ground": list(NAMES.grounds)},
        "note": f"{n} train scenes of seed {SEED}, {training.steps} steps of {training.batch}; a "
        f"thing is found from {training.least} pixels on",
    }
    save_reader(reader, out, card, replace=replace)
    return reader


_WAY: Final = re.compile(rf"\s+(?:is )?(?:to the )?({'|'.join(WAYS)})\s+an? ")


@lru_cache(maxsize=1)
def _thing() -> re.Pattern[str]:
    longest = sorted(NAMES.things, key=len, reverse=True)
    return re.compile(rf"\ban? ({'|'.join(map(re.escape, longest))})\b")


def prompt_content(sentence: str) -> PromptContent:
    """What a sentence of a scene asks for: "a fox left of a bell on sand".

    Relations are those of the first thing to the others, as `layout.sentences` says them.

    Raises:
        UsageError: no thing that a scene can have.
    """
    named = list(_thing().finditer(sentence))
    if not named:
        raise UsageError(f"expected a sentence about things of scenes, got {sentence!r}")
    things = tuple(m[1] for m in named)
    relations = []
    for before, m in zip(named, named[1:]):
        way = _WAY.match(sentence[before.end() : m.end()].replace(" and ", " "))
        if way is not None:
            relations.append((things[0], way[1], m[1]))
    grounds = [g.name for g in GROUNDS if g.phrase in sentence]
    return PromptContent(things, grounds[0] if grounds else "", tuple(relations))
