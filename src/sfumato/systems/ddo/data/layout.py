"""The roles of a file's variables: channels, parameters and coordinates, and along which axes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.axes import BOX
from sfumato.systems.ddo.data.containers import Content, Variable
from sfumato.systems.ddo.data.reading import NONE, FieldFileOptions, text_of

__all__ = ["SAMPLE_DIMS", "Layout", "layout_of"]

SAMPLE_DIMS: Final = ("sample", "realization", "ensemble", "member", "number", "batch")
"""Names of axes that are taken for that of the samples."""
_ALSO: Final = ("samples", "realisation", "member_id", "ensemble_member", "ens")
_LEAST_POINTS = 4
_EDGES = ("_bnds", "_bounds")


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Channels (N, *space), parameters (N,) and coordinates of the axes, by name.

    ``samples`` are the axes whose points were made into samples; ``notes`` say what was chosen.
    """

    space: tuple[str, ...]
    fields: dict[str, np.ndarray]
    parameters: dict[str, np.ndarray]
    coordinates: dict[str, Variable]
    samples: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _with_dims(path: Path, content: Content, how: FieldFileOptions) -> dict[str, Variable]:
    """The variables, with names for the axes that have none."""
    counted = () if how.sample_dim == NONE else _words(how.sample_dim) or ("sample",)
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


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def layout_of(path: Path, content: Content, how: FieldFileOptions) -> Layout:
    """The roles of the variables in a file.

    Variables are in the order wanted, else in that of the file's attribute "order" (a JSON list,
    which `write_fields` writes, since some kinds of file keep none), else as they come. Axes of one
    point are left out, unless they count samples.

    Raises:
        UsageError: no such variable, or axes that differ or do not fit.
    """
    found = _with_dims(path, content, how)
    coordinates = {name: v for name, v in found.items() if v.dims == (name,)}
    data = {name: v for name, v in found.items() if name not in coordinates and v.dims}
    wanted: Sequence[str] = how.variables
    if wanted:
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
    for name, v in data.items():
        own = v.dims or ()
        if len(set(own)) != len(own):
            raise UsageError(f"{path}: expected different axes of {name!r}, got {own}")
    samples, notes = _sample_axes(path, data, coordinates, how)
    data, single_points = _squeezed(data, samples, coordinates)
    notes += single_points
    dims = {name: v.dims or () for name, v in data.items()}
    longest = max(dims.values(), key=len)
    single = {name for name in data if samples and set(dims[name]) <= set(samples)}
    if any(set(dims[name]) != set(longest) for name in data if name not in single):
        listed = "; ".join(f"{name} ({', '.join(dims[name])})" for name in data)
        raise UsageError(
            f"{path}: expected variables with the same axes, got {listed}; choose some of them "
            f"with {_variables(how)}"
        )
    space = tuple(d for d in longest if d not in samples)
    if not 1 <= len(space) <= 3:
        raise UsageError(f"{path}: expected 1, 2 or 3 axes of space, got {len(space)}: {space}")
    order = (*samples, *space)
    turned = {
        name: v.values.transpose([dims[name].index(d) for d in order])
        for name, v in data.items()
        if name not in single
    }
    shapes = {values.shape for values in turned.values()}
    if len(shapes) > 1:
        raise UsageError(f"{path}: expected variables of one shape, got {sorted(shapes)}")
    shape = shapes.pop()
    counts = dict(zip(samples, shape))
    if 0 in shape:
        raise UsageError(f"{path}: the fields are empty, of shape {shape}")
    n = math.prod(counts.values())
    fields = {name: v.reshape(n, *shape[len(samples) :]) for name, v in turned.items()}
    if len(samples) > 1:
        times = " x ".join(f"{count:,} of {name}" for name, count in counts.items())
        notes.append(f"{n:,} samples are {times}")
    parameters = {}
    for name in data:
        if name in single:
            parameters[name] = _of_samples(path, name, data[name], counts, how)
    for dim, points in zip(space, shape[len(samples) :]):
        if points < _LEAST_POINTS:
            raise UsageError(
                f"{path}: expected at least {_LEAST_POINTS} points along each axis of space, got "
                f"{points} along {dim!r}; is it the samples' "
                f"({how.option('sample_dim', ','.join((*samples, dim)) if samples else dim)}), "
                "or should it be left out of the file?"
            )
    return Layout(space, fields, parameters, coordinates, samples, tuple(notes))


def _variables(how: FieldFileOptions) -> str:
    return f"{how.option('variables')} ..." if how.command else "variables=[...]"


def _of_samples(
    path: Path, name: str, v: Variable, counts: Mapping[str, int], how: FieldFileOptions
) -> np.ndarray:
    """Of a variable along some of the samples' axes, a number for each sample."""
    own = v.dims or ()
    have = dict(zip(own, v.values.shape))
    if any(counts[d] != k for d, k in have.items()):
        raise UsageError(
            f"{path}: expected {math.prod(counts[d] for d in own)} values of {name!r}, one for "
            f"each sample, got {v.values.size}; choose others with {_variables(how)}"
        )
    there = [d for d in counts if d in have]
    turned = v.values.transpose([own.index(d) for d in there])
    full = turned.reshape([have.get(d, 1) for d in counts])
    return np.broadcast_to(full, tuple(counts.values())).reshape(-1)


def _squeezed(
    data: Mapping[str, Variable], samples: Sequence[str], coordinates: Mapping[str, Variable]
) -> tuple[dict[str, Variable], list[str]]:
    """The variables without axes of one point, and where that point is."""
    made: dict[str, Variable] = {}
    gone: dict[str, None] = {}
    for name, v in data.items():
        dims = v.dims or ()
        ones = [i for i, d in enumerate(dims) if v.values.shape[i] == 1 and d not in samples]
        gone |= dict.fromkeys(dims[i] for i in ones)
        kept = tuple(d for i, d in enumerate(dims) if i not in ones)
        if kept or len(data) == 1:
            made[name] = Variable(np.squeeze(v.values, tuple(ones)), kept, v.attributes)
    notes = []
    for dim in gone:
        at = coordinates.get(dim)
        where = ""
        if at is not None and at.values.size == 1:
            units = text_of(at.attributes.get("units", ""))
            where = f" ({at.values.reshape(-1)[0]} {units}".rstrip() + ")"
        notes.append(f"{dim} has one point{where} and is left out")
    return made or dict(data), notes


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


def _is_time(v: Variable | None) -> tuple[bool, bool]:
    """Whether coordinates are times by CF's attribute axis or standard_name, and by their units."""
    if v is None or any(key in v.attributes for key in BOX):  # an axis of space in a file of ours
        return False, False
    said = {key: text_of(v.attributes.get(key, "")) for key in ("axis", "standard_name", "units")}
    sure = said["axis"].upper() == "T" or said["standard_name"] == "time"
    return sure, sure or " since " in said["units"]


def _sample_axes(
    path: Path,
    data: Mapping[str, Variable],
    coordinates: Mapping[str, Variable],
    how: FieldFileOptions,
) -> tuple[tuple[str, ...], list[str]]:
    """The names of the axes that count samples, in the order of the file, and what was chosen."""
    first = max(data.values(), key=lambda v: len(v.dims or ()))
    dims, sizes = first.dims or (), dict(zip(first.dims or (), first.values.shape))
    if how.sample_dim == NONE:
        return (), []
    if words := _words(how.sample_dim):
        for word in words:
            if word not in dims:
                raise UsageError(f"{path}: {unknown('axis', word, dims)}")
        return tuple(d for d in dims if d in words), []
    known = [d for d in dims if d.lower() in (*SAMPLE_DIMS, *_ALSO)]
    times = [d for d in dims if d not in known and _is_time(coordinates.get(d))[bool(known)]]
    rest = [d for d in dims if d not in (*known, *times) and sizes[d] > 1]
    if known and (len(rest) > 1 or not times):
        chosen = [d for d in dims if d in (*known, *times)]
    elif known:
        chosen = known  # a line in time is a field as good as another
    else:
        chosen = times[:1]
    if not chosen:
        raise UsageError(
            f"{path}: which of the axes {', '.join(dims)} counts the samples? Say so with "
            f"{how.option('sample_dim', dims[0])}, for instance, or "
            f"{how.option('sample_dim', NONE)} if the file holds one field"
        )
    notes = []
    if not known:
        notes.append(f"{chosen[0]} counts the samples (its attributes say that it is time)")
    return tuple(chosen), notes
