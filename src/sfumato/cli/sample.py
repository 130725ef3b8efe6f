"""``sfumato sample``: draw from a model, to a sheet, a folder of pictures or an array file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from sfumato.console.how import SamplingOptions
from sfumato.console.options import Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.words import many

_ABOUT = """Draw samples from a shipped model, a checkpoint or a run.

Sample i depends on the seed and on i alone: not on the batch, nor on how many processes share
the work under `accelerate launch`. A long run that is interrupted goes on where it stopped when
the same command is given again.

Without --label the classes take turns; of several label axes each is drawn at random.
A name with , = or + in it is given whole, with a backslash before the sign, or as JSON.

examples:
  sfumato sample fashion --n 64 --steps 18 --out sheet.png
  sfumato sample fashion --label sneaker+bag --guidance 2 --out sheet.png
  sfumato sample avatars --label style=micah,glasses=yes --n 8 --out faces/
  sfumato sample runs/staff --label '["R+D", "Sales"]' --n 8 --out sheet.png
  sfumato sample runs/fashion --n 10000 --solver heun --out samples.npz
"""


@final
@dataclass(frozen=True)
class SampleConfig:
    """What to draw, and where to."""

    name: Name
    """A shipped model (see sfumato models), or the folder of a checkpoint or of a run."""
    n: int = 16
    """How many samples."""
    steps: int | None = None
    """How many steps from noise to data; by default what suits the model."""
    seed: int = 0
    """The seed of all randomness."""
    out: Path = Path("sheet.png")
    """.png or .webp for a sheet, .npz for arrays, anything else is a folder of PNG files."""
    label: str = ""
    """A class by name or number, or axis=value,axis=value; values joined by + take turns."""
    columns: int = 0
    """Columns of the sheet; 0 makes it about square."""
    force: bool = False
    """Overwrite the output even if this command did not make it."""
    quiet: bool = False
    """No progress bar and no report."""
    drawing: SamplingOptions = field(default_factory=SamplingOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato sample``."""
    run(parse(SampleConfig, "sample", argv, _ABOUT))


def run(config: SampleConfig) -> None:
    """Draw and write the samples.

    Raises UsageError for options that make no sense, SfumatoError for a model that cannot be
    loaded.
    """
    from sfumato import zoo
    from sfumato.console import writers

    at_least("n", config.n, 1)
    if config.steps is not None:
        at_least("steps", config.steps, 1)
    at_least("columns", config.columns, 0)
    config.drawing.check()
    out = writers.output(config.out, config.columns or None)
    zoo.find(config.name)  # say what is wrong with the name before torch is imported
    out.check(config.force)

    from sfumato.console.drawing import prepare, processes, stream
    from sfumato.console.progress import bar

    drawer, wanted, about = prepare(
        config.name, config.drawing, config.n, config.steps, config.seed, config.label
    )
    shape = drawer.description.shape
    if len(shape) == 1 and isinstance(out, writers.Folder):
        raise UsageError("points are written as .png, .webp or .npz, not as a folder")
    first = processes(drawer.device).index == 0
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet or not first) as advance:
        drawn = stream(drawer, wanted, out, about, config.drawing.batch, advance)
    spent = time.perf_counter() - began
    if first and not config.quiet:
        what = "point" if len(shape) == 1 else "image"
        if drawn.nfe:
            solver = drawer.plan.name
            print(
                f"{many(config.n, what)}, {many(drawn.nfe, 'network evaluation')} each ({solver}), "
                f"{drawn.samples / spent:.1f} {what}s/s ({spent:.1f} s)"
            )
        print(f"wrote {config.out}")
