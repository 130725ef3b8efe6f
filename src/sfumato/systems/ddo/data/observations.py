"""Values at scattered points, from a CSV file with the coordinates in their units."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from sfumato.errors import UsageError, reason
from sfumato.systems.ddo.data.base import Frame
from sfumato.systems.ddo.nn.harmonic import Domain


@final
@dataclass(frozen=True, eq=False)
class Observations:
    """Observations of one quantity at scattered points.

    Args:
        points: float64 (P, d), in the unit box.
        values: float64 (P,), in the quantity's units.
        quantity: which one.
    """

    points: np.ndarray
    values: np.ndarray
    quantity: str


def read_observations(path: Path, frame: Frame) -> Observations:
    """Read a CSV file with one column for each axis of the frame, and one named as a quantity.

    Other columns are passed over, rows without a value left out. Coordinates are in the units of
    the axes; on a periodic box they may lie beyond it.

    Raises:
        UsageError: no such file, columns that are missing, two quantities, words where numbers
            should be, points outside the box, no row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why: object = reason(error) if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            why = "expected a text in UTF-8"
        raise UsageError(f"cannot read the observations {path}: {why}") from None
    names = list(rows[0]) if rows else []
    axes = [axis.name for axis in frame.axes]
    known = [q.name for q in frame.quantities]
    quantities = [name for name in known if name in names]
    if any(name not in names for name in axes) or len(quantities) != 1:
        raise UsageError(
            f"{path}: expected columns {', '.join(axes)} and one of {', '.join(known)}, got "
            f"{', '.join(map(str, names)) or 'no rows'} (the first line has the names, with commas "
            "between them)"
        )
    quantity = quantities[0]
    table = []
    for number, row in enumerate(rows, start=2):
        if not (row[quantity] or "").strip():
            continue
        try:
            table.append([float(row[name]) for name in (*axes, quantity)])
        except (TypeError, ValueError):
            raise UsageError(
                f"{path}, line {number}: expected numbers, got "
                f"{[row[name] for name in (*axes, quantity)]}"
            ) from None
        if not all(map(math.isfinite, table[-1])):
            raise UsageError(f"{path}, line {number}: expected finite numbers, got {table[-1]}")
    if not table:
        raise UsageError(f"{path} has no observation of {quantity}")
    made = np.array(table, np.float64)
    starts = np.array([a.start for a in frame.axes])
    lengths = np.array([a.stop - a.start for a in frame.axes])
    points = (made[:, :-1] - starts) / lengths
    outside = ((points < 0) | (points > 1)).any(1)
    if frame.domain is Domain.REFLECTING and outside.any():
        where = ", ".join(f"{a.name} from {a.start:g} to {a.stop:g}" for a in frame.axes)
        raise UsageError(
            f"{path}: {int(outside.sum())} of {len(points)} points lie outside the box, {where}; "
            f"the first at {made[outside][0, :-1].tolist()}"
        )
    return Observations(points, made[:, -1], quantity)
