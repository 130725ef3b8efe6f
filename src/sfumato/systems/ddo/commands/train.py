"""``sfumato fields train``: train a model of functions, or go on with a run."""

from __future__ import annotations

import shlex

from sfumato.console.again import settings
from sfumato.system import recipes

_ABOUT = """Train a generative model of functions.

The data is a known set of fields (sfumato fields data) or a file: npz, HDF5 (.h5), NetCDF (.nc) or
zarr, with units and uniform coordinates. Of a file every tenth field is kept for evaluation.

examples:
  sfumato fields train --data mixture --out runs/mixture
  sfumato fields train --resume runs/mixture                            go on where it stopped
  sfumato fields train --data vorticity --translate --train.mixed-precision bf16
  sfumato fields train --data darcy --given "permeability class" --out runs/darcy
  sfumato fields train --data rain.nc --variables rain --sample-dim time --out runs/rain
"""


def main(argv: list[str]) -> None:
    """Run ``sfumato fields train``; raises whatever the training raises."""
    recipe = recipes()["fields"]
    config = settings(recipe, "fields train", argv, about=_ABOUT)
    out = recipe.run(config)
    place = shlex.quote(str(out))
    print(f"run folder: {out}; next: sfumato fields sample {place} --n 4 --out fields.nc")
