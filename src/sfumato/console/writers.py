"""Where samples go: a sheet (.png, .webp), an array file (.npz) or a folder of PNG files.

Samples arrive in chunks, in order, and are never held all at once but for a sheet. What is
written carries a description of how it was made; a file or folder that carries one was made by
this program and may be made again, any other existing one is not overwritten without ``force``.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import SfumatoError, UsageError
from sfumato.files import pictures
from sfumato.files.atomic import beside, filled, whole, write
from sfumato.files.words import many, size
from sfumato.model.labels import Labelled

_SHEET = 1e9
"""Bytes of samples that one picture may show."""

About = Mapping[str, Any]
Chunks = Iterable[NDArray[Any]]


class Output(ABC):
    """A place to write samples: images uint8 (N, C, H, W) or points float32 (N, 2)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def ours(self) -> bool:
        """Whether what exists at the path was written by this program."""

    @abstractmethod
    def write(self, chunks: Chunks, shape: tuple[int, ...], labels: Labelled, about: About) -> None:
        """Write ``chunks``, which together have ``shape``, and how they were made."""

    def check(self, force: bool) -> None:
        """Raise UsageError when something that is not ours exists at the path."""
        if self.path.exists() and not force and not self.ours():
            raise UsageError(
                f"{self.path} exists and was not made by this command; choose another --out, "
                "or pass --force to overwrite it"
            )

    def room(self, shape: tuple[int, ...]) -> None:
        """Raise SfumatoError when samples of this shape (N, ...) do not fit where they go.

        Kept twice for a while: as finished parts and as the output.
        """
        place = self.path.absolute().parent
        while not place.exists():
            place = place.parent
        need, free = 2 * _bytes(shape), shutil.disk_usage(place).free
        if need > free:
            raise SfumatoError(
                f"{many(shape[0], 'sample')} {'takes' if shape[0] == 1 else 'take'} {size(need)} "
                f"while being drawn, and {size(free)} are free at {place}; free some space, choose "
                "another place, or draw fewer by --n"
            )


@final
class Sheet(Output):
    """One picture of all samples side by side, or a scatter plot of points."""

    def __init__(self, path: Path, columns: int | None = None) -> None:
        super().__init__(path)
        self.columns = columns

    def ours(self) -> bool:
        """Our pictures carry a description."""
        return pictures.described(self.path).startswith('{"sfumato"')

    def room(self, shape: tuple[int, ...]) -> None:
        """Raise UsageError when a sheet of them does not fit the memory."""
        if (need := _bytes(shape)) > _SHEET:
            raise UsageError(
                f"a sheet of {shape[0]:,} samples takes {need / 1e9:.1f} GB of memory; write them "
                "to an .npz or a folder, or draw fewer by --n"
            )

    def write(self, chunks: Chunks, shape: tuple[int, ...], labels: Labelled, about: About) -> None:
        """Write the picture, whole or not at all."""
        x = np.concatenate(list(chunks))
        if x.ndim == 2:
            groups = labels.labels[:, 0] if labels.labels.shape[1] else None
            picture = pictures.scatter(x, groups=groups)
        else:
            columns = self.columns or math.ceil(math.sqrt(len(x)))
            scale = None if len(x) <= 400 else 1
            picture = pictures.sheet(x, columns, scale=scale)
        pictures.save(picture, self.path, json.dumps(about))


@final
class Npz(Output):
    """numpy's .npz, written as the samples arrive: ``images`` or ``points``, ``labels``."""

    def ours(self) -> bool:
        """Our files hold an array ``about``."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                return "about.npy" in archive.namelist()
        except (OSError, zipfile.BadZipFile):
            return False

    def write(self, chunks: Chunks, shape: tuple[int, ...], labels: Labelled, about: About) -> None:
        """Stream the arrays into an uncompressed archive, whole or not at all."""
        small = {
            "labels": labels.labels,
            "label_names": np.array([name for name, _ in labels.axes], dtype=np.str_),
            "about": np.array(json.dumps(about)),
        }
        for name, values in labels.axes:
            small[f"values_{name}"] = np.array(values, dtype=np.str_)
        with whole(self.path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            images = len(shape) == 4
            with _member(archive, "images" if images else "points") as out:
                dtype = np.dtype(np.uint8 if images else np.float32)
                _header(out, shape, dtype)
                for chunk in chunks:
                    out.write(np.ascontiguousarray(chunk, dtype=dtype).tobytes())
            _arrays(archive, small)


@final
class Folder(Output):
    """A folder of ``000000.png``, ``000001.png``, ... with ``labels.csv`` and ``sample.json``."""

    def ours(self) -> bool:
        """Our folders hold ``sample.json``; an empty folder may be used too."""
        if not self.path.is_dir():
            return False
        return (self.path / "sample.json").is_file() or not any(self.path.iterdir())

    def write(self, chunks: Chunks, shape: tuple[int, ...], labels: Labelled, about: About) -> None:
        """Write the files; pictures of an earlier, longer run of this command are removed."""
        digits, i = max(6, len(str(shape[0] - 1))), 0
        with filled(self.path) as fresh:
            (fresh / "sample.json").write_text(json.dumps(about, indent=2), "utf-8")
            for chunk in chunks:
                for pixels in chunk:
                    data = pictures.encode(pictures.image(pixels))
                    (fresh / f"{i:0{digits}}.png").write_bytes(data)
                    i += 1
            if labels.axes:
                text = io.StringIO()
                rows = csv.writer(text, lineterminator="\n")
                rows.writerow(["file", *(name for name, _ in labels.axes)])
                for j in range(shape[0]):
                    rows.writerow([f"{j:0{digits}}.png", *labels.words(j)])
                (fresh / "labels.csv").write_text(text.getvalue(), "utf-8", newline="\n")
        while (stale := self.path / f"{i:0{digits}}.png").exists():
            stale.unlink()
            i += 1


@final
class Memory(Output):
    """Keeps the samples as an array ``x``; the path only names where parts of a run are kept."""

    x: NDArray[Any]

    def ours(self) -> bool:
        """Nothing is written there."""
        return True

    def write(self, chunks: Chunks, shape: tuple[int, ...], labels: Labelled, about: About) -> None:
        """Keep them."""
        self.x = np.concatenate(list(chunks))


def _bytes(shape: tuple[int, ...]) -> int:
    """Of images uint8 (N, C, H, W) or points float32 (N, d)."""
    return math.prod(shape) * (1 if len(shape) == 4 else 4)


def output(path: Path, columns: int | None = None) -> Output:
    """The output that the suffix of ``path`` asks for; ``columns`` are those of a sheet.

    Raises UsageError for a suffix that is none of them.
    """
    suffix = path.suffix.lower()
    if suffix in (".png", ".webp"):
        return Sheet(path, columns)
    if suffix == ".npz":
        return Npz(path)
    if suffix == "" or path.is_dir():
        return Folder(path)
    raise UsageError(
        f"--out {path}: expected .png or .webp (a sheet), .npz (arrays) or a folder; got {suffix!r}"
    )


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz, whole or not at all; the same arrays give the same bytes."""
    with whole(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        _arrays(archive, arrays)


class Parts:
    """Finished chunks of a long run, kept beside the output until it is complete.

    They let an interrupted run go on, and processes hand their work to the one that writes the
    output. Chunks made by another plan (model, seed, solver, ...) are thrown away.
    """

    def __init__(self, out: Path, plan: About) -> None:
        self.folder = beside(out, "parts")
        self._plan = json.dumps(plan, sort_keys=True)

    def prepare(self) -> None:
        """Make the folder, emptied unless its chunks belong to this plan."""
        plan = self.folder / "plan.json"
        if not plan.is_file() or plan.read_text() != self._plan:
            shutil.rmtree(self.folder, ignore_errors=True)
        write(plan, self._plan)

    def kept(self) -> str:
        """What there is to go on with, in a phrase; without any finished chunk it is removed."""
        if any(self.folder.glob("*.npy")):
            return f"finished batches are kept in {self.folder}; the same command goes on"
        self.remove()
        return ""

    def _file(self, indices: range) -> Path:
        return self.folder / f"{indices.start:09}-{indices.stop:09}.npy"

    def has(self, indices: range) -> bool:
        """Whether the chunk of these samples is done."""
        return self._file(indices).is_file()

    def write(self, indices: range, chunk: NDArray[Any]) -> None:
        """Keep a finished chunk."""
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.ascontiguousarray(chunk), allow_pickle=False)
        write(self._file(indices), buffer.getvalue())

    def read(self, chunks: Sequence[range]) -> Chunks:
        """The chunks, one after the other."""
        for indices in chunks:
            yield np.load(self._file(indices), allow_pickle=False)

    def remove(self) -> None:
        """Delete the folder, when the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _arrays(archive: zipfile.ZipFile, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, value in arrays.items():
        with _member(archive, name) as out:
            np.lib.format.write_array(out, np.asarray(value), allow_pickle=False)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    # a fixed date: the same samples give the same file, byte for byte
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    return archive.open(info, "w", force_zip64=True)


def _header(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        out, {"descr": description, "fortran_order": False, "shape": shape}
    )
