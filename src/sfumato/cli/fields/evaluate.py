"""``sfumato fields evaluate``: a model's fields, or a file's, against real ones."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from sfumato.cli.fields.sample import Drawing, given_of, grid_of, load_field_model
from sfumato.cli.options import Name, at_least, parse
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from sfumato.data.fields.base import Frame

_ABOUT = """Compare a model's fields, or those in a file, with real ones that it was not trained on.

Spectra over the band that both resolve, the law of a value, moments of each field
(Kolmogorov-Smirnov), and a kernel two-sample test of spectra, moments and increments together. Each
figure says what it is expected to be for a perfect model (its floor). --picture draws spectra,
structure functions and histograms.

examples:
  sfumato fields evaluate vorticity --n 500 --picture report.png
  sfumato fields evaluate vorticity --n 500 --resolution 128x128 --out scores.json
  sfumato fields evaluate drawn.nc --data rain.nc
"""


@final
@dataclass(frozen=True)
class EvaluateConfig:
    """What to measure, and against what."""

    name: Name
    """A shipped model, the folder of a checkpoint or of a run, or a file of fields."""
    data: str = ""
    """The real fields: a known set or a file; by default what the model learned from."""
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
    """Write spectra, structure functions and histograms as a picture."""
    quiet: bool = False
    """No progress bar."""
    drawing: Drawing = field(default_factory=Drawing)


def main(argv: list[str]) -> None:
    """Run ``sfumato fields evaluate``."""
    run(parse(EvaluateConfig, "fields evaluate", argv, _ABOUT), argv)


def run(config: EvaluateConfig, argv: list[str]) -> None:
    """Draw, measure, print and write.

    Raises UsageError for options that make no sense, SfumatoError for data or models that cannot
    be read.
    """
    at_least("n", config.n, 20)
    at_least("real", config.real, 0)
    config.drawing.check()
    if config.split not in ("train", "test"):
        raise UsageError(f"--split must be train or test, got {config.split!r}")
    file = Path(config.name)
    from_file = file.suffix in (".npz", ".nc", ".h5", ".hdf5", ".zarr") and file.exists()
    if from_file and not config.data:
        raise UsageError("say with --data what the fields should be compared with")
    import torch

    from sfumato.cli.report import record, table
    from sfumato.metrics.field_compare import compare_fields
    from sfumato.seeds import generator

    row: dict[str, Any] = {"steps": None, "n": config.n}
    if from_file:
        from sfumato.data.fields.files import read_fields

        read = read_fields(file)
        made, frame, data = torch.from_numpy(read.values[: config.n]), read.frame, config.data
    else:
        row, made, frame, data = _drawn(config)
    real = _real(config, data, frame)
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
        config.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record("fields evaluate", argv, config.seed, settings, [row]), indent=2)
        config.out.write_text(text + "\n", encoding="utf-8")
        print(f"wrote {config.out}")
    if config.picture is not None:
        from sfumato import pictures

        pictures.save(report(made, real, frame), config.picture)
        print(f"wrote {config.picture}")


def _drawn(config: EvaluateConfig) -> tuple[dict[str, Any], Tensor, Frame, str]:
    """The table's row so far, the fields, their frame, and the name of the model's data."""
    import torch

    from sfumato.cli.progress import bar
    from sfumato.recipes.field_sampling import draw_fields

    if config.drawing.threads:
        torch.set_num_threads(config.drawing.threads)
    denoiser, model = load_field_model(config.name, config.drawing.device)
    grid = grid_of(config.resolution, model.frame.dims, model.grid)
    walk = config.drawing.walk(denoiser, model)
    given = given_of((config.data or model.data) if model.given else "", model, config.n)
    began = time.perf_counter()
    with bar("sampling", config.n, quiet=config.quiet) as advance, torch.inference_mode():
        drawn = draw_fields(
            denoiser, model, grid, config.seed, range(config.n), walk, given=given, advance=advance
        )
    spent = time.perf_counter() - began
    row = {
        "steps": len(walk.times) - 1,
        "solver": config.drawing.solver,
        "nfe": drawn.nfe,
        "n": config.n,
        "seconds": round(spent, 2),
        "per_second": round(config.n / spent, 2),
    }
    return row, drawn.values, model.frame, config.data or model.data


def _real(config: EvaluateConfig, data: str, frame: Frame) -> Tensor:
    """The real fields' quantities that are in the frame, (N, C, *grid)."""
    import torch

    from sfumato.recipes.field_data import load_fields

    found = load_fields(data, "test" if config.split == "test" else "train")
    have = [q.name for q in found.frame.quantities]
    wanted = [q.name for q in frame.quantities]
    if missing := [name for name in wanted if name not in have]:
        raise UsageError(f"{data} has no {', '.join(missing)}; it has {', '.join(have)}")
    values = torch.from_numpy(found.values[:, [have.index(name) for name in wanted]])
    return values[: config.real] if config.real else values


def report(made: Tensor, real: Tensor, frame: Frame) -> Image.Image:
    """Spectra, structure functions, the law of a value and the moments, of the first quantity."""
    from sfumato.field_plots import report_figure
    from sfumato.metrics.field_laws import moment_histograms, one_point_histogram
    from sfumato.metrics.field_moments import pointwise_moments
    from sfumato.metrics.field_structure import structure_function
    from sfumato.metrics.fields import energy_spectrum

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
