"""Files and folders that appear whole or not at all: a hidden sibling, flushed, then one rename."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from sfumato.errors import DISK, SfumatoError, UsageError, reason

_HINT = "choose a place that can be"
_FULL = {DISK[errno.ENOSPC], DISK[errno.EDQUOT]}


@contextmanager
def whole(
    path: str | os.PathLike[str],
    *,
    existing: Literal["replace", "keep", "refuse"] = "replace",
    hint: str = _HINT,
) -> Iterator[Path]:
    """A path ``.<name>.tmp-*`` beside ``path`` for the block to write a file or a folder to.

    When the block ends, everything in it is flushed to the disk (fsync) and one rename puts it in
    place; parents are made. Of a link what it leads to is replaced, and a file that is replaced
    keeps its mode. If the block raises, what it wrote is removed, with parents that were made for
    it, and ``path`` is as it was. A folder that is replaced is moved aside to ``.<name>.old-*``
    first and deleted last; a crash between the two renames leaves it there, complete, and `sweep`
    puts it back.

    Args:
        path: the file or folder that is to be.
        existing: what happens to a file or folder that is there when the block ends: "keep" drops
            what the block wrote (for folders named after what is in them), "refuse" raises, also
            before the block.
        hint: what to do if the place cannot be written to, at the end of the error.

    Raises:
        SfumatoError: the disk refuses (full, read-only, no permission), and why. Other
            exceptions of the block pass through.
        UsageError: something is there and ``existing`` is "refuse".
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    token = secrets.token_hex(4)
    fresh, old = (beside(target, f"{what}-{token}") for what in ("tmp", "old"))

    def check() -> None:
        if existing == "refuse" and target.exists():
            raise UsageError(f"{target} exists already; choose another name, or replace it")

    missing = absent(target)
    try:
        check()
        target.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        check()
        if fresh.is_file() and target.is_file():
            shutil.copymode(target, fresh)
        for inside in fresh.rglob("*") if fresh.is_dir() else ():
            _flush(inside)
        _flush(fresh)
        if fresh.is_dir() and target.exists() and existing == "replace":
            os.rename(target, old)
        try:
            os.replace(fresh, target)
        except OSError:
            if existing != "keep" or not target.is_dir():
                raise
        _flush(target.parent)
    except OSError as error:
        raise unwritable(target, error, hint) from error
    finally:
        if old.exists() and not target.exists():
            os.rename(old, target)
        for left in (fresh, old):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif left.exists():
                left.unlink()
        unmake(missing)


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A hidden folder beside ``folder`` whose files go into ``folder`` when the block ends.

    ``folder`` may hold other files, which stay. If the block raises, or the disk refuses, what it
    wrote is removed and ``folder`` is as it was. The files are not flushed one by one.

    Raises:
        SfumatoError: the disk refuses, and why.
    """
    folder = Path(os.path.realpath(folder))
    fresh = beside(folder, f"tmp-{secrets.token_hex(4)}")
    missing = absent(folder)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        folder.mkdir(exist_ok=True)
        for made in sorted(fresh.iterdir()):
            os.replace(made, folder / made.name)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        unmake(missing)


def beside(path: Path, ending: str) -> Path:
    """The hidden sibling ``.<name>.<ending>``; of a long name only as much as fits 255 bytes."""
    name, room = os.fsencode(path.name), 255 - len(f"..{ending}")
    # a character that is cut in the middle is left out; bytes that are no characters stay
    short = os.fsdecode(name[:room]) if len(name) <= room else name[:room].decode(errors="ignore")
    return path.with_name(f".{short}.{ending}")


def write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file (text as UTF-8), whole or not at all; raises SfumatoError as `whole`."""
    with whole(path) as fresh:
        fresh.write_bytes(data.encode() if isinstance(data, str) else data)


def probe(path: Path) -> None:
    """Find out now, and not after the work, whether ``path`` can be written; nothing is left.

    What is there is not touched, and no folder is made: a few bytes are written to a file without
    a name in the nearest folder that exists.

    Raises:
        SfumatoError: it cannot, and why.
    """
    try:
        place = path if path.is_dir() else path.parent
        while not place.exists() and place != place.parent:
            place = place.parent
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.NamedTemporaryFile(dir=place, prefix=".sfumato.tmp-", buffering=0) as file:
            file.write(bytes(64))
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError, hint: str = _HINT) -> SfumatoError:
    """The error for a place that cannot be written to."""
    why = reason(error)
    room = "free some space, or " if why in _FULL else ""
    return SfumatoError(f"{path} cannot be written ({why}); {room}{hint}")


def full(error: BaseException) -> bool:
    """Whether an error, or what it comes from, is a disk that takes nothing more."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and reason(cause) in (*_FULL, DISK[errno.EROFS])


def remove(folder: Path) -> None:
    """Delete a folder: out of sight by one rename, then file by file; raises OSError."""
    hidden = beside(folder, f"tmp-{secrets.token_hex(4)}")
    os.rename(folder, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(parent: str | os.PathLike[str]) -> list[Path]:
    """Clear up after writers that were killed in ``parent``; returns what it removed or restored.

    Half-written ``.<name>.tmp-*`` are removed; ``.<name>.old-*`` is put back if ``<name>`` is
    missing, and removed otherwise. Call it only while nobody else writes there.
    """
    done = []
    for entry in sorted(Path(parent).iterdir()):
        match = re.fullmatch(r"\.(.+)\.(tmp|old)-[0-9a-f]{8}", entry.name)
        if match is None:
            continue
        target = entry.parent / match[1]
        if match[2] == "old" and not target.exists():
            os.rename(entry, target)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
        done.append(entry)
    return done


def absent(path: Path) -> list[Path]:
    """The folders above ``path`` that are not there, the nearest first."""
    return [place for place in path.parents if not os.path.lexists(place)]


def unmake(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, up to the first that is not."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk (folders not on Windows)."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
