"""Errors that a user may meet: each is one sentence that says what to do.

The command line turns `UsageError` into exit status 2 and every other
`SfumatoError` into exit status 1, without a traceback unless ``--debug`` is given.
"""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType


class SfumatoError(Exception):
    """Something failed; the message says what, and what can be done."""


class UsageError(SfumatoError, ValueError):
    """What was asked for makes no sense; the message says what was expected and what came."""


class MissingExtra(SfumatoError, ImportError):
    """An optional dependency is not installed; the message has the install line."""


DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file may not be so large there",
    errno.EROFS: "the disk can only be read",
    errno.EIO: "the disk reports an error",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}
"""Why a disk refuses, by the number of the error."""

_PLAIN = DISK | {
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "something else has this name already",
    errno.EISDIR: "a folder has this name",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links lead in a circle",
    errno.EMFILE: "too many files are open",
    errno.ENOMEM: "not enough memory",
    errno.EINVAL: "the system does not allow it there",
}


def reason(error: OSError) -> str:
    """Why the system refused, in plain words."""
    number, text = error.errno, str(error)
    if number is None and (found := re.search(r"\berrno = (\d+)", text)):  # as HDF5 says it
        number = int(found[1])
    return _PLAIN.get(number or 0) or error.strerror or text or type(error).__name__


@contextmanager
def noting(kept: Callable[[], str]) -> Iterator[None]:
    """What stops the block (Ctrl-C, a full disk) gets a note of what is kept, and how to go on.

    The command line shows it after the error. Nothing is noted where ``kept`` gives "".
    """
    try:
        yield
    except (KeyboardInterrupt, OSError, SfumatoError) as stop:
        if not isinstance(stop, UsageError) and (note := kept()):
            stop.add_note(note)
        raise


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say in one sentence how to install it.

    Args:
        module: dotted name of the module to import.
        extra: name of sfumato's extra that brings it.

    Raises:
        MissingExtra: the module cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"this needs the package {module.partition('.')[0]!r}, which is not installed: "
            f"pip install 'sfumato[{extra}]'"
        ) from error


def unknown(kind: str, got: str, options: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest names that do."""
    import difflib  # slow to import for what is seldom needed

    names = sorted(options)
    near = difflib.get_close_matches(got.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    close = [n for n in names if n.lower() in near]
    if close:
        return UsageError(f"unknown {kind} {got!r}; did you mean {' or '.join(map(repr, close))}?")
    return UsageError(f"unknown {kind} {got!r}; there are: {', '.join(names) or 'none'}")
