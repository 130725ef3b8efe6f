"""The sets of fields that have a name, and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from sfumato.data.sets import Split
from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.base import FieldSet
from sfumato.systems.ddo.nn.harmonic import Domain

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


@final
@dataclass(frozen=True)
class FieldFileOptions:
    """How a file is read; see `ddo.data.files.read_fields`.

    Args:
        variables: all when empty.
        domain, fill, sample_dim: "" for what `read_fields` does by itself.
    """

    variables: tuple[str, ...] = ()
    domain: Literal["", "periodic", "reflecting"] = ""
    fill: Literal["", "mean", "harmonic"] = ""
    sample_dim: str = ""


def load_fields(
    data: str, split: Split = "train", grid: Grid = (), how: FieldFileOptions | None = None
) -> FieldSet:
    """A set by its name, or the fields in a file, of which every tenth is for tests.

    Args:
        data: a name of `NAMED`, or the path of a file.
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
    """All the fields in a file.

    Raises:
        UsageError: no such file, or one that does not fit.
        SfumatoError: a file that cannot be read.
    """
    if not Path(path).exists():
        raise unknown("data set or file", path, NAMED)
    from sfumato.systems.ddo.data.files import read_fields

    how = how or FieldFileOptions()
    return read_fields(
        path,
        how.variables or None,
        sample_dim=how.sample_dim or None,
        domain=Domain(how.domain) if how.domain else None,
        fill=how.fill or None,
    )
