"""Fields from files that others wrote, and into files that others read.

Kinds of file, by ending: .npz (NumPy), .h5 and .hdf5 (HDF5), .nc (NetCDF), .zarr (Zarr). The last
three need the extra `fields`.

What is read. A variable is an array with named axes. One axis, or several (member and time), count
the samples, the other 1 to 3 are of space, those of one point left out; each variable of all those
axes becomes a channel, each variable of the samples alone a parameter; single numbers, and edges of
cells (CF's "bounds", time_bnds), are left out. Packed values are unpacked by CF's attributes.
Coordinates of an axis are the variable of its name; they must be uniform, and descending ones are
turned round together with the values. Attributes "units" give the units. In .npz, and HDF5 without
NetCDF's names of axes, the first axis is "sample" (or `sample_dim`) and those of space are x, or y
and x, or z, y and x; an .npz may name them under "__about__" (`ddo.data.containers`).

What is written has exactly the values, coordinates and units that were given, and opens in xarray;
`read_fields` gives back the same values, frame and parameters.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.sets import DataCard
from sfumato.errors import UsageError, unknown
from sfumato.systems.ddo.data.axes import BOX, Positions, long_name_of, positions_of
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity, size_of
from sfumato.systems.ddo.data.containers import (
    ABOUT,
    Content,
    Variable,
    read_content,
    write_content,
)
from sfumato.systems.ddo.data.gaps import FILLS, Fill, fill_gaps
from sfumato.systems.ddo.data.layout import SAMPLE_DIMS, layout_of
from sfumato.systems.ddo.data.packing import suspects
from sfumato.systems.ddo.data.reading import NONE, FieldFileOptions, text_of
from sfumato.systems.ddo.data.several import files_of, joined
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["SAMPLE_DIMS", "read_fields", "write_fields"]

_OURS: Final = ("domain", "order")
"""Attributes of a file that `write_fields` writes for `read_fields`."""


def read_fields(
    path: Path | str,
    variables: Sequence[str] | None = None,
    *,
    sample_dim: str | None = None,
    domain: Domain | None = None,
    fill: Fill | None = None,
    group: str = "",
    missing: Sequence[float] = (),
    regrid: bool = False,
) -> FieldSet:
    """The fields in a file, or in several.

    Args:
        path: its ending says the kind of file. A folder, a pattern such as "tas_*.nc", or paths
            with commas between them, are several files, whose samples follow each other.
        variables: names of those to read, in the order of the channels; all when None.
        sample_dim: the axis that counts the samples; "" if the file holds one field; several with
            commas between them, such as "member,time". When None, the axes that have a name of
            `SAMPLE_DIMS`, and time beside them; or the axis that CF's attributes call time.
        domain: what is beyond the border. When None, what the file says if `write_fields` wrote
            it, PERIODIC for a circle of longitudes, else REFLECTING. A REFLECTING box ends half a
            spacing beyond the outermost points; a PERIODIC one goes from the first point to one
            spacing beyond the last.
        fill: for values that are missing (NaN, or marked by _FillValue): "mean" of the known values
            of the same field and channel, or "harmonic", which solves Laplace's equation in the
            gaps (`ddo.data.gaps`). When None they are an error.
        group: of HDF5, NetCDF-4 or zarr: its path or name.
        missing: values that stand for missing ones where no attribute says so, such as -9999.
        regrid: interpolate linearly to uniform coordinates where they are not uniform.

    Returns:
        float32 values (N, C, *grid), named after the file. An axis without coordinates is counted
        in points from 0. The card's note has the file's attributes and long names, ``notes`` what
        was chosen.

    Raises:
        UsageError: no such variable, axes that differ or do not fit, fewer than 4 points along an
            axis, coordinates that are not uniform, values that are missing, infinite in float32,
            complex or no numbers, or nothing at all; or files that do not fit together.
        MissingExtra: what reads this kind of file is not installed.
        SfumatoError: the file cannot be read.

    Warns:
        UserWarning: variables or axes have no attribute "units" (recorded as ""); or values stand
            apart from all others as those do that mark missing ones.
    """
    if fill is not None and fill not in FILLS:
        raise unknown("fill", fill, FILLS)
    if variables is not None and not variables:
        raise UsageError(f"{path}: expected at least one variable, got none")
    how = FieldFileOptions(
        variables=tuple(variables or ()),
        domain="" if domain is None else domain.value,
        fill=fill or "",
        sample_dim="" if sample_dim is None else sample_dim or NONE,
        group=group,
        missing=tuple(missing),
        regrid=regrid,
        command=False,
    )
    return joined(str(path), files_of(str(path)), lambda file: read_file(file, how))


def read_file(path: Path, how: FieldFileOptions) -> FieldSet:
    """The fields in one file; see `read_fields`."""
    content = read_content(path, how.group, how.option("group", None if how.command else "NAME"))
    layout = layout_of(path, content, how)
    sides = next(iter(layout.fields.values())).shape[1:]
    places = [
        positions_of(path, dim, layout.coordinates.get(dim), n, how)
        for dim, n in zip(layout.space, sides, strict=True)
    ]
    domain, said = _border(content, places, how)
    axes = tuple(place.axis(domain) for place in places)
    quantities = tuple(_quantity(content, name) for name in layout.fields)
    try:
        frame = Frame(domain, axes, quantities)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    columns, ours = [], all(key in content.attributes for key in _OURS)
    for name, v in layout.fields.items():
        column = _known(path, name, _numbers(path, name, v, how), how, ours)
        for a, place in enumerate(places, 1):
            column = place.apply(column, a)
            if place.around == 2 and domain is Domain.PERIODIC:
                column = _once(path, name, column, a, place)
        columns.append(column.astype(np.float32, copy=False))
    values = np.stack(columns, axis=1)
    gaps = np.isnan(values)
    if gaps.any() and not how.fill:
        raise UsageError(_where(path, gaps, frame, how))
    if gaps.any() and how.fill:
        spacing = [(a.stop - a.start) / n for a, n in zip(axes, values.shape[2:])]
        flat = values.reshape(-1, *values.shape[2:])
        try:
            filled = fill_gaps(flat, how.fill, domain, spacing).astype(np.float32)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        values = filled.reshape(values.shape)
        said += (f"{gaps.sum():,} of {gaps.size:,} values are missing, and filled ({how.fill})",)
    parameters = None
    if layout.parameters:
        own = [
            _known(path, name, _numbers(path, name, v, how), how, ours)
            for name, v in layout.parameters.items()
        ]
        parameters = np.stack(own, axis=1)
        if np.isnan(parameters).any():
            raise UsageError(f"{path}: {np.isnan(parameters).sum()} parameters are missing")
    _warn_of_units(path, content, [*layout.fields, *layout.parameters, *layout.space])
    names = tuple(_quantity(content, name) for name in layout.parameters)
    about = [note for place in places for note in place.notes]
    notes = (*content.notes, *layout.notes, *about, *said)
    card = _card(path, content, values)
    return FieldSet(path.stem, values, frame, card, parameters, names, notes)


def _border(
    content: Content, places: Sequence[Positions], how: FieldFileOptions
) -> tuple[Domain, tuple[str, ...]]:
    """What is beyond the border, and why."""
    if how.domain:
        return Domain(how.domain), ()
    written = str(content.attributes.get("domain", ""))
    if written in {d.value for d in Domain}:
        return Domain(written), ()
    around = [place.name for place in places if place.around]
    if not around:
        return Domain.REFLECTING, ()
    if len(places) == 1:
        twice = ", and the last point, which is the first again, left out"
        note = f"{around[0]} goes around the globe: periodic{twice * (places[0].around == 2)}"
        return Domain.PERIODIC, (note,)
    return Domain.REFLECTING, (
        f"{around[0]} goes around the globe, and there is one kind of border for all axes: mirrors "
        f"at both of its ends; {how.option('domain', 'periodic')} joins them, and those of the "
        "other axes",
    )


def _known(
    path: Path, name: str, values: np.ndarray, how: FieldFileOptions, ours: bool
) -> np.ndarray:
    """Values with NaN for those that are missing; warns of others that may be.

    ``ours``: `write_fields` wrote the file, which knows no missing values.
    """
    if how.missing:
        marks = np.array(how.missing, np.float64).astype(np.float32)
        values = np.where(np.isin(values, marks), np.float32(np.nan), values)
    for s in () if ours else suspects(values):
        mark = str(np.float32(s.value)).removesuffix(".0")
        option = f"--missing {mark}" if how.command else f"missing=[{mark}]"
        warnings.warn(
            f"{path.name}: {s.count:,} of {values.size:,} values of {name!r} "
            f"({s.count / values.size:.2%}) are {mark}, and all others from {s.low:g} to "
            f"{s.high:g}. No attribute (_FillValue, missing_value) says that it marks missing "
            f"values, so it counts as data, in the mean too. If it does, add {option}, and "
            f"{how.option('fill', 'harmonic')} to fill the gaps",
            UserWarning,
            stacklevel=6,
        )
    return values


def _once(path: Path, name: str, values: np.ndarray, axis: int, place: Positions) -> np.ndarray:
    """Values without the last point around the globe, which is the first again.

    Raises:
        UsageError: other values are there.
    """
    first, last = values.take(0, axis), values.take(-1, axis)
    if not np.allclose(first, last, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise UsageError(
            f"{path}: {place.name} goes around the globe and has its first point again at the "
            f"end, but {name!r} has other values there; leave one of them out of the file"
        )
    return values.take(range(values.shape[axis] - 1), axis)


def _numbers(path: Path, name: str, values: np.ndarray, how: FieldFileOptions) -> np.ndarray:
    """As float32, NaN where missing."""
    kind = values.dtype.kind
    if kind == "c":
        raise UsageError(
            f"{path}: {name!r} is complex; store its real and imaginary parts as two variables"
        )
    if kind not in "biuf":
        raise UsageError(
            f"{path}: {name!r} holds no numbers ({values.dtype}); choose others with "
            + (how.option("variables") + (" ..." if how.command else ""))
        )
    with np.errstate(over="ignore"):
        made = values.astype(np.float32)
    if infinite := int(np.isinf(made).sum()):
        raise UsageError(
            f"{path}: {infinite} values of {name!r} are infinite, or too large for float32 "
            f"(above {np.finfo(np.float32).max:.1e})"
        )
    return made


def _where(path: Path, gaps: np.ndarray, frame: Frame, how: FieldFileOptions) -> str:
    """How many values are missing, and where the first is."""
    sample, channel, *at = (int(i[0]) for i in np.nonzero(gaps))
    places = frame.coordinates(gaps.shape[2:])
    where = ", ".join(f"{a.name}={p[i]:g}" for a, p, i in zip(frame.axes, places, at))
    counts = ", ".join(
        f"{gaps[:, c].sum():,} of {q.name!r}" for c, q in enumerate(frame.quantities)
    )
    touched = int(gaps.reshape(len(gaps), -1).any(1).sum())
    return (
        f"{path}: {gaps.sum():,} of {gaps.size:,} values are missing ({counts}), in {touched:,} of "
        f"{len(gaps):,} samples; the first is {frame.quantities[channel].name!r} of sample "
        f"{sample} at {where}. Leave such samples out, or choose "
        f"{how.option('fill', 'harmonic')} or {how.option('fill', 'mean')}"
    )


def _quantity(content: Content, name: str) -> Quantity:
    v = content.variables[name]
    units, standard = (text_of(v.attributes.get(key, "")) for key in ("units", "standard_name"))
    return Quantity(name, units, long_name_of(name, v), standard)


def _warn_of_units(path: Path, content: Content, names: Sequence[str]) -> None:
    lack = [
        name
        for name in names
        if name not in content.variables or "units" not in content.variables[name].attributes
    ]
    if lack:
        warnings.warn(
            f"{path.name} does not say the units of {', '.join(lack)}; they are recorded as none",
            UserWarning,
            stacklevel=6,
        )


def _card(path: Path, content: Content, values: np.ndarray) -> DataCard:
    about = {key: text_of(value) for key, value in content.attributes.items() if key not in _OURS}
    licence = about.pop("licence", about.pop("license", "not stated in the file"))
    lines = [f"{key}: {value}" for key, value in about.items()]
    for name, v in content.variables.items():
        line = f"{name}: {long_name_of(name, v)}"
        if long_name_of(name, v) and line not in about.get("note", ""):  # of a file written here
            lines.append(line)
    return DataCard(
        name=path.stem,
        source=str(path),
        licence=licence,
        size=size_of(values.shape),
        note="; ".join(lines),
    )


def write_fields(
    path: Path | str,
    fields: FieldSet | tuple[np.ndarray | Tensor, Frame],
    attributes: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write fields, whole or not at all; the file's folder is made.

    Each quantity becomes a variable (sample, *axes) with "units" and "long_name", each axis its
    coordinates, each parameter a variable (sample). What kind of border there is, and the card's
    source, licence and note, become attributes of the file, and so do ``attributes``.

    Args:
        path: its ending says the kind of file.
        fields: a set, or values (N, C, *grid) with their frame. float32 and float64 are written as
            they are, shorter types as float32.
        attributes: texts about all of it, such as {"model": "...", "seed": "3"}.
        overwrite: replace what is there.

    Raises:
        UsageError: another ending; something is there already; values that do not fit the frame or
            are not finite; names that such files cannot hold; attributes that are no texts.
        MissingExtra: what writes this kind of file is not installed.
        SfumatoError: the file cannot be written, and why.
    """
    path = Path(path)
    texts: dict[str, str] = {}
    parameters: dict[Quantity, np.ndarray] = {}
    if isinstance(fields, FieldSet):
        values, frame = np.asarray(fields.values), fields.frame
        card = fields.card
        kept = (("source", card.source), ("licence", card.licence), ("note", card.note))
        texts = {key: text for key, text in kept if text}
        if fields.parameters is not None:
            parameters = dict(zip(fields.parameter_names, fields.parameters.T))
    else:
        values, frame = _array(fields[0]), fields[1]
    expected = (len(frame.quantities), frame.dims)
    if values.ndim != 2 + frame.dims or values.shape[1] != expected[0] or 0 in values.shape:
        raise UsageError(
            f"expected values (N, {expected[0]}, and {expected[1]} axes of space), "
            f"got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise UsageError(f"{(~np.isfinite(values)).sum():,} values to be written are not finite")
    for key, text in (attributes or {}).items():
        if not isinstance(key, str) or not isinstance(text, str) or key in ("", *_OURS):
            raise UsageError(f"expected attributes that are texts, got {key!r}: {text!r}")
    names = [a.name for a in frame.axes] + [q.name for q in (*frame.quantities, *parameters)]
    for name in names:
        if not name.strip() or "/" in name or name in ("sample", ABOUT) or names.count(name) > 1:
            raise UsageError(f"{name!r} cannot be the name of a variable beside {names}")
    made: dict[str, Variable] = {}
    for axis, points in zip(frame.axes, frame.coordinates(values.shape[2:])):
        box = dict(zip(BOX, (float(axis.start), float(axis.stop))))
        made[axis.name] = Variable(points, (axis.name,), {**_texts(axis), **box})
    dims = ("sample", *(a.name for a in frame.axes))
    for c, q in enumerate(frame.quantities):
        made[q.name] = Variable(np.ascontiguousarray(values[:, c]), dims, _texts(q))
    for q, column in parameters.items():
        made[q.name] = Variable(np.ascontiguousarray(column), ("sample",), _texts(q))
    order = [q.name for q in (*frame.quantities, *parameters)]
    own = {"domain": frame.domain.value, "order": json.dumps(order)}
    write_content(path, Content(made, {**texts, **(attributes or {}), **own}), overwrite)


def _texts(what: Axis | Quantity) -> dict[str, str]:
    made = {"units": what.units, "long_name": what.long_name or what.name}
    return made | ({"standard_name": what.standard_name} if what.standard_name else {})


def _array(values: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(values, Tensor):
        wide = values.dtype in (torch.float32, torch.float64)
        if not values.dtype.is_floating_point:
            raise UsageError(f"expected floating-point values, got {values.dtype}")
        values = (values if wide else values.float()).detach().cpu().numpy()
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise UsageError(f"expected floating-point values, got {values.dtype}")
    return values if values.dtype.itemsize >= 4 else values.astype(np.float32)
