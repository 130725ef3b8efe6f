"""Fields in files: what is written comes back, whole or not at all, and opens elsewhere."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from sfumato.data.sets import DataCard
from sfumato.errors import MissingExtra, SfumatoError, UsageError
from sfumato.systems.ddo.data import containers
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.containers import ABOUT, ENDINGS
from sfumato.systems.ddo.data.files import read_fields, write_fields
from sfumato.systems.ddo.nn.harmonic import Domain

XARRAY = (".h5", ".nc", ".zarr")
CARD = DataCard("made", "a test", "CC0-1.0", "small", "nothing to note")


def made(dims: int, domain: Domain = Domain.REFLECTING) -> FieldSet:
    """Odd sizes, awkward boxes, names with spaces, exact zeros, the smallest and largest floats."""
    rng = np.random.default_rng(dims)
    axes = (Axis("z", 1e5, 1e5 + 0.7, "Pa"), Axis("long y", -0.1, 0.2), Axis("x", 3.3, 7.7, "km"))
    quantities = (Quantity("u(t=0.3)", "m s-1"), Quantity("a"), Quantity("signed distance", "m"))
    grid = (5, 4, 7)[3 - dims :]
    values = rng.standard_normal((6, 3, *grid)).astype(np.float32)
    values[0] = 0.0
    values[1, 0].flat[:4] = [-0.0, 1e-45, np.finfo(np.float32).max, -np.finfo(np.float32).tiny]
    parameters = rng.standard_normal((6, 2)).astype(np.float32)
    names = (Quantity("nu", "m2 s-1"), Quantity("Reynolds number"))
    return FieldSet(
        "made", values, Frame(domain, axes[3 - dims :], quantities), CARD, parameters, names
    )


def opened(path: Path) -> xarray.Dataset:
    """As a user of xarray opens it, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if path.suffix == ".zarr":
            return xarray.open_zarr(path).load()
        with xarray.open_dataset(path, engine="h5netcdf") as data:
            return data.load()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_what_is_written_comes_back(tmp_path: Path, ending: str, dims: int) -> None:
    data = made(dims, [Domain.PERIODIC, Domain.REFLECTING][dims % 2])
    path = tmp_path / "new" / f"fields{ending}"
    write_fields(path, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = read_fields(path)
    assert back.values.tobytes() == data.values.tobytes()
    assert back.frame == data.frame
    assert data.parameters is not None
    assert back.parameters is not None
    assert back.parameters.tobytes() == data.parameters.tobytes()
    assert back.parameter_names == data.parameter_names
    assert (back.name, back.card.licence) == ("fields", "CC0-1.0")
    assert "source: a test" in back.card.note
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", XARRAY)
def test_xarray_reads_the_same_numbers_units_and_attributes(tmp_path: Path, ending: str) -> None:
    data = made(2)
    path = tmp_path / f"fields{ending}"
    write_fields(path, data, {"model": "a model", "seed": "3"})
    seen = opened(path)
    assert dict(seen.sizes) == {"sample": 6, "long y": 4, "x": 7}
    for c, q in enumerate(data.frame.quantities):
        assert seen[q.name].dims == ("sample", "long y", "x")
        assert seen[q.name].values.tobytes() == data.values[:, c].tobytes()
        assert (seen[q.name].attrs["units"], seen[q.name].attrs["long_name"]) == (q.units, q.name)
    for axis, points in zip(data.frame.axes, data.frame.coordinates(data.grid), strict=True):
        assert seen[axis.name].dtype == np.float64
        assert np.array_equal(seen[axis.name].values, points)
        assert seen[axis.name].attrs["units"] == axis.units
    assert seen["nu"].attrs["units"] == "m2 s-1"
    assert (seen.attrs["model"], seen.attrs["seed"]) == ("a model", "3")
    assert (seen.attrs["domain"], seen.attrs["licence"]) == ("reflecting", "CC0-1.0")


def test_an_npz_has_the_documented_keys(tmp_path: Path) -> None:
    data = made(1)
    write_fields(tmp_path / "a.npz", data, {"model": "m"})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert set(stored.files) == {
            "x", "u(t=0.3)", "a", "signed distance", "nu", "Reynolds number", ABOUT,
        }  # fmt: skip
        assert np.array_equal(stored["a"], data.values[:, 1])
        about = json.loads(str(stored[ABOUT]))
    assert about["dims"]["a"] == ["sample", "x"]
    assert about["attributes"]["x"]["units"] == "km"
    assert about["file"]["model"] == "m"


def test_values_and_a_frame_are_written_in_their_own_precision(tmp_path: Path) -> None:
    frame = Frame(Domain.PERIODIC, (Axis("x"),), (Quantity("u"),))
    wide = np.random.default_rng(0).standard_normal((2, 1, 5))
    write_fields(tmp_path / "a.nc", (wide, frame))
    assert opened(tmp_path / "a.nc")["u"].values.tobytes() == wide[:, 0].tobytes()
    half = torch.from_numpy(wide).bfloat16().requires_grad_()
    write_fields(tmp_path / "b.nc", (half, frame))
    stored = opened(tmp_path / "b.nc")["u"].values
    assert stored.dtype == np.float32
    assert np.array_equal(stored, half.detach().float().numpy()[:, 0])


def test_another_domain_can_be_asked_for(tmp_path: Path) -> None:
    write_fields(tmp_path / "a.nc", made(1))
    back = read_fields(tmp_path / "a.nc", domain=Domain.PERIODIC)
    points = made(1).frame.coordinates((7,))[0]
    assert back.frame.domain is Domain.PERIODIC
    assert np.allclose(back.frame.coordinates((7,))[0], points, rtol=1e-12)
    assert back.frame.axes[0].start == pytest.approx(points[0])


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u=np.array([{}, 1], dtype=object))
    with pytest.raises(SfumatoError, match=r"'u' holds Python objects \(a pickle\).*any program"):
        read_fields(tmp_path / "a.npz")


def test_files_that_are_not_what_they_are_called(tmp_path: Path) -> None:
    write_fields(tmp_path / "a.nc", made(1))
    write_fields(tmp_path / "a.npz", made(1))
    write_fields(tmp_path / "a.zarr", made(1))
    (tmp_path / "zip.nc").write_bytes((tmp_path / "a.npz").read_bytes())
    (tmp_path / "h.npz").write_bytes((tmp_path / "a.nc").read_bytes())
    (tmp_path / "t.h5").write_text("some text")
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "f.zarr").write_text("")
    (tmp_path / "d.nc").mkdir()
    for name, message in [
        ("zip.nc", "expected NetCDF because of its name, and it begins like a zip or .npz"),
        ("h.npz", "expected NumPy's .npz .* begins like HDF5"),
        ("t.h5", "expected HDF5 .* begins like no kind of file that is known"),
        ("e.zarr", "not a Zarr group"),
        ("f.zarr", ".zarr should not be a file"),
        ("d.nc", ".nc should not be a folder"),
        ("no.nc", "there is no such file"),
        ("a.txt", r"expected a name that ends in .npz, .h5, .hdf5, .nc, .nc4, .zarr, got '.txt'"),
    ]:
        with pytest.raises(SfumatoError, match=message):
            read_fields(tmp_path / name)
    for name in ("a.nc", "a.npz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SfumatoError, match=name):
            read_fields(tmp_path / name)


@pytest.mark.parametrize("ending", [".npz", ".nc", ".zarr"])
def test_nothing_is_overwritten_unasked_and_a_failure_leaves_the_old(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, old, new = tmp_path / f"a{ending}", made(1), made(2)
    write_fields(path, old)
    with pytest.raises(UsageError, match="exists already; choose another name, or replace it"):
        write_fields(path, new)
    assert read_fields(path).values.tobytes() == old.values.tobytes()

    names = {".npz": "_write_npz", ".zarr": "_write_zarr"}
    name = names.get(ending, "_write_netcdf")
    real = getattr(containers, name)

    def failing(part: Path, content: object) -> None:
        real(part, content)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(containers, name, failing)
    for target in (path, tmp_path / f"b{ending}"):
        with pytest.raises(SfumatoError, match=r"cannot be written \(the disk is full\)"):
            write_fields(target, new, overwrite=True)
    with pytest.raises(UsageError, match="exists already"):  # before the work of writing
        write_fields(path, new)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert read_fields(path).values.tobytes() == old.values.tobytes()
    write_fields(path, new, overwrite=True)
    assert read_fields(path).values.tobytes() == new.values.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_zarr_that_cannot_be_put_in_place_gives_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zarr"
    write_fields(path, made(1))

    def refused(fresh: Path, target: Path) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(SfumatoError, match="no permission"):
        write_fields(path, made(2), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert read_fields(path).values.tobytes() == made(1).values.tobytes()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    data = made(1)
    frame = Frame(Domain.PERIODIC, (Axis("x"),), (Quantity("u"),))
    u = np.zeros((2, 1, 5), np.float32)
    (tmp_path / "d.nc").mkdir()
    (tmp_path / "file").write_text("")
    for call, message in [
        (lambda: write_fields(tmp_path / "a.txt", data), "expected a name that ends in"),
        (lambda: write_fields(tmp_path / "d.nc", data, overwrite=True), "is a folder"),
        (lambda: write_fields(tmp_path / "file" / "a.nc", data), "cannot be written"),
        (lambda: write_fields(tmp_path / "a.nc", data, {"seed": 3}), "texts, got 'seed': 3"),  # type: ignore[dict-item]
        (lambda: write_fields(tmp_path / "a.nc", data, {"domain": "x"}), "texts, got 'domain'"),
        (lambda: write_fields(tmp_path / "a.nc", (u[0], frame)), "expected values .N, 1, and 1"),
        (lambda: write_fields(tmp_path / "a.nc", (u[:0], frame)), "expected values"),
        (lambda: write_fields(tmp_path / "a.nc", (u + np.nan, frame)), "10 values .* not finite"),
        (lambda: write_fields(tmp_path / "a.nc", (u > 0, frame)), "values, got bool"),
        (lambda: write_fields(tmp_path / "a.nc", (torch.zeros(2, 1, 5).int(), frame)), "int32"),
    ]:  # fmt: skip
        with pytest.raises(SfumatoError, match=message):
            call()
    for name in ("a/b", " ", "sample", ABOUT):
        wrong = Frame(Domain.PERIODIC, (Axis("x"),), (Quantity(name),))
        with pytest.raises(UsageError, match="cannot be the name of a variable"):
            write_fields(tmp_path / "a.nc", (u, wrong))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.nc", "file"]


@pytest.mark.parametrize(
    ("ending", "module"),
    [(".nc", "h5py"), (".nc", "xarray"), (".h5", "h5netcdf"), (".zarr", "zarr")],
)
def test_a_missing_package_is_named(
    tmp_path: Path, ending: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{ending}"
    write_fields(path, made(1))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"'{module}'.*pip install 'sfumato\[fields\]'"):
        read_fields(path)
    if module != "h5py":
        with pytest.raises(MissingExtra, match=module):
            write_fields(path, made(1), overwrite=True)
