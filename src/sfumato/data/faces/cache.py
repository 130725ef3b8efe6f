"""Many faces drawn once into a folder: uint8 images, labels, and what was drawn."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from rich.progress import Progress, TimeRemainingColumn

from sfumato.data.faces.choose import GENERATION, attributes_of, labels_of
from sfumato.data.faces.draw import rasterise, svg_of
from sfumato.data.faces.styles import AVATAR_AXES, STYLES
from sfumato.data.kept import keep, load_kept
from sfumato.data.places import HINT, data_root
from sfumato.data.sets import DataCard, ImageSet, Split, check_between, check_split
from sfumato.errors import noting, require
from sfumato.files.atomic import whole

FIRST_INDEX: Final = {"train": 0, "test": 100_000_000}
_MOST = 100_000_000
_DEFAULT_N = {"train": 40_000, "test": 4_000}
_CHUNK = 500


def avatar_card(n: int, resolution: int, split: Split) -> DataCard:
    """Source, licences and size of n avatars."""
    licences = "; ".join(f"{s.name} by {s.artist}: {s.licence}" for s in STYLES.values())
    return DataCard(
        name="avatars",
        source="drawn by the generator DiceBear (PyPI dicebear-core, art of dicebear-styles), "
        "rasterised by resvg (PyPI resvg-py)",
        licence=f"{licences}; the generator's code: MIT",
        size=f"{n:,} {split} images, {resolution}x{resolution} RGB, {len(AVATAR_AXES)} label axes; "
        f"{n * 3 * resolution**2 / 1e6:.0f} MB",
        note="Drawings, not photographs: colours, hair and facial hair are drawn independently of "
        "one another. A beard or hair may cover part of the mouth or an eye.",
    )


def _draw_chunk(resolution: int, job: tuple[Path, range]) -> int:
    """Draws one chunk into its file; one that is there already is left alone."""
    target, indices = job
    if not target.is_file():
        images = np.stack([rasterise(svg_of(i, attributes_of(i)), resolution) for i in indices])
        with whole(target, hint=HINT) as fresh, fresh.open("wb") as file:
            np.save(file, images)
    return len(indices)


def _run(jobs: list[tuple[Path, range]], resolution: int, workers: int) -> Iterator[int]:
    one = partial(_draw_chunk, resolution)
    if workers == 1:
        yield from map(one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(one, jobs)


@contextmanager
def _counted(counts: Iterable[int], n: int, what: str, show: bool) -> Iterator[Iterable[int]]:
    columns = (*Progress.get_default_columns()[:3], TimeRemainingColumn())
    with Progress(*columns, disable=not show, transient=True) as progress:
        task = progress.add_task(what, total=n)

        def counting() -> Iterator[int]:
            for count in counts:
                progress.advance(task, count)
                yield count

        yield counting()


def _generate(
    folder: Path, split: Split, resolution: int, n: int, workers: int, show: bool
) -> None:
    for module in ("dicebear", "dicebear_styles", "resvg_py"):
        require(module, "data")
    chunks = folder.parent / f"{split}-{resolution}px-g{GENERATION}.chunks"
    first = FIRST_INDEX[split]
    jobs = [
        (chunks / f"{a:08d}-{min(a + _CHUNK, n):08d}.npy",
         range(first + a, first + min(a + _CHUNK, n)))
        for a in range(0, n, _CHUNK)
    ]  # fmt: skip
    what = f"drawing {n:,} avatars at {resolution} px"
    with noting(lambda: _kept(chunks)):
        with _counted(_run(jobs, resolution, workers), n, what, show) as counts:
            for _ in counts:
                pass
        _join(folder, jobs, split, resolution, n, show)
    for chunk, _ in jobs:
        chunk.unlink(missing_ok=True)
    with suppress(OSError):  # another process may still draw into it
        chunks.rmdir()


def _kept(chunks: Path) -> str:
    """What there is to go on with, in a phrase."""
    there = chunks.is_dir() and any(chunks.glob("*.npy"))
    return f"what was drawn is kept in {chunks}; the same command goes on" if there else ""


def _join(
    folder: Path,
    jobs: list[tuple[Path, range]],
    split: Split,
    resolution: int,
    n: int,
    show: bool,
) -> None:
    first = FIRST_INDEX[split]
    labels = labels_of(range(first, first + n))
    info = {
        "generation": GENERATION, "first_index": first, "n": n, "resolution": resolution,
        "axes": {axis.name: list(axis.values) for axis in AVATAR_AXES},
    }  # fmt: skip
    images = (image for chunk, _ in jobs for image in np.load(chunk))
    keep(folder, images, labels, resolution, "joining them", show, info)


def _found(parent: Path, split: Split, resolution: int, n: int) -> Path | None:
    """The smallest cached set of this kind with at least n faces."""
    head = f"{split}-{resolution}px-g{GENERATION}-n"
    sizes = [int(p.name[len(head) :]) for p in parent.glob(head + "*")
             if p.name[len(head) :].isdecimal()]  # fmt: skip
    enough = [size for size in sizes if size >= n]
    return parent / f"{head}{min(enough)}" if enough else None


def avatars(
    split: Split = "train",
    resolution: int = 32,
    n: int | None = None,
    *,
    root: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> ImageSet:
    """Illustrated faces in five drawing styles, labelled on the axes of `AVATAR_AXES`.

    Face i depends on i alone: "train" holds the faces 0..n-1, "test" 100,000,000..100,000,000+n-1.
    Drawn once (a few milliseconds a face) into the data folder, in pieces, so that a stopped run
    goes on where it was; afterwards read as a memory map. A cached set with at least n faces
    serves any smaller n.

    Args:
        split: "train" or "test".
        resolution: height and width in pixels, 8..4096.
        n: number of faces; 40,000 for train and 4,000 for test when None.
        root: the folder that holds the cached sets; `data_root() / "avatars"` when None.
        workers: processes that draw; the pictures do not depend on it. With more than one the
            calling script needs the usual `if __name__ == "__main__":`.
        progress: show a progress bar.

    Returns:
        images uint8 (n, 3, R, R), labels int64 (n, 8).

    Raises:
        UsageError: unknown split, or n, resolution or workers out of range.
        MissingExtra: faces have to be drawn and the generator is not installed.
        SfumatoError: the cache is damaged or cannot be written.
    """
    check_split(split)
    n = _DEFAULT_N[split] if n is None else n
    check_between("avatars: n", n, 1, _MOST)
    check_between("avatars: resolution", resolution, 8, 4096)
    check_between("avatars: workers", workers, 1, 1024)
    parent = data_root() / "avatars" if root is None else root
    folder = _found(parent, split, resolution, n)
    if folder is None:
        folder = parent / f"{split}-{resolution}px-g{GENERATION}-n{n}"
        _generate(folder, split, resolution, n, workers, progress)
    kept = load_kept(folder)
    card = avatar_card(n, resolution, split)
    return ImageSet("avatars", kept.images[:n], kept.labels[:n], AVATAR_AXES, card)
