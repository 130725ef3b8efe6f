"""What pictures of prompts are judged by: a reader of scenes, a CLIP, a distance to real scenes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scene_reader.emoji import FINE, prompt_content
from scene_reader.reading import SceneFeatures, SceneReader, SceneReading
from scene_reader.scores import PromptContent, scores
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.metrics import Score, extract, frechet_distance
from sfumato.systems.ediffi.data import Scenes, scenes
from sfumato.systems.ediffi.model import Modality
from sfumato.systems.ediffi.pipeline import Cascade
from sfumato.systems.ediffi.prompt_data import downsampled
from sfumato.systems.ediffi.prompt_encoder import place_of
from sfumato.systems.ediffi.text.encoders import PictureEncoder, Transformer

REAL = 2000


@dataclass(frozen=True, eq=False)
class Captions:
    """Sentences of the first test scenes, none of which is one of training.

    scenes: at 64 pixels.
    said: one for each.
    asked: what they ask for.
    """

    scenes: Scenes
    said: tuple[str, ...]
    asked: tuple[PromptContent, ...]

    def pictures(self, side: int) -> Tensor:
        """The real ones, (n, 3, side, side)."""
        return real_pictures(self.scenes, range(len(self.said)), side)


def captions(n: int, seed: int) -> Captions:
    """One sentence of each of the first n test scenes."""
    every = Scenes("test", FINE, n)
    said = scenes(every).draw_captions(np.arange(n), seed)
    return Captions(every, said, tuple(prompt_content(s) for s in said))


def real_pictures(every: Scenes, index: Sequence[int], side: int) -> Tensor:
    """Scenes as a model of this side is trained on them, float32 in [-1, 1]."""
    x = torch.from_numpy(every[np.asarray(index)]).float() / 127.5 - 1
    return downsampled(x, side)


class Likeness:
    """The cosine of a CLIP's vectors of pictures and of sentences."""

    def __init__(self, folder: str | Path) -> None:
        self.words, self.eyes = Transformer(folder), PictureEncoder(folder)
        if self.words.widths.pooled != self.eyes.widths.pooled or self.words.kind.pooled != (
            "projected"
        ):
            raise UsageError(f"{folder} is no CLIP with both halves; give one by --clip")
        self.name = Path(folder).name

    def __call__(self, pictures: Tensor, said: Sequence[str]) -> Tensor:
        """(n,)."""
        found = []
        for first in range(0, len(said), 200):
            here = slice(first, first + 200)
            u = self.eyes.encode(pictures[here]).pooled
            v = self.words.encode(said[here]).encoded.pooled
            found.append((u * v).mean(1))  # both have length √P
        return torch.cat(found)


def likeness_of(cascade: Cascade, clip: str) -> Likeness | None:
    """By the folder that is given, or else by the CLIP that the model sees pictures with, if any.

    Raises UsageError for a folder that is given and is no CLIP with both halves.
    """
    if clip:
        return Likeness(place_of(clip))
    for one in cascade.stages[0].model.encoders:
        if one.modality is Modality.PICTURE:
            with suppress(UsageError):  # it may have the half that sees alone
                return Likeness(place_of(one.source))
    return None


class Judge:
    """Figures of pictures of prompts.

    reader: reads scenes.
    likeness: a CLIP, or None.
    first: `REAL` real scenes from this one on are what sets are compared with.
    """

    def __init__(self, reader: SceneReader, likeness: Likeness | None, first: int) -> None:
        self.reader, self.likeness = reader, likeness
        self.features = SceneFeatures(reader)
        others = Scenes("test", FINE, first + REAL)
        real = real_pictures(others, range(first, first + REAL), reader.resolution)
        self.real = extract(self.features, real)

    def read(self, pictures: Tensor) -> SceneReading:
        """What is in them."""
        return self.reader.read(pictures)

    def scores(
        self, pictures: Tensor, said: Sequence[str], asked: Sequence[PromptContent]
    ) -> Figures:
        """Shares of hits, distance to real scenes, likeness to own and to others' sentences."""
        found = scores(self.read(pictures), asked, self.reader.name)
        mine = extract(self.features, pictures)
        if len(mine) >= 20:
            found["frechet"] = frechet_distance(self.real, mine, features=self.features.name)
        if self.likeness is not None:
            other = [*said[1:], *said[:1]]
            for name, words in (("likeness", said), ("likeness, shuffled", other)):
                found[name] = mean(name, self.likeness(pictures, words), self.likeness.name)
        return Figures(found)


@dataclass(frozen=True, eq=False)
class Figures:
    """Scores by short names."""

    scores: dict[str, Score]

    def row(self) -> dict[str, Any]:
        """Values, and errors as ``name_error``, for a result file."""
        made: dict[str, Any] = {}
        for name, score in self.scores.items():
            key = name.replace(", ", "_").replace(" ", "_")
            made |= {key: score.value, f"{key}_error": score.error, f"{key}_n": score.n}
            if score.unbiased is not None:
                made[f"{key}_unbiased"] = score.unbiased
        return made


def mean(name: str, values: Tensor, features: str) -> Score:
    """A mean with its error from the spread of the values."""
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Score(name, float(values.mean()), error, len(values), features)
