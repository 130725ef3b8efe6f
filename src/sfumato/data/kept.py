"""Images made once and kept in a folder: a memory map, labels, names, checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
from rich.progress import track

from sfumato.data.places import new_folder, sha256
from sfumato.errors import SfumatoError

Split: TypeAlias = Literal["train", "test"]


@final
@dataclass(frozen=True, eq=False)
class ImageCache:
    """What such a folder holds.

    Args:
        images: uint8 (N, 3, R, R), a read-only memory map.
        labels: int64 (N, A).
        names: what the images, or groups of them, are called.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


def split_of(name: str) -> Split:
    """The split a name belongs to: "test" for about one in ten, by a hash of the name alone."""
    digest = hashlib.sha256(f"sfumato split {name}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") % 10 == 0 else "train"


def seal(folder: Path, info: dict[str, Any]) -> None:
    """Writes info.json: what is given, and the checksums of all files in the folder."""
    sums = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    text = json.dumps({**info, "sha256": sums}, indent=1) + "\n"
    (folder / "info.json").write_text(text, "utf-8")


def unseal(folder: Path) -> dict[str, Any]:
    """What `seal` was given, after comparing every file with its checksum.

    Raises:
        OSError, ValueError, KeyError: a file is missing or was changed.
    """
    info: dict[str, Any] = json.loads((folder / "info.json").read_text("utf-8"))
    for name, digest in info["sha256"].items():
        if sha256(folder / name) != digest:
            raise ValueError(f"{name} does not have the checksum it was written with")
    return info


def write_array(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic], rows: Iterable[np.ndarray]
) -> None:
    """Write an array to a .npy file row by row, so that it is never held.

    Not through a memory map, in which a full disk ends the process without a word.

    Args:
        path: the file.
        shape: (N, ...).
        dtype: of what is written.
        rows: N of them, (...) each.

    Raises:
        OSError: the disk refuses.
        ValueError: another number of rows, or another shape.
    """
    n, *rest = shape
    with open(path, "wb") as out:
        np.lib.format.write_array_header_1_0(
            out,
            {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape},
        )
        for _, row in zip(range(n), rows, strict=True):
            if row.shape != tuple(rest):
                raise ValueError(f"expected rows of shape {tuple(rest)}, got {row.shape}")
            out.write(np.ascontiguousarray(row, dtype).tobytes())


def keep(
    folder: Path,
    images: Iterable[np.ndarray],
    labels: np.ndarray,
    resolution: int,
    what: str,
    progress: bool,
    info: Mapping[str, Any],
) -> None:
    """Makes the folder, all of it or nothing.

    Args:
        folder: which it will be; another process may make the same one at the same time.
        images: uint8 (3, R, R) each, as many as there are rows of labels.
        labels: see `ImageCache`.
        resolution: R.
        what: one phrase for the progress bar.
        progress: show it.
        info: what else info.json is to hold; ``names`` become those of the `ImageCache`.

    Raises:
        SfumatoError: the folder cannot be written. Whatever `images` raises passes through.
    """
    n = len(labels)
    with new_folder(folder) as work:
        shape = (n, 3, resolution, resolution)
        shown = track(images, what, total=n, disable=not progress, transient=True)
        write_array(work / "images.npy", shape, np.uint8, shown)
        np.save(work / "labels.npy", labels)
        seal(work, dict(info))


def load_kept(folder: Path) -> ImageCache:
    """What the folder holds, after comparing it with its checksums.

    Raises:
        SfumatoError: a file is missing or was changed.
    """
    try:
        info = unseal(folder)
        images = np.load(folder / "images.npy", mmap_mode="r")
        return ImageCache(images, np.load(folder / "labels.npy"), tuple(info.get("names", ())))
    except (OSError, ValueError, KeyError) as error:
        raise SfumatoError(
            f"the images in {folder} are damaged ({error}); delete that folder and they will be "
            "made again"
        ) from error
