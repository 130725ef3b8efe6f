"""Errors that a user may meet: each is one sentence that says what to do.

The command line turns `UsageError` into exit status 2 and every other
`SfumatoError` into exit status 1, without a traceback unless ``--debug`` is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType


class SfumatoError(Exception):
    """Something failed; the message says what, and what can be done."""


class UsageError(SfumatoError, ValueError):
    """What was asked for makes no sense; the message says what was expected and what came."""


class MissingExtra(SfumatoError, ImportError):
    """An optional dependency is not installed; the message has the install line."""


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
