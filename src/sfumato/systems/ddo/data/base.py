"""Sets of fields: values on a uniform grid, with axes, boundary, quantities and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.sets import DataCard, Indices, _index
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.systems.ddo.nn.harmonic import Domain, places, resample


@final
@dataclass(frozen=True)
class Axis:
    """One axis of the box: from ``start`` to ``stop``, in ``units`` ("" if it has none).

    ``long_name`` and ``standard_name`` are the attributes of these names in files, "" if there is
    none.

    Raises:
        ValueError: not finite numbers start < stop.
    """

    LATER: ClassVar = ("standard_name",)
    name: str
    start: float = 0.0
    stop: float = 1.0
    units: str = ""
    long_name: str = ""
    standard_name: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.start, self.stop]).all() and self.start < self.stop):
            raise ValueError(
                f"axis {self.name!r}: expected start < stop, got {self.start} and {self.stop}"
            )

    @property
    def is_longitude(self) -> bool:
        """Whether it is one by CF's rules (section 4.2), by its name only if it has no units."""
        units = self.units.lower().replace("_", "")
        named = self.name.lower() in ("lon", "longitude") and units in ("", "degrees", "degree")
        return (
            self.standard_name == "longitude"
            or units in ("degreeseast", "degreeeast", "degreese", "degreee")
            or named
        )

    def coordinates(self, n: int, domain: Domain) -> np.ndarray:
        """Where n grid points lie, in ``units``, float64 (n,): start + i h, or cells' centres."""
        return self.start + (self.stop - self.start) * places(n, domain).numpy()


@final
@dataclass(frozen=True)
class Quantity:
    """Name of a channel or a parameter, and what files say of it ("" if nothing)."""

    LATER: ClassVar = ("standard_name",)
    name: str
    units: str = ""
    long_name: str = ""
    standard_name: str = ""

    @property
    def label(self) -> str:
        """ "name [units]", for the axes of plots."""
        return f"{self.name} [{self.units}]" if self.units else self.name


@final
@dataclass(frozen=True)
class Frame:
    """Axes, boundary and quantities of fields; the same at every resolution.

    Args:
        domain: periodic, or reflecting (even extension).
        axes: of space, in the order of the array's last axes.
        quantities: one for each channel.

    Raises:
        ValueError: not 1, 2 or 3 axes, no quantity, or names that are not distinct.
    """

    domain: Domain
    axes: tuple[Axis, ...]
    quantities: tuple[Quantity, ...]

    def __post_init__(self) -> None:
        if len(self.axes) not in (1, 2, 3):
            raise ValueError(f"expected 1, 2 or 3 axes of space, got {len(self.axes)}")
        if not self.quantities:
            raise ValueError("expected at least one quantity, got none")
        names = [a.name for a in self.axes] + [q.name for q in self.quantities]
        if len(set(names)) != len(names):
            raise ValueError(f"expected distinct names of axes and quantities, got {names}")

    @property
    def dims(self) -> int:
        """Number of axes of space."""
        return len(self.axes)

    @property
    def extent(self) -> tuple[float, ...]:
        """Lengths of the axes, the longest of which is 1."""
        lengths = [a.stop - a.start for a in self.axes]
        return tuple(length / max(lengths) for length in lengths)

    def coordinates(self, grid: Sequence[int]) -> list[np.ndarray]:
        """Coordinates of each axis's points, in its units."""
        return [a.coordinates(n, self.domain) for a, n in zip(self.axes, grid, strict=True)]


def size_of(shape: Sequence[int], split: str = "") -> str:
    """For data cards: "500 test fields on 64x64 points, 1 quantity"; shape (N, C, *grid)."""
    n, channels, *grid = shape
    count = many(n, f"{split} field" if split else "field")
    points = "x".join(map(str, grid))
    return f"{count} on {points} points, {channels} quantit{'y' if channels == 1 else 'ies'}"


@final
@dataclass(frozen=True, eq=False)
class FieldSet:
    """Fields on one uniform grid, with the interface of `ImageSet`.

    Args:
        name: short name.
        values: float32 (N, C, *grid), finite.
        frame: axes, quantities and border.
        card: source, licence, size.
        parameters: float32 (N, P), numbers that a field depends on, or None.
        parameter_names: what they are, one for each column.
        notes: what was chosen in reading a file, one sentence each.

    Raises:
        ValueError: arrays of the wrong shape or type, or values that are not finite.
    """

    name: str
    values: np.ndarray
    frame: Frame
    card: DataCard
    parameters: np.ndarray | None = None
    parameter_names: tuple[Quantity, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        v, frame = self.values, self.frame
        if v.dtype != np.float32 or v.ndim != 2 + frame.dims or v.shape[1] != len(frame.quantities):
            raise ValueError(
                f"{self.name}: expected float32 values of {frame.dims + 2} axes with "
                f"{len(frame.quantities)} channels, got {v.dtype} of shape {v.shape}"
            )
        if not np.isfinite(v).all():
            raise ValueError(f"{self.name}: some values are not finite")
        p, wide = self.parameters, len(self.parameter_names)
        if (p is None) != (wide == 0) or (
            p is not None and (p.dtype != np.float32 or p.shape != (len(v), wide))
        ):
            got = None if p is None else (p.dtype, p.shape)
            raise ValueError(
                f"{self.name}: expected float32 parameters ({len(v)}, {wide}), got {got}"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(self.values.shape[2:])

    @property
    def channels(self) -> int:
        """Number of quantities."""
        return int(self.values.shape[1])

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """Fields float32 (B, C, *grid) and parameters (B, P) or None, in the order of `indices`.

        Raises:
            ValueError: indices that are not integers, or out of range.
        """
        index = _index(indices, len(self), self.name)
        p = None if self.parameters is None else torch.from_numpy(self.parameters[index])
        return torch.from_numpy(self.values[index]), p

    def subset(self, indices: Indices) -> FieldSet:
        """The same set holding only `indices`."""
        index = _index(indices, len(self), self.name)
        p = None if self.parameters is None else self.parameters[index]
        return replace(self, values=self.values[index], parameters=p)

    def select(self, names: Sequence[str], source: str = "") -> Tensor:
        """Quantities by name, and parameters as constant fields: float32 (N, len(names), *grid).

        Raises:
            UsageError: a name that is neither; ``source`` is what the message calls the set.
        """
        quantities = {q.name: i for i, q in enumerate(self.frame.quantities)}
        have = [*quantities, *(q.name for q in self.parameter_names)]
        if missing := [name for name in names if name not in have]:
            raise UsageError(
                f"{source or self.name} has no {', '.join(missing)}; it has {', '.join(have)}"
            )
        made = torch.zeros(len(self), len(names), *self.grid)
        for i, name in enumerate(names):
            if name in quantities:
                made[:, i] = torch.from_numpy(self.values[:, quantities[name]])
            elif self.parameters is not None:
                column = self.parameters[:, have.index(name) - len(quantities)]
                made[:, i] = torch.from_numpy(column).reshape(-1, *[1] * len(self.grid))
        return made

    def at(self, grid: Sequence[int], batch: int = 256) -> FieldSet:
        """The same functions on another grid, without aliasing (`ddo.nn.harmonic.resample`)."""
        if tuple(grid) == self.grid:
            return self
        if len(grid) != self.frame.dims or min(grid) < 1:
            raise ValueError(f"expected {self.frame.dims} numbers of points, got {tuple(grid)}")
        made = np.empty((len(self), self.channels, *grid), np.float32)
        for i in range(0, len(self), batch):
            x = torch.from_numpy(self.values[i : i + batch]).double()
            made[i : i + batch] = resample(x, grid, self.frame.domain).float().numpy()
        return replace(self, values=made)
