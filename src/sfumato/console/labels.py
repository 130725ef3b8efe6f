"""Labels on the command line: ``--label sneaker``, ``--label 3``, ``style=micah+lorelei``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sfumato.console.writers import Labelled
from sfumato.errors import UsageError, unknown

Axes = Sequence[tuple[str, tuple[str, ...]]]
Fold = Callable[[str, int], int]

ANY = "any"
"""The word for "no label": the model is not told anything about this axis."""


def labels(text: str, axes: Axes, n: int, fold: Fold | None = None) -> Labelled:
    """The labels of samples 0 .. n-1 that ``text`` asks for.

    ``text`` names one value per axis, by name or by number: ``axis=value,axis=value``, and only
    ``value`` where there is one axis. "any" tells the model nothing about the axis; "yes" and
    "no" do for an axis of "none" and something. Values joined by ``+`` take turns. An axis that
    is not named cycles through its values when it is the only one, and is otherwise drawn for
    sample i from ``fold(axis, i)``, a number that depends on the seed and i alone.

    Raises UsageError for labels that the model does not have.
    """
    axes = tuple(axes)
    if text and not axes:
        raise UsageError(f"this model was trained without labels, got --label {text}")
    wanted = _wanted(text, axes)
    columns = np.empty((n, len(axes)), np.int64)
    for a, (name, values) in enumerate(axes):
        turns = wanted.get(name)
        if turns is None and len(axes) > 1 and fold is not None:
            columns[:, a] = [fold(name, i) % len(values) for i in range(n)]
        else:
            turns = list(range(len(values))) if turns is None else turns
            columns[:, a] = np.resize(np.array(turns, np.int64), n)
    return Labelled(columns, axes)


def describe(axes: Axes) -> str:
    """The axes and their values in words, for messages."""
    return "; ".join(f"{name}: {', '.join(values)}" for name, values in axes)


def _wanted(text: str, axes: Axes) -> dict[str, list[int]]:
    table = dict(axes)
    wanted: dict[str, list[int]] = {}
    for word in filter(None, (w.strip() for w in text.split(","))):
        axis, equals, value = word.partition("=")
        if not equals:
            if word == ANY:
                wanted.update({name: [len(values)] for name, values in axes})
                continue
            if len(axes) > 1:
                names = ", ".join(table)
                raise UsageError(f"--label {word}: expected axis=value, with an axis of {names}")
            axis, value = axes[0][0], word
        axis = axis.strip()
        if axis not in table:
            raise unknown("label axis", axis, table)
        if axis in wanted and value != ANY:
            raise UsageError(f"--label {text}: {axis!r} is given twice; join values by +")
        wanted[axis] = [_index(axis, part.strip(), table[axis]) for part in value.split("+")]
    return wanted


def _index(axis: str, word: str, values: tuple[str, ...]) -> int:
    plain = {_plain(v): i for i, v in enumerate(values)}
    if _plain(word) in plain:
        return plain[_plain(word)]
    if word == ANY:
        return len(values)
    if len(values) == 2 and _plain(values[0]) in ("no", "none") and word in ("yes", "no"):
        return int(word == "yes")
    if word.lstrip("-").isdigit():
        if 0 <= int(word) < len(values):
            return int(word)
        raise UsageError(
            f"--label: {axis!r} has the values 0 to {len(values) - 1} ({', '.join(values)}), "
            f"got {word}"
        )
    raise unknown(f"value of the label {axis!r}", word, values)


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())
