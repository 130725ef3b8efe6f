"""Fields from files that others wrote, and into files that others read.

Kinds of file, by ending: .npz (NumPy), .h5 and .hdf5 (HDF5), .nc (NetCDF), .zarr (Zarr). The last
three need the extra `fields`.

What is read. A variable is an array with named axes. One axis counts the samples, the other 1 to 3
are of space; each variable of all those axes becomes a channel, each variable of the samples alone
a parameter; single numbers, and edges of cells (CF's "bounds", time_bnds), are left out.
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
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity, size_of
from sfumato.systems.ddo.data.containers import (
    ABOUT,
    Content,
    Variable,
    read_content,
    write_content,
)
from sfumato.systems.ddo.data.gaps import FILLS, Fill, fill_gaps
from sfumato.systems.ddo.data.layout import (
    BOX,
    SAMPLE_DIMS,
    axis_of,
    layout_of,
    long_name_of,
    text_of,
)
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
) -> FieldSet:
    """The fields in a file.

    Args:
        path: its ending says the kind of file.
        variables: names of those to read, in the order of the channels; all when None.
        sample_dim: the axis that counts the samples; "" if the file holds one field. When None, the
            axis that has a name of `SAMPLE_DIMS`.
        domain: what is beyond the border. When None, what the file says if `write_fields` wrote
            it, else REFLECTING. A REFLECTING box ends half a spacing beyond the outermost points;
            a PERIODIC one goes from the first point to one spacing beyond the last.
        fill: for values that are missing (NaN, or marked by _FillValue): "mean" of the known values
            of the same field and channel, or "harmonic", which solves Laplace's equation in the
            gaps (`ddo.data.gaps`). When None they are an error.

    Returns:
        float32 values (N, C, *grid), named after the file. An axis without coordinates is counted
        in points from 0. The card's note has the file's attributes and long names.

    Raises:
        UsageError: no such variable, axes that differ or do not fit, fewer than 4 points along an
            axis, coordinates that are not uniform, values that are missing, infinite in float32,
            complex or no numbers, or nothing at all.
        MissingExtra: what reads this kind of file is not installed.
        SfumatoError: the file cannot be read.

    Warns:
        UserWarning: variables or axes have no attribute "units" (recorded as "").
    """
    path = Path(path)
    if fill is not None and fill not in FILLS:
        raise unknown("fill", fill, FILLS)
    content = read_content(path)
    layout = layout_of(path, content, variables, sample_dim)
    if domain is None:
        written = str(content.attributes.get("domain", ""))
        known = written in {d.value for d in Domain}
        domain = Domain(written) if known else Domain.REFLECTING
    sides = next(iter(layout.fields.values())).shape[1:]
    axes, descending = zip(
        *(
            axis_of(path, dim, layout.coordinates.get(dim), n, domain)
            for dim, n in zip(layout.space, sides, strict=True)
        ),
        strict=True,
    )
    flips = tuple(i for i, turned in enumerate(descending, 1) if turned)
    quantities = tuple(_quantity(content, name) for name in layout.fields)
    try:
        frame = Frame(domain, axes, quantities)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    values = np.stack(
        [_numbers(path, name, np.flip(v, flips)) for name, v in layout.fields.items()], axis=1
    )
    gaps = np.isnan(values)
    if gaps.any() and fill is None:
        raise UsageError(_where(path, gaps, frame))
    if gaps.any() and fill is not None:
        spacing = [(a.stop - a.start) / n for a, n in zip(axes, values.shape[2:])]
        flat = values.reshape(-1, *values.shape[2:])
        try:
            values = fill_gaps(flat, fill, domain, spacing).astype(np.float32).reshape(values.shape)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    parameters = None
    if layout.parameters:
        columns = [_numbers(path, name, v) for name, v in layout.parameters.items()]
        parameters = np.stack(columns, axis=1)
        if np.isnan(parameters).any():
            raise UsageError(f"{path}: {np.isnan(parameters).sum()} parameters are missing")
    _warn_of_units(path, content, [*layout.fields, *layout.parameters, *layout.space])
    names = tuple(_quantity(content, name) for name in layout.parameters)
    return FieldSet(path.stem, values, frame, _card(path, content, values), parameters, names)


def _numbers(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    """As float32, NaN where missing."""
    kind = values.dtype.kind
    if kind == "c":
        raise UsageError(
            f"{path}: {name!r} is complex; store its real and imaginary parts as two variables"
        )
    if kind not in "biuf":
        raise UsageError(
            f"{path}: {name!r} holds no numbers ({values.dtype}); choose others with "
            "variables=[...] (--variables ...)"
        )
    with np.errstate(over="ignore"):
        made = values.astype(np.float32)
    if infinite := int(np.isinf(made).sum()):
        raise UsageError(
            f"{path}: {infinite} values of {name!r} are infinite, or too large for float32 "
            f"(above {np.finfo(np.float32).max:.1e})"
        )
    return made


def _where(path: Path, gaps: np.ndarray, frame: Frame) -> str:
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
        f"{sample} at {where}. Leave such samples out, or choose fill='harmonic' or fill='mean' "
        "(--fill harmonic, --fill mean)"
    )


def _quantity(content: Content, name: str) -> Quantity:
    v = content.variables[name]
    return Quantity(name, text_of(v.attributes.get("units", "")), long_name_of(name, v))


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
            stacklevel=3,
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
    return {"units": what.units, "long_name": what.long_name or what.name}


def _array(values: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(values, Tensor):
        wide = values.dtype in (torch.float32, torch.float64)
        if not values.dtype.is_floating_point:
            raise UsageError(f"expected floating-point values, got {values.dtype}")
        values = (values if wide else values.float()).detach().cpu().numpy()
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise UsageError(f"expected floating-point values, got {values.dtype}")
    return values if values.dtype.itemsize >= 4 else values.astype(np.float32)
