"""``sfumato fields sample``: draw functions at any resolution, to a picture or a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from sfumato.cli.options import Device, DeviceName, Name, at_least, parse
from sfumato.errors import UsageError

if TYPE_CHECKING:
    import torch

    from sfumato.denoise import Denoiser
    from sfumato.recipes.field_model import FieldModel
    from sfumato.recipes.field_sampling import Walk

_ABOUT = """Draw fields from a shipped model, a checkpoint or a run, at any resolution.

Field i depends on the seed and on i alone; at a finer resolution it is the same field with more
detail. A .nc, .h5, .zarr or .npz file carries names, units and coordinates; beside it, or alone, a
picture is written.

Observations are a CSV file with a column for each axis, in its units, and one for the quantity.

examples:
  sfumato fields sample vorticity --n 6 --out sheet.png
  sfumato fields sample vorticity --resolution 256x256 --n 4 --out fields.nc
  sfumato fields sample runs/darcy --given darcy --n 8 --out pressure.nc
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


@final
@dataclass(frozen=True)
class Drawing:
    """How fields are drawn."""

    solver: str = "dpmpp2m"
    """dpmpp2m, ddim, heun, ancestral or langevin."""
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

    def walk(self, denoiser: Denoiser, model: FieldModel) -> Walk:
        """The solver and its times.

        Raises UsageError for an unknown solver.
        """
        from sfumato.errors import unknown
        from sfumato.recipes.field_sampling import FieldSolver, field_walk

        names = [s.value for s in FieldSolver]
        if self.solver not in names:
            raise unknown("solver", self.solver, names)
        steps = model.sampling.steps if self.steps is None else self.steps
        return field_walk(FieldSolver(self.solver), denoiser.process, steps, self.inner)


@final
@dataclass(frozen=True)
class SampleConfig:
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
    """For a model that is told something: a known set of fields, or a file, that has it."""
    observations: Path | None = None
    """A CSV file of values at scattered points that the fields must agree with."""
    noise: float = 0.0
    """Deviation of the observations' error, in the quantity's units."""
    force: bool = False
    """Overwrite what exists."""
    quiet: bool = False
    """No progress bar and no report."""
    drawing: Drawing = field(default_factory=Drawing)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields sample``."""
    run(parse(SampleConfig, "fields sample", argv, _ABOUT))


def load_field_model(name: str, device: Device) -> tuple[Denoiser, FieldModel]:
    """The model that ``name`` means, on its device.

    Raises UsageError for a model of something else.
    """
    from sfumato import zoo
    from sfumato.cli.options import torch_device
    from sfumato.recipes.field_model import FieldModel

    denoiser, model = zoo.load(name, "field model")
    if not isinstance(model, FieldModel):
        raise UsageError(f"{name} is no model of fields; see sfumato sample --help")
    return denoiser.to(torch_device(device)).eval(), model


def given_of(source: str, model: FieldModel, n: int) -> torch.Tensor | None:
    """What the model is told for n fields: those of the set in turn, of its test split.

    Raises UsageError if the model is told something and nothing is given, or the other way round.
    """
    if not model.given:
        if source:
            raise UsageError("this model is told nothing: leave out --given")
        return None
    names = [q.name for q in model.given]
    if not source:
        raise UsageError(f"this model is told {', '.join(names)}: say where from with --given")
    from sfumato.recipes.field_data import load_fields
    from sfumato.recipes.field_model import told_values

    data = load_fields(source, "test", model.grid)
    have = [q.name for q in (*data.frame.quantities, *data.parameter_names)]
    if missing := [name for name in names if name not in have]:
        raise UsageError(f"{source} has no {', '.join(missing)}; it has {', '.join(have)}")
    return told_values(data.subset([i % len(data) for i in range(n)]), names)


def run(config: SampleConfig) -> None:
    """Draw and write the fields.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded.
    """
    from sfumato import zoo

    at_least("n", config.n, 1)
    at_least("noise", config.noise, 0)
    config.drawing.check()
    picture = config.out if config.out.suffix in (".png", ".webp") else None
    beside = picture or config.out.with_name(config.out.name + ".png")
    for path in {config.out, beside}:
        if path.exists() and not config.force:
            raise UsageError(f"{path} exists; choose another name, or add --force")
    zoo.find(config.name)  # say what is wrong with the name before torch is imported
    import torch

    from sfumato import field_pictures, pictures
    from sfumato.cli.progress import bar
    from sfumato.data.fields.files import write_fields
    from sfumato.recipes.field_sampling import draw_fields, observed
    from sfumato.wiener import Wiener

    if config.drawing.threads:
        torch.set_num_threads(config.drawing.threads)
    denoiser, model = load_field_model(config.name, config.drawing.device)
    grid = grid_of(config.resolution, model.frame.dims, model.grid)
    walk = config.drawing.walk(denoiser, model)
    if config.observations is not None:
        from sfumato.data.fields.observations import read_observations

        seen = read_observations(config.observations, model.frame)
        if not isinstance(denoiser, Wiener):
            raise UsageError(f"{config.name} cannot be conditioned on observations")
        denoiser = observed(denoiser, model, seen, config.noise)
    given = given_of(config.given, model, config.n)
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet) as advance, torch.inference_mode():
        drawn = draw_fields(
            denoiser, model, grid, config.seed, range(config.n), walk, given=given, advance=advance
        )
    spent = time.perf_counter() - began
    if picture is None:
        about = {"model": config.name, "seed": str(config.seed), "solver": config.drawing.solver}
        write_fields(config.out, (drawn.values, model.frame), about, config.force)
    shown = drawn.values[: min(config.n, 24)]
    label = model.frame.quantities[0].label
    sheet = field_pictures.field_sheet(shown, label=label, extent=model.frame.extent)
    pictures.save(sheet, beside)
    if not config.quiet:
        size = "x".join(map(str, grid))
        print(
            f"{config.n} fields of {size} points, {drawn.nfe} network evaluations each, "
            f"{spent / config.n:.2f} s each"
        )
        print(f"wrote {config.out}" + (f" and {beside}" if picture is None else ""))
