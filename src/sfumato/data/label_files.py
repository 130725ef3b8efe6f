"""Labels of a folder of pictures: from `labels.csv`, `labels.json`, or the folders' names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from sfumato.data.sets import LabelAxis
from sfumato.errors import UsageError

Table: TypeAlias = Mapping[str, Mapping[str, str]]
Labelled: TypeAlias = tuple[np.ndarray | None, tuple[LabelAxis, ...]]


def read_table(name: str, data: bytes) -> Table:
    """What a label file says: file -> axis -> value.

    `labels.csv` has a header, the first column `file` and one column for each axis.
    `labels.json` is {"a.png": "cat"}, {"a.png": {"animal": "cat", "colour": "black"}}, or a list
    of objects like {"file": "a.png", "animal": "cat"}.

    Raises:
        UsageError: another form, files listed twice, or rows with different axes.
    """
    try:
        text = data.decode("utf-8-sig")
        rows = _csv_rows(text) if name.endswith(".csv") else _json_rows(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(
            f"{name} cannot be read ({error}); expected a CSV with the header 'file,label', or "
            'JSON like {"a.png": "cat"}'
        ) from error
    table: dict[str, Mapping[str, str]] = {}
    for file, values in rows:
        if file in table:
            raise UsageError(f"{name} lists {file} twice")
        if table and values.keys() != next(iter(table.values())).keys():
            raise UsageError(f"{name}: {file} has other label axes than the first file")
        table[file] = values
    if not table:
        raise UsageError(f"{name} lists no files")
    return table


def _csv_rows(text: str) -> list[tuple[str, Mapping[str, str]]]:
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    if len(header) < 2 or header[0] != "file":
        raise ValueError(f"the header is {','.join(header) or 'missing'}")
    rows: list[tuple[str, Mapping[str, str]]] = []
    for row in reader:
        if row and len(row) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(row)} columns, not {len(header)}")
        if row:
            rows.append((row[0], dict(zip(header[1:], row[1:], strict=True))))
    return rows


def _json_rows(content: object) -> list[tuple[str, Mapping[str, str]]]:
    if isinstance(content, list):
        content = {row["file"]: {k: v for k, v in row.items() if k != "file"} for row in content}
    if not isinstance(content, dict):
        raise ValueError("neither an object nor a list")
    return [
        (file, {k: str(v) for k, v in value.items()})
        if isinstance(value, dict)
        else (file, {"label": str(value)})
        for file, value in content.items()
    ]


def labels_from_table(names: Sequence[str], table: Table, source: str) -> Labelled:
    """Labels of the named pictures by a table. Values are sorted, numbers by size.

    Raises:
        UsageError: a picture is missing from the table; the message names it.
    """
    missing = [name for name in names if name not in table]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UsageError(f"{source} has no label for {', '.join(missing[:5])}{more}")
    axes = tuple(
        LabelAxis(axis, tuple(sorted({row[axis] for row in table.values()}, key=_numbers_by_size)))
        for axis in next(iter(table.values()))
    )
    rows = [[axis.index(table[name][axis.name]) for axis in axes] for name in names]
    return np.array(rows, np.int64).reshape(len(names), len(axes)), axes


def labels_from_folders(names: Sequence[str]) -> Labelled:
    """The first folder of each name as its class, if every name has one and there are several."""
    heads = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(heads), key=_numbers_by_size)
    if len(classes) < 2 or "" in classes:
        return None, ()
    axis = LabelAxis("class", tuple(classes))
    return np.array([[axis.index(head)] for head in heads], np.int64), (axis,)


def _numbers_by_size(value: str) -> tuple[int, str]:
    return (int(value), "") if value.isdecimal() and value.isascii() else (1 << 62, value)
