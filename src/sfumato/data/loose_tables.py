"""Tables beside pictures whose names say nothing, such as ``findings.csv``."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.data.listing import Entry, FileSource
from sfumato.data.tables import CLASS_COLUMNS, TABLES, match, read_rows
from sfumato.errors import UsageError

_ENDINGS = (".csv", ".tsv", ".jsonl")
_MOST = 20
"""Files that are looked into."""


def loose_table(
    source: FileSource, entries: Sequence[Entry], top: str, names: Sequence[str], labels: str
) -> tuple[str, tuple[str, ...]]:
    """The table at the top that says the labels, or "" and what is said of those that might.

    A table counts if it names pictures. Columns that were asked for choose the table that has
    them; else it must be the only one with a column like "label".

    Args:
        source: where they are read.
        entries: all files.
        top: the folder that all lie in.
        names: of the pictures, below ``top``.
        labels: "auto", or columns, joined by commas.

    Raises:
        UsageError: several tables have the columns, or none has.
    """
    files = [entry.name.removeprefix(top) for entry in entries]
    loose = [f for f in files if "/" not in f and f.lower().endswith(_ENDINGS)]
    tables: dict[str, tuple[str, ...]] = {}
    for file in [f for f in loose if f.lower() not in TABLES][:_MOST]:
        try:
            rows = read_rows(top + file, source.read(top + file))
            if match(names, list(rows), file):
                tables[file] = tuple(next(iter(rows.values())))
        except UsageError:
            continue  # a table of something else
    wanted = [] if labels == "auto" else [word.strip() for word in labels.split(",")]
    if wanted:
        fit = [file for file, columns in tables.items() if set(wanted) <= set(columns)]
        if not fit and tables:
            raise UsageError(f"--labels {labels}: no table has it; {_described(tables)}")
    else:
        fit = [
            f for f, columns in tables.items() if {c.lower() for c in columns} & {*CLASS_COLUMNS}
        ]
    if len(fit) > 1:
        raise UsageError(f"{' and '.join(fit)} both name the pictures; say --labels {fit[0]}")
    if fit:
        return fit[0], ()
    if tables:
        return "", (f"{_described(tables)}; --labels COLUMN makes classes of one",)
    return "", ()


def _described(tables: dict[str, tuple[str, ...]]) -> str:
    found = (f"{file} has the columns {', '.join(columns)}" for file, columns in tables.items())
    return "; ".join(found)
