"""A section on text to image: what sentences say, and words that are painted."""

from __future__ import annotations

import time

import torch
from PIL import Image

from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.console.options import DeviceName, torch_device
from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.files.pictures import sheet
from sfumato.systems.ediffi.commands import prompted
from sfumato.systems.ediffi.pipeline import ImageRequest, Paint, imagine, open_cascade

SAID = (
    "a red apple left of a butterfly on grass",
    "a fox and a blue book on sand",
    "an owl above a bell in a night sky",
    "a penguin, a rocket and a star on a brick wall",
)
_PAINTED, _LEFT, _RIGHT = "a fox and a blue book on sand", "fox", "blue book"
_COLUMNS = 4


def prompts(section: Section, shown: list[Shown], seconds: float) -> None:
    """Four pictures for each wish, the third of which is painted; as many as there is time for."""
    try:
        found = prompted.folders("", ())
    except UsageError:  # no such model here
        return
    device = shown[0].device if shown else torch_device(DeviceName.AUTO)
    began = time.perf_counter()
    cascade = open_cascade([str(f) for f in found], device)
    section.text(
        "Words are heard by several encoders, each of which may be silent; experts for parts of "
        "the noise levels draw as fast as one model; and words can be painted where they are to "
        "be (eDiff-I). The small model here knows 64 things and 10 grounds, and no pair of things "
        "that is named below was in one picture of its training together."
    )
    side = cascade.side
    half = torch.zeros(side, side)
    half[side // 4 : 3 * side // 4, side // 16 : 7 * side // 16] = 1
    wishes = [(said, ImageRequest(said)) for said in SAID]
    painted = (Paint(_LEFT, half), Paint(_RIGHT, half.flip(1)))
    wishes.insert(
        2,
        ("the same, painted: the fox left, the book right", ImageRequest(_PAINTED, paint=painted)),
    )
    rows: list[tuple[str, Image.Image]] = []
    for label, wish in wishes:
        if rows and (time.perf_counter() - began) * (len(rows) + 1) / len(rows) > seconds:
            break
        with torch.inference_mode():
            drawn = imagine(cascade, wish, 0, range(_COLUMNS)).x
        rows.append((label, sheet(to_uint8(drawn).numpy(), _COLUMNS, scale=max(1, 96 // side))))
    section.rows(rows, f"drawn at {side} x {side} pixels")
    section.code(f'sfumato imagine "{SAID[0]}" --n 8 --out drawn.png')
