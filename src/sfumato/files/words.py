"""Numbers as people read them."""

from __future__ import annotations


def many(n: int, what: str, plural: str = "") -> str:
    """``n`` and its noun: "1 picture", "2,000 pictures".

    Args:
        n: how many.
        what: the noun of one.
        plural: the noun of several; by default with an "s".
    """
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def size(n: float) -> str:
    """Bytes with a unit: "980 bytes", "1.5 kB", "12 MB", "7.1 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= unit:
            return f"{n / unit:,.{0 if n >= 10 * unit else 1}f} {name}"
    return many(round(n), "byte")
