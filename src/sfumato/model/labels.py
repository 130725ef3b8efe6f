"""Labels as people give them: names, numbers, lists of them, or ``style=micah+lorelei``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UsageError, unknown

Axes = Sequence[tuple[str, tuple[str, ...]]]
"""The name and the values of each label axis."""

ANY = "any"
"""The word for "no label": the model is not told anything about this axis."""


@final
@dataclass(frozen=True)
class Labelled:
    """The labels of all samples: int64 (N, A), with the name and values of each axis."""

    labels: NDArray[np.int64]
    axes: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def words(self, i: int) -> list[str]:
        """The labels of sample ``i`` by name; empty where it has none on an axis."""
        row = self.labels[i].tolist()
        return [
            values[v] if v < len(values) else ""
            for v, (_, values) in zip(row, self.axes, strict=True)
        ]


def labels(wanted: Any, axes: Axes, n: int, seed: int | None = None) -> Labelled:
    """The labels of samples 0 .. n-1.

    Args:
        wanted: one of

            * a text that names one value per axis, by name or by number:
              ``axis=value,axis=value``, or only ``value`` where there is one axis. "any" tells
              the model nothing about the axis; "yes" and "no" do for an axis of "none" and
              something. Values joined by ``+`` take turns. A name that has one of ``,=+`` in it
              is given whole, with a backslash before the sign, or as JSON: ``"R+D"``,
              ``["R+D", "other"]`` for turns, ``{"axis": "value"}``. Where names are numbers,
              numbers are names.
            * a number, where there is one axis; the number of its values is "no label".
            * a list, array or tensor: (n,) or (1,) of numbers or of texts, or (n, A) or (1, A) of
              numbers.
            * None or "": an axis cycles through its values if it is the only one or ``seed`` is
              None, and is otherwise drawn. So do axes that a text does not name.
        axes: of the model.
        n: number of samples.
        seed: for axes that are drawn: of sample i from ``fold(seed, "label", axis, i)``.

    Raises:
        UsageError: labels that the model does not have; with the nearest names.
    """
    axes = tuple(axes)
    if wanted is None or isinstance(wanted, str):
        return Labelled(_from_text(wanted or "", axes, n, seed), axes)
    given = np.asarray(wanted.cpu() if hasattr(wanted, "cpu") else wanted)
    if given.dtype.kind in "UO":
        rows = [_from_text(str(word), axes, 1, seed) for word in given.ravel().tolist()]
        given = np.concatenate(rows) if rows else np.empty((0, len(axes)), np.int64)
    if not axes:
        raise UsageError(f"this model was trained without labels, got {wanted!r}")
    if given.ndim < 2 and len(axes) == 1:
        given = given.reshape(-1, 1)
    if given.dtype.kind not in "iu" or given.ndim != 2 or given.shape[1] != len(axes):
        raise UsageError(
            f"expected labels as names, or as whole numbers ({n}, {len(axes)}), one column for "
            f"each of {', '.join(name for name, _ in axes)}; got {given.dtype} {given.shape}"
        )
    if len(given) not in (1, n):
        raise UsageError(f"expected labels of 1 or {n} samples, got {len(given)}")
    for column, (name, values) in zip(given.T, axes, strict=True):
        if len(bad := column[(column < 0) | (column > len(values))]):
            raise _outside(name, values, str(bad[0]))
    return Labelled(np.broadcast_to(given, (n, len(axes))).astype(np.int64), axes)


def _from_text(text: str, axes: Axes, n: int, seed: int | None) -> NDArray[np.int64]:
    if text and not axes:
        raise UsageError(f"this model was trained without labels, got the label {text!r}")
    from sfumato.seeds import fold  # torch: not needed to read or write labels

    wanted = _wanted(text, axes)
    columns = np.empty((n, len(axes)), np.int64)
    for a, (name, values) in enumerate(axes):
        turns = wanted.get(name)
        if turns is None and len(axes) > 1 and seed is not None:
            columns[:, a] = [fold(seed, "label", name, i) % len(values) for i in range(n)]
        else:
            turns = list(range(len(values))) if turns is None else turns
            columns[:, a] = np.resize(np.array(turns, np.int64), n)
    return columns


def _wanted(text: str, axes: Axes) -> dict[str, list[int]]:
    """For each axis that a text names, the values that take turns."""
    table = dict(axes)
    wanted: dict[str, list[int]] = {}
    for axis, words in _parsed(text, axes):
        if axis is None and words == [ANY]:
            wanted.update({name: [len(values)] for name, values in axes})
            continue
        if axis is None:
            if len(axes) > 1:
                raise UsageError(
                    f"the label {text!r}: expected axis=value, with an axis of {', '.join(table)}"
                )
            axis = axes[0][0]
        if axis not in table:
            raise unknown("label axis", axis, table)
        if axis in wanted and words != [ANY]:
            raise UsageError(f"the label {text!r}: {axis!r} is given twice; join values by +")
        wanted[axis] = [_index(axis, word, table[axis]) for word in words]
    return wanted


def _parsed(text: str, axes: Axes) -> list[tuple[str | None, list[str]]]:
    """(axis, values that take turns) as a text names them; None for an axis it does not name."""
    text = text.strip()
    if len(axes) == 1 and text in axes[0][1]:
        return [(None, [text])]  # a name, whatever it is made of
    if text[:1] in ("{", "[", '"'):
        try:
            given = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the label {text!r} is no JSON: {error}") from error
        rows = given.items() if isinstance(given, dict) else [(None, given)]
        return [(a, [str(v) for v in (w if isinstance(w, list) else [w])]) for a, w in rows]
    found: list[tuple[str | None, list[str]]] = []
    for part in filter(str.strip, _split(text, ",")):
        axis, *rest = _split(part, "=", 1)
        values = [_unescaped(word) for word in _split(rest[0] if rest else part, "+")]
        found.append((_unescaped(axis) if rest else None, values))
    return found


def _split(text: str, mark: str, most: int = 0) -> list[str]:
    """Cut at each ``mark`` that no backslash stands before."""
    return re.split(rf"(?<!\\){re.escape(mark)}", text, maxsplit=most)


def _unescaped(word: str) -> str:
    return re.sub(r"\\([,=+])", r"\1", word.strip())


def _index(axis: str, word: str, values: tuple[str, ...]) -> int:
    """The place of a value: by its name, by what the name is without case and signs, by number."""
    if word in values:
        return values.index(word)
    letters = any(c.isalpha() for c in word)
    near = [i for i, value in enumerate(values) if letters and _plain(value) == _plain(word)]
    if len(near) > 1:
        names = " or ".join(repr(values[i]) for i in near)
        raise UsageError(f"the label {axis!r}: is {word!r} {names}? Give the name as it is")
    if near:
        return near[0]
    if word == ANY:
        return len(values)
    if len(values) == 2 and _plain(values[0]) in ("no", "none") and word in ("yes", "no"):
        return int(word == "yes")
    if word.lstrip("-").isdigit():
        if any(value.isdigit() for value in values):  # a place would be taken for a name
            raise unknown(f"value of the label {axis!r}", word, values)
        if 0 <= int(word) < len(values):
            return int(word)
        raise _outside(axis, values, word)
    raise unknown(f"value of the label {axis!r}", word, values)


def _outside(axis: str, values: tuple[str, ...], got: str) -> UsageError:
    return UsageError(
        f"the label {axis!r} has the values 0 to {len(values) - 1} ({', '.join(values)}), got {got}"
    )


def _plain(word: str) -> str:
    return "".join(c for c in word.lower() if c.isalnum())
