"""Several files of fields as one set: a folder, a pattern, or a list."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sfumato.errors import UsageError
from sfumato.systems.ddo.data.base import FieldSet, Frame, size_of
from sfumato.systems.ddo.options import ENDINGS

__all__ = ["files_of", "joined"]

_NEAR = 1e-3  # of a spacing


def files_of(source: str) -> list[Path]:
    """The files that a path means: one, or several in the order of their names and numbers.

    Args:
        source: the path of a file; of a folder, whose files of fields are meant; a pattern with *,
            ? or [...], ** for folders within; or several of these with commas between them.

    Returns:
        the paths; the one that was given where there is nothing, for whoever reads it to say so.

    Raises:
        UsageError: a folder without files of fields, or a pattern that nothing fits.
    """
    path = Path(source)
    if path.is_dir() and path.suffix.lower() not in ENDINGS:
        found = [p for p in path.iterdir() if p.suffix.lower() in ENDINGS]
        if not found:
            raise UsageError(f"{source}: no file in this folder ends in {', '.join(ENDINGS)}")
        return sorted(found, key=_numbered)
    if path.exists():
        return [path]
    if any(mark in source for mark in "*?["):
        found = [Path(name) for name in glob.glob(source, recursive=True)]
        if not found:
            raise UsageError(f"{source}: no file fits this pattern")
        return sorted(found, key=_numbered)
    if "," in source:
        words = [word.strip() for word in source.split(",") if word.strip()]
        return [file for word in words for file in files_of(word)]
    return [path]


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Names in their order, with part2 before part10."""
    words = re.split(r"(\d+)", str(path))
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words]


def joined(source: str, files: Sequence[Path], read: Callable[[Path], FieldSet]) -> FieldSet:
    """The fields of all files, one after the other.

    Raises:
        UsageError: files of other variables, units, grids or borders; the message names both.
    """
    first = read(files[0])
    if len(files) == 1:
        return first
    sets = [first]
    for file in files[1:]:
        other = read(file)
        if wrong := _difference(first, other):
            raise UsageError(f"{file} does not fit {files[0]}: {wrong}")
        sets.append(replace(other, frame=first.frame))
    values = np.concatenate([s.values for s in sets])
    columns = [s.parameters for s in sets if s.parameters is not None]
    parameters = np.concatenate(columns) if columns else None
    count = f"{len(files)} files, from {files[0].name} to {files[-1].name}"
    notes = dict.fromkeys(note for s in sets for note in s.notes)
    card = replace(first.card, source=f"{source} ({count})", size=size_of(values.shape))
    return replace(
        first,
        name=_name(source, files),
        values=values,
        parameters=parameters,
        card=card,
        notes=(f"{count}, in this order", *notes),
    )


def _name(source: str, files: Sequence[Path]) -> str:
    """What the names of all have in common, else that of the folder."""
    if Path(source).is_dir():
        return Path(source).absolute().name
    stems = [file.stem for file in files]
    same = 0
    while all(len(s) > same and s[same] == stems[0][same] for s in stems):
        same += 1
    return stems[0][:same].strip("_-. ") or files[0].absolute().parent.name or "fields"


def _difference(a: FieldSet, b: FieldSet) -> str:
    """What keeps two sets from being one, "" if nothing does."""
    for what, one, two in (
        ("variables", _labels(a.frame.quantities), _labels(b.frame.quantities)),
        ("numbers for each field", _labels(a.parameter_names), _labels(b.parameter_names)),
        ("axes", ", ".join(x.name for x in a.frame.axes), ", ".join(x.name for x in b.frame.axes)),
        ("points", "x".join(map(str, a.grid)), "x".join(map(str, b.grid))),
        ("border", a.frame.domain.value, b.frame.domain.value),
        ("grid", *_boxes(a.frame, b.frame, a.grid)),
    ):
        if one != two:
            return f"expected {what} {one or 'none'}, got {two or 'none'}"
    return ""


def _labels(quantities: Sequence[object]) -> str:
    return ", ".join(getattr(q, "label", "") for q in quantities)


def _boxes(a: Frame, b: Frame, grid: Sequence[int]) -> tuple[str, str]:
    """The first axis that lies elsewhere, as both have it."""
    for one, two, n in zip(a.axes, b.axes, grid, strict=True):
        step = (one.stop - one.start) / n
        off = max(abs(one.start - two.start), abs(one.stop - two.stop))
        if off > _NEAR * step or one.units != two.units:
            return tuple(f"{x.name} from {x.start:g} to {x.stop:g} {x.units}" for x in (one, two))  # type: ignore[return-value]
    return "", ""
