"""The pictures in a folder or a zip file, by name, without decoding any."""

from __future__ import annotations

import os
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar, final

from sfumato.data.decode import MAX_BYTES, BrokenImage
from sfumato.errors import SfumatoError, UsageError

SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
T = TypeVar("T")
LABEL_FILES: Final = ("labels.csv", "labels.json")


@final
@dataclass(frozen=True)
class Entry:
    """One file: its name relative to the top with "/" between folders, bytes, version stamp."""

    name: str
    size: int
    stamp: int


class FileSource(ABC):
    """Somewhere that holds files by name."""

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """All files, hidden ones left out, sorted by name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            OSError, zipfile.BadZipFile, RuntimeError: it cannot be read.
        """


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


@final
class FolderSource(FileSource):
    """A folder and everything below it. Links to folders are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> Sequence[Entry]:
        """See `FileSource`."""
        found = []
        for folder, _, names in os.walk(self.path):
            for file in (Path(folder, name) for name in names):
                name = file.relative_to(self.path).as_posix()
                if not _is_hidden(name) and file.is_file():
                    status = file.stat()
                    found.append(Entry(name, status.st_size, status.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.name)

    def read(self, name: str) -> bytes:
        """See `FileSource`."""
        return (self.path / name).read_bytes()


@final
class ZipSource(FileSource):
    """A zip file, read where it lies."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise SfumatoError(f"{path} cannot be opened as a zip file: {error}") from error

    def entries(self) -> Sequence[Entry]:
        """See `FileSource`."""
        found = [
            Entry(info.filename, info.file_size, info.CRC)
            for info in self.zip.infolist()
            if not info.is_dir() and not _is_hidden(info.filename)
        ]
        return sorted(found, key=lambda entry: entry.name)

    def read(self, name: str) -> bytes:
        """See `FileSource`."""
        return self.zip.read(name)


def open_source(path: Path) -> FileSource:
    """The folder or zip file at `path`.

    Raises:
        UsageError: there is nothing there, or neither a folder nor a `.zip`.
        SfumatoError: a zip file that cannot be opened.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a folder or a .zip file of pictures")
    if path.suffix.lower() != ".zip":
        raise UsageError(f"{path} is neither a folder nor a .zip file")
    return ZipSource(path)


def pictures(entries: Sequence[Entry], path: Path | None = None) -> list[Entry]:
    """Those entries that are pictures by their ending; UsageError if ``path`` has none."""
    found = [entry for entry in entries if entry.name.lower().endswith(SUFFIXES)]
    if path is not None and not found:
        raise UsageError(f"{path} holds no pictures (files ending in {' '.join(SUFFIXES)})")
    return found


def common_folder(names: Sequence[str]) -> str:
    """The folder all names lie in, "" or ending in "/": zip files often hold one top folder."""
    heads = [name.split("/")[:-1] for name in names]
    shared = os.path.commonprefix(heads) if heads else []
    return "".join(part + "/" for part in shared)


def usable(source: FileSource, entry: Entry, use: Callable[[bytes], T]) -> T | str:
    """What ``use`` makes of a picture's bytes, or why the picture cannot be used."""
    try:
        if entry.size > MAX_BYTES:
            return f"{entry.size:,} bytes, more than {MAX_BYTES:,}"
        return use(source.read(entry.name))
    except (BrokenImage, OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
        return str(error) or type(error).__name__


def complain(
    path: Path, used: int, broken: Sequence[tuple[str, str]], skip: bool, stacklevel: int = 3
) -> None:
    """Say which pictures cannot be used, as (name, reason): a warning, or an error.

    Raises:
        SfumatoError: none can be used, or ``skip`` is False and there are some that cannot.
    """
    if not broken:
        return
    listed = "\n".join(f"  {name}: {reason}" for name, reason in broken)
    what = f"{len(broken)} of {len(broken) + used} pictures in {path}"
    if not used:
        raise SfumatoError(f"none of the pictures in {path} can be used:\n{listed}")
    if not skip:
        raise SfumatoError(
            f"{what} cannot be used (remove them, or go on without them by --skip-broken):\n"
            f"{listed}"
        )
    warnings.warn(f"{what} are left out:\n{listed}", UserWarning, stacklevel=stacklevel)
