"""Arrays with names, axes and attributes, in four kinds of file: .npz, .h5, .nc and .zarr.

What lies in a file is a `Content`: variables that name their axes, as in NetCDF. A variable of one
axis that has the axis's name holds its coordinates. HDF5 and NetCDF-4 are one kind of file, and so
both are written by xarray and h5netcdf; read is also HDF5 without NetCDF's names of axes, and
NetCDF 3. An .npz holds each array under its name, and under `ABOUT` a JSON text with the rest:

    {"dims": {name: [axes]}, "attributes": {name: {key: text or number}}, "file": {key: text}}
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np

from sfumato.errors import SfumatoError, UsageError, require
from sfumato.files.atomic import whole
from sfumato.systems.ddo.data.groups import chosen, hdf5_groups, zarr_groups
from sfumato.systems.ddo.data.packing import unpacked
from sfumato.systems.ddo.options import ENDINGS

__all__ = ["ABOUT", "ENDINGS", "Content", "Variable", "ending_of", "read_content", "write_content"]

ABOUT: Final = "__about__"
"""Key of the JSON text in an .npz."""
_EXTRA = "fields"
_HDF5 = (".h5", ".hdf5")
_NETCDF = (".nc", ".nc4")

Attributes: TypeAlias = Mapping[str, Any]


@final
@dataclass(frozen=True, eq=False)
class Variable:
    """An array.

    Args:
        values: of any type that the file can hold.
        dims: a name for each axis; None if the file gives none.
        attributes: such as "units".
    """

    values: np.ndarray
    dims: tuple[str, ...] | None = None
    attributes: Attributes = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds: variables, coordinates among them, and attributes of the whole.

    ``notes`` say what was chosen in reading it, such as a group.
    """

    variables: Mapping[str, Variable]
    attributes: Attributes = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def ending_of(path: Path) -> str:
    """The ending of the name, in small letters.

    Raises:
        UsageError: one that is neither read nor written.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(
            f"{path.name}: expected a name that ends in {', '.join(ENDINGS)}, "
            f"got {path.suffix or 'no ending'!r}"
        )
    return ending


def read_content(path: Path, group: str = "", option: str = "group=") -> Content:
    """All that a file holds, or a group of it; nothing in it is run.

    Values packed by CF's scale_factor and add_offset are unpacked, and those that equal the
    attribute _FillValue or missing_value are NaN (`ddo.data.packing`). Times stay the numbers they
    are.

    Args:
        path: the file.
        group: path or name of a group in HDF5, NetCDF-4 or zarr; "" takes the top of the file, or
            the only group with arrays. Coordinates of the groups around it belong to it.
        option: what messages call ``group``.

    Raises:
        UsageError: a name with another ending; no such group, or several and none was chosen.
        MissingExtra: what reads this kind of file is not installed.
        SfumatoError: no such file, not of the kind that its ending says, or damaged.
    """
    ending = ending_of(path)
    if not path.exists():
        raise SfumatoError(f"{path}: there is no such file")
    if path.is_dir() != (ending == ".zarr"):
        kind = "a folder" if path.is_dir() else "a file"
        raise SfumatoError(f"{path}: {ending} should not be {kind}")
    read = {".npz": _read_npz, ".zarr": _read_zarr}.get(ending, _read_hdf5)
    try:
        return read(path, group, option)
    except SfumatoError:
        raise
    except Exception as error:  # whatever the several packages raise at a damaged file
        raise SfumatoError(f"{path}: cannot be read as {ending} ({error})") from error


def _other_kind(path: Path, expected: str) -> SfumatoError:
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        return SfumatoError(f"{path}: expected {expected}, and the file is empty (0 bytes)")
    kinds = {b"PK": "a zip or .npz", b"\x89HDF": "HDF5", b"CDF": "NetCDF 3", b"\x93NUMPY": ".npy"}
    found = [f"begins like {kind}" for magic, kind in kinds.items() if start.startswith(magic)]
    found = found or ["begins like no kind of file that is known here"]
    return SfumatoError(f"{path}: expected {expected} because of its name, and it {found[0]}")


def _no_groups(path: Path, group: str, kind: str) -> None:
    if group:
        raise UsageError(f"{path}: expected no group, since {kind} has none, got {group!r}")


def _read_npz(path: Path, group: str, option: str) -> Content:
    _no_groups(path, group, "an .npz")
    if not zipfile.is_zipfile(path):
        raise _other_kind(path, "NumPy's .npz")
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored[ABOUT])) if ABOUT in stored.files else {}
        arrays = {}
        for name in stored.files:
            if name == ABOUT:
                continue
            try:
                arrays[name] = stored[name]
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                raise SfumatoError(
                    f"{path}: {name!r} holds Python objects (a pickle), which are not read "
                    "because reading them could run any program; save arrays of numbers"
                ) from error
    dims, more = about.get("dims", {}), about.get("attributes", {})
    variables = {}
    for name, values in arrays.items():
        values, said = unpacked(values, more.get(name, {}))
        variables[name] = Variable(values, tuple(dims[name]) if name in dims else None, said)
    return Content(variables, about.get("file", {}))


def _from_xarray(path: Path, group: str = "", **how: Any) -> Content:
    xarray = require("xarray", _EXTRA)
    parts = [part for part in group.split("/") if part]
    variables: dict[str, Variable] = {}
    attributes: Attributes = {}
    for depth in range(len(parts), -1, -1):  # the group, then those around it
        inner = depth == len(parts)
        own = {**how, "group": "/".join(parts[:depth])} if depth else how
        with xarray.open_dataset(path, decode_times=False, decode_timedelta=False, **own) as opened:
            # only coordinates of axes; others, such as a map's latitudes, belong to no axis
            names = [name for name in opened.coords if name in opened.dims]
            if inner:
                names += opened.data_vars
                attributes = {str(key): value for key, value in opened.attrs.items()}
            for name in names:
                if str(name) not in variables:
                    variables[str(name)] = Variable(
                        opened[name].values,
                        tuple(map(str, opened[name].dims)),
                        {str(key): value for key, value in opened[name].attrs.items()},
                    )
    return Content(variables, attributes)


def _read_hdf5(path: Path, group: str, option: str) -> Content:
    """HDF5, NetCDF-4 or NetCDF 3: by xarray where axes have names, else as it lies there."""
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix.lower() in _NETCDF and start in (b"CDF\x01", b"CDF\x02"):
        require("scipy.io", _EXTRA)
        _no_groups(path, group, "NetCDF 3")
        return _from_xarray(path, engine="scipy")
    h5py = require("h5py", _EXTRA)
    if not h5py.is_hdf5(path):
        raise _other_kind(path, "HDF5" if path.suffix.lower() in _HDF5 else "NetCDF")
    with h5py.File(path, "r") as file:
        group, notes = chosen(path, hdf5_groups(file), group, option)
        at = file[group] if group else file
        sets = {name: item for name, item in at.items() if isinstance(item, h5py.Dataset)}
        if not all(_named_axes(item) for item in sets.values()):
            variables = {name: _plain(item) for name, item in sets.items()}
            return Content(variables, _texts(at), notes)
    require("h5netcdf", _EXTRA)
    return replace(_from_xarray(path, group, engine="h5netcdf"), notes=notes)


def _named_axes(item: Any) -> bool:
    """Whether an HDF5 dataset is an axis, or has one for each of its dimensions."""
    if item.attrs.get("CLASS") == b"DIMENSION_SCALE":
        return True
    return all(len(axis) == 1 for axis in item.dims)


def _plain(item: Any) -> Variable:
    """A dataset of HDF5 that knows nothing of NetCDF; its axes may have labels."""
    values, attributes = unpacked(np.asarray(item[()]), _texts(item))
    labels = tuple(axis.label for axis in item.dims)
    return Variable(values, labels if all(labels) and labels else None, attributes)


def _texts(item: Any) -> dict[str, Any]:
    return {
        key: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for key, value in item.attrs.items()
    }


def _read_zarr(path: Path, group: str, option: str) -> Content:
    zarr = require("zarr", _EXTRA)
    if not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        raise SfumatoError(f"{path}: not a Zarr group (no zarr.json and no .zgroup in it)")
    groups = zarr_groups(zarr.open_group(path, mode="r"))
    group, notes = chosen(path, groups, group, option)
    found = _from_xarray(path, group, engine="zarr", consolidated=False)
    # a folder's own order is any
    return Content(dict(sorted(found.variables.items())), found.attributes, notes)


def write_content(path: Path, content: Content, overwrite: bool = False) -> None:
    """Write a file or a .zarr folder, whole or not at all (`sfumato.files.atomic.whole`).

    Raises:
        UsageError: a name with another ending, or something is there and ``overwrite`` is False.
        MissingExtra: what writes this kind of file is not installed.
        SfumatoError: it cannot be written there, and why. What was there is as it was.
    """
    ending = ending_of(path)
    write: Callable[[Path, Content], None] = {".npz": _write_npz, ".zarr": _write_zarr}.get(
        ending, _write_netcdf
    )
    if path.is_dir() and ending != ".zarr":
        raise UsageError(f"{path} is a folder; give another name")
    with whole(path, existing="replace" if overwrite else "refuse") as part:
        try:
            write(part, content)
        except (SfumatoError, OSError):
            raise
        except Exception as error:
            raise SfumatoError(f"{path} cannot be written ({error})") from error


def _write_npz(part: Path, content: Content) -> None:
    about = {
        "dims": {name: v.dims for name, v in content.variables.items() if v.dims is not None},
        "attributes": {name: dict(v.attributes) for name, v in content.variables.items()},
        "file": dict(content.attributes),
    }
    arrays = {name: v.values for name, v in content.variables.items()}
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
        for name, values in [*arrays.items(), (ABOUT, np.array(json.dumps(about)))]:
            with file.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(values), allow_pickle=False)


def _dataset(content: Content) -> Any:
    xarray = require("xarray", _EXTRA)
    made = {name: (v.dims, v.values, dict(v.attributes)) for name, v in content.variables.items()}
    axes = {name for name, v in content.variables.items() if v.dims == (name,)}
    return xarray.Dataset(
        {name: v for name, v in made.items() if name not in axes},
        {name: v for name, v in made.items() if name in axes},
        dict(content.attributes),
    )


def _write_netcdf(part: Path, content: Content) -> None:
    require("h5netcdf", _EXTRA)
    held = io.BytesIO()  # HDF5 crashes the process where the disk is full
    _dataset(content).to_netcdf(held, engine="h5netcdf")
    part.write_bytes(held.getbuffer())


def _write_zarr(part: Path, content: Content) -> None:
    require("zarr", _EXTRA)
    with warnings.catch_warnings():
        # that version 3 of Zarr has no standard yet for the table of contents, which xarray reads
        warnings.simplefilter("ignore")
        _dataset(content).to_zarr(part, mode="w-", consolidated=True)
