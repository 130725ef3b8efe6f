"""``sfumato fields``: generative models of functions, sampled at any resolution."""

from __future__ import annotations

from enum import Enum

from sfumato.console import verbs


class FieldVerbs(Enum):
    """What can be done, each with its line in the overview."""

    TRAIN = "train a model of fields: known ones, or your own file"
    SAMPLE = "draw fields at any resolution, also given some, or observed at points"
    CALIBRATE = "let a trained model's walk keep the power that it should have"
    EVALUATE = "compare a model's fields with real ones: spectra, moments, tests"
    DATA = "list the known sets of fields, draw or write one"


def overview() -> str:
    """The text of ``sfumato fields --help``."""
    about = (
        "Functions as data (denoising diffusion operators): train at one resolution, sample at",
        "any. Fields come from npz, HDF5, NetCDF or zarr and go back with units and axes.",
    )
    examples = (
        "train --data vorticity --translate --out runs/vorticity",
        "sample mixture --resolution 256x256 --n 4 --out fields.nc",
        "calibrate runs/vorticity --out models/vorticity",
        "evaluate mixture --n 500 --resolution 64x64 --picture report.png",
        "train --data rain.nc --variables rain --sample-dim time --out runs/rain",
    )
    return verbs.overview("fields", FieldVerbs, about, examples)


def main(argv: list[str]) -> int:
    """Run ``sfumato fields``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    return verbs.run(__name__, FieldVerbs, overview(), argv)
