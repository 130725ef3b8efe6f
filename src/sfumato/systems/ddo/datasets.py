"""The sets of fields that have a name, and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.base import FieldSet
from sfumato.systems.ddo.nn.harmonic import Domain

Split = Literal["train", "test"]
Grid = tuple[int, ...]


def _mixture(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.mixture import mixture

    return mixture(split, 8_000 if split == "train" else 4_000, grid[0] if grid else 32)


def _vorticity(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.vorticity import vorticity

    return vorticity(split, 4_000 if split == "train" else 500, 64)


def _darcy(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.darcy import darcy

    return darcy(split, grid[0] if grid and split == "test" else 16)


def _burgers(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.darcy import burgers

    return burgers(split)


def _digits(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.distance import digits_sdf

    return digits_sdf(split)


def _icons(split: Split, grid: Grid) -> FieldSet:
    from sfumato.systems.ddo.data.distance import icons_sdf

    return icons_sdf(split)


@final
@dataclass(frozen=True)
class NamedFields:
    """A set of fields that has a name; it is loaded, or made, when it is asked for."""

    load: Callable[[Split, Grid], FieldSet]
    summary: str


NAMED: dict[str, NamedFields] = {
    "mixture": NamedFields(
        _mixture, "a mixture of two Gaussian random fields, known in closed form"
    ),
    "vorticity": NamedFields(
        _vorticity, "2-D Navier-Stokes under random forces, simulated here once"
    ),
    "darcy": NamedFields(_darcy, "permeability and the pressure of Darcy flow, 16 and 32 points"),
    "burgers": NamedFields(
        _burgers, "Burgers' equation in 1-D: beginnings and what becomes of them"
    ),
    "digits-sdf": NamedFields(_digits, "signed distances to handwritten digits"),
    "icons-sdf": NamedFields(_icons, "signed distances to the outlines of emoji"),
}
"""Sets of fields by name."""


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
        data: a name, or the path of a file.
        split: which part.
        grid: points along each axis that are wanted; sets that are made by a rule are made there.
        how: a file is read.

    Raises:
        UsageError: no such name or file, or a file that does not fit.
        SfumatoError: data that is not there.
    """
    if data in NAMED:
        return NAMED[data].load(split, grid)
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
