"""Any folder or zip file of pictures as an `ImageSet`, decoded once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import final

import numpy as np
from rich.progress import track

from sfumato.data.decode import Channels, decode
from sfumato.data.label_files import Labelled, labels_from_folders, labels_from_table, read_table
from sfumato.data.listing import (
    LABEL_FILES,
    Entry,
    FileSource,
    common_folder,
    complain,
    open_source,
    pictures,
    usable,
)
from sfumato.data.places import data_root, new_folder
from sfumato.data.sets import DataCard, ImageSet
from sfumato.errors import SfumatoError, UsageError

_VERSION = 1
_BATCH = 512


@final
@dataclass(frozen=True)
class _Decoded:
    images: np.ndarray
    names: Sequence[str]
    broken: Sequence[tuple[str, str]]


def folder(
    path: Path | str,
    resolution: int,
    *,
    channels: Channels = 3,
    skip_broken: bool = False,
    root: Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """The pictures in a folder (and those below it) or a .zip file, in the order of their names.

    Decoded once into the data folder, under a name made from every file's name, size and time,
    and read as a memory map afterwards: a changed folder is decoded again. See `decode` for what
    is done to a picture. Labels come from `labels.csv` or `labels.json` at the top (see
    `read_table`), else from the sub-folders' names if every picture lies in one.

    Args:
        path: the folder or zip file.
        resolution: height and width R after cropping and resizing, 1..4096.
        channels: 3 for RGB, 1 for grey.
        skip_broken: leave out pictures that cannot be decoded, with a warning that lists them.
        root: where decoded sets are kept; `data_root() / "folders"` when None.
        progress: show a progress bar.

    Returns:
        images uint8 (N, channels, R, R), labels (N, A) or None.

    Raises:
        UsageError: no such place, no pictures in it, a bad label file, or a wrong resolution.
        SfumatoError: pictures are broken (all are named) and `skip_broken` is False, or none is
            left, or the data folder cannot be written.
    """
    path = Path(path)
    if not 1 <= resolution <= 4096 or channels not in (1, 3):
        raise UsageError(
            "folder: resolution must lie in 1..4096 and channels be 1 or 3, "
            f"got {resolution} and {channels}"
        )
    source = open_source(path)
    entries = source.entries()
    wanted = pictures(entries, path)
    key = [_VERSION, str(path.resolve()), resolution, channels, [astuple(e) for e in wanted]]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    parent = data_root() / "folders" if root is None else root
    cached = parent / f"{resolution}px-{digest}"
    if not cached.is_dir():
        _decode_all(source, wanted, resolution, channels, cached, progress)
    done = _load(cached, resolution, channels)
    complain(path, len(done.names), done.broken, skip_broken)
    labels, axes = _labels(source, entries, done.names)
    card = DataCard(
        name=path.stem,
        source=str(path),
        licence="not known to sfumato",
        size=f"{len(done.names):,} images, {resolution}x{resolution}, "
        f"{'RGB' if channels == 3 else 'grey'}, {len(axes)} label axes",
    )
    return ImageSet(path.stem, done.images, labels, axes, card)


def _labels(source: FileSource, entries: Sequence[Entry], names: Sequence[str]) -> Labelled:
    top = common_folder([entry.name for entry in entries])
    present = {entry.name for entry in entries}
    files = [top + name for name in LABEL_FILES if top + name in present]
    inside = [name.removeprefix(top) for name in names]
    if len(files) > 1:
        raise UsageError(f"there are both {files[0]} and {files[1]}; keep one")
    if files:
        return labels_from_table(inside, read_table(files[0], source.read(files[0])), files[0])
    return labels_from_folders(inside)


def _decode_all(
    source: FileSource,
    wanted: Sequence[Entry],
    resolution: int,
    channels: Channels,
    target: Path,
    progress: bool,
) -> None:
    def one(entry: Entry) -> np.ndarray | str:
        return usable(source, entry, lambda data: decode(data, resolution, channels))

    def results() -> Iterator[tuple[Entry, np.ndarray | str]]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                yield from zip(batch, pool.map(one, batch), strict=True)

    names, broken = [], []
    with new_folder(target) as work:
        with (work / "images.u8").open("wb") as file:
            what = f"decoding {len(wanted):,} pictures"
            for entry, result in track(
                results(), what, total=len(wanted), disable=not progress, transient=True
            ):
                if isinstance(result, str):
                    broken.append([entry.name, result])
                else:
                    file.write(result.tobytes())
                    names.append(entry.name)
        info = {"names": names, "broken": broken}
        (work / "info.json").write_text(json.dumps(info), "utf-8")


def _load(cached: Path, resolution: int, channels: int) -> _Decoded:
    try:
        info = json.loads((cached / "info.json").read_text("utf-8"))
        shape = (len(info["names"]), channels, resolution, resolution)
        size = (cached / "images.u8").stat().st_size
        if size != np.prod(shape, dtype=np.int64):
            raise ValueError(f"images.u8 has {size} bytes")
        images = (
            np.memmap(cached / "images.u8", np.uint8, "r", shape=shape)
            if size
            else np.zeros(shape, np.uint8)
        )
        return _Decoded(images, info["names"], [(name, why) for name, why in info["broken"]])
    except (OSError, ValueError, KeyError) as error:
        raise SfumatoError(
            f"the decoded pictures in {cached} are damaged ({error}); delete that folder and they "
            "will be decoded again"
        ) from error
