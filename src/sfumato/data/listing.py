"""The pictures in a folder or a zip file, by name, without decoding any."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar, final

from sfumato.data.decode import MAX_BYTES, BrokenImage
from sfumato.errors import SfumatoError, UsageError, reason
from sfumato.files.words import many

SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
"""Kinds that are read and written."""
READ: Final = (
    *SUFFIXES, ".apng", ".jpe", ".jfif", ".jif", ".mpo", ".dib", ".pbm", ".pnm", ".jp2", ".j2k",
    ".jpx", ".jpf", ".j2c", ".jpc", ".avif", ".avifs", ".heic", ".heif", ".hif", ".qoi", ".pcx",
    ".tga", ".vda", ".icb", ".vst",
)  # fmt: skip
"""Kinds that are read; some need an optional package."""
UNREAD: Final = (
    ".svg", ".psd", ".eps", ".jxl", ".exr", ".hdr", ".dcm", ".dicom", ".nii", ".dng", ".cr2",
    ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".xcf", ".ico", ".pfm",
)  # fmt: skip
"""Kinds of pictures that are not read."""
T = TypeVar("T")


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


def plain_name(name: str) -> str:
    """A file's name with "/" between folders and nothing before the first."""
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


@final
class FolderSource(FileSource):
    """A folder and everything below it.

    Args:
        path: the folder.
        follow: go into linked folders, but never into one that we are in already. A link to a
            file that is not there counts as a file of size -1.
    """

    def __init__(self, path: Path, follow: bool = False) -> None:
        self.path, self.follow = path, follow

    def entries(self) -> Sequence[Entry]:
        """See `FileSource`. Raises SfumatoError if a folder cannot be opened."""
        found = []
        left = [(self.path, frozenset({os.path.realpath(self.path)}))]
        while left:
            folder, above = left.pop()
            try:
                here = list(os.scandir(folder))
            except OSError as error:
                raise SfumatoError(f"{folder} cannot be opened: {reason(error)}") from error
            for item in here:
                path = Path(item.path)
                name = path.relative_to(self.path).as_posix()
                if _is_hidden(name):
                    continue
                try:
                    inside, file = item.is_dir(follow_symlinks=self.follow), item.is_file()
                    real, status = os.path.realpath(path), item.stat() if file else None
                except OSError:  # a link that leads in a circle
                    inside, real, status = False, "", None
                if inside and real not in above:
                    left.append((path, above | {real}))
                elif status is not None:
                    found.append(Entry(name, status.st_size, status.st_mtime_ns))
                elif self.follow and not inside and item.is_symlink():
                    found.append(Entry(name, -1, 0))
        return sorted(found, key=lambda entry: entry.name)

    def read(self, name: str) -> bytes:
        """See `FileSource`."""
        return (self.path / name).read_bytes()


@final
class ZipSource(FileSource):
    """A zip file, read where it lies. Folders may be separated by "\\\\" or "/"."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise SfumatoError(f"{path} cannot be opened as a zip file: {error}") from error

        self.infos = {
            name: info
            for info in self.zip.infolist()
            if not (name := plain_name(info.filename)).endswith("/") and not _is_hidden(name)
        }

    def entries(self) -> Sequence[Entry]:
        """See `FileSource`."""
        found = [Entry(name, info.file_size, info.CRC) for name, info in self.infos.items()]
        return sorted(found, key=lambda entry: entry.name)

    def read(self, name: str) -> bytes:
        """See `FileSource`."""
        return self.zip.read(self.infos[name])


def open_source(path: Path) -> FileSource:
    """The folder or zip file at `path`.

    Raises:
        UsageError: there is nothing there, or neither a folder nor a `.zip`.
        SfumatoError: a zip file that cannot be opened.
    """
    if path.is_dir():
        return FolderSource(path, follow=True)
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a folder or a .zip file of pictures")
    if path.suffix.lower() != ".zip":
        raise UsageError(f"{path} is neither a folder nor a .zip file")
    return ZipSource(path)


def pictures(
    entries: Sequence[Entry], path: Path | None = None, endings: tuple[str, ...] = READ
) -> list[Entry]:
    """Those entries that are pictures by their ending; UsageError if ``path`` has none."""
    found = [entry for entry in entries if entry.name.lower().endswith(endings)]
    if path is not None and not found:
        others = ", ".join(f"{n:,} {kind}" for kind, n in left_out(entries).items())
        zips = [entry.name for entry in entries if entry.name.lower().endswith(".zip")]
        raise UsageError(
            f"{path} holds no pictures (files ending in {' '.join(endings)})"
            + (f", but {others}" if others else "")
            + (f"; give the path of a zip file, as {zips[0]}" if zips else "")
        )
    return found


def left_out(entries: Sequence[Entry], used: Container[str] = ()) -> dict[str, int]:
    """How many files are no pictures, by their ending, the most frequent first.

    Files of the names in ``used`` were read for something else.
    """
    rest = (entry.name for entry in entries if entry.name not in used)
    kinds = (PurePosixPath(name).suffix.lower() or "without an ending" for name in rest)
    return {k: n for k, n in Counter(kinds).most_common() if not k.endswith(READ)}


def unread(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Pictures of kinds that are not read, as (name, reason)."""
    why = "this kind of picture is not read; convert it to PNG or TIFF"
    return [(entry.name, why) for entry in entries if entry.name.lower().endswith(UNREAD)]


def listing_digest(entries: Sequence[Entry]) -> str:
    """16 hexadecimal digits that follow from the names and sizes, wherever the folder lies."""
    top = common_folder([entry.name for entry in entries])
    pairs = [[entry.name.removeprefix(top), entry.size] for entry in entries]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]


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
    what = f"{len(broken)} of {many(len(broken) + used, 'picture')} in {path}"
    if not used:
        raise SfumatoError(f"none of the pictures in {path} can be used:\n{listed}")
    if not skip:
        raise SfumatoError(
            f"{what} cannot be used (remove them, or go on without them by --skip-broken):\n"
            f"{listed}"
        )
    warnings.warn(f"{what} are left out:\n{listed}", UserWarning, stacklevel=stacklevel)
