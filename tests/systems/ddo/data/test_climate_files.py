"""Fields as archives and instruments keep them: packed, marked, in groups, in several files."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import xarray as xr

from sfumato.errors import UsageError
from sfumato.systems.ddo.data.axes import positions_of
from sfumato.systems.ddo.data.base import Axis, FieldSet
from sfumato.systems.ddo.data.containers import Variable
from sfumato.systems.ddo.data.files import read_fields, write_fields
from sfumato.systems.ddo.data.packing import suspects, unpacked
from sfumato.systems.ddo.data.reading import FieldFileOptions
from sfumato.systems.ddo.datasets import load_file

TIME = {"units": "days since 2000-01-01", "axis": "T", "standard_name": "time"}
NORTH = {"units": "degrees_north", "standard_name": "latitude"}
EAST = {"units": "degrees_east", "standard_name": "longitude"}
KELVIN = {"units": "K", "long_name": "2 metre temperature", "standard_name": "air_temperature"}
T2M = (280 + 10 * np.random.default_rng(0).standard_normal((6, 5, 8))).astype(np.float32)


def maps(
    values: np.ndarray = T2M, lat: object = (60, 55, 50, 45, 40), lon: object = tuple(range(8))
) -> xr.Dataset:
    return xr.Dataset(
        {"t2m": (("time", "lat", "lon"), values, KELVIN)},
        {
            "time": ("time", np.arange(len(values)), TIME),
            "lat": ("lat", np.asarray(lat), NORTH),
            "lon": ("lon", np.asarray(lon), EAST),
        },
    )


def quietly(path: Path | str, *args: object, **more: object) -> FieldSet:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not say the units")
        return read_fields(path, *args, **more)  # type: ignore[arg-type]


def stored(path: Path, values: np.ndarray, **attributes: object) -> Path:
    with h5py.File(path, "w") as file:
        file["t2m"] = values
        file["t2m"].attrs.update(attributes)
    return path


def test_packed_values_of_plain_hdf5_are_unpacked(tmp_path: Path) -> None:
    packed = np.round((T2M - 280) / 0.01).astype(np.int16)
    packed[1, 2, 3], packed[0, 0, 0] = -32768, -32767
    path = stored(
        tmp_path / "a.h5", packed, scale_factor=np.array([0.01]), add_offset=280.0,
        _FillValue=np.int16(-32768), missing_value=np.array([-32767], np.int16), units="K",
    )  # fmt: skip
    with pytest.raises(UsageError, match="2 of 240 values are missing"):
        quietly(path)
    got = quietly(path, fill="mean")
    known = np.ones(packed.shape, bool)
    known[1, 2, 3] = known[0, 0, 0] = False
    np.testing.assert_allclose(got.values[:, 0][known], T2M[known], atol=0.006)
    assert "2 of 240 values are missing, and filled (mean)" in got.notes


def test_unpacking_follows_cf() -> None:
    stored = np.array([-1, 0, 100], np.int8)
    made, rest = unpacked(stored, {"_Unsigned": "true", "scale_factor": 0.5, "units": "m"})
    assert made.tolist() == [127.5, 0, 50] and rest == {"units": "m"}
    made, _ = unpacked(stored, {"_Unsigned": "true", "_FillValue": np.int8(-1)})
    assert np.isnan(made).tolist() == [True, False, False]
    made, _ = unpacked(np.array([1e20, 1], np.float32), {"missing_value": 1e20})
    assert np.isnan(made).tolist() == [True, False]
    made, rest = unpacked(np.array([1.0, 2.0]), {"missing_value": "none", "units": "K"})
    assert made.tolist() == [1, 2]
    made, _ = unpacked(np.array([b"a"]), {"scale_factor": 2.0})
    assert made.tolist() == [b"a"]


@pytest.mark.parametrize("mark", [-9999.0, 1e20, -999.0, 9.969209968386869e36, -9.99e33, -32768.0])
def test_marks_without_a_declaration_are_doubted(tmp_path: Path, mark: float) -> None:
    values = T2M.copy()
    values[:, 1, 2] = mark
    path = stored(tmp_path / "a.h5", values)
    with pytest.warns(UserWarning, match=r"6 of 240 values of 't2m' \(2.50%\) are .* missing=\["):
        assert abs(read_fields(path).values.mean() - 280) > 10
    with pytest.raises(UsageError, match="6 of 240 values are missing"):
        quietly(path, missing=[mark])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*are -?9")
        got = quietly(path, missing=[mark, -1.0], fill="harmonic")
    assert got.values.mean() == pytest.approx(280, abs=2)


def test_ordinary_values_are_not_doubted() -> None:
    rng = np.random.default_rng(1)
    heights = rng.uniform(-11_000, 8_800, 5_000)
    heights[:3] = -9999  # inside the range
    for values in (
        heights, T2M, rng.gamma(0.2, 5, 5_000), np.exp(3 * rng.standard_normal(5_000)),
        np.array([3.0, 12.0] * 50), np.where(rng.random(999) < 0.9, 0, 1), np.full(9, -9999.0),
        1e30 * rng.standard_normal(500), rng.integers(0, 65536, 5_000), np.full(4, np.nan),
    ):  # fmt: skip
        assert suspects(np.asarray(values, np.float64)) == []
    both = suspects(np.array([1e20, -9999, -9999, 5, 6, 7, np.nan]))
    assert [(s.value, s.count) for s in both] == [(1e20, 1), (-9999, 2)]


@pytest.mark.parametrize("ending", [".nc", ".nc4", ".h5", ".zarr"])
def test_groups_are_chosen_by_name_or_path(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    x = maps()

    def put(data: xr.Dataset, group: str, mode: Literal["w", "a"]) -> None:
        if ending == ".zarr":
            data.to_zarr(path, group=group, mode=mode, consolidated=False)
        else:
            data.to_netcdf(path, group=group, mode=mode, engine="h5netcdf")

    put(x, "model/run1", "w")
    alone = read_fields(path)
    assert np.array_equal(alone.values[:, 0], T2M[:, ::-1])
    assert "the arrays are in the group model/run1" in alone.notes
    put(x + 1, "obs", "a")
    with pytest.raises(UsageError, match=r"its groups with group=.*: model/run1 \(t2m\); obs \(t2"):
        read_fields(path)
    for name in ("obs", "/obs/"):
        assert read_fields(path, group=name).values.mean() == pytest.approx(T2M.mean() + 1)
    assert np.array_equal(read_fields(path, group="run1").values, alone.values)
    with pytest.raises(UsageError, match="unknown group 'ops'; did you mean 'obs'"):
        read_fields(path, group="ops")


def test_groups_of_plain_hdf5_and_files_without_groups(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/x/u"], file["b/x/u"], file["b/x/x"] = T2M, T2M + 1, np.arange(8) / 4
    with pytest.raises(UsageError, match=r"'x' is the name of a/x, b/x; give the path"):
        quietly(tmp_path / "a.h5", group="x")
    got = quietly(tmp_path / "a.h5", group="b/x")
    assert got.values.mean() == pytest.approx(T2M.mean() + 1)
    assert got.frame.axes[1].stop == pytest.approx(1.875)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["u"], file["more/v"] = T2M, T2M
    assert "groups that are not read: more (v)" in quietly(tmp_path / "b.h5").notes[0]
    np.savez(tmp_path / "c.npz", u=T2M)
    with pytest.raises(UsageError, match="expected no group, since an .npz has none, got 'x'"):
        quietly(tmp_path / "c.npz", group="x")


def test_coordinates_of_the_groups_around_belong_to_a_group(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        for name, n in (("time", 6), ("lat", 5), ("lon", 8)):
            file[name] = np.arange(n) * 2.0
            file[name].make_scale(name)
        u = file.create_dataset("fields/u", data=T2M)
        for axis, name in enumerate(("time", "lat", "lon")):
            u.dims[axis].attach_scale(file[name])
    got = quietly(path, sample_dim="time")
    assert got.frame.axes[1] == Axis("lon", -1, 15)
    assert "the arrays are in the group fields" in got.notes


def test_members_and_times_are_samples_and_a_single_level_is_left_out(tmp_path: Path) -> None:
    x, both = maps(), np.stack([T2M, T2M + 5])[:, :, None]
    dims = ("member", "time", "plev", "lat", "lon")
    many = xr.Dataset(
        {"t2m": (dims, both, KELVIN), "co2": ("time", np.arange(6.0), {"units": "ppm"})},
        {**{k: x[k] for k in ("time", "lat", "lon")}, "plev": ("plev", [850.0], {"units": "hPa"})},
    )
    many.to_netcdf(tmp_path / "a.nc4", engine="h5netcdf")
    got = read_fields(tmp_path / "a.nc4")
    assert np.array_equal(got.values[:, 0], both.reshape(12, 5, 8)[:, ::-1])
    assert got.parameters is not None
    assert got.parameters[:, 0].tolist() == [*range(6), *range(6)]
    assert "12 samples are 2 of member x 6 of time" in got.notes
    assert "plev has one point (850.0 hPa) and is left out" in got.notes
    alone = read_fields(tmp_path / "a.nc4", ["t2m"], sample_dim="member")
    assert [a.name for a in alone.frame.axes] == ["time", "lat", "lon"]
    same = read_fields(tmp_path / "a.nc4", ["t2m"], sample_dim="time, member")
    assert np.array_equal(same.values, got.values)


def test_time_is_believed_and_standard_names_are_written_back(tmp_path: Path) -> None:
    maps().to_netcdf(tmp_path / "a.nc")
    got = read_fields(tmp_path / "a.nc")
    assert any("time counts the samples" in note for note in got.notes)
    assert any("lat runs down in the file, 60, 55, ..., 40" in note for note in got.notes)
    write_fields(tmp_path / "b.nc", got)
    with xr.open_dataset(tmp_path / "b.nc") as seen:
        assert seen["t2m"].attrs == KELVIN
        assert {name: seen[name].attrs["standard_name"] for name in ("lat", "lon")} == {
            "lat": "latitude",
            "lon": "longitude",
        }
    assert read_fields(tmp_path / "b.nc").frame == got.frame
    axis = maps().rename(time="day")
    axis["day"].attrs = {"axis": "T"}
    axis.to_netcdf(tmp_path / "c.nc")
    assert len(read_fields(tmp_path / "c.nc")) == 6


def test_several_files_follow_each_other(tmp_path: Path) -> None:
    for i, name in enumerate(("part1", "part2", "part10")):
        maps(T2M + 100 * i).to_netcdf(tmp_path / f"{name}.nc")
    listed = ",".join(str(tmp_path / f"part{i}.nc") for i in (1, 2, 10))
    for source in (tmp_path, tmp_path / "part*.nc", listed):
        got = read_fields(source)
        assert np.allclose(got.values.reshape(3, -1).mean(1), T2M.mean() + [0, 100, 200])
        assert "3 files, from part1.nc to part10.nc, in this order" in got.notes
    assert read_fields(tmp_path / "part?.nc").name == "part"
    (tmp_path / "other").mkdir()
    wrong = maps(lon=np.arange(8) + 1)
    wrong.to_netcdf(tmp_path / "other" / "b.nc")
    maps().to_netcdf(tmp_path / "other" / "a.nc")
    with pytest.raises(UsageError, match=r"b.nc does not fit .*a.nc: expected grid lon from -0.5"):
        read_fields(tmp_path / "other")
    (maps() * 2).assign_attrs().rename(t2m="q").to_netcdf(tmp_path / "other" / "b.nc")
    with pytest.raises(UsageError, match=r"b.nc does not fit .*expected variables t2m \[K\], got "):
        quietly(tmp_path / "other")
    with pytest.raises(UsageError, match="no file fits this pattern"):
        read_fields(tmp_path / "*.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file in this folder ends in"):
        read_fields(tmp_path / "empty")


HOW = FieldFileOptions(command=False)


def positions(points: np.ndarray, how: FieldFileOptions = HOW, **said: str) -> Axis:
    from sfumato.systems.ddo.nn.harmonic import Domain

    v = Variable(points, ("lon",), said)
    made = positions_of(Path("a.nc"), "lon", v, len(points), how)
    return made.axis(Domain.REFLECTING)


def test_rounded_coordinates_are_uniform() -> None:
    fine = 300 + np.arange(40) / 120
    for points in (fine.astype(np.float32), fine.astype(np.float32).astype(float), fine.round(4)):
        axis = positions(points)
        assert axis.start == pytest.approx(fine[0] - 1 / 240, abs=1e-4)
        assert axis.stop == pytest.approx(fine[-1] + 1 / 240, abs=1e-4)
    with pytest.raises(UsageError, match="expected uniform coordinates"):
        positions(fine + 1e-3 * (np.arange(40) % 2))


def test_longitudes_are_taken_around_the_globe(tmp_path: Path) -> None:
    across = np.concatenate([np.arange(355.0, 360), np.arange(5.0)])
    assert positions(across, units="degrees_east") == Axis("lon", 354.5, 364.5, "degrees_east")
    west = np.concatenate([np.arange(0, 180, 30.0), np.arange(-180, 0, 30.0)])
    assert positions(west, standard_name="longitude").stop == 345
    with pytest.raises(UsageError, match="uniform in another order"):
        positions(west, units="m")
    for start in (-180, 0):
        for n in (8, 9):  # with the first point again, and without
            lon = start + np.arange(n) * 45.0
            u = np.concatenate([T2M[:, 0], T2M[:, 0, :1]], 1)[:, :n]
            ring = xr.Dataset(
                {"u": (("time", "lon"), u, {"units": "K"})},
                {"time": ("time", np.arange(6), TIME), "lon": ("lon", lon, EAST)},
            )
            ring.to_netcdf(tmp_path / "ring.nc")
            got = read_fields(tmp_path / "ring.nc")
            assert got.frame.domain.value == "periodic" and got.grid == (8,)
            assert (got.frame.axes[0].start, got.frame.axes[0].stop) == (start, start + 360)
    maps(lon=np.arange(8) * 45.0).to_netcdf(tmp_path / "globe.nc")
    assert any(
        "lon goes around the globe, and" in n for n in read_fields(tmp_path / "globe.nc").notes
    )


def test_gaussian_latitudes_and_the_advice_for_them(tmp_path: Path) -> None:
    lat = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))[::-1]
    line = np.broadcast_to(2 * lat[None, :, None] + np.arange(8), (6, 32, 8))
    maps(line, lat).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(
        UsageError, match=r"with one spacing.*regrid=True does it linearly"
    ) as error:
        read_fields(tmp_path / "a.nc")
    advice = str(error.value).rpartition("with xarray: ")[2]
    with xr.open_dataset(tmp_path / "a.nc", decode_times=False) as data:
        there = eval(advice, {"data": data, "numpy": np})
    assert not np.isnan(there["t2m"].values).any()
    there.to_netcdf(tmp_path / "b.nc")
    got = read_fields(tmp_path / "a.nc", regrid=True)
    np.testing.assert_allclose(got.values, read_fields(tmp_path / "b.nc").values, atol=1e-3)
    at = got.frame.coordinates(got.grid)[0]
    np.testing.assert_allclose(got.values[0, 0, :, 0], 2 * at, atol=1e-3)
    assert any("interpolated linearly to 32 uniform points" in note for note in got.notes)


def test_messages_to_the_command_line_name_its_options(tmp_path: Path) -> None:
    """Never a keyword of Python's, in any of the messages about reading a file."""
    gaps, marked = T2M.copy(), T2M.copy()
    gaps[0, 0, 0], marked[:, 1, 1] = np.nan, -9999
    plain = maps()
    del plain["time"].attrs["axis"], plain["time"].attrs["standard_name"]
    for name, data, option in (
        ("a.nc", plain, "--sample-dim time, for instance, or --sample-dim none"),
        ("b.nc", maps(gaps), "--fill harmonic or --fill mean"),
        ("c.nc", maps(lat=(60, 54, 50, 45, 40)), "--regrid does it linearly"),
        ("d.nc", maps().assign(land=(("lat", "lon"), T2M[0], {"units": "1"})), "--variables ..."),
        ("e.nc", maps(marked), "--missing -9999, and --fill harmonic"),
    ):
        data.to_netcdf(tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises((UsageError, UserWarning)) as said:
                load_file(str(tmp_path / name))
        assert option in str(said.value)
        assert not re.search(
            r"\b(sample_dim|fill|regrid|variables|missing|group)=", str(said.value)
        )
