"""Text to image: a base model, its super-resolution stages, painted words, style."""

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
from sfumato.model.walk import Drawn, Keep, Progress, in_batches, walk
from sfumato.nn import Prompt
from sfumato.seeds import fold
from sfumato.systems.ediffi.ensemble import open_experts
from sfumato.systems.ediffi.fixed_condition import EncoderGuidance, FixedCondition
from sfumato.systems.ediffi.model import Modality, PromptedModel
from sfumato.systems.ediffi.paint import PaintWithWords, Stroke
from sfumato.systems.ediffi.prompt_data import upsampled
from sfumato.systems.ediffi.prompt_encoder import PromptEncoder
from sfumato.systems.ediffi.text.phrases import tokens_of

BATCH = 16
"""Most pictures computed together."""


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
        negative: the negative prompt; "" for none.
        paint: phrases at places.
        strength: w' of the paint, see `ediffi.paint`; 0 or more.
        style: (3, H, H) in [-1, 1], a picture whose style is wanted; None for any.
        guidance, style_guidance: scales of classifier-free guidance by sentences and by the style,
            0 or more; 1 is the plain conditional model.

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
    """One model of a cascade, its prompt encoders, and the device where both run."""

    denoiser: Denoiser
    model: PromptedModel
    encoder: PromptEncoder
    device: torch.device = torch.device("cpu")


@final
@dataclass(frozen=True, eq=False)
class PreparedStage:
    """The prompts of a batch, and a stage's denoiser with paint and guidance."""

    prompt: Prompt
    denoiser: Denoiser


@final
@dataclass(frozen=True, eq=False)
class Cascade:
    """A base model, and super-resolution stages that each enlarge the pictures before.

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
        """Height and width of the pictures."""
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
        keep: experts of a model in memory at once, read when they are used; 0 for all.

    Raises:
        UsageError: other kinds of models, or ones that do not follow on each other.
        MissingExtra, SfumatoError: something cannot be loaded.
    """
    stages: list[Stage] = []
    for folder in folders:
        denoiser, model = open_experts(folder, keep, device)
        same = [s.encoder for s in stages if s.model.encoders == model.encoders]
        encoder = same[0] if same else PromptEncoder(model.encoders, device, download)
        stages.append(Stage(denoiser, model, encoder, torch.device(device)))
    return Cascade(tuple(stages))


def phrase_tokens(
    encoder: PromptEncoder, sentences: Sequence[str], phrases: Sequence[Sequence[str]]
) -> list[list[tuple[int, ...]]]:
    """The indices of phrases' tokens among the tokens of all encoders.

    Args:
        encoder: pads the tokens of each of its encoders to those of the longest sentence.
        sentences: B of them.
        phrases: for each place that is painted, a phrase of each sentence.

    Returns:
        for each place, the tokens in each sentence.

    Raises:
        UsageError: a phrase that is not in its sentence, or is there several times.
    """
    encoded, first = iter(encoder.sentences(sentences)), 0
    tokens: list[list[tuple[int, ...]]] = [[()] * len(sentences) for _ in phrases]
    for one in encoder.configs:
        if one.modality is Modality.PICTURE:
            first += 1
            continue
        made = next(encoded)
        for found, place in zip(tokens, phrases, strict=True):
            for b, (text, phrase) in enumerate(zip(sentences, place, strict=True)):
                here = tokens_of(text, phrase, made.offsets[b])
                found[b] += tuple(first + k for k in here)
        first += made.encoded.tokens.shape[1]
    return tokens


def strokes(request: ImageRequest, encoder: PromptEncoder) -> tuple[Stroke, ...]:
    """The paint of a request, by the tokens of each phrase; see `phrase_tokens`.

    Raises:
        UsageError: as there; or a model without text encoders.
    """
    if request.paint and not any(one.modality is Modality.SENTENCE for one in encoder.configs):
        raise UsageError("this model takes pictures only; leave out the paint")
    found = phrase_tokens(encoder, [request.prompt], [[p.phrase] for p in request.paint])
    return tuple(
        Stroke(p.where, tokens, p.weight) for p, (tokens,) in zip(request.paint, found, strict=True)
    )


def guided(
    stage: Stage,
    denoiser: Denoiser,
    guidance: float,
    style_guidance: float,
    negative: Denoiser | None = None,
) -> Denoiser:
    """Classifier-free guidance, with scales of its own for text and for picture encoders.

    Args:
        stage: whose encoders they are.
        denoiser: of the stage, with paint where there is any.
        guidance: scale of the text encoders.
        style_guidance: scale of the picture encoders; the same one where there is no style.
        negative: in the place of the unconditional estimate.
    """
    if style_guidance == guidance:
        return ClassifierFree(denoiser, guidance, negative)
    scales = [
        style_guidance if one.modality is Modality.PICTURE else guidance
        for one in stage.encoder.configs
    ]
    return EncoderGuidance(denoiser, scales, negative)


def prepare(stage: Stage, request: ImageRequest) -> PreparedStage:
    """The prompt of one picture, and the stage's denoiser with paint and guidance.

    Raises:
        UsageError: a style for a model without picture encoders, or see `strokes`.
    """
    visual = any(one.modality is Modality.PICTURE for one in stage.encoder.configs)
    if request.style is not None and not visual:
        raise UsageError("this model takes sentences only; leave out the style")
    denoiser, negative = stage.denoiser, None
    if request.paint:
        denoiser = PaintWithWords(denoiser, strokes(request, stage.encoder), request.strength)
    if request.negative:
        negative = FixedCondition(stage.denoiser, stage.encoder.prompt([request.negative]))
    style = None if request.style is None else request.style[None]
    scale = request.guidance if style is None else request.style_guidance
    prompt = stage.encoder.prompt([request.prompt], style)
    return PreparedStage(prompt, guided(stage, denoiser, request.guidance, scale, negative))


def imagine(
    cascade: Cascade,
    request: ImageRequest,
    seed: int,
    indices: Sequence[int],
    steps: int | None = None,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Drawn:
    """Pictures of one request; picture i depends on the seed and on i alone.

    Args:
        cascade: the models.
        request: what is to be drawn.
        seed: of the noise.
        indices: numbers i of the pictures.
        steps: of the base model; by default what suits it. The other stages have their own.
        batch: most pictures computed together.
        progress: called with how many more pictures are done.
        keep: keeps finished batches, see `sfumato.model.walk`.

    Raises:
        UsageError: paint or a style that does not fit.
        SfumatoError: values that are not finite.
    """
    prepared = {id(stage): prepare(stage, request) for stage in cascade.stages}

    def of(stage: Stage, places: range) -> PreparedStage:
        one = prepared[id(stage)]
        return PreparedStage(one.prompt[torch.zeros(len(places), dtype=torch.int64)], one.denoiser)

    return draw(cascade, of, seed, indices, steps, batch=batch, progress=progress, keep=keep)


def draw(
    cascade: Cascade,
    of: Callable[[Stage, range], PreparedStage],
    seed: int,
    indices: Sequence[int],
    steps: int | None = None,
    *,
    batch: int = BATCH,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Drawn:
    """Pictures that each have their own prompt; see `imagine`.

    Args:
        cascade: the models.
        of: prompts and denoiser of a stage for the pictures at some places of ``indices``.
        seed, indices, steps, batch, progress, keep: as of `imagine`.
        dtype: in which networks are evaluated.

    Raises:
        SfumatoError: values that are not finite.
    """

    def some(places: range) -> tuple[Tensor, int]:
        here = [indices[i] for i in places]
        x: Tensor | None = None
        nfe = 0
        for number, stage in enumerate(cascade.stages):
            side, model = stage.model.network.resolution, stage.model
            prepared = of(stage, places)
            cond: Given = prepared.prompt
            if x is not None:
                cond = ImageCondition(upsampled(x.float().clamp(-1, 1), side), prepared.prompt)
            own = steps if steps and not number else None
            plan = make_plan(stage.denoiser.process, model.sampling, steps=own)
            done = walk(
                prepared.denoiser, plan.solver, plan.times, model.shape,
                fold(seed, "stage", number) if number else seed, here,
                cond=cond, device=stage.device, dtype=dtype,
            )  # fmt: skip
            x, nfe = done.x, nfe + done.nfe
        assert x is not None  # noqa: S101  (a cascade has a stage)
        return x, nfe

    hint = "try more steps or less guidance"
    return in_batches(len(indices), batch, some, progress, hint, keep)
