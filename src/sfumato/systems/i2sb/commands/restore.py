"""``sfumato restore``: undo blur, noise, compression, lost pixels, colours or parts of pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, final

import tyro

from sfumato.console.options import Device, DeviceName, DType, DTypeName, at_least, parse
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.systems.i2sb.folder import Item
    from sfumato.systems.i2sb.restorer import Restorer
    from sfumato.systems.i2sb.work import RestorationRequest

_ABOUT = """Restore one picture, or all pictures of a folder and of those below it.

Grey, RGB, with transparency, of 8 or 16 bits; the colour profile, EXIF and the depth are kept, and
the picture is turned as its EXIF says. Pictures of any size go through the model in overlapping
tiles. Originals are never overwritten unless by --in-place, other files not unless by --force. A
picture that cannot be restored is named, the rest is done, and the exit status is 1.

Noise is white noise, apart in each colour; grey grain (the same in all three) was not learned.

examples:
  sfumato restore blurred.jpg sharp.jpg --task deblur
  sfumato restore blurred.jpg sharp.jpg --task deblur --crisp
  sfumato restore scans/ better/ --task jpeg --skip-existing
  sfumato restore small.png large.png --task sr4x --samples 8 --uncertainty --compare
  sfumato restore photo.png whole.png --task inpaint --mask hole.png
"""

In = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]


@final
@dataclass(frozen=True)
class RestoreConfig:
    """Options of ``sfumato restore``."""

    source: In
    """A picture, or a folder of pictures."""
    out: Out
    """A picture (.png, .jpg, .webp, .tif, .bmp, .ppm) or a folder; GIF becomes PNG."""
    task: str
    """What to undo: sr4x, deblur, jpeg, denoise, colourise, inpaint; blind: one of the first five,
    who knows which; or whatever the model knows."""
    model: str = ""
    """A shipped model, or the folder of a checkpoint or of a run; by default one for the task."""
    steps: int | None = None
    """How many steps; by default one for the mean, and what suits the model for a sample."""
    crisp: bool = False
    """Draw a sample of what the picture was: fine detail, some of it made up. Without it, sr4x,
    deblur, jpeg and denoise give the mean of what it may have been: nearest to the truth, smooth.
    Several samples, colours and holes are always drawn."""
    samples: int = 1
    """How many answers to draw; the first is written."""
    average: bool = False
    """Write the mean of the samples: nearer to the truth on average, and smoother."""
    mask: Path | None = None
    """For inpaint: white where to paint anew, of the picture's size; or a folder of masks with the
    pictures' names."""
    seed: int = 0
    """The seed of all randomness."""
    uncertainty: bool = False
    """Also write RESULT.spread.png: the standard deviation of the samples, as a heat map."""
    compare: bool = False
    """Also write RESULT.compare.png: before and after, side by side."""
    force: bool = False
    """Overwrite results that exist."""
    in_place: bool = False
    """Overwrite the originals; OUT must be IN."""
    skip_existing: bool = False
    """Leave out pictures whose result exists."""
    overlap: int = 16
    """Pixels that neighbouring tiles share: a multiple of 16, at most half of what the model was
    trained on."""
    max_pixels: int = 64_000_000
    """Larger pictures are refused unread."""
    quality: int = 95
    """Of JPEG and WEBP, 1 to 100; at 100 WEBP is lossless."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    dtype: DType = DTypeName.FLOAT32
    """What the network computes in; the state stays float32."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    quiet: bool = False
    """No progress bar and no report; failures are still named."""

    def check(self) -> None:
        """Refuse what makes no sense, at the door.

        Raises UsageError.
        """
        if self.steps is not None:
            at_least("steps", self.steps, 1)
        at_least("samples", self.samples, 1)
        at_least("overlap", self.overlap, 0)
        at_least("max-pixels", self.max_pixels, 1)
        at_least("threads", self.threads, 0)
        at_least("quality", self.quality, 1)
        if self.quality > 100:
            raise UsageError(f"--quality must be at most 100, got {self.quality}")
        for name, asked in (("average", self.average), ("uncertainty", self.uncertainty)):
            if asked and self.samples < 2:
                raise UsageError(f"--{name} is of several samples: give --samples 2 or more")
        if self.mask is not None and not self.mask.exists():
            raise UsageError(f"--mask {self.mask} does not exist")
        if self.force and self.skip_existing:
            raise UsageError("--force and --skip-existing contradict each other; give one")


def main(argv: list[str]) -> int:
    """Run ``sfumato restore``; returns the exit status, 1 if a picture failed."""
    return run(parse(RestoreConfig, "restore", argv, _ABOUT))


def run(config: RestoreConfig) -> int:
    """Restore all; returns 1 if a picture failed, else 0.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded.
    """
    config.check()
    from sfumato.systems.i2sb import folder, work
    from sfumato.systems.i2sb.work import RestorationRequest

    planned = folder.plan(
        config.source,
        config.out,
        force=config.force,
        in_place=config.in_place,
        skip_existing=config.skip_existing,
        spread=config.uncertainty,
        compare=config.compare,
    )
    if not planned.items:
        _say(config, f"nothing to do: all {planned.skipped} results exist")
        return 0
    import torch

    from sfumato.console.options import torch_device
    from sfumato.console.progress import bar
    from sfumato.systems.i2sb.commands.restorers import load_restorer

    if config.threads:
        torch.set_num_threads(config.threads)
    wish = RestorationRequest(
        config.task, config.steps, config.samples, config.average, config.seed, config.crisp
    )
    restorer = load_restorer(
        config.model,
        task=config.task,
        device=torch_device(config.device),
        dtype=config.dtype,
        overlap=config.overlap,
    )
    work.check_task(restorer, config.task, config.mask is not None)
    single = len(planned.items) == 1
    total = 100 if single else len(planned.items)
    with bar("restoring", total, quiet=config.quiet) as advance:
        shown = 0

        def percent(done: int, of: int) -> None:
            nonlocal shown
            now = 100 * done // max(1, of)
            advance(now - shown)
            shown = now

        def one(item: Item) -> tuple[float, tuple[int, int]]:
            try:
                return _one(config, restorer, wish, item, percent if single else None)
            finally:
                if not single:
                    advance(1)

        outcome = folder.run(planned.items, one, folder.rest(config.force, config.in_place))
    for item, reason in outcome.failed:
        print(f"sfumato restore: {item.name}: {reason}", file=sys.stderr)
    seconds = sum(spent for _, (spent, _) in outcome.done)
    if single and outcome.done:
        item, (_, (height, width)) = outcome.done[0]
        _say(config, f"wrote {item.target} ({width}x{height}, {seconds:.1f} s)")
    elif not single:
        words = f"{len(outcome.done)} restored ({seconds:.1f} s), {len(outcome.failed)} failed"
        _say(config, words + (f", {planned.skipped} left out" if planned.skipped else ""))
    return outcome.status


def _say(config: RestoreConfig, words: str) -> None:
    if not config.quiet:
        print(words)


def _one(
    config: RestoreConfig,
    restorer: Restorer,
    wish: RestorationRequest,
    item: Item,
    progress: Callable[[int, int], None] | None,
) -> tuple[float, tuple[int, int]]:
    """Read, restore and write one picture; returns the seconds and the size (height, width)."""
    from sfumato.files import pictures
    from sfumato.files.atomic import write
    from sfumato.systems.i2sb import work
    from sfumato.systems.i2sb.folder import mask_for
    from sfumato.systems.i2sb.picture import jpeg_quality, read_mask, read_picture
    from sfumato.systems.i2sb.work import restore_picture
    from sfumato.systems.i2sb.write import check_kind, check_place, write_picture

    picture = read_picture(item.source, config.max_pixels)
    best = restorer.best_quality
    if config.task in ("jpeg", "blind") and (q := jpeg_quality(item.source)) > best:
        print(
            f"sfumato restore: {item.name}: a JPEG file of quality {q}; the model learned to "
            f"restore up to {best}, and better files come out worse",
            file=sys.stderr,
        )
    check_kind(picture, item.target)
    check_place(item.target)
    path = mask_for(config.mask, item)
    mask = None if path is None else read_mask(path, picture.size, config.max_pixels)
    restored = restore_picture(restorer, picture, wish, mask, progress)
    write_picture(restored.after, item.target, config.quality)
    about = json.dumps({"sfumato": "restore", "task": wish.task, "samples": wish.samples})
    if config.uncertainty and restored.spread is not None:
        write(item.spread, pictures.encode(work.heat_map(restored.spread), about=about))
    if config.compare:
        image = work.side_by_side(restored.before, restored.after)
        write(item.compare, pictures.encode(image, about=about))
    return restored.seconds, restored.after.size
