"""Values at scattered points, from a CSV file with the coordinates in their units."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from sfumato.data.tables import text_of
from sfumato.errors import UsageError, reason
from sfumato.systems.ddo.data.base import Axis, Frame, Quantity
from sfumato.systems.ddo.nn.harmonic import Domain

_SAME = 1e-6  # of the box: one place
_BEYOND = 6.0  # deviations of a difference of two errors
_CIRCLE = 360.0


@final
@dataclass(frozen=True, eq=False)
class Observations:
    """Observations of one quantity at scattered points.

    Args:
        points: float64 (P, d), in the unit box.
        values: float64 (P,), in the quantity's units.
        quantity: which one.
        source: what messages call them.
        lines: where each stands in the source, () if nowhere.
    """

    points: np.ndarray
    values: np.ndarray
    quantity: str
    source: str = "the observations"
    lines: tuple[int, ...] = ()

    def refuse_contradictions(self, noise: float) -> None:
        """Raise UsageError where values at one place differ by more than errors of ``noise`` do.

        One place is within a millionth of the box. The difference of two errors has the deviation
        √2 noise; six of these are allowed.
        """
        order = np.lexsort(np.round(self.points / _SAME).T)
        for first, second in zip(order[:-1], order[1:], strict=True):
            if np.abs(self.points[first] - self.points[second]).max() > _SAME:
                continue
            off = abs(float(self.values[first] - self.values[second]))
            if off > _BEYOND * math.sqrt(2) * noise:
                a, b = sorted((int(first), int(second)))
                where = f" (lines {self.lines[a]} and {self.lines[b]})" if self.lines else ""
                raise UsageError(
                    f"{self.source}: {self.quantity} is both {self.values[a]:g} and "
                    f"{self.values[b]:g} at one place{where}, which errors of {noise:.3g} do not "
                    "explain, and no field has two values; leave one out, give their mean, or say "
                    f"an error (noise) of about {off / math.sqrt(2):.3g}"
                )


def read_observations(path: Path, frame: Frame) -> tuple[Observations, ...]:
    """Read a CSV file with one column for each axis of the frame, and some named as quantities.

    Names are found in any case, and with their units in brackets: "Lat", "rain [mm]"; axes also by
    their long and standard names. Other columns are passed over, and so are values that are not
    given. Coordinates are in the units of the axes; on a periodic box they may lie beyond it, and
    longitudes may count from -180 or from 0. Commas, semicolons (then with decimal commas, too) or
    tabs separate the columns.

    Returns:
        for each quantity that is observed, in the order of the frame.

    Raises:
        UsageError: no such file, columns that are missing or stand twice, words where numbers
            should be, points outside the box, no row.
    """
    names, rows, comma = _rows(path)
    axes = [_column(path, names, axis) for axis in frame.axes]
    columns = {q.name: i for q in frame.quantities if (i := _column(path, names, q)) is not None}
    if None in axes or not columns:
        got = ", ".join(names) if rows else "no rows"
        wanted, known = ([a.name for a in part] for part in (frame.axes, frame.quantities))
        one = "one of " if len(known) == 1 else "one or more of "
        raise UsageError(
            f"{path}: expected columns {', '.join(wanted)} and {one}{', '.join(known)}, got "
            f"{got} (the first line has the names, with commas between them)"
        )
    places = [i for i in axes if i is not None]
    found: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in columns}
    for number, row in rows:
        for name, i in columns.items():
            if i < len(row) and row[i].strip():
                words = [row[k] if k < len(row) else "" for k in (*places, i)]
                found[name].append((number, _floats(path, number, words, comma)))
    if not any(found.values()):
        raise UsageError(f"{path} has no observation of {' or '.join(columns)}")
    return tuple(_observations(path, frame, name, table) for name, table in found.items() if table)


def _observations(
    path: Path, frame: Frame, name: str, table: Sequence[tuple[int, list[float]]]
) -> Observations:
    """Of rows of coordinates and a value."""
    made = np.array([row for _, row in table], np.float64)
    at = np.stack([_within(a, made[:, i], frame.domain) for i, a in enumerate(frame.axes)], axis=1)
    starts = np.array([a.start for a in frame.axes])
    lengths = np.array([a.stop - a.start for a in frame.axes])
    points = (at - starts) / lengths
    outside = ((points < 0) | (points > 1)).any(1)
    if frame.domain is Domain.REFLECTING and outside.any():
        where = ", ".join(f"{a.name} from {a.start:g} to {a.stop:g}" for a in frame.axes)
        raise UsageError(
            f"{path}: {int(outside.sum())} of {len(points)} points lie outside the box, {where}; "
            f"the first at {made[outside][0, :-1].tolist()}"
        )
    lines = tuple(number for number, _ in table)
    return Observations(points, made[:, -1], name, str(path), lines)


def _within(axis: Axis, points: np.ndarray, domain: Domain) -> np.ndarray:
    """Longitudes beyond the box taken round the globe into it, where that is possible."""
    if domain is not Domain.REFLECTING or not axis.is_longitude:
        return points
    outside = (points < axis.start) | (points > axis.stop)
    return np.where(outside, axis.start + (points - axis.start) % _CIRCLE, points)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], bool]:
    """The names in the first line, the rows with their lines, and whether decimals have commas."""
    try:
        text = text_of(path.read_bytes())
        first, _, rest = text.partition("\n")
        skipped = first.strip().lower().startswith("sep=")  # a line of Excel's
        first, text = (rest.partition("\n")[0], rest) if skipped else (first, text)
        delimiter = max(",;\t|", key=first.count)
        reader = csv.reader(io.StringIO(text, ""), delimiter=delimiter, skipinitialspace=True)
        names = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num + skipped, row) for row in reader if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why: object = reason(error) if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            why = "expected a text in UTF-8 or UTF-16"
        raise UsageError(f"cannot read the observations {path}: {why}") from None
    return names, rows, delimiter != ","


def _column(path: Path, names: Sequence[str], what: Axis | Quantity) -> int | None:
    """The place of the column of an axis or a quantity, None if there is none.

    Raises:
        UsageError: several columns have the name.
    """

    def found(*words: str) -> list[int]:
        fold = {word.casefold() for word in words if word}
        return [i for i, name in enumerate(names) if name.casefold() in fold]

    exact = [i for i, name in enumerate(names) if name == what.name]
    units = [f"{what.name}{a}{what.units}{b}" for a, b in ((" [", "]"), (" (", ")"), ("[", "]"))]
    others = (what.long_name, what.standard_name) if isinstance(what, Axis) else ()
    for places in (exact, found(what.name), found(*units), found(*others)):
        if len(places) > 1:
            raise UsageError(
                f"{path}: {len(places)} columns are called {what.name} "
                f"({', '.join(names[i] for i in places)}); keep one of them"
            )
        if places:
            return places[0]
    return None


def _floats(path: Path, number: int, words: list[str], comma: bool) -> list[float]:
    """Finite numbers.

    Raises:
        UsageError: there are others.
    """
    try:
        made = [float(word.replace(",", ".") if comma else word) for word in words]
    except ValueError:
        raise UsageError(f"{path}, line {number}: expected numbers, got {words}") from None
    if not all(map(math.isfinite, made)):
        raise UsageError(f"{path}, line {number}: expected finite numbers, got {made}")
    return made
