"""``sfumato fields``: generative models of functions, sampled at any resolution."""

from __future__ import annotations

import importlib
from enum import Enum

from sfumato.errors import UsageError, unknown


class Verbs(Enum):
    """What can be done, each with its line in the overview."""

    TRAIN = "train a model of fields: known ones, or your own file"
    SAMPLE = "draw fields at any resolution, also given some, or observed at points"
    EVALUATE = "compare a model's fields with real ones: spectra, moments, tests"
    DATA = "list the known sets of fields, draw or write one"


def overview() -> str:
    """The text of ``sfumato fields --help``."""
    lines = [f"  {v.name.lower():<10}{v.value}" for v in Verbs]
    return "\n".join(
        [
            "usage: sfumato fields VERB [options]",
            "",
            "Functions as data (denoising diffusion operators): train at one resolution, sample at",
            "any. Fields come from npz, HDF5, NetCDF or zarr and go back with units and axes.",
            "",
            "verbs:",
            *lines,
            "",
            "examples:",
            "  sfumato fields train --data vorticity --out runs/vorticity",
            "  sfumato fields sample vorticity --resolution 256x256 --n 4 --out fields.nc",
            "  sfumato fields evaluate vorticity --n 500 --resolution 128x128 --picture report.png",
            "  sfumato fields train --data rain.nc --variables rain --out runs/rain",
            "",
        ]
    )


def main(argv: list[str]) -> int:
    """Run ``sfumato fields``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(overview(), end="")
        return 0 if argv else 2
    names = [v.name.lower() for v in Verbs]
    if argv[0] not in names:
        if argv[0].startswith("-"):
            raise UsageError(f"expected one of {', '.join(names)} before {argv[0]!r}")
        raise unknown("verb", argv[0], names)
    verb = importlib.import_module(f"sfumato.cli.fields.{argv[0]}")
    return int(verb.main(argv[1:]) or 0)
