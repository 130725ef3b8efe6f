"""How the verbs read files of fields: options, what a run learned from, and whether sets fit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.systems.ddo.data.base import FieldSet, Frame
    from sfumato.systems.ddo.datasets import FieldFileOptions

ENDINGS = (".npz", ".nc", ".h5", ".hdf5", ".zarr")
PICTURES = (".png", ".webp")
_DIFFERENT = 0.1


@final
@dataclass(frozen=True)
class FileOptions:
    """How a file of fields is read (npz, HDF5, NetCDF, zarr)."""

    sample_dim: str = ""
    """Name of the axis that counts the samples, such as time; "" looks for a usual name."""
    fill: Literal["", "mean", "harmonic"] = ""
    """Put the mean, or a harmonic function, where values are missing; "" refuses them."""

    def reading(
        self, variables: Sequence[str] = (), usual: FieldFileOptions | None = None
    ) -> FieldFileOptions:
        """How to read: what was asked for, else the usual."""
        from sfumato.systems.ddo.datasets import FieldFileOptions

        how = usual or FieldFileOptions()
        return replace(
            how,
            variables=tuple(variables) or how.variables,
            sample_dim=self.sample_dim or how.sample_dim,
            fill=self.fill or how.fill,
        )


def check_out(path: Path | None, option: str, endings: Sequence[str], force: bool) -> None:
    """Refuse a place that cannot be written to, before the work.

    Raises UsageError.
    """
    if path is None:
        return
    if endings and path.suffix.lower() not in endings:
        raise UsageError(
            f"--{option} {path}: expected a name that ends in {', '.join(endings)}, "
            f"got {path.suffix or 'no ending'!r}"
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or add --force")


def learned_from(name: str) -> tuple[str, FieldFileOptions] | None:
    """The data of the run that ``name`` is the folder of, or lies in, and how it was read."""
    from sfumato.systems.ddo.datasets import FieldFileOptions

    folder = Path(name)
    for place in (folder, *list(folder.absolute().parents)[:2]):
        try:
            kept = json.loads((place / "config.json").read_text(encoding="utf-8"))
            if kept["recipe"] != "fields":
                return None
            said = kept["config"]
            how = FieldFileOptions(
                tuple(said["variables"]), said["domain"], said["fill"], said["sample_dim"]
            )
            return str(said["data"]), how
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def source_of(name: str, data: str, learned: str) -> tuple[str, FieldFileOptions | None]:
    """The real fields' name or file, and how it was read in training.

    Args:
        name: of the model. data: as asked for, or "". learned: the data's name in the model.

    Raises UsageError if the model learned from a file that is not to be found.
    """
    from sfumato.systems.ddo.datasets import NAMED

    run = learned_from(name)
    if data:
        same = run is not None and Path(run[0]).absolute() == Path(data).absolute()
        return data, run[1] if same and run is not None else None
    if learned in NAMED:
        return learned, None
    if run is None or not Path(run[0]).exists():
        file = learned if run is None else run[0]
        raise UsageError(
            f"{name} learned from {file!r}, a file that is not here: say with --data where it is"
        )
    return run


def fitting(found: FieldSet, frame: Frame, source: str) -> FieldSet:
    """A set with its axes in the order of the frame's.

    Raises UsageError for another number of axes; warns of other names, shapes and units.
    """
    have, want = [a.name for a in found.frame.axes], [a.name for a in frame.axes]
    if len(have) != len(want):
        raise UsageError(
            f"{source} has {len(have)} axes ({', '.join(have)}), expected {', '.join(want)}"
        )
    if have != want and set(have) == set(want):
        order = [have.index(name) for name in want]
        axes = tuple(found.frame.axes[i] for i in order)
        values = found.values.transpose(0, 1, *(2 + i for i in order))
        found = replace(found, values=values, frame=replace(found.frame, axes=axes))
    elif have != want:
        warnings.warn(
            f"the axes of {source} are {', '.join(have)}; they are taken for {', '.join(want)}",
            UserWarning,
            stacklevel=2,
        )
    pairs = zip(found.frame.extent, frame.extent, strict=True)
    if any(abs(a / b - 1) > _DIFFERENT for a, b in pairs):
        sides = ["x".join(f"{s:.3g}" for s in f.extent) for f in (found.frame, frame)]
        warnings.warn(
            f"{source} lies on a box of another shape, {sides[0]} instead of {sides[1]}",
            UserWarning,
            stacklevel=2,
        )
    units = {q.name: q.units for q in frame.quantities}
    for q in found.frame.quantities:
        if q.units and units.get(q.name) and q.units != units[q.name]:
            warnings.warn(
                f"{q.name} is in {q.units!r} in {source}, and in {units[q.name]!r} here; nothing "
                "is converted",
                UserWarning,
                stacklevel=2,
            )
    return found


def values_of(found: FieldSet, names: Sequence[str], frame: Frame, source: str) -> Tensor:
    """These quantities of fields, (N, C, *grid), with axes as in the frame.

    Raises UsageError if there are no such quantities.
    """
    import torch

    have = [q.name for q in found.frame.quantities]
    if missing := [name for name in names if name not in have]:
        raise UsageError(f"{source} has no {', '.join(missing)}; it has {', '.join(have)}")
    found = fitting(found, frame, source)
    return torch.from_numpy(found.values[:, [have.index(name) for name in names]].copy())
