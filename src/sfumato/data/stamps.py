"""Stamps of Tux Paint: photographs and drawings of single things, each with a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from sfumato.data.decode import BrokenImage, planes, whole
from sfumato.data.download import check
from sfumato.data.kept import keep, load_kept, split_of
from sfumato.data.packages import STAMPS
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, LabelAxis, Split, check_between, check_split
from sfumato.errors import SfumatoError

TOPICS: Final = (
    "animals", "clothes", "food", "hobbies", "household", "medical", "military", "naturalforces",
    "people", "plants", "seasonal", "space", "sports", "symbols", "town", "vehicles",
)  # fmt: skip
STAMP_AXES: Final = (LabelAxis("topic", TOPICS),)
_GENERATION = 1


def stamp_card(n: int, resolution: int, split: Split) -> DataCard:
    """Source, licence and size of n stamps."""
    return DataCard(
        name="stamps",
        source=f"Debian package {STAMPS.name} {STAMPS.version} (Tux Paint)",
        licence=STAMPS.licence,
        size=f"{n:,} {split} images, {resolution}x{resolution} RGB on white, 1 label axis, "
        "an English sentence each",
        note="Photographs and drawings mixed, of 19 to 2,348 pixels, enlarged where smaller. Split "
        "by file name, so variants of one thing (coins, chess pieces) are in both splits. "
        "11 mirrored variants without a sentence are left out.",
    )


def squared(data: bytes, resolution: int) -> np.ndarray:
    """The whole picture on a white square, uint8 (3, R, R).

    Transparent parts are composited on white, the shorter side is padded with white on both
    sides, and the square is resized with a Lanczos filter.

    Raises:
        BrokenImage: see `whole`.
    """
    picture = whole(data)
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return planes(square.resize((resolution, resolution), Image.Resampling.LANCZOS))


def _package(root: Path) -> Path:
    folder = root / STAMPS.key
    if not folder.is_dir():
        raise SfumatoError(
            f"the stamps are not in {folder}; run 'sfumato data fetch stamps' "
            f"({STAMPS.megabytes:g} MB)"
        )
    return folder


def _caption(picture: Path) -> str | None:
    """The first line of the text beside a picture, or None if there is none."""
    text = picture.with_suffix(".txt")
    if not text.is_file():
        return None
    lines = text.read_bytes().decode("utf-8", "replace").splitlines()
    return lines[0].strip() or None if lines else None


def _names(split: Split, folder: Path) -> list[str]:
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    return [n for n in found if split_of(n) == split and _caption(folder / n) is not None]


def _draw(kept: Path, split: Split, resolution: int, folder: Path, progress: bool) -> None:
    check(folder)
    names = _names(split, folder)
    labels = np.array([[TOPICS.index(name.split("/")[0])] for name in names], np.int64)

    def images() -> Iterator[np.ndarray]:
        for name in names:
            try:
                yield squared((folder / name).read_bytes(), resolution)
            except (BrokenImage, OSError) as error:
                raise SfumatoError(f"{folder / name} cannot be used: {error}") from error

    what = f"reducing {len(names):,} stamps to {resolution} px"
    keep(kept, images(), labels, resolution, what, progress, {"names": names})


def stamps(
    split: Split = "train",
    resolution: int = 64,
    root: Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """Stamps on white squares, with the axis "topic" (the folder they lie in).

    About a tenth of the files are for test (`split_of`). Reduced once into the data folder and
    read as a memory map afterwards.

    Args:
        split: "train" or "test".
        resolution: height and width R, 8..1024.
        root: the data folder; `data_root()` when None.
        progress: show a progress bar.

    Returns:
        images uint8 (N, 3, R, R), labels int64 (N, 1).

    Raises:
        UsageError: unknown split, or the resolution out of range.
        SfumatoError: the package is not there (the message says what to run), or something is
            damaged or cannot be written.
    """
    check_split(split)
    check_between("stamps: the resolution", resolution, 8, 1024)
    root = data_root() if root is None else root
    folder = root / "stamps-drawn" / f"{split}-{resolution}px-g{_GENERATION}"
    if not folder.is_dir():
        _draw(folder, split, resolution, _package(root), progress)
    kept = load_kept(folder)
    card = stamp_card(len(kept.images), resolution, split)
    return ImageSet("stamps", kept.images, kept.labels, STAMP_AXES, card)


def stamp_names(split: Split = "train", root: Path | None = None) -> tuple[str, ...]:
    """The files, such as "animals/amphibians/frog.png", in the order of the images of `stamps`.

    Raises:
        UsageError: unknown split.
        SfumatoError: the package is not there; the message says what to run.
    """
    check_split(split)
    return tuple(_names(split, _package(data_root() if root is None else root)))


def stamp_captions(split: Split = "train", root: Path | None = None) -> Sequence[str]:
    """One English sentence for each image of `stamps`, in their order.

    Raises:
        UsageError: unknown split.
        SfumatoError: the package is not there; the message says what to run.
    """
    names = stamp_names(split, root)
    folder = _package(data_root() if root is None else root)
    return tuple(_caption(folder / name) or "" for name in names)
