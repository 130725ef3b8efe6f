"""Climate data of one's own: from a packed NetCDF file to fields that meet observations.

python examples/climate.py            about half a minute on one core; writes climate.png

The file is made up, in the form of an archive: temperature anomalies as 16-bit numbers with
scale_factor and add_offset, latitudes from north to south, attributes by the CF conventions. Their
spectrum is known, so what comes out can be checked. The commands are those one types.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import sfumato as sf
from sfumato.cli import main as sfumato
from sfumato.systems.ddo.nn.harmonic import Domain

LAT, LON = np.linspace(60, 45, 16), np.linspace(-10, 21, 32)  # 1 degree, from the north
STATIONS = [(57.0, -3.0, 4.1), (52.0, 5.0, 3.2), (47.0, 12.0, -2.9), (50.5, 18.5, -3.5)]


def anomalies(n: int = 400) -> np.ndarray:
    """Days of winter: Gaussian, 3 K, correlated over 6 degrees (a Matérn field of ν = 2.5)."""
    law = sf.GaussianField(sf.Matern(0.19, 2.5), 2, Domain.REFLECTING, (0.5, 1.0))
    return 3 * law.sample(torch.zeros(n, 1, 16, 32), sf.generators(0, range(n)))[:, 0].numpy()


def write(path: Path) -> None:
    """Save it as archives do: int16, unpacked = 0.002 * stored + 1.5."""
    about = {"units": "K", "long_name": "daily 2 metre temperature anomaly"}
    about |= {"standard_name": "air_temperature_anomaly", "cell_methods": "time: mean"}
    days = np.arange("2001-01-01", "2002-02-05", dtype="datetime64[D]").astype("datetime64[ns]")
    axes = {
        "time": ("time", days, {"axis": "T", "standard_name": "time"}),
        "lat": ("lat", LAT, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", LON, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    data = xr.Dataset({"t2m": (("time", "lat", "lon"), anomalies(len(days)), about)}, axes)
    data.attrs = {"Conventions": "CF-1.11", "title": "made-up winters", "license": "CC0"}
    packed = {"dtype": "int16", "scale_factor": 0.002, "add_offset": 1.5, "_FillValue": -32768}
    data.to_netcdf(path, encoding={"t2m": packed}, engine="h5netcdf")


def run(command: str) -> None:
    """Type a command."""
    print(f"\n$ sfumato {command}")
    if status := sfumato(command.split()):
        raise SystemExit(status)


def check(right: bool, what: str) -> None:
    """Stop where something is not as it should be."""
    if not right:
        raise SystemExit(f"not as expected: {what}")


def spectrum(fields: np.ndarray) -> np.ndarray:
    """Variances of the cosines along the longitudes, the first eight."""
    n = fields.shape[-1]
    waves = np.cos(np.pi * np.outer(np.arange(1, 9), np.arange(n) + 0.5) / n) * np.sqrt(2) / n
    found: np.ndarray = np.square((fields - fields.mean()) @ waves.T).mean((0, 1))
    return found


def main(steps: int = 40) -> None:
    """Write, look, train, judge, draw, and check what came out."""
    write(Path("winter.nc"))
    lines = [f"{lat};{lon % 360};{t}" for lat, lon, t in STATIONS]  # longitudes from 0
    Path("stations.csv").write_text("\n".join(["LAT;Lon;T2M [K]", *lines]) + "\n")

    run("fields data winter.nc")
    run(
        f"fields train --data winter.nc --out run --uno.grid 16 32 --uno.channels 8 --uno.modes 4 "
        f"--train.steps {steps} --train.warmup 10 --train.batch 8 --train.sheet-every 0 --train.cpu"
    )
    run("fields evaluate run --n 40 --device cpu --out scores.json --quiet")
    run("fields sample run --n 40 --device cpu --out free.nc")
    run(
        "fields sample run --n 12 --resolution 64 --observations stations.csv --noise 0.2 "
        "--device cpu --out met.nc"
    )

    with xr.open_dataset("winter.nc") as data, xr.open_dataset("free.nc") as free:
        for name in ("t2m", "lat", "lon"):
            for key in ("units", "standard_name"):
                check(free[name].attrs[key] == data[name].attrs[key], f"{key} of {name}")
        check(np.allclose(free.lat, data.lat[::-1]), "latitudes")
        check(np.allclose(free.lon, data.lon), "longitudes")
        ratio = float(free.t2m.std() / data.t2m.std())
        waves = spectrum(free.t2m.values) / spectrum(data.t2m.values[:, ::-1])
    with xr.open_dataset("met.nc") as met:
        check(met.t2m.shape == (12, 32, 64), "the aspect that --resolution 64 keeps")
        there = [float(met.t2m.interp(lat=a, lon=b).mean()) for a, b, _ in STATIONS]
    off = np.abs(np.array(there) - [t for *_, t in STATIONS])
    print(f"\ndeviation drawn / data: {ratio:.2f}; power of the first 8 waves along a parallel:")
    print(" ".join(f"{w:.2f}" for w in waves))
    print("at the stations, K from what was observed: " + " ".join(f"{x:.2f}" for x in off))
    check(0.8 < ratio < 1.2, "deviation")
    check(waves[:4].min() > 0.5 and waves[:4].max() < 2, "spectrum")
    check(off.max() < 0.5, "what stations observed")


if __name__ == "__main__":
    begun = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        main()
        shutil.copy("met.nc.png", begun / "climate.png")
    print("wrote climate.png: fields that meet the stations")
