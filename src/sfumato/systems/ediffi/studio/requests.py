"""From what a page or a client sends to a `ImageRequest`, and pictures as they are done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.studio import limits as checks
from sfumato.studio.limits import Limits
from sfumato.systems.ediffi.pipeline import Cascade, ImageRequest, Paint, imagine, strokes
from sfumato.systems.ediffi.studio import reading
from sfumato.systems.ediffi.studio.colours import PALETTE, masks

MAX_SEED = 2**31 - 1


@final
@dataclass(frozen=True)
class Sent:
    """A request as it came: nothing of it is known to be as it should."""

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
    """A wish that can be fulfilled, and how."""

    wish: ImageRequest
    n: int
    steps: int
    seed: int
    phrases: tuple[str, ...]

    @property
    def about(self) -> dict[str, Any]:
        """How the pictures are made, as it is written into their files."""
        return {
            "sfumato": "studio",
            "prompt": self.wish.prompt,
            "negative": self.wish.negative,
            "paint": [p.phrase for p in self.wish.paint],
            "style": self.wish.style is not None,
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.wish.guidance,
            "style_guidance": self.wish.style_guidance,
            "strength": self.wish.strength,
        }


def asked(sent: Sent, cascade: Cascade, limits: Limits) -> StudioRequest:
    """What was sent, checked.

    Raises:
        UsageError: whatever is not as it should be, in one sentence.
    """
    prompt = checks.sentence(sent.prompt, "sentence", limits)
    if not prompt:
        raise UsageError("say what the picture shows; the sentence is empty")
    negative = checks.sentence(sent.negative, "what to keep away from", limits)
    phrases = checks.phrases(sent.phrases, limits)
    n = checks.whole(sent.n, "pictures", 1, limits.n)
    steps = checks.whole(sent.steps, "steps", 1, limits.steps)
    seed = checks.whole(sent.seed, "seed", 0, MAX_SEED)
    scales = [
        checks.number(value, name, 0, limits.scale)
        for value, name in (
            (sent.strength, "strength of the paint"),
            (sent.guidance, "guidance"),
            (sent.style_guidance, "guidance by style"),
        )
    ]
    side = cascade.side
    paint = painted(phrases, reading.painting(sent.painting, limits), side)
    shown = reading.style(sent.style, limits)
    picture = None if shown is None else torch.from_numpy(shown).float() / 127.5 - 1
    wish = ImageRequest(prompt, negative, paint, scales[0], picture, scales[1], scales[2])
    for stage in cascade.stages:
        strokes(wish, stage.hearing)
    return StudioRequest(wish, n, steps, seed, phrases)


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


def drawn(cascade: Cascade, ask: StudioRequest, batch: int) -> Iterator[Some]:
    """All pictures so far, first none, then after each ``batch`` of them.

    Raises:
        UsageError, SfumatoError: see `ediffi.pipeline.imagine`.
    """
    side = cascade.side
    done: list[NDArray[np.uint8]] = [np.zeros((0, 3, side, side), np.uint8)]
    yield Some(done[0], 0)
    for first in range(0, ask.n, batch):
        here = range(first, min(first + batch, ask.n))
        some = imagine(cascade, ask.wish, ask.seed, here, ask.steps, batch=batch)
        done.append(to_uint8(some.pictures).numpy())
        yield Some(np.concatenate(done), some.nfe)
