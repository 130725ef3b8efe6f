"""Where data lives on this machine, and how a folder comes into being all at once."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfumato.files.atomic import whole

HINT = "set SFUMATO_DATA to a folder you can write to"


def data_root() -> Path:
    """The folder data is kept in: `$SFUMATO_DATA`, else this platform's user cache folder.

    Linux: `$XDG_CACHE_HOME/sfumato` or `~/.cache/sfumato`; macOS: `~/Library/Caches/sfumato`;
    Windows: `%LOCALAPPDATA%/sfumato`. Nothing is created.
    """
    if chosen := os.environ.get("SFUMATO_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sfumato"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "sfumato"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sfumato"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` when the block succeeds.

    On an exception nothing is left behind. If another process made `target` meanwhile, its
    folder stands and ours is dropped: both hold the same data, because folders are named
    after what is in them.

    Raises:
        SfumatoError: the folder cannot be written.
    """
    with whole(target, existing="keep", hint=HINT) as work:
        work.mkdir()
        yield work
