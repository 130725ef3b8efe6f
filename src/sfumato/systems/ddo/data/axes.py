"""Coordinates of axes: uniform but for rounding, around the globe, and made uniform."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from sfumato.errors import UsageError
from sfumato.systems.ddo.data.base import Axis
from sfumato.systems.ddo.data.containers import Variable
from sfumato.systems.ddo.data.reading import FieldFileOptions, text_of
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["BOX", "Positions", "long_name_of", "positions_of"]

BOX: Final = ("box_start", "box_stop")
"""Attributes of coordinates that `write_fields` wrote: where the box begins and ends."""
_UNEVEN: Final = 1e-3
_CIRCLE: Final = 360.0


@final
@dataclass(frozen=True, eq=False)
class Positions:
    """Where the points of one axis lie.

    Args:
        name, n: of the axis, and how many points it has in the file.
        points: ascending, uniform: float64 (m,); None if the file has no coordinates.
        descending: they ran down in the file.
        between: (points in the file, ascending) to interpolate from, where they are not uniform.
        variable: of the coordinates.
        notes: what was done.
    """

    name: str
    n: int
    points: np.ndarray | None = None
    descending: bool = False
    between: np.ndarray | None = None
    variable: Variable | None = None
    notes: tuple[str, ...] = ()

    def _said(self, key: str) -> str:
        return "" if self.variable is None else text_of(self.variable.attributes.get(key, ""))

    @property
    def bare(self) -> Axis:
        """The axis by its name, units and names in the file; the box is not yet known."""
        long_name = "" if self.variable is None else long_name_of(self.name, self.variable)
        return Axis(
            self.name, 0.0, 1.0, self._said("units"), long_name, self._said("standard_name")
        )

    @property
    def around(self) -> int:
        """0; or of a longitude all around the globe 1, and 2 if the last point is the first."""
        if self.points is None or not self.bare.is_longitude:
            return 0
        n, step = len(self.points), self.points[1] - self.points[0]
        for extra, count in ((1, n), (2, n - 1)):
            if abs(count * step - _CIRCLE) < 0.01 * step:
                return extra
        return 0

    def axis(self, domain: Domain) -> Axis:
        """The axis in a box with such a border; on the globe without the point that is twice."""
        said = self.bare
        if self.points is None:
            return Axis(self.name, 0.0, float(self.n))
        n = len(self.points) - (self.around == 2 and domain is Domain.PERIODIC)
        step = float(self.points[-1] - self.points[0]) / (len(self.points) - 1)
        start = float(self.points[0]) - (step / 2 if domain is Domain.REFLECTING else 0.0)
        about = (said.units, said.long_name, said.standard_name)
        made = Axis(self.name, start, start + n * step, *about)
        attributes = {} if self.variable is None else self.variable.attributes
        if all(key in attributes for key in BOX):  # written here: the box to the last bit
            low, high = (float(attributes[key]) for key in BOX)
            if low < high:
                exact = Axis(self.name, low, high, *about)
                if np.abs(exact.coordinates(n, domain) - self.points[:n]).max() <= 1e-9 * step:
                    made = exact
        return made

    def apply(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Values at the points, from those in the file, along one axis."""
        if self.descending:
            values = np.flip(values, axis)
        if self.between is None or self.points is None:
            return values
        source, wanted = self.between, self.points
        right = np.clip(np.searchsorted(source, wanted, side="right"), 1, len(source) - 1)
        over = tuple(-1 if a == axis % values.ndim else 1 for a in range(values.ndim))
        weight = ((wanted - source[right - 1]) / (source[right] - source[right - 1])).reshape(over)
        made: np.ndarray = (1 - weight) * values.take(right - 1, axis) + weight * values.take(
            right, axis
        )
        return made


def positions_of(
    path: Path, name: str, coordinates: Variable | None, n: int, how: FieldFileOptions
) -> Positions:
    """Where the n points of an axis lie.

    Uniform is what differs by a thousandth of the spacing, or by the rounding of numbers that were
    kept in float32 or with few digits. Longitudes that begin again on the way, as 358, 359, 0, 1,
    go on.

    Raises:
        UsageError: coordinates that are not n uniform numbers, unless ``how.regrid``.
    """
    if coordinates is None:
        return Positions(name, n)
    if coordinates.values.dtype.kind not in "iuf" or coordinates.values.shape != (n,):
        raise UsageError(
            f"{path}: expected {n} numbers as coordinates of {name!r}, got "
            f"{coordinates.values.dtype} {coordinates.values.shape}"
        )
    points = coordinates.values.astype(np.float64)
    if not np.isfinite(points).all():
        raise UsageError(f"{path}: some coordinates of {name!r} are not finite")
    notes: list[str] = []
    bare = Positions(name, n, variable=coordinates).bare
    if bare.is_longitude and np.abs(np.diff(points)).max() > _CIRCLE / 2:
        going = np.unwrap(points, period=_CIRCLE)
        if _uniform(going, coordinates.values.dtype):
            notes.append(
                f"{name} begins again on the way ({_three(points)}); read as "
                f"{min(going[0], going[-1]):g} to {max(going[0], going[-1]):g}"
            )
            points = going
    descending = bool(points[-1] < points[0])
    if _uniform(points, coordinates.values.dtype):
        ascending = points[::-1] if descending else points
        if descending:
            notes.append(f"{name} runs down in the file, {_three(points)}: turned round")
        even = ascending
        if not _equal(np.diff(ascending)):  # rounded
            even = np.linspace(ascending[0], ascending[-1], n)
        return Positions(name, n, even, descending, None, coordinates, tuple(notes))
    steps = np.diff(points)
    if how.regrid and ((steps > 0).all() or (steps < 0).all()):
        source = points[::-1] if descending else points
        notes.append(
            f"{name} is not uniform (spacings {np.diff(source).min():g} to "
            f"{np.diff(source).max():g}): interpolated linearly to {n} uniform points"
        )
        even = np.linspace(source[0], source[-1], n)
        return Positions(name, n, even, descending, source, coordinates, tuple(notes))
    raise UsageError(_uneven(path, name, points, how))


def _equal(steps: np.ndarray) -> bool:
    mean = steps.mean()
    return bool(mean != 0 and np.abs(steps - mean).max() <= _UNEVEN * abs(mean))


def _uniform(points: np.ndarray, kept: np.dtype) -> bool:
    """Whether they differ from a line by rounding only."""
    if len(points) < 2 or _equal(np.diff(points)):
        return len(points) >= 2
    line = np.linspace(points[0], points[-1], len(points))
    step, off = abs(line[1] - line[0]), float(np.abs(points - line).max())
    largest = float(np.abs(points).max())
    if kept.itemsize <= 4 or (points == points.astype(np.float32)).all():
        unit = 2 * float(np.spacing(np.float32(largest)))
        if off <= unit <= 0.2 * step:
            return True
    for digits in range(1, 7):
        if np.abs(points - np.round(points, digits)).max() < 1e-9 * max(largest, 1):
            return off <= 10.0**-digits <= 0.05 * step  # fewer digits would not hold them
    return False


def _three(points: np.ndarray) -> str:
    return f"{points[0]:g}, {points[1]:g}, ..., {points[-1]:g}"


def _uneven(path: Path, name: str, points: np.ndarray, how: FieldFileOptions) -> str:
    """What is not uniform, and what to do."""
    steps, n = np.diff(points), len(points)
    mean = (points[-1] - points[0]) / (n - 1)
    worst = int(np.abs(steps - mean).argmax())
    if _equal(np.diff(np.sort(points))):
        advice = f"They are uniform in another order; with xarray: data.sortby({name!r})"
    elif (steps > 0).all() or (steps < 0).all():
        ends = f"float(data.{name}.min()), float(data.{name}.max()), {n}"
        advice = (
            f"Interpolate to a uniform grid: {how.option('regrid', True)} does it linearly, with "
            "as many points; or first, with xarray: "
            f"data.interp({{{name!r}: numpy.linspace({ends})}})"
        )
    else:
        advice = "Interpolate to a uniform grid first; they neither ascend nor descend throughout"
    return (
        f"{path}: expected uniform coordinates of {name!r}, with one spacing to 1 part in "
        f"{1 / _UNEVEN:g}; the mean spacing is {mean:g}, and that from {points[worst]:g} to "
        f"{points[worst + 1]:g} is {steps[worst]:g}. {advice}"
    )


def long_name_of(name: str, v: Variable) -> str:
    """The attribute "long_name" of a variable, "" where it says no more than the name."""
    said = text_of(v.attributes.get("long_name", ""))
    return "" if said == name else said
