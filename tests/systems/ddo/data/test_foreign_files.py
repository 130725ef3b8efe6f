"""Fields in files of others: what is read, and what is refused with which words."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import xarray

from sfumato.errors import UsageError
from sfumato.systems.ddo.data.base import Axis, FieldSet, Quantity
from sfumato.systems.ddo.data.files import read_fields, write_fields


def quietly(path: Path, *args: object, **more: object) -> FieldSet:
    """`read_fields` where units are missing and nobody minds."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not say the units")
        return read_fields(path, *args, **more)  # type: ignore[arg-type]


def weather(n: int = 3) -> xarray.Dataset:
    """As an archive may have it: days, latitudes from the north, longitudes, a map's name."""
    rng = np.random.default_rng(0)
    shape = (n, 5, 8)
    return xarray.Dataset(
        {
            "v10": (("time", "lat", "lon"), rng.standard_normal(shape), {"units": "m s**-1"}),
            "t2m": (
                ("time", "lat", "lon"),
                rng.integers(250, 300, shape).astype(np.int16),
                {"units": "K", "long_name": "2 metre temperature"},
            ),
            "crs": ((), np.int32(4326)),
        },
        {
            "time": ("time", np.arange(n, dtype=np.int32), {"units": "days since 2001-01-01"}),
            "lat": (
                "lat",
                np.linspace(60, 40, 5, dtype=np.float32),
                {"units": "degrees_north", "long_name": "latitude"},
            ),
            "lon": ("lon", np.arange(8) * 0.25, {"units": "degrees_east"}),
            "height": (("lat", "lon"), rng.standard_normal(shape[1:])),
        },
        {"title": "Weather", "license": "CC BY 4.0"},
    )


def put(data: xarray.Dataset, path: Path) -> Path:
    if path.suffix == ".zarr":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.to_zarr(path)
    else:
        data.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("name", ["a.nc", "a.h5", "a.zarr"])
def test_what_xarray_wrote_is_read(tmp_path: Path, name: str) -> None:
    data = weather()
    path = put(data, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = read_fields(path, ["t2m", "v10"], sample_dim="time")
    north = data.sortby("lat")
    assert np.array_equal(got.values[:, 0], north["t2m"].values)
    assert np.array_equal(got.values[:, 1], north["v10"].values.astype(np.float32))
    temperature = Quantity("t2m", "K", "2 metre temperature")
    assert got.frame.quantities == (temperature, Quantity("v10", "m s**-1"))
    assert [a.name for a in got.frame.axes] == ["lat", "lon"]
    assert got.frame.axes[0] == Axis("lat", 37.5, 62.5, "degrees_north", "latitude")
    assert np.allclose(got.frame.coordinates(got.grid)[0], [40, 45, 50, 55, 60])
    assert got.frame.axes[1] == Axis("lon", -0.125, 1.875, "degrees_east")
    assert got.card.licence == "CC BY 4.0"
    assert "t2m: 2 metre temperature" in got.card.note
    both = read_fields(path, sample_dim="time")
    names = [q.name for q in both.frame.quantities]
    # as in the file; a folder has no order, so there it is by name
    assert names == (["t2m", "v10"] if path.suffix == ".zarr" else ["v10", "t2m"])


@pytest.mark.parametrize("ending", [".nc", ".npz", ".zarr"])
def test_long_names_are_written_again(tmp_path: Path, ending: str) -> None:
    data = weather().assign(nu=("time", np.arange(3.0), {"units": "1", "long_name": "viscosity"}))
    first = read_fields(put(data, tmp_path / "a.nc"), ["t2m", "nu"], sample_dim="time")
    path = tmp_path / f"b{ending}"
    write_fields(path, first)
    again = read_fields(path)
    assert again.frame == first.frame
    assert again.parameter_names == (Quantity("nu", "1", "viscosity"),)
    assert again.card.note.count("t2m: 2 metre temperature") == 1
    if ending == ".nc":
        with xarray.open_dataset(path) as seen:
            said = {name: seen[name].attrs["long_name"] for name in ("t2m", "nu", "lat", "lon")}
        names = {"t2m": "2 metre temperature", "nu": "viscosity", "lat": "latitude", "lon": "lon"}
        assert said == names


def test_axes_in_any_order_and_one_field_alone(tmp_path: Path) -> None:
    data = weather(1).drop_vars("crs")
    turned = data.assign(t2m=data["t2m"].transpose("lon", "time", "lat"))
    path = put(turned, tmp_path / "a.nc")
    got = read_fields(path, ["v10", "t2m"], sample_dim="time")
    assert np.array_equal(got.values[:, 1], data["t2m"].values[:, ::-1])
    path = put(data.isel(time=0, drop=True), tmp_path / "b.nc")
    alone = read_fields(path, ["v10", "t2m"], sample_dim="")
    assert np.array_equal(alone.values, got.values)


def test_time_may_be_an_axis_of_space_in_the_numbers_of_the_file(tmp_path: Path) -> None:
    data = weather(5)[["v10"]].rename(lat="number").drop_vars("number")
    got = quietly(put(data, tmp_path / "a.nc"))
    assert got.values.shape == (5, 1, 5, 8)
    assert got.frame.axes[0] == Axis("time", -0.5, 4.5, "days since 2001-01-01")


def test_netcdf_3_and_packed_values(tmp_path: Path) -> None:
    with scipy.io.netcdf_file(tmp_path / "a.nc", "w") as file:
        file.createDimension("member", 2)
        file.createDimension("x", 5)
        x = file.createVariable("x", "f8", ("x",))
        x[:] = 0.5 * np.arange(5)
        x.units = "m"
        u = file.createVariable("u", "i2", ("member", "x"))
        u[:] = np.arange(10).reshape(2, 5)
        u.units, u.scale_factor, u.add_offset = "kg", 0.5, 100.0
        u._FillValue = np.int16(7)
    with pytest.raises(UsageError, match=r"1 of 10 values are missing .* sample 1 at x=1"):
        read_fields(tmp_path / "a.nc")
    got = read_fields(tmp_path / "a.nc", fill="harmonic")
    assert np.allclose(got.values[:, 0], 100 + 0.5 * np.arange(10).reshape(2, 5))
    assert got.frame.axes == (Axis("x", -0.25, 2.25, "m"),)


def test_plain_hdf5_and_npz_have_axes_by_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    u, nu = rng.standard_normal((3, 5, 6)), rng.standard_normal(3)
    arrays = {"u": u, "x": np.arange(6) / 3, "nu": nu}
    np.savez(tmp_path / "a.npz", **arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file["u"].attrs["units"] = "m"
        file["u"].attrs["_FillValue"] = u[0, 0, 0]
    for path in (tmp_path / "a.npz", tmp_path / "a.h5"):
        got = quietly(path, fill="mean")
        assert np.array_equal(got.values.flat[1:], u.astype(np.float32).flat[1:])
        assert np.array_equal(got.parameters, nu[:, None].astype(np.float32))
        assert [a.name for a in got.frame.axes] == ["y", "x"]
        assert got.frame.axes[0] == Axis("y", 0, 5)
        assert got.frame.axes[1].start == pytest.approx(-1 / 6)
    assert got.frame.quantities == (Quantity("u", "m"),)
    assert got.values[0, 0, 0, 0] == pytest.approx(u[0].flat[1:].mean(), rel=1e-6)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["u"] = u
        for axis, label in zip(file["u"].dims, ("depth", "member", "range"), strict=True):
            axis.label = label
    np.savez(tmp_path / "c.npz", u=rng.standard_normal((4, 5, 6)), z=np.arange(4.0))
    cube = quietly(tmp_path / "c.npz", sample_dim="")
    assert (cube.values.shape, [a.name for a in cube.frame.axes]) == ((1, 1, 4, 5, 6), list("zyx"))
    assert cube.frame.axes[0] == Axis("z", -0.5, 3.5)
    with pytest.raises(UsageError, match="got 3 along 'depth'"):
        quietly(tmp_path / "b.h5")
    labelled = quietly(tmp_path / "b.h5", sample_dim="depth")
    assert [a.name for a in labelled.frame.axes] == ["member", "range"]


def stored(tmp_path: Path, **arrays: np.ndarray) -> Path:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    return path


U = np.zeros((3, 5, 6))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "expected at least one variable with axes, got none"),
        ({"x": np.arange(4.0)}, "expected at least one variable"),
        ({"u": np.zeros((0, 5, 6))}, r"the fields are empty, of shape \(0, 5, 6\)"),
        ({"u": np.zeros((2, 3, 6))}, "at least 4 points along each axis of space, got 3 along 'y'"),
        ({"u": np.zeros((2, 2, 4, 4, 4))}, "does not name its axes; expected at most 4: samples"),
        ({"u": U + 1j}, "'u' is complex; store its real and imaginary parts"),
        ({"u": np.full((3, 5, 6), "a")}, r"'u' holds no numbers \(<U1\)"),
        ({"u": U, "v": np.zeros((3, 6))}, r"same axes, got u \(sample, y, x\); v \(sample, x\)"),
        ({"u": U, "v": np.zeros((3, 5, 7))}, "expected variables of one shape"),
        ({"u": U, "nu": np.zeros(4)}, "expected 3 values of 'nu', one for each sample, got 4"),
        ({"u": U, "nu": np.full(3, np.nan)}, "3 parameters are missing"),
        ({"u": U + np.inf}, "90 values of 'u' are infinite, or too large for float32"),
        ({"u": U + 1e39}, "90 values of 'u' are infinite, or too large"),
        ({"u": U, "x": np.arange(5.0)}, r"6 numbers as coordinates of 'x', got float64 \(5"),
        ({"u": U, "x": np.array(list("abcdef"))}, "expected 6 numbers as coordinates of 'x'"),
        ({"u": U, "x": np.array([0, 1, 2, np.nan, 4, 5])}, "coordinates of 'x' are not finite"),
        ({"u": U, "x": np.array([0, 1, 2, 3, 4, 5.1])}, r"spacing is 1.02, .*from 4 to 5.1 is 1.1"),
        ({"u": U, "x": np.array([0, 1, 2, 2.002, 4, 5])}, r"2 to 2.002 is 0.002\. Interpolate"),
        ({"u": U, "x": np.zeros(6)}, "expected uniform coordinates of 'x'.* Interpolate"),
        ({"u": U, "x": np.array([3, 4, 5, 0, 1, 2])}, r"another order; .* data.sortby\('x'\)$"),
        ({"u": U, "x": np.array([0, 1, 2, 2, 1, 0.0])}, "expected uniform coordinates of 'x'"),
    ],
)  # fmt: skip
def test_what_is_no_field_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        quietly(stored(tmp_path, **arrays))


def test_spacings_may_differ_by_rounding_only(tmp_path: Path) -> None:
    near = np.arange(6) + np.array([0, 0, 4e-4, 0, 0, 0])
    assert quietly(stored(tmp_path, u=U, x=near)).frame.axes[1].stop == pytest.approx(5.5)
    with pytest.raises(UsageError, match="1 part in 1000"):
        quietly(stored(tmp_path, u=U, x=np.arange(6) + 3 * (near - np.arange(6))))


def test_edges_of_cells_are_no_fields(tmp_path: Path) -> None:
    data = weather().assign(
        time_bnds=(("time", "bnds"), np.zeros((3, 2))),
        edges=(("lat", "two"), np.zeros((5, 2))),
    )
    data.lat.attrs["bounds"] = "edges"
    path = put(data, tmp_path / "a.nc")
    read = read_fields(path, sample_dim="time")
    assert [q.name for q in read.frame.quantities] == ["v10", "t2m"]
    assert not read.parameter_names


def test_choices_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, u=U, v=U)
    with pytest.raises(UsageError, match="unknown variable 'w'; there are: u, v"):
        read_fields(path, ["u", "w"])
    with pytest.raises(UsageError, match="expected different variables"):
        read_fields(path, ["u", "u"])
    with pytest.raises(UsageError, match="unknown fill 'men'; did you mean 'mean'"):
        read_fields(path, fill="men")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one variable"):
        read_fields(path, [])
    path = put(weather(), tmp_path / "a.nc")
    with pytest.raises(
        UsageError,
        match="which of the axes time, lat, lon counts the samples.* sample_dim='time'.*",
    ):
        read_fields(path)
    with pytest.raises(UsageError, match="unknown axis 'tome'; did you mean 'time'"):
        read_fields(path, sample_dim="tome")
    with pytest.raises(UsageError, match="unknown variable 'crs'"):
        read_fields(path, ["crs"])


def test_missing_units_are_said_once_and_kept_as_none(tmp_path: Path) -> None:
    data = weather()
    del data["v10"].attrs["units"], data["lon"].attrs["units"]
    path = put(data, tmp_path / "a.nc")
    with pytest.warns(UserWarning, match=r"a.nc does not say the units of v10, lon;") as said:
        got = read_fields(path, ["v10", "t2m"], sample_dim="time")
    assert len(said) == 1
    assert said[0].filename == __file__
    assert (got.frame.quantities[0].units, got.frame.axes[1].units) == ("", "")


def test_missing_values_are_counted_and_found(tmp_path: Path) -> None:
    data = weather()
    values = data["v10"].values
    values[1, 2, 3:5] = np.nan
    values[2, 0, 0] = np.nan
    path = put(data, tmp_path / "a.nc")
    with pytest.raises(
        UsageError,
        match=r"3 of 240 values are missing \(3 of 'v10', 0 of 't2m'\), in 2 of 3 samples; the "
        r"first is 'v10' of sample 1 at lat=50, lon=0.75\. .* fill='harmonic'",
    ):
        read_fields(path, ["v10", "t2m"], sample_dim="time")
    filled = read_fields(path, ["v10", "t2m"], sample_dim="time", fill="mean")
    expected = np.where(np.isnan(values), np.nanmean(values, (1, 2))[:, None, None], values)
    assert np.allclose(filled.values[:, 0], expected[:, ::-1], rtol=1e-6)
    values[:] = np.nan
    path = put(data, tmp_path / "b.nc")
    with pytest.raises(UsageError, match=r"b.nc: 3 of 6 fields .* no known value to fill from"):
        read_fields(path, ["v10", "t2m"], sample_dim="time", fill="harmonic")
