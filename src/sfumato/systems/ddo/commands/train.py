"""``sfumato fields train``: train a model of functions, or go on with a run."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import typing

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

_ABOUT = """Train a generative model of functions.

The data is a known set of fields (sfumato fields data) or a file: npz, HDF5 (.h5), NetCDF (.nc) or
zarr, with units and uniform coordinates. Of a file every tenth field is kept for evaluation.

examples:
  sfumato fields train --data mixture --out runs/mixture
  sfumato fields train --data mixture --out runs/mixture --resume        go on where it stopped
  sfumato fields train --data vorticity --translate --train.mixed-precision bf16
  sfumato fields train --data darcy --given "permeability class" --out runs/darcy
  sfumato fields train --data rain.nc --variables rain --sample-dim time --out runs/rain
"""

_NOT_CHOSEN = ("in_channels", "out_channels", "dims", "domain", "labels", "embedding")
"""Settings of a network that follow from the data, or that fields have no use for."""


def main(argv: list[str]) -> None:
    """Run ``sfumato fields train``; raises whatever the training raises."""
    from sfumato.systems.ddo import recipe as fields

    registry = ConstructorRegistry()
    registry.struct_rule(_network)
    with registry:
        config = tyro.cli(
            fields.Config,
            prog="sfumato fields train",
            args=argv,
            description=_ABOUT,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    out = fields.run(config)
    place = shlex.quote(str(out))
    print(f"run folder: {out}; next: sfumato fields sample {place} --n 4 --out fields.nc")


def _network(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The sizes of a network that are the user's to choose."""
    from sfumato.systems.ddo.nn.operator import FNOConfig, UNOConfig

    if info.type not in (FNOConfig, UNOConfig):
        return None
    made: typing.Callable[..., typing.Any] = info.type
    hints, default = typing.get_type_hints(made), info.default
    every = [f.name for f in dataclasses.fields(info.type)]
    rest = {name: getattr(default, name) for name in every if name in _NOT_CHOSEN}
    chosen = (name for name in every if name not in rest)
    return StructConstructorSpec(
        functools.partial(made, **rest),
        tuple(StructFieldSpec(name, hints[name], getattr(default, name)) for name in chosen),
    )
