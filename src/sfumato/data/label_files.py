"""Labels of pictures as numbers on axes: from the rows of a table, or the folders' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeAlias

import numpy as np

from sfumato.data.sets import LabelAxis
from sfumato.data.tables import CLASS_COLUMNS, TEXT_COLUMNS
from sfumato.errors import UsageError

Labelled: TypeAlias = tuple[np.ndarray | None, tuple[LabelAxis, ...]]
"""int64 (N, A), -1 for a picture without labels; and the axes."""


def labels_from_rows(
    rows: Sequence[Mapping[str, str] | None],
    columns: Sequence[str],
    all_rows: Sequence[Mapping[str, str]],
) -> Labelled:
    """Labels by the columns of a table. Values are sorted, numbers by size.

    Args:
        rows: of each picture its row, or None.
        columns: those that are labels.
        all_rows: of the table: also values that no picture has count.
    """
    axes = tuple(
        LabelAxis(column, tuple(sorted({row[column] for row in all_rows}, key=_numbers_by_size)))
        for column in columns
    )
    if not axes:
        return None, ()
    number = [{value: i for i, value in enumerate(axis.values)} for axis in axes]
    found = [
        [-1 if row is None else number[a][row[axis.name]] for a, axis in enumerate(axes)]
        for row in rows
    ]
    return np.array(found, np.int64).reshape(len(rows), len(axes)), axes


def labels_from_heads(heads: Sequence[str]) -> Labelled:
    """The first folder of each picture as its class, -1 where it is ""."""
    classes = sorted(set(heads) - {""}, key=_numbers_by_size)
    if len(classes) < 2:
        return None, ()
    number = {value: i for i, value in enumerate(classes)} | {"": -1}
    return np.array([[number[h]] for h in heads], np.int64), (LabelAxis("class", tuple(classes)),)


def labels_from_names(names: Sequence[str]) -> Labelled:
    """The files' names without ending and number as classes: ``cat`` of ``cat.12.jpg``."""
    stems = [PurePosixPath(name).stem for name in names]
    return labels_from_heads([re.sub(r"[-_. ()]*\d*[-_. ()]*$", "", stem) for stem in stems])


def label_columns(name: str, rows: Sequence[Mapping[str, str]], asked: str) -> tuple[str, ...]:
    """The columns of a table that are labels.

    Args:
        name: of the table; all columns of a `labels` file are labels, and of a file that was
            asked for. Else a column with a name like "label" is, or the only one if its values
            repeat.
        rows: of the table.
        asked: columns that the user named, separated by commas; or "auto".

    Raises:
        UsageError: a column that is not there, or none that is clearly the label.
    """
    columns = tuple(rows[0])
    if asked not in ("auto", name):
        wanted = tuple(word.strip() for word in asked.split(","))
        if missing := [word for word in wanted if word not in columns]:
            raise UsageError(
                f"--labels {asked}: {name} has no column {missing[0]!r}, but "
                f"{', '.join(columns) or 'none'}"
            )
        return wanted
    if name.rpartition("/")[2].lower().startswith(("labels.", "_classes.")):
        return columns
    if clear := tuple(c for c in columns if c.lower() in CLASS_COLUMNS):
        return clear
    unclear = tuple(c for c in columns if c.lower() not in TEXT_COLUMNS)
    if asked == name or (len(unclear) == 1 and 2 * len({r[unclear[0]] for r in rows}) <= len(rows)):
        return unclear
    if unclear:
        raise UsageError(
            f"{name} has the columns {', '.join(columns)}, and none is clearly the label; say "
            f"--labels {unclear[0]} (several are joined by commas), or --labels none"
        )
    return ()


def _numbers_by_size(value: str) -> tuple[int, str]:
    return (int(value), "") if value.isdecimal() and value.isascii() else (1 << 62, value)
