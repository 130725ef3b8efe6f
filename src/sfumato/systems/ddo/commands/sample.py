"""``sfumato fields sample``: draw functions at any resolution, to a picture or a file."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from sfumato.console.options import Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.systems.ddo.commands.shared import (
    PICTURES,
    Drawing,
    FileOptions,
    check_out,
    given_values,
    load_field_model,
    reading_of,
)
from sfumato.systems.ddo.options import ENDINGS

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.systems.ddo.data.observations import Observations
    from sfumato.systems.ddo.model import FieldModel

_FAR = 8  # deviations from the data's mean: observations beyond are doubted

_ABOUT = """Draw fields from a shipped model, a checkpoint or a run, at any resolution.

Field i depends on the seed and on i alone; at a finer resolution it is the same field with more
detail. A .nc, .h5, .zarr or .npz file carries names, units and coordinates; beside it, or alone, a
picture is written.

Observations are a CSV file with a column for each axis, in its units, and one for each quantity
that was observed, named in the first line: lat,lon,rain.

What a model is told (--given) are the test fields of a known set, or all those of a file, in their
order and from the first again where there are fewer than --n.

examples:
  sfumato fields sample mixture --n 6 --resolution 128x128 --out sheet.png
  sfumato fields sample vorticity --resolution 256x256 --n 4 --out fields.nc
  sfumato fields sample darcy --given darcy --n 8 --out pressure.nc
  sfumato fields sample mixture --observations wells.csv --noise 0.05 --n 16 --out posterior.nc
"""


@final
@dataclass(frozen=True)
class FieldSampleConfig:
    """What to draw, and where to."""

    name: Name
    """A shipped model (see sfumato models), or the folder of a checkpoint or of a run."""
    n: int = 8
    """How many fields."""
    resolution: str = ""
    """Points along each axis, such as 256x128, or along the longest (256), with the aspect of the
    grid it was trained on; by default that grid."""
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
    """Deviation of the observations' error, in the quantity's units (in those of each quantity)."""
    force: bool = False
    """Overwrite what exists."""
    quiet: bool = False
    """No progress bar and no report."""
    drawing: Drawing = field(default_factory=Drawing)
    file: FileOptions = field(default_factory=FileOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields sample``."""
    run(parse(FieldSampleConfig, "fields sample", argv, _ABOUT))


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
    from sfumato.console.drawing import kept_batches
    from sfumato.files import pictures
    from sfumato.files.words import many
    from sfumato.systems.ddo.data.files import write_fields
    from sfumato.systems.ddo.pictures import frame_sheet

    opened = load_field_model(config.name, config.drawing.device, config.drawing.threads)
    denoiser, model = opened.denoiser, opened.description
    if config.observations is not None:
        from sfumato.systems.ddo.data.observations import read_observations
        from sfumato.systems.ddo.sampling import observed
        from sfumato.systems.ddo.wiener import Wiener

        seen = read_observations(config.observations, model.frame)
        if not isinstance(denoiser, Wiener):
            raise UsageError(f"{config.name} cannot be conditioned on observations")
        for one in seen:
            _warn_of_far(one, model, config.observations)
        denoiser = observed(denoiser, model, seen, config.noise)
        if not config.quiet:
            print(_counts(seen, model, config))
    given = _given(config, model)
    plan = {"options": str(replace(config, n=0, quiet=True, force=True)), "weights": opened.digest}
    plan["told"] = hashlib.sha256(b"".join(_told(config, given))).hexdigest()
    with kept_batches(config.out, plan) as keep:
        drawn = config.drawing.draw(
            opened, denoiser, config.resolution, config.n, config.seed, given, config.quiet, keep
        )
        if picture is None:
            about = _about(config, drawn.solver, drawn.steps)
            write_fields(config.out, (drawn.values, model.frame), about, config.force)
        pictures.save(frame_sheet(drawn.values[:24].numpy(), model.frame), beside)
    if not config.quiet:
        points = "x".join(map(str, drawn.values.shape[2:]))
        print(
            f"{many(config.n, 'field')} of {points} points, "
            f"{many(drawn.nfe, 'network evaluation')} each, "
            f"{drawn.seconds / config.n:.2f} s each"
        )
        print(f"wrote {config.out}" + (f" and {beside}" if picture is None else ""))


def _given(config: FieldSampleConfig, model: FieldModel) -> Tensor | None:
    """What is given for each field: the test split of a known set, or all of a file.

    Raises UsageError if the model has a condition and nothing is given, or the other way round.
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
        data = load_file(source, config.file.reading(usual=reading_of(config.name, source)))
    return given_values(data, source, model, config.n)


def _told(config: FieldSampleConfig, given: Tensor | None) -> Iterator[bytes]:
    """What the fields depend on besides the options."""
    if given is not None:
        yield given.numpy().tobytes()
    if config.observations is not None:
        yield config.observations.read_bytes()


def _warn_of_far(seen: Observations, model: FieldModel, path: Path) -> None:
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


def _counts(seen: Sequence[Observations], model: FieldModel, config: FieldSampleConfig) -> str:
    """How many observations of what, with which error."""
    units = {q.name: q.units for q in model.frame.quantities}
    error = f"error {config.noise:g} " if config.noise else "a thousandth of the deviation as error"
    parts = [
        f"{len(one.values):,} of {one.quantity} "
        f"({(error + units[one.quantity]).strip() if config.noise else error})"
        for one in seen
    ]
    return f"observations in {config.observations}: {', '.join(parts)}"


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
