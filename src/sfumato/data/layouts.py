"""How the pictures of a folder are arranged: parts for training and test, classes, label files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from sfumato.data.label_files import (
    label_columns,
    labels_from_heads,
    labels_from_names,
    labels_from_rows,
)
from sfumato.data.listing import Entry, FileSource, common_folder
from sfumato.data.loose_tables import loose_table
from sfumato.data.parts import PART_WORDS, parts_of
from sfumato.data.sets import LabelAxis
from sfumato.data.tables import Table, find_table
from sfumato.errors import UsageError
from sfumato.files.words import many

_BESIDE: Final = {
    "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation",
    "segmentations", "segmentationclass", "segmentationobject", "depth", "gt", "groundtruth",
    "ground_truth", "trimaps", "seg",
}  # fmt: skip
"""Folders of pictures that belong to pictures, pixel by pixel."""
_IMAGES: Final = {"image", "images", "imgs", "img", "jpegimages", "photos", "pictures", "input"}


@final
@dataclass(frozen=True)
class FolderLayout:
    """How pictures are arranged.

    Args:
        name: what was recognised, in words.
        parts: of each picture "train", "validation", "test" or "" where nothing says so.
        labels: int64 (N, A), -1 where a picture has none; None where no picture has any.
        axes: the A label axes.
        notes: what was found and is not used.
        tables: names of the label files.
    """

    name: str
    parts: tuple[str, ...]
    labels: np.ndarray | None = None
    axes: tuple[LabelAxis, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def layout_of(
    source: FileSource, entries: Sequence[Entry], names: Sequence[str], labels: str = "auto"
) -> FolderLayout:
    """How the pictures ``names`` among the files ``entries`` are arranged.

    Args:
        source: where label files are read.
        entries: all files.
        names: of the pictures among them.
        labels: "auto"; "none"; "folders", where every folder at the top is a class, also one
            called train; "names", see `labels_from_names`; or the name of a label file, or of
            columns of one, joined by commas.

    Raises:
        UsageError: label files that cannot be read, or folders that may be one thing or another.
    """
    top = common_folder([entry.name for entry in entries])
    inside = [name.removeprefix(top) for name in names]
    if labels == "folders":
        found, axes = labels_from_heads([_head(name) for name in inside])
        return FolderLayout("folders as classes", ("",) * len(inside), found, axes)
    parts, rest = parts_of(inside, refuse=labels not in ("none", "names"))
    if labels == "none":
        return FolderLayout(f"without classes{_around(parts)}", parts)
    if labels == "names":
        found, axes = labels_from_names(rest)
        return FolderLayout(f"classes by the files' names{_around(parts)}", parts, found, axes)
    inner = [entry for entry in entries if entry.name.startswith(top)]
    table = find_table(source, inner, top, inside, parts, labels)
    if table is None:
        file, notes = loose_table(source, inner, top, inside, labels)
        table = find_table(source, inner, top, inside, parts, file) if file else None
        table = table or Table("", {}, (), notes)
    notes = table.notes
    if table.rows:
        parts, table = _parts_by_column(table, parts, inside)
        columns = label_columns(table.name, table.all, labels)
        if columns:
            _all_labelled(table, inside, parts)
            rows = [table.rows.get(name) for name in inside]
            found, axes = labels_from_rows(rows, columns, table.all)
            files = tuple(top + file for file in table.files)
            return FolderLayout(f"{table.name}{_around(parts)}", parts, found, axes, notes, files)
        notes += (f"no classes: {table.name} has texts but no labels",)
        return FolderLayout(f"without classes{_around(parts)}", parts, notes=notes)
    if labels != "auto":
        why = "; ".join(notes) or "there is no label file"
        raise UsageError(f"--labels {labels}: {why}; say auto, folders or none")
    shared = common_folder(rest)
    layout = _by_folders([name.removeprefix(shared) for name in rest], parts, notes)
    if layout.labels is None:
        return layout
    used = {part for name in inside for part in name.split("/")[:-1]}
    others = {f.name.removeprefix(top).split("/")[-2] for f in inner if "/" in f.name[len(top) :]}
    bare = sorted(others - used)
    note = f"folders without pictures: {_some(bare)}"
    return replace(layout, notes=(*layout.notes, note)) if bare else layout


def _around(parts: Sequence[str]) -> str:
    there = [part for part in PART_WORDS if part in parts]
    return f" in {'/'.join(there)}" if there else ""


def _head(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def _by_folders(
    rest: Sequence[str], parts: tuple[str, ...], notes: tuple[str, ...]
) -> FolderLayout:
    """Classes by the first folder of names from which parts and common folders were removed."""
    heads = [_head(name) for name in rest]
    for part in set(parts):  # train/cat/1.png beside test/images/1.png
        of_part = {h for h, p in zip(heads, parts, strict=True) if p == part}
        if len(of_part) == 1 and next(iter(of_part)).lower() in _IMAGES and set(heads) - of_part:
            heads = ["" if p == part else h for h, p in zip(heads, parts, strict=True)]
    lower = {head.lower() for head in heads}
    if len(lower) <= 6 and lower & _BESIDE and lower & _IMAGES:
        raise UsageError(
            f"the folders {_some(heads)} look like pictures and their masks, not like classes; "
            "give the path of the pictures, or say --labels folders if they are classes"
        )
    if _are_shards(heads, rest):
        return FolderLayout(
            f"without classes, in numbered folders{_around(parts)}", parts, notes=notes
        )
    found, axes = labels_from_heads(heads)
    for part in set(parts):
        lone = [n for n, h, p in zip(rest, heads, parts, strict=True) if p == part and not h]
        if found is not None and 0 < len(lone) < parts.count(part):
            notes += (f"no classes: {many(len(lone), 'picture')} beside the folders ({lone[0]})",)
            found, axes = None, ()
    name = "without classes" if found is None else "class folders"
    return FolderLayout(f"{name}{_around(parts)}", parts, found, axes, notes)


def _some(names: Sequence[str]) -> str:
    found = sorted(set(names) - {""})
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _are_shards(heads: Sequence[str], names: Sequence[str]) -> bool:
    """Whether folders like 00000, 00001 only hold so many pictures each, as EDM's do.

    Raises:
        UsageError: they may be classes as well.
    """
    folders = sorted(set(heads))
    digits = all(len(f) >= 4 and f.isdecimal() and len(f) == len(folders[0]) for f in folders)
    if not digits or len(folders) < 2 or not folders[0].startswith("0"):
        return False
    if len({name.rpartition("/")[2] for name in names}) < len(names):
        return False  # numbered anew in each folder: the numbers are classes
    counts = Counter(heads)
    most = counts[folders[0]]
    if most > 1 and all(counts[f] == most for f in folders[:-1]) and counts[folders[-1]] <= most:
        return True
    raise UsageError(
        f"the folders {_some(heads)} may be classes or only shards, and no dataset.json tells; "
        "say --labels folders or --labels none"
    )


def _parts_by_column(
    table: Table, parts: tuple[str, ...], inside: Sequence[str]
) -> tuple[tuple[str, ...], Table]:
    """Parts that a column "split" or "is_valid" tells, which is then no label."""
    for column in ("split", "is_valid", "is_test"):
        values = {row.get(column, "") for row in table.all}
        if column == "split":
            words = {value: PART_WORDS.get(value.lower(), "") for value in values}
        else:
            other = "validation" if column == "is_valid" else "test"
            truth = {"true": other, "1": other, "false": "train", "0": "train"}
            words = {value: truth.get(value.lower(), "") for value in values}
        if any(parts) or not all(words.values()):
            continue
        parts = tuple(words[table.rows[n][column]] if n in table.rows else "" for n in inside)
        table = table.without(column)
    return parts, table


def _all_labelled(table: Table, inside: Sequence[str], parts: Sequence[str]) -> None:
    """Every picture has a row, except that none of the test part need have one."""
    labelled = Counter(p for n, p in zip(inside, parts, strict=True) if n in table.rows)
    missing = [
        n
        for n, p in zip(inside, parts, strict=True)
        if n not in table.rows and (labelled[p] or p in ("", "train"))
    ]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise UsageError(
            f"{table.name} has no label for {', '.join(missing[:5])}{more} (--labels none reads "
            "the pictures without labels)"
        )
