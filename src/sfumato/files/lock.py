"""One writer at a time: a lock on a folder that says who holds it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from sfumato.errors import SfumatoError
from sfumato.files.atomic import absent, unmake, unwritable

LOCK, OWNER = ".lock", ".lock-owner"


@contextmanager
def held(folder: Path, what: Path | None = None) -> Iterator[None]:
    """Hold ``folder``, which is made, for the block; the system lets go when the process ends.

    The empty file ``.lock`` stays: to delete it would let two in. A folder that was made for the
    block, or stands for another, is removed if it is empty after it.

    Args:
        folder: what is written, or a folder beside it that stands for it.
        what: what is written, if that is not ``folder``.

    Raises:
        SfumatoError: another process holds it, with its number, machine and since when; or the
            folder cannot be written.
    """
    owner, passing = folder / OWNER, what is not None or not folder.exists()
    missing = absent(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise SfumatoError(
            f"{what or folder} is being written by {_told(owner)}; wait for it or stop it, or "
            "choose another place (nothing was changed)"
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        me = {"process": os.getpid(), "machine": socket.gethostname(), "since": now}
        try:
            owner.write_text(json.dumps(me), "utf-8")
        except OSError as error:
            raise unwritable(folder, error) from error
        yield
    finally:
        owner.unlink(missing_ok=True)
        if passing and folder.is_dir() and not contents(folder):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
            unmake(missing)
        lock.release()


def contents(folder: Path) -> list[Path]:
    """What is in a folder besides its lock."""
    return [p for p in folder.iterdir() if p.name not in (LOCK, OWNER)]


def _told(owner: Path) -> str:
    try:
        found = json.loads(owner.read_text("utf-8"))
        return f"process {found['process']} on {found['machine']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
