"""Numbers as people read them."""

from __future__ import annotations

import re

from sfumato.errors import UsageError


def many(n: int, what: str, plural: str = "") -> str:
    """``n`` and its noun: "1 picture", "2,000 pictures".

    Args:
        n: how many.
        what: the noun of one.
        plural: the noun of several; by default with an "s".
    """
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def number(value: float) -> str:
    """A number in full: "100,000,000,000", "0.5"; only far from 1 with an exponent."""
    if isinstance(value, float) and (not value.is_integer() or abs(value) >= 1e15):
        return f"{value:g}"
    return f"{int(value):,}"


def valid(text: str, what: str) -> str:
    """``text``, unless there are bytes in it that are no characters.

    Raises:
        UsageError: there are (Python keeps them as lone surrogates).
    """
    if bad := re.search(r"[\ud800-\udfff]+", text):
        raise UsageError(f"{what} {text!r} is not text: expected UTF-8, got {bad[0]!r} in it")
    return text


def size(n: float) -> str:
    """Bytes with a unit: "980 bytes", "1.5 kB", "12 MB", "7.1 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= unit:
            return f"{n / unit:,.{0 if n >= 10 * unit else 1}f} {name}"
    return many(round(n), "byte")
