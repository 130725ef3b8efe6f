"""The sets of fields that have a name, and files."""

from __future__ import annotations

import numpy as np

from sfumato.data.sets import Split
from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.base import FieldSet
from sfumato.systems.ddo.data.reading import FieldFileOptions

__all__ = ["NAMED", "FieldFileOptions", "Grid", "described", "is_there", "load_fields", "load_file"]

Grid = tuple[int, ...]


NAMED: dict[str, str] = {
    "mixture": "a mixture of two Gaussian random fields, known in closed form",
    "vorticity": "2-D Navier-Stokes under random forces, simulated here once",
    "darcy": "permeability and the pressure of Darcy flow, 16 and 32 points",
    "burgers": "Burgers' equation in 1-D: beginnings and what becomes of them",
    "digits-sdf": "signed distances to handwritten digits",
    "icons-sdf": "signed distances to the outlines of emoji",
}
"""Sets of fields that have a name, and what they are."""


def _named(name: str, split: Split, grid: Grid) -> FieldSet:
    """The set; those that are made by a rule are made on the grid that is wanted."""
    from sfumato.systems.ddo.data import darcy, distance, mixture, vorticity

    training = split == "train"
    match name:
        case "mixture":
            return mixture.mixture(split, 8_000 if training else 4_000, grid[0] if grid else 32)
        case "vorticity":
            return vorticity.vorticity(split, 4_000 if training else 500, 64)
        case "darcy":
            return darcy.darcy(split, grid[0] if grid and not training else 16)
        case "burgers":
            return darcy.burgers(split)
        case "digits-sdf":
            return distance.digits_sdf(split)
        case _:
            return distance.icons_sdf(split)


def load_fields(
    data: str, split: Split = "train", grid: Grid = (), how: FieldFileOptions | None = None
) -> FieldSet:
    """A set by its name, or the fields in a file, of which every tenth is for tests.

    Args:
        data: a name of `NAMED`, or the path of a file or of several.
        split: which part.
        grid: points along each axis that are wanted; only sets that are made by a rule heed it.
        how: a file is read.

    Raises:
        UsageError: no such name or file, or a file that does not fit.
        SfumatoError: data that is not there.
    """
    if data in NAMED:
        return _named(data, split, grid)
    whole = load_file(data, how)
    if len(whole) < 10:
        raise UsageError(
            f"{data} holds {len(whole)} field{'s' * (len(whole) > 1)}; expected at least 10, since "
            "every tenth is kept for tests"
        )
    part = [i for i in range(len(whole)) if (i % 10 == 9) == (split == "test")]
    return whole.subset(part)


def load_file(path: str, how: FieldFileOptions | None = None) -> FieldSet:
    """All the fields in a file, or in several (`ddo.data.several.files_of`).

    Raises:
        UsageError: no such file, or one that does not fit.
        SfumatoError: a file that cannot be read.
    """
    from sfumato.systems.ddo.data.files import read_file
    from sfumato.systems.ddo.data.several import files_of, joined

    files = files_of(path)
    for file in files:
        if not file.exists():
            raise unknown("data set or file", str(file), NAMED)
    how = how or FieldFileOptions()
    return joined(path, files, lambda file: read_file(file, how))


def described(data: FieldSet) -> list[str]:
    """What was read, in lines: how many, what, where, and what was chosen in reading it."""
    frame, size = data.frame, "x".join(map(str, data.grid))
    border = (
        "periodic (what leaves on one side enters on the other)"
        if frame.domain.value == "periodic"
        else "reflecting (mirrors at the border)"
    )
    count = "1 field" if len(data) == 1 else f"{len(data):,} fields"
    lines = [f"{data.name}: {count} of {size} points, {border}"]
    for quantity, values in zip(frame.quantities, data.values.swapaxes(0, 1), strict=True):
        lines.append(f"  {quantity.label}: {_numbers(values)}")
    for quantity, column in zip(
        data.parameter_names, () if data.parameters is None else data.parameters.T, strict=True
    ):
        lines.append(f"  {quantity.label}, one number for each field: {_numbers(column)}")
    for axis, points in zip(frame.axes, frame.coordinates(data.grid), strict=True):
        box = f"{axis.start:g} to {axis.stop:g} {axis.units}".rstrip()
        lines.append(f"  along {axis.name}: {box}, points from {points[0]:g} to {points[-1]:g}")
    return lines + [f"  {note}" for note in data.notes]


def _numbers(values: np.ndarray) -> str:
    """Mean, deviation and range, of values of any size."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return f"the same everywhere, {low:.4g}; there is nothing in it to learn"
    wide = values.astype("float64")
    return f"mean {wide.mean():.4g}, deviation {wide.std():.4g}, from {low:.4g} to {high:.4g}"


def is_there(source: str) -> bool:
    """Whether a path means files that exist."""
    from sfumato.systems.ddo.data.several import files_of

    try:
        return all(file.exists() for file in files_of(source))
    except UsageError:
        return False
