"""The roles of a file's variables: channels, parameters and coordinates, and along which axes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.base import Axis
from sfumato.systems.ddo.data.containers import Content, Variable
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["BOX", "SAMPLE_DIMS", "Layout", "axis_of", "layout_of", "long_name_of", "text_of"]

SAMPLE_DIMS: Final = ("sample", "realization", "ensemble", "member", "number", "batch")
"""Names of axes that are taken for that of the samples."""
BOX: Final = ("box_start", "box_stop")
"""Attributes of coordinates that `write_fields` wrote: where the box begins and ends."""
_LEAST_POINTS = 4
_EDGES = ("_bnds", "_bounds")
_UNEVEN = 1e-3


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Channels (N, *space), parameters (N,) and coordinates of the axes, by name."""

    space: tuple[str, ...]
    fields: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]
    coordinates: dict[str, Variable]


def _with_dims(path: Path, content: Content, sample_dim: str | None) -> dict[str, Variable]:
    """The variables, with names for the axes that have none."""
    counted = () if sample_dim == "" else (sample_dim or "sample",)
    made: dict[str, Variable] = {}
    for name, v in content.variables.items():
        if v.dims is not None or v.values.ndim == 0:
            made[name] = v if v.dims is not None else Variable(v.values, (), v.attributes)
            continue
        n = v.values.ndim
        if n == 1 and name in ("x", "y", "z", *counted):
            dims: tuple[str, ...] = (name,)
        elif n - len(counted) <= 3:
            dims = (*counted, *("z", "y", "x")[3 - (n - len(counted)) :])
        else:
            raise UsageError(
                f"{path}: {name!r} has shape {v.values.shape}, and the file does not name its "
                f"axes; expected at most {len(counted) + 3}: {'samples, ' * len(counted)}z, y, x"
            )
        made[name] = Variable(v.values, dims, v.attributes)
    return made


def layout_of(
    path: Path, content: Content, wanted: Sequence[str] | None, sample_dim: str | None
) -> Layout:
    """The roles of the variables in a file; arguments as of `read_fields`.

    Variables are in the order wanted, else in that of the file's attribute "order" (a JSON list,
    which `write_fields` writes, since some kinds of file keep none), else as they come.

    Raises:
        UsageError: no such variable, or axes that differ or do not fit.
    """
    found = _with_dims(path, content, sample_dim)
    coordinates = {name: v for name, v in found.items() if v.dims == (name,)}
    data = {name: v for name, v in found.items() if name not in coordinates and v.dims}
    if wanted is not None:
        for name in wanted:
            if name not in data:
                there = ", ".join(data) or "none"
                raise UsageError(f"{path}: unknown variable {name!r}; there are: {there}")
        if len(set(wanted)) != len(wanted):
            raise UsageError(f"{path}: expected different variables, got {list(wanted)}")
    else:
        bounds = _bounds(found)
        wanted = [name for name in _order(content, data) if name not in bounds]
    data = {name: data[name] for name in wanted}
    if not data:
        raise UsageError(f"{path}: expected at least one variable with axes, got none")
    dims = {name: v.dims or () for name, v in data.items()}
    for name, own in dims.items():
        if len(set(own)) != len(own):
            raise UsageError(f"{path}: expected different axes of {name!r}, got {own}")
    longest = max(dims.values(), key=len)
    sample = _sample_axis(path, longest, sample_dim)
    single = {name for name in data if sample and dims[name] == (sample,)}
    if any(set(dims[name]) != set(longest) for name in data if name not in single):
        listed = "; ".join(f"{name} ({', '.join(dims[name])})" for name in data)
        raise UsageError(
            f"{path}: expected variables with the same axes, got {listed}; choose some of them "
            "with variables=[...] (--variables ...)"
        )
    space = tuple(d for d in longest if d != sample)
    if not 1 <= len(space) <= 3:
        raise UsageError(f"{path}: expected 1, 2 or 3 axes of space, got {len(space)}: {space}")
    order = (sample, *space) if sample else space
    fields: dict[str, np.ndarray] = {}
    for name, v in data.items():
        if name not in single:
            turned = v.values.transpose([dims[name].index(d) for d in order])
            fields[name] = turned if sample else turned[None]
    shapes = {values.shape for values in fields.values()}
    if len(shapes) > 1:
        raise UsageError(f"{path}: expected variables of one shape, got {sorted(shapes)}")
    shape = shapes.pop()
    parameters = {name: data[name].values for name in data if name in single}
    for name, values in parameters.items():
        if values.shape != shape[:1]:
            raise UsageError(
                f"{path}: expected {shape[0]} values of {name!r}, one for each sample, "
                f"got {len(values)}; choose others with variables=[...] (--variables ...)"
            )
    if 0 in shape:
        raise UsageError(f"{path}: the fields are empty, of shape {shape}")
    for dim, n in zip(space, shape[1:]):
        if n < _LEAST_POINTS:
            raise UsageError(
                f"{path}: expected at least {_LEAST_POINTS} points along each axis of space, got "
                f"{n} along {dim!r}; is it the samples' (sample_dim={dim!r}; --sample-dim {dim}), "
                "or should it be left out of the file?"
            )
    return Layout(space, fields, parameters, coordinates)


def _bounds(found: Mapping[str, Variable]) -> set[str]:
    """Names of the variables that hold the edges of cells, as CF has them (time_bnds)."""
    said = {text_of(v.attributes.get("bounds", "")) for v in found.values()}
    usual = {f"{dim}{end}" for v in found.values() for dim in v.dims or () for end in _EDGES}
    pairs = {name for name, v in found.items() if v.values.ndim and v.values.shape[-1] == 2}
    return (said | usual) & pairs


def _order(content: Content, data: Mapping[str, Variable]) -> list[str]:
    try:
        said = json.loads(text_of(content.attributes.get("order", "[]")))
    except ValueError:
        said = []
    first = [name for name in said if name in data] if isinstance(said, list) else []
    return [*first, *(name for name in data if name not in first)]


def _sample_axis(path: Path, dims: tuple[str, ...], sample_dim: str | None) -> str:
    """The name of the samples' axis, "" if there is none."""
    if sample_dim is not None:
        if sample_dim and sample_dim not in dims:
            raise UsageError(f"{path}: {unknown('axis', sample_dim, dims)}")
        return sample_dim
    known = [d for d in dims if d.lower() in SAMPLE_DIMS]
    if len(known) != 1:
        raise UsageError(
            f"{path}: which of the axes {', '.join(dims)} counts the samples? Say so with "
            f"sample_dim={dims[0]!r}, for instance (--sample-dim {dims[0]}), or sample_dim='' if "
            "the file holds one field"
        )
    return known[0]


def axis_of(
    path: Path, name: str, coordinates: Variable | None, n: int, domain: Domain
) -> tuple[Axis, bool]:
    """An axis of n points, and whether they run down it; other arguments as of `read_fields`.

    Raises:
        UsageError: coordinates that are not n uniform numbers.
    """
    if coordinates is None:
        return Axis(name, 0.0, float(n)), False
    if coordinates.values.dtype.kind not in "iuf" or coordinates.values.shape != (n,):
        raise UsageError(
            f"{path}: expected {n} numbers as coordinates of {name!r}, got "
            f"{coordinates.values.dtype} {coordinates.values.shape}"
        )
    points = coordinates.values.astype(np.float64)
    if not np.isfinite(points).all():
        raise UsageError(f"{path}: some coordinates of {name!r} are not finite")
    steps = np.diff(points)
    mean = (points[-1] - points[0]) / (n - 1)
    worst = int(np.abs(steps - mean).argmax())
    if not abs(steps[worst] - mean) <= _UNEVEN * abs(mean) or mean == 0:
        gaps = np.diff(np.sort(points))
        if gaps.mean() > 0 and np.ptp(gaps) <= _UNEVEN * gaps.mean():  # as longitudes 359, 0, 1
            advice = f"They are uniform in another order; with xarray: data.sortby({name!r})"
        else:
            ends = f"{points.min():g}, {points.max():g}, {n}"
            advice = (
                "Interpolate to a uniform grid first, with xarray: "
                f"data.interp({{{name!r}: numpy.linspace({ends})}})"
            )
        raise UsageError(
            f"{path}: expected uniform coordinates of {name!r}, with one spacing to 1 part in "
            f"{1 / _UNEVEN:g}; the mean spacing is {mean:g}, and that from {points[worst]:g} to "
            f"{points[worst + 1]:g} is {steps[worst]:g}. {advice}"
        )
    ascending, step = np.sort(points), abs(mean)
    start = ascending[0] - (step / 2 if domain is Domain.REFLECTING else 0.0)
    units = text_of(coordinates.attributes.get("units", ""))
    long_name = long_name_of(name, coordinates)
    made = Axis(name, float(start), float(start + n * step), units, long_name)
    if all(key in coordinates.attributes for key in BOX):  # written here: the box to the last bit
        low, high = (float(coordinates.attributes[key]) for key in BOX)
        if low < high:
            exact = Axis(name, low, high, units, long_name)
            if np.abs(exact.coordinates(n, domain) - ascending).max() <= 1e-9 * step:
                made = exact
    return made, bool(mean < 0)


def long_name_of(name: str, v: Variable) -> str:
    """The attribute "long_name" of a variable, "" where it says no more than the name."""
    said = text_of(v.attributes.get("long_name", ""))
    return "" if said == name else said


def text_of(value: Any) -> str:
    """An attribute as a text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
