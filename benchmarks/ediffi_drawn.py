"""Many different prompts drawn in batches, as `benchmarks/ediffi.py` measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sfumato.model.walk import Drawn
from sfumato.nn import Prompt, best_dtype
from sfumato.systems.ediffi import pipeline
from sfumato.systems.ediffi.paint import PaintWithWords, Stroke
from sfumato.systems.ediffi.pipeline import (
    Cascade,
    PreparedStage,
    Stage,
    guided,
    phrase_tokens,
)


@dataclass(frozen=True, eq=False)
class Place:
    """A phrase of each of N prompts, and where it is painted: (N, H, W) in [0, 1]."""

    phrases: Sequence[str]
    where: Tensor


@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts to be drawn.

    said: sentences.
    shown: (N, 3, H, H), whose style is wanted; None for any.
    heard: the encoders that are not hidden, by name; None for all.
    places: what is painted where, as strongly as ``strength``.
    guidance, style_guidance: by the sentences, and by the style where there is one.
    """

    said: Sequence[str]
    shown: Tensor | None = None
    heard: Sequence[str] | None = None
    places: tuple[Place, ...] = ()
    strength: float = 0.0
    guidance: float = 3.0
    style_guidance: float = 3.0

    def part(self, first: int, last: int) -> Prompts:
        """Some of them."""
        here = slice(first, last)
        return replace(
            self,
            said=self.said[here],
            shown=None if self.shown is None else self.shown[here],
            places=tuple(Place(p.phrases[here], p.where[here]) for p in self.places),
        )


def prompt_of(stage: Stage, asked: Prompts) -> Prompt:
    """What the encoders say of all prompts."""
    made = stage.encoder.prompt(list(asked.said), asked.shown)
    if asked.heard is None:
        return made
    kept = torch.tensor([one.name in asked.heard for one in stage.encoder.configs])
    return made.keeping(kept.expand(len(made), -1))


def strokes_of(stage: Stage, asked: Prompts) -> list[Stroke]:
    """The paint of all prompts: a stroke for each, which is empty at the others."""
    tokens = phrase_tokens(stage.encoder, list(asked.said), [p.phrases for p in asked.places])
    made = []
    for place, found in zip(asked.places, tokens, strict=True):
        for b, own in enumerate(found):
            where = torch.zeros_like(place.where)
            where[b] = place.where[b]
            made.append(Stroke(where.to(stage.device), own))
    return made


def draw(
    cascade: Cascade,
    asked: Prompts,
    seed: int,
    steps: int | None = None,
    *,
    batch: int = 50,
    dtype: torch.dtype | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """A picture of each prompt; picture i has the noise of `ediffi.pipeline.imagine`'s i.

    Networks are evaluated in ``dtype``, by default in bfloat16 where that is fast.

    Raises:
        SfumatoError: values that are not finite.
    """

    def of(stage: Stage, places: range) -> PreparedStage:
        part, made = asked.part(places.start, places.stop), stage.denoiser
        if part.places:
            made = PaintWithWords(made, strokes_of(stage, part), part.strength)
        style = part.guidance if part.shown is None else part.style_guidance
        return PreparedStage(prompt_of(stage, part), guided(stage, made, part.guidance, style))

    low = dtype or best_dtype(cascade.stages[0].device)
    indices = range(len(asked.said))
    return pipeline.draw(
        cascade, of, seed, indices, steps, batch=batch, dtype=low, progress=advance
    )
