"""The sets of fields that have a name, and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sfumato.data.fields.base import FieldSet
from sfumato.errors import unknown

Split = Literal["train", "test"]
Grid = tuple[int, ...]


def _mixture(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.mixture import mixture

    return mixture(split, 8_000 if split == "train" else 2_000, grid[0] if grid else 32)


def _vorticity(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.vorticity import vorticity

    return vorticity(split, 4_000 if split == "train" else 500, 64)


def _darcy(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.darcy import darcy

    return darcy(split, grid[0] if grid and split == "test" else 16)


def _burgers(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.darcy import burgers

    return burgers(split)


def _digits(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.distance import digits_sdf

    return digits_sdf(split)


def _icons(split: Split, grid: Grid) -> FieldSet:
    from sfumato.data.fields.distance import icons_sdf

    return icons_sdf(split)


NAMED: dict[str, Callable[[Split, Grid], FieldSet]] = {
    "mixture": _mixture,
    "vorticity": _vorticity,
    "darcy": _darcy,
    "burgers": _burgers,
    "digits-sdf": _digits,
    "icons-sdf": _icons,
}
"""Sets of fields by name; each is loaded, or made, when it is asked for."""


def load_fields(
    data: str, split: Split = "train", grid: Grid = (), variables: tuple[str, ...] = ()
) -> FieldSet:
    """A set by its name, or the fields in a file, of which every tenth is for tests.

    Raises:
        UsageError: no such name or file, or a file that does not fit.
        SfumatoError: data that is not there.
    """
    if data in NAMED:
        return NAMED[data](split, grid)
    path = Path(data)
    if not path.exists():
        raise unknown("data set or file", data, NAMED)
    from sfumato.data.fields.files import read_fields

    whole = read_fields(path, variables or None)
    test = [i for i in range(len(whole)) if i % 10 == 9]
    train = [i for i in range(len(whole)) if i % 10 != 9]
    return whole.subset(test if split == "test" else train)
