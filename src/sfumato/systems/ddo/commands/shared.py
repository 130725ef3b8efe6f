"""What the verbs share: options, the data that a model was trained on, and drawing."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from sfumato.console.options import Device, DeviceName, at_least
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.denoise import Denoiser
    from sfumato.model.walk import Keep
    from sfumato.systems.ddo.data.base import FieldSet, Frame
    from sfumato.systems.ddo.datasets import FieldFileOptions
    from sfumato.systems.ddo.model import FieldModel
    from sfumato.systems.ddo.sampling import FieldSampler

PICTURES = (".png", ".webp")
_DIFFERENT = 0.1  # of a ratio of sides: boxes of another shape
_LARGEST = 2**31  # values that are drawn in one go


def check_out(path: Path | None, option: str, endings: Sequence[str], force: bool) -> None:
    """Raise UsageError for a place that cannot be written to, before the work."""
    if path is None:
        return
    if endings and path.suffix.lower() not in endings:
        raise UsageError(
            f"--{option} {path}: expected a name that ends in {', '.join(endings)}, "
            f"got {path.suffix or 'no ending'!r}"
        )
    if path.exists() and not force:
        raise UsageError(f"{path} exists; choose another name, or add --force")


@final
@dataclass(frozen=True)
class FileOptions:
    """How a file of fields is read (npz, HDF5, NetCDF, zarr)."""

    sample_dim: str = ""
    """Name of the axis that counts the samples, such as time; several with commas between them
    (member,time); none where the file holds one field; "" looks for usual names."""
    fill: Literal["", "mean", "harmonic"] = ""
    """Put the mean, or a harmonic function, where values are missing; "" refuses them."""
    missing: tuple[float, ...] = ()
    """Values that stand for missing ones where the file does not say so, such as -9999."""
    group: str = ""
    """Path or name of a group in HDF5, NetCDF or zarr."""
    regrid: bool = False
    """Interpolate to uniform coordinates where they are not, as of Gaussian latitudes."""

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
            missing=self.missing or how.missing,
            group=self.group or how.group,
            regrid=self.regrid or how.regrid,
        )


# Data of a model ----------------------------------------------------------------------------------


def trained_on(name: str) -> tuple[str, FieldFileOptions] | None:
    """The data of the run that ``name`` is the folder of, or lies in, and how it was read."""
    from sfumato.systems.ddo.datasets import FieldFileOptions

    folder = Path(name)
    for place in (folder, *list(folder.absolute().parents)[:2]):
        try:
            run = json.loads((place / "config.json").read_text(encoding="utf-8"))
            if run["recipe"] != "fields":
                return None
            c = run["config"]
            how = FieldFileOptions(
                tuple(c["variables"]), c["domain"], c["fill"], c["sample_dim"], c.get("group", ""),
                tuple(c.get("missing", ())), c.get("regrid", False),
            )  # fmt: skip
            return str(c["data"]), how
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def reading_of(name: str, source: str) -> FieldFileOptions | None:
    """How the run that ``name`` means read the file ``source``; None if it read another."""
    run = trained_on(name)
    same = run is not None and Path(run[0]).absolute() == Path(source).absolute()
    return run[1] if run is not None and same else None


def real_fields(
    name: str,
    model: FieldModel,
    source: str,
    split: Literal["train", "test"],
    file: FileOptions,
    n: int,
) -> tuple[Tensor, Tensor | None]:
    """Real fields (N, C, *grid) of a model, and what is given for n draws, or None.

    Args:
        name, model: the model's name on the command line, and its description.
        source: a known set or a file; "" is what the model was trained on.
        split, file: which part of it, and how a file is read.
        n: see `given_values`.

    Raises UsageError if the file that it was trained on is not there, or for data that does not
    have the model's quantities.
    """
    from sfumato.systems.ddo.datasets import NAMED, is_there, load_fields

    usual = reading_of(name, source) if source else None
    if not source and model.data in NAMED:
        source = model.data
    elif not source:
        run = trained_on(name)
        if run is None or not is_there(run[0]):
            file_name = model.data if run is None else run[0]
            raise UsageError(
                f"{name} learned from {file_name!r}, a file that is not here: say with --data "
                "where it is"
            )
        source, usual = run
    names = [q.name for q in model.frame.quantities]
    every = [*names, *(q.name for q in model.given)]
    data = load_fields(source, split, how=file.reading(every, usual))
    given = given_values(data, source, model, n) if model.given else None
    return fitting(data, model.frame, source).select(names, source), given


def given_values(data: FieldSet, source: str, model: FieldModel, n: int) -> Tensor:
    """The given quantities for n draws, (n, G, *grid): those of the data in turn.

    Raises UsageError if the data does not have them.
    """
    names = [q.name for q in model.given]
    data = fitting(data, model.frame, source)
    return data.subset([i % len(data) for i in range(n)]).select(names, source)


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


# Drawing ------------------------------------------------------------------------------------------


def grid_of(text: str, dims: int, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Points along each axis from "128x64", or "128" along the longest; the usual ones from "".

    One number keeps the aspect of the usual grid.

    Raises UsageError for anything else.
    """
    if not text:
        return usual
    try:
        sides = tuple(int(word) for word in text.lower().split("x"))
    except ValueError:
        sides = ()
    if len(sides) == 1:  # as `ddo.sampling.grid_of_longest`, without torch
        sides = tuple(max(1, round(sides[0] * n / max(usual))) for n in usual)
    if len(sides) != dims or min(sides) < 4:
        raise UsageError(
            f"expected --resolution as {'x'.join(['128'] * dims)}, or as 128 for the longest axis, "
            f"at least 4 points along each of {dims} axes; got {text!r}"
            + (f", which is {'x'.join(map(str, sides))}" if len(sides) == dims > 1 else "")
        )
    return sides


@final
@dataclass(frozen=True, eq=False)
class DrawnFields:
    """Fields (n, C, *grid) in their units, and how they were drawn."""

    values: Tensor
    solver: str
    steps: int
    nfe: int
    seconds: float


@final
@dataclass(frozen=True)
class Drawing:
    """How fields are drawn."""

    solver: str = "auto"
    """deis, dpmpp2m, ddim, heun, ancestral or langevin; auto takes what suits the model."""
    steps: int | None = None
    """How many steps, or noise levels of langevin; by default what suits the model."""
    inner: int = 20
    """Steps of langevin at each noise level."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""

    def check(self) -> None:
        """Raise UsageError for a number out of range."""
        if self.steps is not None:
            at_least("steps", self.steps, 1)
        at_least("inner", self.inner, 1)
        at_least("threads", self.threads, 0)

    def draw(
        self,
        opened: FieldSampler,
        denoiser: Denoiser,
        resolution: str,
        n: int,
        seed: int,
        given: Tensor | None,
        quiet: bool,
        keep: Keep | None = None,
    ) -> DrawnFields:
        """n fields by the denoiser: the model's own, or one that wraps it.

        Raises UsageError for an unknown solver, a resolution that does not fit, or more values
        than are drawn in one go.
        """
        import torch

        from sfumato.console.progress import bar
        from sfumato.systems.ddo.sampling import draw_fields

        model = opened.description
        grid = grid_of(resolution, model.frame.dims, model.grid)
        values = n * len(model.frame.quantities) * math.prod(grid)
        if values > _LARGEST:  # a slip more often than intended
            raise UsageError(
                f"{n:,} fields of {'x'.join(map(str, grid))} points are {values * 4 / 1e9:,.0f} GB;"
                f" expected at most {_LARGEST * 4 / 1e9:.0f} GB at once: lower --n or --resolution"
            )
        walk = opened.walk(self.solver, self.steps, self.inner)
        began = time.perf_counter()
        with bar("sampling", n, quiet=quiet) as advance, torch.inference_mode():
            drawn = draw_fields(
                denoiser, model, grid, seed, range(n), walk, given=given, progress=advance,
                keep=keep,
            )  # fmt: skip
        spent = time.perf_counter() - began
        return DrawnFields(drawn.x, walk.name, len(walk.times) - 1, drawn.nfe, spent)


def load_field_model(name: str, device: Device, threads: int) -> FieldSampler:
    """The model that ``name`` means, on its device, with so many threads unless 0.

    Raises UsageError for a model of something else.
    """
    import torch

    from sfumato.console.options import torch_device
    from sfumato.model.load import load
    from sfumato.systems.ddo.sampling import FieldSampler

    if threads:
        torch.set_num_threads(threads)
    return load(name, FieldSampler).to(torch_device(device))
