"""Requests of the page or of a client: checked, drawn, and their pictures as they are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.studio import limits as checks
from sfumato.studio import uploads
from sfumato.studio.limits import Limits
from sfumato.systems.ediffi.pipeline import Cascade, ImageRequest, Paint, imagine, strokes
from sfumato.systems.ediffi.studio.colours import PALETTE, masks

MAX_SEED = 2**31 - 1


@final
@dataclass(frozen=True)
class RawRequest:
    """The values of a request as they came, in their order; none is checked."""

    prompt: Any = ""
    negative: Any = ""
    phrases: Any = None
    painting: Any = None
    style: Any = None
    n: Any = 4
    steps: Any = 25
    guidance: Any = 3.0
    style_guidance: Any = 6.0
    strength: Any = 0.5
    seed: Any = 0


@final
@dataclass(frozen=True, eq=False)
class StudioRequest:
    """A valid request: what to draw, how many pictures n, with how many steps and which seed."""

    image: ImageRequest
    n: int
    steps: int
    seed: int

    @property
    def about(self) -> dict[str, Any]:
        """How the pictures are made, as it is written into their files."""
        return {
            "sfumato": "studio", "prompt": self.image.prompt, "negative": self.image.negative,
            "paint": [p.phrase for p in self.image.paint], "style": self.image.style is not None,
            "seed": self.seed, "steps": self.steps, "guidance": self.image.guidance,
            "style_guidance": self.image.style_guidance, "strength": self.image.strength,
        }  # fmt: skip


def parse_request(raw: RawRequest, cascade: Cascade, limits: Limits) -> StudioRequest:
    """The request with every value checked.

    Raises:
        UsageError: a value of another type or beyond a limit, or paint that does not fit.
    """
    prompt = checks.sentence(raw.prompt, "sentence", limits)
    if not prompt:
        raise UsageError("say what the picture shows; the sentence is empty")
    negative = checks.sentence(raw.negative, "what to keep away from", limits)
    phrases = phrases_of(raw.phrases, limits)
    n = checks.whole(raw.n, "pictures", 1, limits.n)
    steps = checks.whole(raw.steps, "steps", 1, limits.steps)
    seed = checks.whole(raw.seed, "seed", 0, MAX_SEED)
    strength, guidance, style_guidance = (
        checks.number(value, name, 0, limits.scale)
        for value, name in (
            (raw.strength, "strength of the paint"),
            (raw.guidance, "guidance"),
            (raw.style_guidance, "guidance by style"),
        )
    )
    paint = painted(phrases, uploads.painting(raw.painting, limits), cascade.side)
    square = uploads.square(raw.style, "style", limits)
    style = None if square is None else torch.from_numpy(square).float() / 127.5 - 1
    image = ImageRequest(prompt, negative, paint, strength, style, guidance, style_guidance)
    for stage in cascade.stages:
        strokes(image, stage.encoder)
    return StudioRequest(image, n, steps, seed)


def phrases_of(value: Any, limits: Limits) -> tuple[str, ...]:
    """A phrase for each colour of the palette; "" where there is none.

    Raises:
        UsageError: no list of texts, or too many.
    """
    if value is None:
        return ("",) * len(PALETTE)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > len(PALETTE):
        raise UsageError(f"phrases: expected a list of at most {len(PALETTE)} texts")
    found = tuple(checks.sentence(text, "phrase", limits) for text in value)
    return found + ("",) * (len(PALETTE) - len(found))


def painted(
    phrases: tuple[str, ...], painting: NDArray[np.uint8] | None, side: int
) -> tuple[Paint, ...]:
    """The phrases, each where the painting has its colour.

    Args:
        phrases: one for each colour of the palette, "" for none.
        painting: (H, H, 4) uint8.
        side: of the masks, which are means over areas of the painting.

    Raises:
        UsageError: a colour without a phrase, or a phrase without its colour.
    """
    shape = (len(PALETTE), 1, 1)
    made = np.zeros(shape, np.float32) if painting is None else masks(painting)
    where = interpolate(torch.from_numpy(made)[None], (side, side), mode="area")[0].clamp(0, 1)
    found = []
    for colour, phrase, mask in zip(PALETTE, phrases, where, strict=True):
        # Less than a hundredth of a pixel of the mask is what an eraser has left.
        there = bool(mask.max() > 0.01)
        if there and not phrase:
            raise UsageError(f"say beside {colour.name} which words of the sentence it stands for")
        if phrase and not there:
            raise UsageError(
                f"paint where {phrase!r} is to be, in {colour.name}, or leave the words beside "
                f"{colour.name} out"
            )
        if phrase:
            found.append(Paint(phrase, mask))
    return tuple(found)


@final
@dataclass(frozen=True, eq=False)
class Some:
    """Pictures that are done, uint8 (k, 3, R, R), and the network evaluations of each."""

    pixels: NDArray[np.uint8]
    nfe: int


def drawn(cascade: Cascade, request: StudioRequest, batch: int) -> Iterator[Some]:
    """All pictures so far, first none, then after each ``batch`` of them.

    Raises:
        UsageError, SfumatoError: see `ediffi.pipeline.imagine`.
    """
    side = cascade.side
    done: list[NDArray[np.uint8]] = [np.zeros((0, 3, side, side), np.uint8)]
    yield Some(done[0], 0)
    for first in range(0, request.n, batch):
        here = range(first, min(first + batch, request.n))
        some = imagine(cascade, request.image, request.seed, here, request.steps, batch=batch)
        done.append(to_uint8(some.x).numpy())
        yield Some(np.concatenate(done), some.nfe)
