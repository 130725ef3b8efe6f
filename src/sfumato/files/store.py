"""A folder of files with checksums: how sfumato keeps checkpoints and shipped weights.

The folder is flat. Beside its files lies ``SHA256SUMS`` with one line ``<sha256>  <name>\\n`` per
file, sorted by name: the format of ``sha256sum``, so that ``sha256sum -c SHA256SUMS`` checks it
too. There is exactly one valid text for given contents, and reading compares byte for byte, so a
single changed bit anywhere, in a file or in the list itself, is found.

Nothing here runs code from the folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from sfumato.errors import SfumatoError, reason
from sfumato.files.atomic import whole

SUMS = "SHA256SUMS"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def sums(files: Mapping[str, bytes]) -> bytes:
    """The canonical text of ``SHA256SUMS`` for these files (name -> contents)."""
    digest = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return "".join(f"{digest[name]}  {name}\n" for name in sorted(digest)).encode("ascii")


def write_folder(
    path: str | os.PathLike[str],
    files: Mapping[str, bytes],
    *,
    replace: bool = False,
) -> Path:
    """Writes the files and their ``SHA256SUMS`` as the folder ``path``, all of it or nothing.

    See `sfumato.files.atomic.whole`: a crash leaves at worst a hidden sibling, which
    `sfumato.files.atomic.sweep` removes.

    Args:
        path: the folder.
        files: name -> contents.
        replace: replace a folder that is there; without it, one raises.

    Raises:
        ValueError: no files, or a name that is not a plain file name.
        SfumatoError: the folder exists, or the disk refuses (full, read-only); what stood before
            still stands.
    """
    target = Path(path).absolute()
    if not files:
        raise ValueError("a folder needs at least one file, got none")
    for name in files:
        if not _NAME.fullmatch(name) or name == SUMS:
            raise ValueError(f"expected a plain file name (letters, digits, . _ -), got {name!r}")
    with whole(target, existing="replace" if replace else "refuse") as fresh:
        fresh.mkdir()
        for name, data in (*files.items(), (SUMS, sums(files))):
            with open(fresh / name, "wb") as out:
                out.write(data)
    return target


def read_folder(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Reads every file of a folder after checking all of them; name -> contents.

    What is returned are the very bytes that were checked.

    Raises:
        SfumatoError: not a folder, ``SHA256SUMS`` missing or damaged, or a file missing, not
            listed, unreadable, or different from its checksum. The message names the file.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise SfumatoError(f"expected a folder with {SUMS}, but {folder} is not a folder")
    try:
        present = sorted(entry.name for entry in os.scandir(folder))
        if SUMS not in present:
            raise SfumatoError(f"{folder}: {SUMS} is missing, so the files cannot be checked")
        text = (folder / SUMS).read_bytes()
        listed = _listed(folder, text)
        for name in present:
            if name != SUMS and name not in listed:
                raise SfumatoError(f"{folder}: {name} is not listed in {SUMS}; remove it")
        for name in listed:
            if name not in present or not (folder / name).is_file():
                raise SfumatoError(f"{folder}: {name} is listed in {SUMS} but is not there")
        files = {name: (folder / name).read_bytes() for name in listed}
    except OSError as error:
        where = error.filename or folder
        raise SfumatoError(f"could not read {where}: {reason(error)}") from error
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != listed[name]:
            raise SfumatoError(
                f"{folder}: {name} ({len(data)} bytes) does not match its checksum in {SUMS}; "
                "the file is damaged or was changed, copy or download it again"
            )
    if sums(files) != text:
        raise SfumatoError(f"{folder}: {SUMS} is damaged; copy or download the folder again")
    return files


def _listed(folder: Path, text: bytes) -> dict[str, str]:
    """Parses ``SHA256SUMS`` into name -> digest; anything but the canonical form raises."""
    listed: dict[str, str] = {}
    for line in text.decode("latin-1").splitlines(keepends=True):
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)\n", line)
        if match is None or not _NAME.fullmatch(match.group(2)) or match.group(2) in listed:
            raise SfumatoError(
                f"{folder}: {SUMS} is damaged at the line {line[:100]!r}; "
                "copy or download the folder again"
            )
        listed[match.group(2)] = match.group(1)
    if not listed:
        raise SfumatoError(f"{folder}: {SUMS} is empty; copy or download the folder again")
    return listed
