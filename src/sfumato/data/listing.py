"""The pictures in a folder or a zip file, by name, without decoding any."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, final

from sfumato.errors import SfumatoError, UsageError

SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
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


def pictures(entries: Sequence[Entry]) -> list[Entry]:
    """Those entries that are pictures by their ending."""
    return [entry for entry in entries if entry.name.lower().endswith(SUFFIXES)]


def common_folder(names: Sequence[str]) -> str:
    """The folder all names lie in, "" or ending in "/": zip files often hold one top folder."""
    heads = [name.split("/")[:-1] for name in names]
    shared = os.path.commonprefix(heads) if heads else []
    return "".join(part + "/" for part in shared)
