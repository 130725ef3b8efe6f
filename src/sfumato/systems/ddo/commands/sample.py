"""``sfumato fields sample``: draw functions at any resolution, to a picture or a file."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from sfumato.console.options import Device, DeviceName, Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.systems.ddo.commands.reading import (
    ENDINGS,
    PICTURES,
    FileOptions,
    check_out,
    fitting,
    learned_from,
)

if TYPE_CHECKING:
    import torch

    from sfumato.systems.ddo.data.base import FieldSet
    from sfumato.systems.ddo.data.observations import Seen
    from sfumato.systems.ddo.model import FieldModel
    from sfumato.systems.ddo.sampling import FieldSampler, Walk

_FAR = 8
"""Deviations from the data's mean beyond which an observation is doubted."""
_MOST = 2**31
"""Values that are drawn in one go."""

_ABOUT = """Draw fields from a shipped model, a checkpoint or a run, at any resolution.

Field i depends on the seed and on i alone; at a finer resolution it is the same field with more
detail. A .nc, .h5, .zarr or .npz file carries names, units and coordinates; beside it, or alone, a
picture is written.

Observations are a CSV file with a column for each axis, in its units, and one for the quantity,
named in the first line: lat,lon,rain.

What a model is told (--given) are the test fields of a known set, or all those of a file, in their
order and from the first again where there are fewer than --n.

examples:
  sfumato fields sample mixture --n 6 --resolution 128x128 --out sheet.png
  sfumato fields sample vorticity --resolution 256x256 --n 4 --out fields.nc
  sfumato fields sample darcy --given darcy --n 8 --out pressure.nc
  sfumato fields sample mixture --observations wells.csv --noise 0.05 --n 16 --out posterior.nc
"""


def grid_of(text: str, dims: int, usual: tuple[int, ...]) -> tuple[int, ...]:
    """Points along each axis from "128", or "128x64"; the usual ones from "".

    Raises UsageError for anything else.
    """
    if not text:
        return usual
    try:
        sides = tuple(int(word) for word in text.lower().split("x"))
    except ValueError:
        sides = ()
    if len(sides) == 1:
        sides *= dims
    if len(sides) != dims or min(sides) < 4:
        raise UsageError(
            f"expected --resolution as {'x'.join(['128'] * dims)} or 128, at least 4 points along "
            f"each of {dims} axes; got {text!r}"
        )
    return sides


def check_size(n: int, channels: int, grid: tuple[int, ...]) -> None:
    """Refuse what no machine here could hold, which is a slip more often than a wish.

    Raises UsageError.
    """
    values = n * channels * math.prod(grid)
    if values > _MOST:
        raise UsageError(
            f"{n:,} fields of {'x'.join(map(str, grid))} points are {values * 4 / 1e9:,.0f} GB; "
            f"expected at most {_MOST * 4 / 1e9:.0f} GB at once: lower --n or --resolution"
        )


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
        """Refuse what makes no sense, at the door.

        Raises UsageError.
        """
        if self.steps is not None:
            at_least("steps", self.steps, 1)
        at_least("inner", self.inner, 1)
        at_least("threads", self.threads, 0)

    def walk(self, model: FieldSampler) -> Walk:
        """The solver and its times.

        Raises UsageError for an unknown solver.
        """
        return model.walk(self.solver, self.steps, self.inner)


@final
@dataclass(frozen=True)
class FieldSampleConfig:
    """What to draw, and where to."""

    name: Name
    """A shipped model (see sfumato models), or the folder of a checkpoint or of a run."""
    n: int = 8
    """How many fields."""
    resolution: str = ""
    """Points along each axis, such as 256x256; by default those it was trained on."""
    seed: int = 0
    """The seed of all randomness."""
    out: Path = Path("fields.png")
    """.png or .webp for a picture; .npz, .nc, .h5 or .zarr for values, and a picture beside."""
    given: str = ""
    """For a model that is told something: a known set of fields, or a file, that has it; field i
    is told of the i-th there."""
    observations: Path | None = None
    """A CSV file of values at scattered points that the fields must agree with."""
    noise: float = 0.0
    """Deviation of the observations' error, in the quantity's units."""
    force: bool = False
    """Overwrite what exists."""
    quiet: bool = False
    """No progress bar and no report."""
    drawing: Drawing = field(default_factory=Drawing)
    file: FileOptions = field(default_factory=FileOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields sample``."""
    run(parse(FieldSampleConfig, "fields sample", argv, _ABOUT))


def load_field_model(name: str, device: Device) -> FieldSampler:
    """The model that ``name`` means, on its device.

    Raises UsageError for a model of something else.
    """
    from sfumato.console.options import torch_device
    from sfumato.model.load import load
    from sfumato.systems.ddo.sampling import FieldSampler

    return load(name, FieldSampler).to(torch_device(device))


def given_of(config: FieldSampleConfig, model: FieldModel) -> torch.Tensor | None:
    """What the model is told of each field: the test split of a known set, or all of a file.

    Raises UsageError if the model is told something and nothing is given, or the other way round.
    """
    source = config.given
    if not model.given:
        if source:
            raise UsageError("this model is told nothing: leave out --given")
        return None
    if not source:
        names = ", ".join(q.name for q in model.given)
        raise UsageError(f"this model is told {names}: say where from with --given")
    from sfumato.systems.ddo.datasets import NAMED, load_fields, load_file

    if source in NAMED:
        data = load_fields(source, "test", model.grid)
    else:
        run = learned_from(config.name)
        same = run is not None and Path(run[0]).absolute() == Path(source).absolute()
        data = load_file(source, config.file.reading(usual=run[1] if same and run else None))
    return told_of(data, source, model, config.n)


def told_of(data: FieldSet, source: str, model: FieldModel, n: int) -> torch.Tensor:
    """What the model is told for n fields: those of the data in turn.

    Raises UsageError if the data does not have it.
    """
    from sfumato.systems.ddo.model import told_values

    names = [q.name for q in model.given]
    have = [q.name for q in (*data.frame.quantities, *data.parameter_names)]
    if missing := [name for name in names if name not in have]:
        raise UsageError(f"{source} has no {', '.join(missing)}; it has {', '.join(have)}")
    data = fitting(data, model.frame, source)
    return told_values(data.subset([i % len(data) for i in range(n)]), names)


def _warn_of_far(seen: Seen, model: FieldModel, path: Path) -> None:
    """Observations that no field of the data is likely to have: other units, perhaps."""
    q = [q.name for q in model.frame.quantities].index(seen.quantity)
    scale, label = model.scales[q], model.frame.quantities[q].label
    far = abs(seen.values - scale.mean) > _FAR * scale.deviation
    if far.any():
        warnings.warn(
            f"{path}: {int(far.sum())} of {len(far)} observations of {label} are more than {_FAR} "
            f"deviations from the data's mean ({scale.mean:.4g} ± {scale.deviation:.4g}), the "
            f"first {seen.values[far][0]:g}; are they in these units?",
            UserWarning,
            stacklevel=2,
        )


def run(config: FieldSampleConfig) -> None:
    """Draw and write the fields.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded.
    """
    from sfumato import zoo

    at_least("n", config.n, 1)
    at_least("noise", config.noise, 0)
    config.drawing.check()
    if config.noise and config.observations is None:
        raise UsageError("--noise is the error of observations: say which with --observations")
    picture = config.out if config.out.suffix.lower() in PICTURES else None
    beside = picture or config.out.with_name(config.out.name + ".png")
    check_out(config.out, "out", (*PICTURES, *ENDINGS), config.force)
    check_out(beside, "out", (), config.force)
    zoo.find(config.name)  # say what is wrong with the name before torch is imported
    import torch

    from sfumato.console.progress import bar
    from sfumato.files import pictures
    from sfumato.systems.ddo.data.files import write_fields
    from sfumato.systems.ddo.pictures import frame_sheet
    from sfumato.systems.ddo.sampling import draw_fields, observed
    from sfumato.systems.ddo.wiener import Wiener

    if config.drawing.threads:
        torch.set_num_threads(config.drawing.threads)
    opened = load_field_model(config.name, config.drawing.device)
    denoiser, model = opened.denoiser, opened.description
    grid = grid_of(config.resolution, model.frame.dims, model.grid)
    check_size(config.n, len(model.frame.quantities), grid)
    walk = config.drawing.walk(opened)
    if config.observations is not None:
        from sfumato.systems.ddo.data.observations import read_observations

        seen = read_observations(config.observations, model.frame)
        if not isinstance(denoiser, Wiener):
            raise UsageError(f"{config.name} cannot be conditioned on observations")
        _warn_of_far(seen, model, config.observations)
        denoiser = observed(denoiser, model, seen, config.noise)
    given = given_of(config, model)
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet) as advance, torch.inference_mode():
        drawn = draw_fields(
            denoiser, model, grid, config.seed, range(config.n), walk, given=given, progress=advance
        )
    spent = time.perf_counter() - began
    if picture is None:
        about = _about(config, walk.name, len(walk.times) - 1)
        write_fields(config.out, (drawn.x, model.frame), about, config.force)
    pictures.save(frame_sheet(drawn.x[:24].numpy(), model.frame), beside)
    if not config.quiet:
        size = "x".join(map(str, grid))
        print(
            f"{config.n} fields of {size} points, {drawn.nfe} network evaluations each, "
            f"{spent / config.n:.2f} s each"
        )
        print(f"wrote {config.out}" + (f" and {beside}" if picture is None else ""))


def _about(config: FieldSampleConfig, solver: str, steps: int) -> dict[str, str]:
    """What a file says of how its fields were drawn."""
    from sfumato import __version__

    about = {
        "model": config.name,
        "sfumato": __version__,
        "seed": str(config.seed),
        "solver": solver,
        "steps": str(steps),
    }
    if config.given:
        about["given"] = config.given
    if config.observations is not None:
        about["observations"] = str(config.observations)
        about["noise"] = str(config.noise)
    return about
