"""What is done to one picture: samples of what it was, their spread, before beside after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sfumato.data.degrade.jpeg import FORWARD
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.files import pictures
from sfumato.seeds import fold
from sfumato.systems.i2sb.picture import Picture
from sfumato.systems.i2sb.write import levels_of

if TYPE_CHECKING:
    from sfumato.systems.i2sb.restorer import Restorer

COLOURISE: Final = "colourise"
"""The task whose input is grey and whose result is not."""

Progress = Callable[[int, int], None]
"""Told (steps done, of how many)."""

_WIDEST: Final = 1600
_NARROWEST: Final = 96
_INK: Final = (70, 70, 76)


@final
@dataclass(frozen=True)
class RestorationRequest:
    """What is to be done.

    Args:
        task: by its name.
        steps: of the walk; None is what suits the task.
        samples: how many are drawn.
        average: the result is their mean, not the first.
        crisp: where ``steps`` is None, draw a sample even where the usual answer is the mean.
        seed: of all randomness; sample i depends on it and on i.

    Raises:
        UsageError: no samples, no steps, or the mean of a single one.
    """

    task: str
    steps: int | None = None
    samples: int = 1
    average: bool = False
    seed: int = 0
    crisp: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.steps is not None and self.steps < 1):
            raise UsageError(
                f"expected at least one sample and one step, got {self.samples} and {self.steps}"
            )
        if self.average and self.samples < 2:
            raise UsageError("the average is of several samples: ask for --samples 2 or more")


@final
@dataclass(frozen=True, eq=False)
class Restored:
    """A restored picture, what the restorer was given, and how far samples differ."""

    before: Picture
    """What the restorer was given: grey where it was to be colourised, the hole cut out."""
    after: Picture
    spread: Tensor | None
    """(H, W) float32: standard deviation of the samples, averaged over channels, in levels of 8
    bits; None of a single sample."""
    seconds: float


def restore_picture(
    restorer: Restorer,
    picture: Picture,
    wish: RestorationRequest,
    mask: Tensor | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Draw samples of what the picture was.

    A grey picture is given to a restorer of colours in three equal channels and is grey again
    afterwards, unless it was to be colourised. Alpha is passed through, enlarged if the picture is.
    What a mask leaves out comes back exactly. Depth, profile and EXIF stay; a profile for grey does
    not fit a colourised picture and is left out.

    Args:
        restorer: does the work.
        picture: the bad one.
        wish: what is to be done.
        mask: (1, H, W), see `read_mask`, for a task that needs one.
        progress: told of finished steps.

    Raises:
        UsageError: a task that the restorer does not know, or a mask too few or too many.
        SfumatoError: the result has values that are not numbers.
    """
    seeds = [fold(wish.seed, "restore", i) for i in range(wish.samples)]
    began = time.perf_counter()
    steps = wish.steps
    if steps is None and wish.crisp:
        steps = restorer.usual_steps(wish.task, crisp=True)
    given, made = restored(restorer, picture.pixels, wish.task, mask, seeds, steps, progress)
    seconds = time.perf_counter() - began
    height, width = made.shape[2:]
    alpha = picture.alpha
    if alpha is not None and alpha.shape[1:] != (height, width):
        alpha = F.interpolate(alpha[None], (height, width), mode="bicubic")[0].clamp(0, 1)
    result = made.mean(0) if wish.average else made[0]
    spread = made.std(0).mean(0) * 127.5 if wish.samples > 1 else None
    before = picture.replaced(given, picture.alpha)
    return Restored(before, picture.replaced(result, alpha), spread, seconds)


def restored(
    restorer: Restorer,
    picture: Tensor,
    task: str,
    mask: Tensor | None,
    seeds: Sequence[int],
    steps: int | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """What a restorer was given, (1 or 3, H, W), and its samples, (n, 1 or 3, scale H, scale W).

    Raises:
        UsageError, SfumatoError: see `restore_picture`.
    """
    check_task(restorer, task, mask is not None)
    grey = len(picture) == 1
    given = picture
    channels = restorer.channels(task)
    if not grey and (task == COLOURISE or channels == 1):
        given = luma(given)
    made = restorer(
        given.expand(channels, -1, -1).contiguous(),
        task,
        mask=mask,
        seeds=seeds,
        steps=steps,
        progress=progress,
    )
    made = made.detach().to("cpu", torch.float32)
    height, width = (restorer.scale(task) * n for n in picture.shape[1:])
    want = (len(seeds), channels, height, width)
    if tuple(made.shape) != want:
        raise ValueError(f"expected samples {want} from the restorer, got {tuple(made.shape)}")
    if not bool(made.isfinite().all()):
        raise SfumatoError("the model gave values that are not numbers; try another --steps")
    if grey and task != COLOURISE and made.shape[1] == 3:
        made = luma(made)
    made = made.clamp(-1, 1)
    if mask is not None:
        made = torch.where(mask > 0, made, given)
        given = torch.where(mask > 0, torch.zeros_like(given), given)
    return given, made


def check_task(restorer: Restorer, task: str, masked: bool) -> None:
    """Whether the restorer knows the task, and the task fits a mask or none.

    Raises:
        UsageError: it does not.
    """
    if task not in restorer.tasks:
        raise unknown("task", task, restorer.tasks)
    if masked and not restorer.masks(task):
        raise UsageError(f"a mask was given, but the task {task!r} takes none")
    if not masked and restorer.masks(task):
        raise UsageError(
            f"the task {task!r} needs a mask, a picture of the same size that is white where to "
            "paint: give --mask"
        )


def luma(x: Tensor) -> Tensor:
    """RGB (..., 3, H, W) to grey (..., 1, H, W), by BT.601's weights as JPEG has them."""
    weights = torch.tensor(FORWARD[0], dtype=x.dtype)[:, None, None]
    return (x * weights).sum(-3, keepdim=True)


def heat_map(spread: Tensor) -> Image.Image:
    """The spread (H, W), each pixel as bright as it is large, above a scale in levels of 8 bits.

    The scale ends at the largest value, or at 1 level if all are smaller.
    """
    from matplotlib import colormaps

    values = spread.numpy()
    top = max(1.0, float(values.max()))
    table = np.rint(colormaps["inferno"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    picture = Image.fromarray(table[np.rint(values / top * 255).astype(np.uint8)])
    size = min(40, max(11, picture.width // 40))
    font = ImageFont.load_default(size=size)
    words = ("0", f"{top:.3g} of 255")
    room = math.ceil(sum(font.getlength(w) for w in words)) + 8 * size
    whole = Image.new("RGB", (max(picture.width, room), picture.height + 2 * size), "white")
    whole.paste(picture, ((whole.width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(whole)
    middle = picture.height + size
    left, right = size, whole.width - size
    draw.text((left, middle), words[0], fill=_INK, font=font, anchor="lm")
    draw.text((right, middle), words[1], fill=_INK, font=font, anchor="rm")
    left += math.ceil(font.getlength(words[0])) + size // 2
    right -= math.ceil(font.getlength(words[1])) + size // 2
    bar = Image.fromarray(table[None]).resize((right - left, size), Image.Resampling.BILINEAR)
    whole.paste(bar, (left, middle - size // 2))
    return whole


def side_by_side(before: Picture, after: Picture) -> Image.Image:
    """Both at the size of the later one, reduced to 1600 pixels in all, under small labels.

    Colours are shown as their numbers are, whatever their profile; what is transparent, on white.
    """
    height, width = after.size
    reduced = min(1.0, (_WIDEST - 6) / (2 * width), _WIDEST / height)
    size = max(1, round(width * reduced)), max(1, round(height * reduced))
    times = max(1, min(_NARROWEST // size[0], _WIDEST // size[1]))  # tiny ones are enlarged
    size = size[0] * times, size[1] * times
    tiles = []
    for picture in (before, after):
        levels = levels_of(picture, 8)
        image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
        enlarged = image.width < size[0]
        filter_ = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
        tile = np.asarray(image.convert("RGBA").resize(size, filter_)).transpose(2, 0, 1)
        room = max(0, _NARROWEST - size[0])  # for the label
        tiles.append(np.pad(tile, ((0, 0), (0, 0), (room // 2, room - room // 2))))
    return pictures.sheet(np.stack(tiles), 2, scale=1, column_labels=("before", "after"))
