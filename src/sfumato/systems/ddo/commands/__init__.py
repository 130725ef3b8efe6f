"""``sfumato fields``: generative models of functions, sampled at any resolution."""

from sfumato.console.verbs import Verbs

main = Verbs(
    "fields",
    __name__,
    "Functions as data (denoising diffusion operators): train at one resolution, sample at\n"
    "any. Fields come from npz, HDF5, NetCDF or zarr and go back with units and axes.",
    {
        "train": "train a model of fields: known ones, or your own file",
        "sample": "draw fields at any resolution, also given some, or observed at points",
        "calibrate": "let a trained model's walk keep the power that it should have",
        "evaluate": "compare a model's fields with real ones: spectra, moments, tests",
        "data": "list the known sets of fields, draw or write one",
    },
    (
        "train --data vorticity --translate --out runs/vorticity",
        "sample mixture --resolution 256x256 --n 4 --out fields.nc",
        "calibrate runs/vorticity --out models/vorticity",
        "evaluate mixture --n 500 --resolution 64x64 --picture report.png",
        "train --data rain.nc --variables rain --sample-dim time --out runs/rain",
    ),
)
