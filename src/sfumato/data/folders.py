"""Any folder or zip file of pictures as an `ImageSet`, decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, final, get_args

import numpy as np
from rich.progress import track

from sfumato.data.decode import FULL, Channels, DecodedPicture, Fit, decode, quiet
from sfumato.data.layouts import FolderLayout, layout_of
from sfumato.data.listing import (
    Entry,
    FileSource,
    common_folder,
    complain,
    left_out,
    listing_digest,
    open_source,
    pictures,
    unread,
    usable,
)
from sfumato.data.parts import choose
from sfumato.data.places import data_root, new_folder
from sfumato.data.sets import Chosen, DataCard, ImageSet, LabelAxis
from sfumato.data.summary import ReadSummary
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.files.words import many

Levels: TypeAlias = Literal["full", "used"]
FolderSplit: TypeAlias = Literal["train", "test", "validation", "all"]
SPLITS: Final[tuple[str, ...]] = get_args(FolderSplit)

_VERSION = 3
_BATCH = 512
_DARK: Final = FULL[1] // 4
"""Pictures of 16 bits whose values end below are said to be dark."""


@final
@dataclass(frozen=True)
class _Decoded:
    images: np.ndarray
    names: Sequence[str]
    broken: Sequence[tuple[str, str]]
    sizes: Sequence[tuple[int, int]]
    depth: tuple[int, int] | None
    several: int
    grey: int


def folder(
    path: Path | str,
    resolution: int,
    *,
    channels: Channels = 3,
    skip_broken: bool = False,
    root: Path | None = None,
    progress: bool = True,
    split: FolderSplit = "all",
    held_out: float = 0.0,
    labels: str = "auto",
    fit: Fit = "crop",
    levels: Levels = "full",
    image_width: int = 0,
) -> ImageSet:
    """The pictures in a folder (and those below it) or a .zip file, in the order of their names.

    Decoded once into the data folder, which only its owner can read, under a name made from every
    file's name, size and time, and read as a memory map afterwards: a changed folder is decoded
    again. See `decode` for what
    is done to a picture, and `layout_of` for where labels and parts (train, test) come from.

    Args:
        path: the folder or zip file.
        resolution: height and width R after cropping and resizing, 1..4096.
        channels: 3 for RGB, 1 for grey.
        skip_broken: leave out pictures that cannot be decoded, with a warning that lists them.
        root: where decoded sets are kept; `data_root() / "folders"` when None.
        progress: show a progress bar.
        split: the part to read, see `choose`.
        held_out: share of the pictures that is the test part, where no folder says so.
        labels: see `layout_of`.
        fit: what is done with pictures that are not square, see `decode`.
        levels: of pictures of 16 bits, "full" makes 0 black and 65,535 white; "used" the least
            and the greatest value that is in the folder.
        image_width: width W where pictures are not to be square (see `width_of`); R if 0.

    Returns:
        images uint8 (N, channels, R, W), labels (N, A) or None.

    Raises:
        UsageError: no such place, no pictures in it, a bad label file, folders that may be one
            thing or another, or a wrong resolution.
        SfumatoError: pictures are broken (all are named) and `skip_broken` is False, or none is
            left, or the data folder cannot be written.
    """
    path = Path(path)
    if not 1 <= resolution <= 4096 or channels not in (1, 3):
        raise UsageError(
            "folder: resolution must lie in 1..4096 and channels be 1 or 3, "
            f"got {resolution} and {channels}"
        )
    for noun, value, among in (
        ("split", split, SPLITS),
        ("fit", fit, get_args(Fit)),
        ("levels", levels, get_args(Levels)),
    ):
        if value not in among:
            raise unknown(noun, value, among)
    if not 0 <= held_out < 1:
        raise UsageError(f"the share that is held out must lie in 0..1, got {held_out:g}")
    source = open_source(path)
    entries = source.entries()
    cannot = unread(entries)
    if cannot and not pictures(entries):
        complain(path, 0, cannot, skip_broken)
    wanted = pictures(entries, path)
    layout = layout_of(source, entries, [entry.name for entry in wanted], labels)
    top = common_folder([entry.name for entry in entries])
    names = [entry.name.removeprefix(top) for entry in wanted]
    read, share = choose(layout.parts, names, split, held_out)
    settings = [resolution, channels, fit, levels]
    settings += [image_width] if image_width else []
    key = [_VERSION, str(path.resolve()), *settings, [astuple(e) for e in wanted]]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    parent = data_root() / "folders" if root is None else root
    cached = parent / f"{resolution}px-{digest}"
    if not cached.is_dir():
        between = FULL if levels == "full" else _levels(source, wanted)

        def use(entry: Entry) -> DecodedPicture | str:
            return usable(
                source,
                entry,
                lambda data: decode(
                    data, resolution, channels, entry.name, fit, between, image_width
                ),
            )

        _decode_all(use, wanted, cached, progress)
    done = _load(cached, channels, resolution, image_width or resolution)
    broken = sorted([*done.broken, *cannot])
    complain(path, len(done.names), broken, skip_broken)
    _say_dark(path, done.depth, levels)

    known = set(done.names)
    place = np.array([i for i, entry in enumerate(wanted) if entry.name in known], np.int64)
    chosen = np.array(read)[place]
    index = np.flatnonzero(chosen)
    if not len(index):
        raise SfumatoError(f"{path} has no pictures for {split} that can be used")
    images = done.images if chosen.all() else cast(np.ndarray, Chosen(done.images, index))
    numbers, axes, notes = _labels_of(layout, place[chosen])
    if done.several:
        files = many(done.several, "file")
        notes.append(f"{files} with several pages or frames: the first is read")
    if channels == 3 and done.grey == len(done.names):
        notes.append("all pictures are grey: --channels 1 learns them as such")
    if channels == 1 and done.grey < len(done.names):
        colour = many(len(done.names) - done.grey, "picture")
        notes.append(f"{colour} in colour made grey")
    summary = ReadSummary(
        path=path.resolve(),
        digest=listing_digest(wanted),
        layout=layout.name,
        split=split,
        n=len(index),
        others=_others(layout, read, split),
        held_out=share,
        classes=_counts(numbers, axes),
        sizes=_range(np.array(done.sizes)[index]),
        resolution=resolution,
        channels=channels,
        fit=fit,
        image_width=image_width,
        left_out=left_out(entries, layout.tables),
        broken=len(broken),
        notes=tuple(notes),
        options={"labels": labels, "held_out": held_out, "fit": fit, "levels": levels}
        | ({"image_width": image_width} if image_width else {}),
        cache=cached,
    )
    name = folder_name(path)
    card = DataCard(
        name=name,
        source=str(path),
        licence="not known to sfumato",
        size=f"{many(len(index), 'image')}, {image_width or resolution}x{resolution}, "
        f"{'RGB' if channels == 3 else 'grey'}, {len(axes)} label axes",
    )
    return ImageSet(name, images, numbers, axes, card, summary)


def folder_name(path: Path) -> str:
    """What the pictures of a folder or zip file are called: never as a data set of the library."""
    path = path.resolve()
    return path.name if path.is_file() else f"{path.name}/"


def _labels_of(
    layout: FolderLayout, index: np.ndarray
) -> tuple[np.ndarray | None, tuple[LabelAxis, ...], list[str]]:
    """The labels of some pictures, none if one has none; and the notes of the layout."""
    notes = list(layout.notes)
    if layout.labels is None:
        return None, (), notes
    numbers = layout.labels[index]
    if bare := int((numbers < 0).any(1).sum()):
        return None, (), [*notes, f"no classes: {many(bare, 'picture')} without a label"]
    return numbers, layout.axes, notes


def _counts(labels: np.ndarray | None, axes: Sequence[LabelAxis]) -> dict[str, dict[str, int]]:
    """How many pictures have each value of each axis."""
    found = {}
    for a, axis in enumerate(axes if labels is not None else ()):
        numbers = np.bincount(labels[:, a], minlength=len(axis.values))  # type: ignore[index]
        found[axis.name] = dict(zip(axis.values, numbers.tolist(), strict=True))
    return found


def _range(sizes: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Least width and height, greatest width and height."""
    (w0, h0), (w1, h1) = sizes.min(0).tolist(), sizes.max(0).tolist()
    return (w0, h0), (w1, h1)


def _others(layout: FolderLayout, read: Sequence[bool], split: str) -> dict[str, int]:
    """How many pictures are not read, by their part."""
    rest = [p for p, r in zip(layout.parts, read, strict=True) if not r]
    held = "test" if split == "train" else "train"
    counts = Counter(part if part not in ("", split) else held for part in rest)
    return {part: counts[part] for part in ("train", "validation", "test") if counts[part]}


def _levels(source: FileSource, wanted: Sequence[Entry]) -> tuple[int, int]:
    """The least and the greatest value of all pictures of 16 bits."""
    found = []
    for entry in wanted:
        seen = usable(source, entry, partial(decode, resolution=1, channels=1, name=entry.name))
        if isinstance(seen, DecodedPicture) and seen.depth:
            found.append(seen.depth)
    return (min(low for low, _ in found), max(high for _, high in found)) if found else FULL


def _say_dark(path: Path, depth: tuple[int, int] | None, levels: Levels) -> None:
    if depth is not None and levels == "full" and depth[1] < _DARK:
        warnings.warn(
            f"the pictures of 16 bits in {path} have values of {depth[0]:,} to {depth[1]:,} of "
            f"{FULL[1]:,}, so the brightest becomes {round(depth[1] / 257)} of 255; --levels used "
            "spreads them over black to white",
            UserWarning,
            stacklevel=3,
        )


def _decode_all(
    use: Callable[[Entry], DecodedPicture | str],
    wanted: Sequence[Entry],
    target: Path,
    progress: bool,
) -> None:
    def results() -> Iterator[tuple[Entry, DecodedPicture | str]]:
        with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                yield from zip(batch, pool.map(use, batch), strict=True)

    names, broken, sizes, several, grey = [], [], [], 0, 0
    deep: list[tuple[int, int]] = []
    with new_folder(target) as work:
        work.chmod(0o700)  # whoever may read the pictures need not be everyone
        with (work / "images.u8").open("wb") as file:
            what = f"decoding {many(len(wanted), 'picture')}"
            for entry, result in track(
                results(), what, total=len(wanted), disable=not progress, transient=True
            ):
                if isinstance(result, str):
                    broken.append([entry.name, result])
                else:
                    file.write(result.x.tobytes())
                    names.append(entry.name)
                    sizes.append(result.size)
                    deep += [result.depth] if result.depth else []
                    several += result.frames > 1
                    grey += result.grey
        info = {"names": names, "broken": broken, "sizes": sizes, "several": several}
        info["grey"] = grey
        if deep:
            info["depth"] = [min(low for low, _ in deep), max(high for _, high in deep)]
        (work / "info.json").write_text(json.dumps(info), "utf-8")


def _load(cached: Path, channels: int, height: int, width: int) -> _Decoded:
    try:
        info = json.loads((cached / "info.json").read_text("utf-8"))
        shape = (len(info["names"]), channels, height, width)
        size = (cached / "images.u8").stat().st_size
        if size != np.prod(shape, dtype=np.int64):
            raise ValueError(f"images.u8 has {size} bytes")
        images = (
            np.memmap(cached / "images.u8", np.uint8, "r", shape=shape)
            if size
            else np.zeros(shape, np.uint8)
        )
        broken = [(name, why) for name, why in info["broken"]]
        depth = info.get("depth")
        sizes, several, grey = info["sizes"], info["several"], info["grey"]
        return _Decoded(
            images, info["names"], broken, sizes, tuple(depth) if depth else None, several, grey
        )
    except (OSError, ValueError, KeyError) as error:
        raise SfumatoError(
            f"the decoded pictures in {cached} are damaged ({error}); delete that folder and they "
            "will be decoded again"
        ) from error
