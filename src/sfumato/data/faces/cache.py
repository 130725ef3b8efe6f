"""Many faces drawn once into a folder: uint8 images, labels, and what was drawn."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from rich.progress import Progress, TimeRemainingColumn

from sfumato.data.faces.choose import GENERATION, attributes_of, labels_of
from sfumato.data.faces.draw import rasterise, svg_of
from sfumato.data.faces.styles import AVATAR_AXES, STYLES
from sfumato.data.places import HINT, data_root, new_folder, sha256
from sfumato.data.sets import DataCard, ImageSet
from sfumato.errors import SfumatoError, UsageError, require, unknown
from sfumato.files.atomic import unwritable, whole

Split: TypeAlias = Literal["train", "test"]

FIRST_INDEX: Final = {"train": 0, "test": 100_000_000}
_MOST = 100_000_000
_DEFAULT_N = {"train": 40_000, "test": 4_000}
_CHUNK = 500


def avatar_card(n: int, resolution: int, split: Split) -> DataCard:
    """The card of n avatars."""
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


def _draw_chunk(target: Path, resolution: int, indices: range) -> int:
    """Draws one chunk into `target`; a file that is there already is left alone."""
    if not target.is_file():
        images = np.stack([rasterise(svg_of(i, attributes_of(i)), resolution) for i in indices])
        with whole(target) as fresh, fresh.open("wb") as file:
            np.save(file, images)
    return len(indices)


def _run(jobs: list[tuple[Path, range]], resolution: int, workers: int) -> Iterator[int]:
    one = partial(_draw_chunk_job, resolution)
    if workers == 1:
        yield from map(one, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(one, jobs)


def _draw_chunk_job(resolution: int, job: tuple[Path, range]) -> int:
    return _draw_chunk(job[0], resolution, job[1])


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
    try:
        chunks.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder.parent, error, HINT) from error
    first = FIRST_INDEX[split]
    jobs = [
        (chunks / f"{a:08d}-{min(a + _CHUNK, n):08d}.npy",
         range(first + a, first + min(a + _CHUNK, n)))
        for a in range(0, n, _CHUNK)
    ]  # fmt: skip
    what = f"drawing {n:,} avatars at {resolution} px"
    with _counted(_run(jobs, resolution, workers), n, what, show) as counts:
        for _ in counts:
            pass
    with new_folder(folder) as work:
        images = np.lib.format.open_memmap(
            work / "images.npy", "w+", np.uint8, (n, 3, resolution, resolution)
        )
        for k, (chunk, _) in enumerate(jobs):
            images[k * _CHUNK : (k + 1) * _CHUNK] = np.load(chunk)
        images.flush()
        del images
        np.save(work / "labels.npy", labels_of(range(first, first + n)))
        info = {
            "generation": GENERATION,
            "first_index": first,
            "n": n,
            "resolution": resolution,
            "axes": {axis.name: list(axis.values) for axis in AVATAR_AXES},
            "sha256": {name: sha256(work / name) for name in ("images.npy", "labels.npy")},
        }
        (work / "info.json").write_text(json.dumps(info, indent=1) + "\n", "utf-8")
    for chunk, _ in jobs:
        chunk.unlink(missing_ok=True)
    with suppress(OSError):  # another process may still draw into it
        chunks.rmdir()


def _load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        expected = json.loads((folder / "info.json").read_text("utf-8"))["sha256"]
        for name, digest in expected.items():
            if sha256(folder / name) != digest:
                raise ValueError(f"{name} does not have the checksum it was written with")
        images = np.load(folder / "images.npy", mmap_mode="r")
        return images, np.load(folder / "labels.npy")
    except (OSError, ValueError, KeyError) as error:
        raise SfumatoError(
            f"the cached avatars in {folder} are damaged ({error}); delete that folder and they "
            "will be drawn again"
        ) from error


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
    if split not in FIRST_INDEX:
        raise unknown("split", split, FIRST_INDEX)
    n = _DEFAULT_N[split] if n is None else n
    for what, value, low, high in (
        ("n", n, 1, _MOST),
        ("resolution", resolution, 8, 4096),
        ("workers", workers, 1, 1024),
    ):
        if not low <= value <= high:
            raise UsageError(f"avatars: {what} must lie in {low}..{high}, got {value}")
    parent = data_root() / "avatars" if root is None else root
    folder = _found(parent, split, resolution, n)
    if folder is None:
        folder = parent / f"{split}-{resolution}px-g{GENERATION}-n{n}"
        _generate(folder, split, resolution, n, workers, progress)
    images, labels = _load(folder)
    return ImageSet(
        "avatars", images[:n], labels[:n], AVATAR_AXES, avatar_card(n, resolution, split)
    )
