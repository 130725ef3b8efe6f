"""``sfumato degrade``: make bad pictures of good ones, to see what restoring makes of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import tyro

from sfumato.console.options import at_least, parse
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.data.degrade import Task
    from sfumato.systems.i2sb.folder import Item

_ABOUT = """Degrade one picture, or all pictures of a folder and of those below it.

What is random in it follows from --seed. A picture that loses a part (inpaint) is written with its
mask beside it, RESULT.mask.png, white where the part is lost. For sr4x the picture is first cut to
a height and width that 4 divides.

examples:
  sfumato degrade photo.jpg bad.png --task jpeg-10
  sfumato degrade photos/ small/ --task sr4x
  sfumato degrade photo.jpg torn.png --task inpaint --seed 3
"""


@final
@dataclass(frozen=True)
class DegradeConfig:
    """What to degrade, how, and where to."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """A picture, or a folder of pictures."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """A picture or a folder."""
    task: str
    """sr4x, sr4x-pool, deblur, deblur-uniform, deblur-gauss, jpeg, jpeg-5, jpeg-10, denoise,
    colourise (colour is taken away) or inpaint (a part is)."""
    seed: int = 0
    """The seed of all randomness."""
    force: bool = False
    """Overwrite results that exist."""
    skip_existing: bool = False
    """Leave out pictures whose result exists."""
    max_pixels: int = 64_000_000
    """Larger pictures are refused unread."""
    quality: int = 95
    """Of JPEG and WEBP, 1 to 100."""
    quiet: bool = False
    """No report; failures are still named."""


def main(argv: list[str]) -> int:
    """Run ``sfumato degrade``; returns the exit status, 1 if a picture failed."""
    return run(parse(DegradeConfig, "degrade", argv, _ABOUT))


def run(config: DegradeConfig) -> int:
    """Degrade all; returns 1 if a picture failed, else 0.

    Raises UsageError for options that make no sense.
    """
    at_least("max-pixels", config.max_pixels, 1)
    at_least("quality", config.quality, 1)
    if config.force and config.skip_existing:
        raise UsageError("--force and --skip-existing contradict each other; give one")
    from sfumato.data.degrade import CentreMask, FreeForm, tasks_named
    from sfumato.systems.i2sb import folder

    (task,) = tasks_named([config.task])
    planned = folder.plan(
        config.source, config.out, force=config.force, skip_existing=config.skip_existing,
        mask=isinstance(task.degradation, CentreMask | FreeForm),
    )  # fmt: skip
    if not planned.items:
        if not config.quiet:
            print(f"nothing to do: all {planned.skipped} results exist")
        return 0
    outcome = folder.run(
        planned.items, lambda item: _one(config, task, item), folder.rest(config.force)
    )
    for item, reason in outcome.failed:
        print(f"sfumato degrade: {item.name}: {reason}", file=sys.stderr)
    if not config.quiet:
        left = f", {planned.skipped} left out" if planned.skipped else ""
        print(f"{len(outcome.done)} degraded ({task.degradation.card.what}){left}, {config.out}")
    return outcome.status


def _one(config: DegradeConfig, task: Task, item: Item) -> None:
    """Read, degrade and write one picture; what is random depends on its name too."""
    import torch
    from PIL import Image

    from sfumato.data import to_uint8
    from sfumato.data.degrade import Grey
    from sfumato.files import pictures
    from sfumato.files.atomic import write
    from sfumato.seeds import generator
    from sfumato.systems.i2sb.picture import read_picture
    from sfumato.systems.i2sb.write import check_kind, check_place, write_picture

    picture = read_picture(item.source, config.max_pixels)
    check_kind(picture, item.target)
    check_place(item.target)
    kind = task.degradation
    height, width = (n - n % kind.scale for n in picture.size)
    if not height or not width:
        raise ValueError(f"expected at least {kind.scale} pixels a side, got {picture.size}")
    x = picture.pixels[None, :, :height, :width].expand(-1, 3, -1, -1).contiguous()
    random = [generator(config.seed, "degrade", item.name)]
    known = None
    if kind.scale > 1:
        y = kind.observe(x, random)
    else:
        y, known = kind.degrade(x, random)
    if known is not None:
        y = torch.where(known > 0, y, torch.zeros_like(y))
        mask = Image.fromarray(to_uint8(1 - 2 * known)[0, 0].numpy())
        write(item.mask, pictures.encode(mask))
    made = y[0].clamp(-1, 1)
    if isinstance(kind, Grey) or len(picture.pixels) == 1:
        made = made.mean(0, keepdim=True)
    alpha = picture.alpha
    if alpha is not None:
        alpha = alpha[:, : height : kind.scale, : width : kind.scale]
    write_picture(picture.replaced(made, alpha), item.target, config.quality)
