"""Many different prompts drawn in batches, as `benchmarks/imagine.py` measures them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sfumato.denoise import Beside, Cond, Denoiser
from sfumato.errors import SfumatoError
from sfumato.guide import ByEncoder, ClassifierFree, Painted, Stroke
from sfumato.nn import Prompt, best_dtype
from sfumato.recipes.imagine import enlarged
from sfumato.recipes.imagining import Cascade, Drawn, Stage
from sfumato.recipes.prompted_model import Ear
from sfumato.sample import sample
from sfumato.seeds import fold, generators
from sfumato.solve import DEIS
from sfumato.text.phrases import tokens_of
from sfumato.times import karras


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
    made = stage.hearing.prompt(list(asked.said), asked.shown)
    if asked.heard is None:
        return made
    kept = torch.tensor([one.name in asked.heard for one in stage.hearing.listeners])
    return made.keeping(kept.expand(len(made), -1))


def strokes_of(stage: Stage, asked: Prompts) -> list[Stroke]:
    """The paint of all prompts: a stroke for each, which is empty at the others.

    Tokens are counted over all encoders, each of which pads its sentences to the longest.
    """
    said = iter(stage.hearing.sentences(list(asked.said)))
    n = len(asked.said)
    tokens: list[list[tuple[int, ...]]] = [[()] * n for _ in asked.places]
    first = 0
    for one in stage.hearing.listeners:
        if one.ear is Ear.PICTURE:
            first += 1
            continue
        sentences = next(said)
        for k, place in enumerate(asked.places):
            for b, (text, phrase) in enumerate(zip(asked.said, place.phrases, strict=True)):
                found = tokens_of(text, phrase, sentences.offsets[b])
                tokens[k][b] += tuple(first + i for i in found)
        first += sentences.encoded.tokens.shape[1]
    made = []
    for k, place in enumerate(asked.places):
        for b in range(n):
            where = torch.zeros_like(place.where)
            where[b] = place.where[b]
            made.append(Stroke(where.to(stage.device), tokens[k][b]))
    return made


def guided_by(stage: Stage, asked: Prompts) -> Denoiser:
    """The denoiser of a stage with its paint and guidance, as `recipes.imagining.guided`."""
    made = stage.denoiser
    if asked.places:
        made = Painted(made, strokes_of(stage, asked), asked.strength)
    if asked.shown is None or asked.style_guidance == asked.guidance:
        return ClassifierFree(made, asked.guidance)
    ears = [one.ear for one in stage.hearing.listeners]
    scales = [asked.style_guidance if e is Ear.PICTURE else asked.guidance for e in ears]
    return ByEncoder(made, scales)


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
    """A picture of each prompt; picture i has the noise of `recipes.imagining.imagine`'s i.

    Networks are evaluated in ``dtype``, by default in bfloat16 where that is fast.

    Raises:
        SfumatoError: values that are not finite.
    """
    parts, nfe = [], 0
    for first in range(0, len(asked.said), batch):
        part = asked.part(first, first + batch)
        x: Tensor | None = None
        nfe = 0
        for number, stage in enumerate(cascade.stages):
            done = _stage(stage, number, part, first, x, seed, steps, dtype)
            x, nfe = done.pictures, nfe + done.nfe
        if x is None or not bool(x.isfinite().all()):
            raise SfumatoError("the pictures are not finite; try more --steps or less --guidance")
        parts.append(x.cpu())
        advance(len(part.said))
    return Drawn(torch.cat(parts), nfe)


def _stage(
    stage: Stage,
    number: int,
    asked: Prompts,
    first: int,
    before: Tensor | None,
    seed: int,
    steps: int | None,
    dtype: torch.dtype | None,
) -> Drawn:
    """One model's pictures of a batch, from those of the model before."""
    n, side, process = len(asked.said), stage.model.network.resolution, stage.denoiser.process
    cond: Cond = prompt_of(stage, asked)
    if before is not None:
        cond = Beside(enlarged(before.clamp(-1, 1), side), prompt_of(stage, asked))
    random = generators(fold(seed, "stage", number) if number else seed, range(first, first + n))
    begin = process.start((n, 3, side, side), random, device=stage.device)
    times = karras(process, steps if steps and not number else stage.model.sampling.steps)
    low = dtype or best_dtype(stage.device)
    with torch.autocast(stage.device.type, low, enabled=low != torch.float32):
        done = sample(guided_by(stage, asked), DEIS(), times, begin, cond=cond)
    return Drawn(done.x.float(), done.nfe)
