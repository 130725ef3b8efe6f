"""``sfumato fields evaluate``: a model's fields, or a file's, against real ones."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from sfumato import zoo
from sfumato.console.options import Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.atomic import write
from sfumato.systems.ddo.commands.reading import (
    ENDINGS,
    PICTURES,
    FileOptions,
    check_out,
    source_of,
    values_of,
)
from sfumato.systems.ddo.commands.sample import (
    Drawing,
    check_size,
    grid_of,
    load_field_model,
    told_of,
)

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from sfumato.systems.ddo.data.base import FieldSet, Frame
    from sfumato.systems.ddo.datasets import FieldFileOptions

_ABOUT = """Compare a model's fields, or those in a file, with real ones that it was not trained on.

Spectra over the band that both resolve, the law of a value, moments of each field
(Kolmogorov-Smirnov), and a kernel two-sample test of spectra, moments and increments together. Each
figure says what it is expected to be for a perfect model (its floor). --picture draws spectra,
structure functions and histograms.

examples:
  sfumato fields evaluate vorticity --n 500 --picture report.png
  sfumato fields evaluate vorticity --n 500 --resolution 128x128 --out scores.json
  sfumato fields evaluate runs/rain --picture report.png              the file it learned from
  sfumato fields evaluate drawn.nc --data rain.nc --sample-dim time
"""


@final
@dataclass(frozen=True)
class FieldEvaluateConfig:
    """What to measure, and against what."""

    name: Name
    """A shipped model, the folder of a checkpoint or of a run, or a file of fields."""
    data: str = ""
    """The real fields: a known set or a file, of which every tenth field is used (--split test);
    by default what the model learned from."""
    n: int = 500
    """How many fields are drawn and measured."""
    resolution: str = ""
    """Points along each axis of what is drawn, such as 128x128; by default as in training."""
    seed: int = 0
    """The seed of all randomness."""
    split: str = "test"
    """Which real fields: train or test."""
    real: int = 0
    """At most so many real fields; 0 takes all of the split."""
    out: Path | None = None
    """Write the figures as JSON, with the command, seed and machine."""
    picture: Path | None = None
    """Write spectra, structure functions and histograms of the first quantity as a picture."""
    force: bool = False
    """Overwrite what exists."""
    quiet: bool = False
    """No progress bar."""
    drawing: Drawing = field(default_factory=Drawing)
    file: FileOptions = field(default_factory=FileOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields evaluate``."""
    run(parse(FieldEvaluateConfig, "fields evaluate", argv, _ABOUT), argv)


def run(config: FieldEvaluateConfig, argv: list[str]) -> None:
    """Draw, measure, print and write.

    Raises UsageError for options that make no sense, SfumatoError for data or models that cannot
    be read.
    """
    at_least("n", config.n, 20)
    at_least("real", config.real, 0)
    config.drawing.check()
    if config.split not in ("train", "test"):
        raise UsageError(f"--split must be train or test, got {config.split!r}")
    check_out(config.out, "out", (), config.force)
    check_out(config.picture, "picture", PICTURES, config.force)
    file = Path(config.name)
    from_file = file.suffix.lower() in ENDINGS
    if from_file and not file.exists():
        raise UsageError(f"there is no file {config.name!r}")
    if from_file and not config.data:
        raise UsageError("say with --data what the fields should be compared with")
    if not from_file:
        zoo.find(config.name)  # say what is wrong with the name before torch is imported
    import torch

    from sfumato.console.report import record, table
    from sfumato.seeds import generator
    from sfumato.systems.ddo.metrics.compare import compare_fields

    row: dict[str, Any] = {"steps": None, "n": config.n}
    if from_file:
        from sfumato.systems.ddo.data.files import read_fields

        read = read_fields(file)
        made, frame = torch.from_numpy(read.values[: config.n]), read.frame
        names = [q.name for q in frame.quantities]
        real = values_of(_real(config, config.data, None, names), names, frame, config.data)
    else:
        row, made, real, frame = _drawn(config)
    if config.real:
        real = real[: config.real]
    row["n"] = len(made)
    row["scores"] = compare_fields(
        made,
        real,
        frame.domain,
        frame.extent,
        generator=generator(config.seed, "evaluate"),
        channels=[q.name for q in frame.quantities],
    )
    table(config.name, [row])
    if config.out is not None:
        settings = json.loads(json.dumps(asdict(config), default=lambda v: str(v)))
        text = json.dumps(record("fields evaluate", argv, config.seed, settings, [row]), indent=2)
        write(config.out, text + "\n")
        print(f"wrote {config.out}")
    if config.picture is not None:
        from sfumato.files import pictures

        pictures.save(report(made, real, frame), config.picture)
        print(f"wrote {config.picture}")


def _drawn(config: FieldEvaluateConfig) -> tuple[dict[str, Any], Tensor, Tensor, Frame]:
    """The table's row so far, the fields, the real ones, and their frame."""
    import torch

    from sfumato.console.progress import bar
    from sfumato.systems.ddo.sampling import draw_fields

    if config.drawing.threads:
        torch.set_num_threads(config.drawing.threads)
    opened = load_field_model(config.name, config.drawing.device)
    model = opened.description
    grid = grid_of(config.resolution, model.frame.dims, model.grid)
    check_size(config.n, len(model.frame.quantities), grid)
    walk = config.drawing.walk(opened)
    source, usual = source_of(config.name, config.data, model.data)
    names = [q.name for q in model.frame.quantities]
    found = _real(config, source, usual, [*names, *(q.name for q in model.given)])
    real = values_of(found, names, model.frame, source)
    given = told_of(found, source, model, config.n) if model.given else None
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet) as advance, torch.inference_mode():
        some = range(config.n)
        drawn = draw_fields(
            opened.denoiser, model, grid, config.seed, some, walk, given=given, progress=advance
        )
    spent = time.perf_counter() - began
    row = {
        "steps": len(walk.times) - 1,
        "solver": walk.name,
        "nfe": drawn.nfe,
        "n": config.n,
        "seconds": round(spent, 2),
        "per_second": round(config.n / spent, 2),
    }
    return row, drawn.x, real, model.frame


def _real(
    config: FieldEvaluateConfig, source: str, usual: FieldFileOptions | None, names: Sequence[str]
) -> FieldSet:
    """The real fields of the split; of a file, these variables."""
    from sfumato.systems.ddo.datasets import load_fields

    split: Literal["train", "test"] = "test" if config.split == "test" else "train"
    return load_fields(source, split, how=config.file.reading(names, usual))


def report(made: Tensor, real: Tensor, frame: Frame) -> Image.Image:
    """Spectra, structure functions, the law of a value and the moments, of the first quantity."""
    from sfumato.systems.ddo.metrics.spectra import energy_spectrum, structure_function
    from sfumato.systems.ddo.metrics.statistics import (
        moment_histograms,
        one_point_histogram,
        pointwise_moments,
    )
    from sfumato.systems.ddo.plots import report_figure

    sets = {"real": real[:, :1], "generated": made[:, :1]}
    where = (frame.domain, frame.extent)
    edges = one_point_histogram(real[:, :1]).edges[0]
    return report_figure(
        {name: energy_spectrum(x, *where) for name, x in sets.items()},
        {name: structure_function(x, *where) for name, x in sets.items()},
        {name: one_point_histogram(x, edges) for name, x in sets.items()},
        moment_histograms({name: pointwise_moments(x) for name, x in sets.items()}),
        reference="real",
        label=frame.quantities[0].label,
    )
