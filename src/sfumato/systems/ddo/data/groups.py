"""Groups in files: those that hold arrays, and which one is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sfumato.errors import UsageError, require, unknown

__all__ = ["chosen", "hdf5_groups", "zarr_groups"]

Groups: TypeAlias = Mapping[str, Sequence[str]]
"""Path of each group, "" for the top -> names of its arrays, coordinates of axes left out."""


def hdf5_groups(file: Any) -> Groups:
    """Of an open file of h5py."""
    h5py = require("h5py", "fields")
    found: dict[str, list[str]] = {"": []}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            found.setdefault(name, [])
        elif item.ndim and item.attrs.get("CLASS") != b"DIMENSION_SCALE":
            group, _, own = name.rpartition("/")
            found.setdefault(group, []).append(own)

    file.visititems(visit)
    return found


def zarr_groups(group: Any, path: str = "") -> dict[str, list[str]]:
    """Of an open group of zarr, and those in it."""
    found = {path: [name for name, array in sorted(group.arrays()) if array.ndim > 1]}
    for name, inner in sorted(group.groups()):
        found |= zarr_groups(inner, f"{path}/{name}".lstrip("/"))
    return found


def chosen(path: Path, groups: Groups, wanted: str, option: str) -> tuple[str, tuple[str, ...]]:
    """The group to be read, and notes that say what was chosen.

    Args:
        path: of the file.
        groups: what is in it.
        wanted: path or name of a group; "" takes the top, or the only one with arrays.
        option: what messages call the choice.

    Raises:
        UsageError: no such group, a name that several have, or several groups with arrays and none
            wanted.
    """
    inner = [name for name in groups if name]
    full = [name for name in inner if groups[name]]
    if wanted:
        name = wanted.strip("/")
        found = [name] if name in groups else [g for g in inner if g.rpartition("/")[2] == name]
        if len(found) == 1:
            return found[0], ()
        if found:
            raise UsageError(f"{path}: {name!r} is the name of {', '.join(found)}; give the path")
        raise UsageError(f"{path}: {unknown('group', name, inner)}")
    if groups[""] or not full:
        left = f"groups that are not read: {_listed(groups, full)}"
        return "", (f"{left} ({option} chooses one)",) if full else ()
    if len(full) > 1:
        raise UsageError(
            f"{path}: no arrays at the top of the file; choose one of its groups with {option}: "
            f"{_listed(groups, full)}"
        )
    return full[0], (f"the arrays are in the group {full[0]}",)


def _listed(groups: Groups, names: Sequence[str]) -> str:
    """Groups with the arrays in them."""
    shown = [f"{name} ({', '.join(groups[name][:6])})" for name in names[:20]]
    return "; ".join([*shown, *["..."] * (len(names) > 20)])
