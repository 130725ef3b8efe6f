"""The pictures of `benchmarks/ediffi.py`: prompts beside what was drawn, paint, styles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from ediffi_placed import Painting, Shown
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from sfumato.data import to_uint8
from sfumato.data.emoji import VENDORS
from sfumato.files import pictures
from sfumato.systems.ediffi.prompt_data import downsampled

TILE = 128
"""Side of a tile in pixels, at most, unless a picture is larger."""
_PAPER, _INK = (255, 255, 255), (70, 70, 76)
_BARE = 0.8  # in [-1, 1], what is not painted
_PAINT = ((224, 80, 64), (64, 112, 208))


def _scale(side: int) -> int:
    return max(1, TILE // side)


def captioned_rows(said: Sequence[str], tiles: Tensor, blocks: int = 1) -> Image.Image:
    """Prompts, each beside its pictures.

    Args:
        said: N prompts.
        tiles: (N, k, 3, H, H) in [-1, 1].
        blocks: columns of prompts beside each other.
    """
    n, k, _, side, _ = tiles.shape
    scale = _scale(side)
    font = ImageFont.load_default(size=13)
    words, gap = 150, 2
    high = side * scale + gap
    rows = -(-n // blocks)
    wide = words + k * (side * scale + gap) + 12
    whole = Image.new("RGB", (blocks * wide, rows * high + gap), _PAPER)
    pen = ImageDraw.Draw(whole)
    for i, text in enumerate(said):
        column, row = divmod(i, rows)
        left, top = column * wide, row * high
        sheet = pictures.sheet(to_uint8(tiles[i]).numpy(), columns=k, scale=scale, gap=gap)
        whole.paste(sheet, (left + words, top))
        lines = textwrap.fill(text, 22)
        pen.text(
            (left + words - 8, top + high / 2), lines, fill=_INK, font=font, anchor="rm",
            align="right",
        )  # fmt: skip
    return whole


def paint_sheet(painting: Painting, drawn: dict[float, Tensor], rows: int = 6) -> Image.Image:
    """What is painted, the first thing red and the second blue, and pictures for each strength."""
    side = next(iter(drawn.values())).shape[-1]
    masks = torch.full((len(painting.said[:rows]), 3, *painting.boxes.shape[-2:]), _BARE)
    for k, colour in enumerate(_PAINT):
        ink = torch.tensor(colour, dtype=torch.float32)[:, None, None] / 127.5 - 1
        masks = torch.where(painting.boxes[:rows, k, None], ink, masks)
    masks = interpolate(masks, (side, side), mode="nearest")
    tiles = torch.stack([masks, *(x[:rows].clamp(-1, 1) for x in drawn.values())], 1)
    names = ["painted", *(f"{s:g}" for s in drawn)]
    return headed(captioned_rows(painting.said[:rows], tiles), names, side)


def style_sheet(asked: Shown, drawn: dict[str, Tensor], rows: int = 3) -> Image.Image:
    """For each vendor a row: what was shown, and what was drawn of a thing, by turns."""
    side = next(iter(drawn.values())).shape[-1]
    lines, tiles = [], []
    for vendor in VENDORS:
        seen = [interpolate(lowered_to(asked.pictures[vendor][:rows], side), (side, side))]
        pairs = torch.stack([*seen, drawn[vendor][:rows].clamp(-1, 1)], 1)
        tiles.append(pairs.flatten(0, 1))
        lines.append(vendor)
    names = [n for one in asked.asked[:rows] for n in ("shown", one.things[0])]
    return headed(captioned_rows(lines, torch.stack(tiles)), names, side)


def lowered_to(x: Tensor, side: int) -> Tensor:
    """Pictures of at most this side."""
    return downsampled(x, side) if x.shape[-1] > side else x


def headed(sheet: Image.Image, names: Sequence[str], side: int) -> Image.Image:
    """A sheet of `captioned_rows` with names above its columns."""
    step, top = side * _scale(side) + 2, 20
    whole = Image.new("RGB", (sheet.width, sheet.height + top), _PAPER)
    whole.paste(sheet, (0, top))
    pen = ImageDraw.Draw(whole)
    font = ImageFont.load_default(size=13)
    for k, name in enumerate(names):
        place = (150 + k * step + step / 2, top / 2)
        pen.text(place, name, fill=_INK, font=font, anchor="mm")
    return whole


def save(picture: Image.Image, path: Path) -> None:
    """As a .webp of high quality that is not exact, which is a fifth of the size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90, method=6)


def spread(tiles: Tensor, copies: int) -> Tensor:
    """(N copies, 3, H, H) as (N, copies, 3, H, H), in [-1, 1]."""
    return tiles.clamp(-1, 1).unflatten(0, (-1, copies))
