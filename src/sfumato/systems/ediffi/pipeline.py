"""Drawing what a prompt says: a base model, the models that enlarge its pictures, paint, style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.condition import Given, ImageCondition
from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.guide import ClassifierFree
from sfumato.model.plan import make_plan
from sfumato.model.walk import Drawn, Progress, in_batches, walk
from sfumato.nn import Prompt
from sfumato.seeds import fold
from sfumato.systems.ediffi.ensemble import open_experts
from sfumato.systems.ediffi.fixed_condition import EncoderGuidance, FixedCondition
from sfumato.systems.ediffi.model import Modality, PromptedModel
from sfumato.systems.ediffi.paint import PaintWithWords, Stroke
from sfumato.systems.ediffi.prompt_data import upsampled
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.systems.ediffi.text.phrases import tokens_of


@final
@dataclass(frozen=True, eq=False)
class Paint:
    """Where a phrase of the prompt is to be.

    Args:
        phrase: words of the prompt; see `ediffi.text.phrases` for repeated ones.
        where: (H, H), weights in [0, 1].
        weight: beside other paint.
    """

    phrase: str
    where: Tensor
    weight: float = 1.0


@final
@dataclass(frozen=True, eq=False)
class ImageRequest:
    """What is to be drawn.

    Args:
        prompt: a sentence.
        negative: what is to be kept away from.
        paint: phrases at places.
        strength: w' of the paint, see `ediffi.paint`.
        style: (3, H, H) in [-1, 1], a picture whose style is wanted; None for any.
        guidance: scale of classifier-free guidance by sentences.
        style_guidance: of that by the style.

    Raises:
        UsageError: numbers outside their range.
    """

    prompt: str
    negative: str = ""
    paint: tuple[Paint, ...] = ()
    strength: float = 0.5
    style: Tensor | None = None
    guidance: float = 3.0
    style_guidance: float = 6.0

    def __post_init__(self) -> None:
        for name in ("strength", "guidance", "style_guidance"):
            if not 0 <= getattr(self, name) < float("inf"):
                option = name.replace("_", "-")
                raise UsageError(f"--{option}: expected 0 or more, got {getattr(self, name)}")


@final
@dataclass(frozen=True, eq=False)
class Stage:
    """One model of a cascade, the encoders it listens to, and where it runs."""

    denoiser: Denoiser
    model: PromptedModel
    hearing: PromptEncoder
    device: torch.device = torch.device("cpu")


@final
@dataclass(frozen=True, eq=False)
class PreparedStage:
    """What a stage is asked for: a prompt, and its denoiser with all that changes it."""

    prompt: Prompt
    denoiser: Denoiser


@final
@dataclass(frozen=True, eq=False)
class Cascade:
    """A model that begins with nothing, and those that enlarge what the one before has drawn.

    Raises:
        UsageError: models that do not follow on each other.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        side = 0
        for stage in self.stages:
            if stage.model.low != side:
                begins = f"enlarges {stage.model.low} pixels" if stage.model.low else "is a base"
                after = f"pictures of {side} pixels" if side else "nothing"
                raise UsageError(f"a model that {begins} cannot go on from {after}")
            side = stage.model.network.resolution
        if not self.stages:
            raise UsageError("expected at least one model")

    @property
    def side(self) -> int:
        """Of its pictures."""
        return self.stages[-1].model.network.resolution


def open_cascade(
    folders: Sequence[str],
    device: torch.device | str = "cpu",
    download: bool = False,
    keep: int = 0,
) -> Cascade:
    """Models from folders, with their encoders; encoders in common are opened once.

    Args:
        folders: of the models, in order.
        device: where everything runs.
        download: ask the hub for encoders that are not here.
        keep: experts of a model that are in memory at once, read when they are asked; 0 for all.

    Raises:
        UsageError: other kinds of models, or ones that do not follow on each other.
        MissingExtra, SfumatoError: something cannot be loaded.
    """
    stages: list[Stage] = []
    for folder in folders:
        denoiser, model = open_experts(folder, keep, device)
        same = [s.hearing for s in stages if s.model.listeners == model.listeners]
        hearing = same[0] if same else PromptEncoder(model.listeners, device, download)
        stages.append(Stage(denoiser, model, hearing, torch.device(device)))
    return Cascade(tuple(stages))


def tokens_heard(
    hearing: PromptEncoder, said: Sequence[str], phrases: Sequence[Sequence[str]]
) -> list[list[tuple[int, ...]]]:
    """The numbers of phrases' tokens among those of all encoders.

    Args:
        hearing: the encoders, each of which pads its sentences to the longest.
        said: B sentences.
        phrases: for each place that is painted, a phrase of each sentence.

    Returns:
        for each place, the tokens in each sentence.

    Raises:
        UsageError: a phrase that is not in its sentence, or is there several times.
    """
    sentences, first = iter(hearing.sentences(said)), 0
    tokens: list[list[tuple[int, ...]]] = [[()] * len(said) for _ in phrases]
    for one in hearing.listeners:
        if one.ear is Modality.PICTURE:
            first += 1
            continue
        heard = next(sentences)
        for found, place in zip(tokens, phrases, strict=True):
            for b, (text, phrase) in enumerate(zip(said, place, strict=True)):
                here = tokens_of(text, phrase, heard.offsets[b])
                found[b] += tuple(first + k for k in here)
        first += heard.encoded.tokens.shape[1]
    return tokens


def strokes(wish: ImageRequest, hearing: PromptEncoder) -> tuple[Stroke, ...]:
    """The paint, by the tokens of each phrase; see `tokens_heard`.

    Raises:
        UsageError: as there; or a model that listens to pictures only.
    """
    if wish.paint and not any(one.ear is Modality.SENTENCE for one in hearing.listeners):
        raise UsageError("this model listens to pictures only; leave out the paint")
    found = tokens_heard(hearing, [wish.prompt], [[p.phrase] for p in wish.paint])
    return tuple(
        Stroke(p.where, tokens, p.weight) for p, (tokens,) in zip(wish.paint, found, strict=True)
    )


def guided(
    stage: Stage,
    painted: Denoiser,
    guidance: float,
    style_guidance: float,
    other: Denoiser | None = None,
) -> Denoiser:
    """Guidance of a stage's denoiser, by the sentences and by the style.

    Args:
        stage: whose encoders they are.
        painted: its denoiser, with paint where there is any.
        guidance: scale of the sentences.
        style_guidance: of the style; the same one where there is no style.
        other: what is to be kept away from, instead of silence.
    """
    if style_guidance == guidance:
        return ClassifierFree(painted, guidance, other)
    ears = [one.ear for one in stage.hearing.listeners]
    scales = [style_guidance if e is Modality.PICTURE else guidance for e in ears]
    return EncoderGuidance(painted, scales, other)


def ready(stage: Stage, wish: ImageRequest) -> PreparedStage:
    """What a stage is asked for a wish: its prompt, and its denoiser with paint and guidance.

    Raises:
        UsageError: see `heard` and `strokes`.
    """
    made, other = stage.denoiser, None
    if wish.paint:
        made = PaintWithWords(made, strokes(wish, stage.hearing), wish.strength)
    if wish.negative:
        other = FixedCondition(stage.denoiser, stage.hearing.prompt([wish.negative]))
    style = wish.guidance if wish.style is None else wish.style_guidance
    return PreparedStage(heard(stage, wish), guided(stage, made, wish.guidance, style, other))


def heard(stage: Stage, wish: ImageRequest) -> Prompt:
    """The prompt of one picture.

    Raises:
        UsageError: a style for a model that sees no pictures.
    """
    sees = any(one.ear is Modality.PICTURE for one in stage.hearing.listeners)
    if wish.style is not None and not sees:
        raise UsageError("this model listens to sentences only; leave out the style")
    shown = None if wish.style is None else wish.style[None]
    return stage.hearing.prompt([wish.prompt], shown)


def imagine(
    cascade: Cascade,
    wish: ImageRequest,
    seed: int,
    indices: Sequence[int],
    steps: int | None = None,
    *,
    batch: int = 16,
    progress: Progress | None = None,
) -> Drawn:
    """Pictures of these numbers; picture i depends on the seed and on i alone.

    Args:
        cascade: the models.
        wish: what is to be drawn.
        seed, indices: of the pictures.
        steps: of the first model; by default what suits it. Those that enlarge have their own.
        batch: drawn together.
        progress: told how many more pictures are done.

    Raises:
        UsageError: paint or a style that does not fit.
        SfumatoError: values that are not finite.
    """
    made = {id(stage): ready(stage, wish) for stage in cascade.stages}

    def of(stage: Stage, places: range) -> PreparedStage:
        one = made[id(stage)]
        return PreparedStage(one.prompt[torch.zeros(len(places), dtype=torch.int64)], one.denoiser)

    return draw(cascade, of, seed, indices, steps, batch=batch, progress=progress)


def draw(
    cascade: Cascade,
    of: Callable[[Stage, range], PreparedStage],
    seed: int,
    indices: Sequence[int],
    steps: int | None = None,
    *,
    batch: int = 16,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> Drawn:
    """Pictures of these numbers, each of its own prompt; see `imagine`.

    Args:
        cascade: the models.
        of: what a stage is asked for the pictures at some places of ``indices``.
        seed, indices, steps, batch, progress: as of `imagine`.
        dtype: that networks are evaluated in.

    Raises:
        SfumatoError: values that are not finite.
    """

    def some(places: range) -> tuple[Tensor, int]:
        here = [indices[i] for i in places]
        x: Tensor | None = None
        nfe = 0
        for number, stage in enumerate(cascade.stages):
            side, model = stage.model.network.resolution, stage.model
            wanted = of(stage, places)
            cond: Given = wanted.prompt
            if x is not None:
                cond = ImageCondition(upsampled(x.float().clamp(-1, 1), side), wanted.prompt)
            own = steps if steps and not number else None
            plan = make_plan(stage.denoiser.process, model.sampling, steps=own)
            done = walk(
                wanted.denoiser, plan.solver, plan.times, model.shape,
                fold(seed, "stage", number) if number else seed, here,
                cond=cond, device=stage.device, dtype=dtype,
            )  # fmt: skip
            x, nfe = done.x, nfe + done.nfe
        assert x is not None  # noqa: S101  (a cascade has a stage)
        return x, nfe

    return in_batches(len(indices), batch, some, progress, "try more steps or less guidance")
