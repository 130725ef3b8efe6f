"""``sfumato fields evaluate``: a model's fields, or a file's, against real ones."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from sfumato import zoo
from sfumato.console.options import Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.atomic import write
from sfumato.systems.ddo.commands.shared import (
    PICTURES,
    Drawing,
    FileOptions,
    check_out,
    fitting,
    load_field_model,
    real_fields,
)
from sfumato.systems.ddo.options import ENDINGS

if TYPE_CHECKING:
    from sfumato.systems.ddo.data.base import FieldSet

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
    """Points along each axis of what is drawn, such as 128x64, or along the longest (128); by
    default as in training."""
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


def _drawn(config: FieldEvaluateConfig) -> FieldSet:
    """The fields of the file that is measured: as files written here are, else by the options."""
    from sfumato.systems.ddo.datasets import load_file

    try:
        return load_file(config.name)
    except UsageError:
        if config.file == FileOptions():
            raise
        return load_file(config.name, config.file.reading())


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

    split: Literal["train", "test"] = "test" if config.split == "test" else "train"
    row: dict[str, Any] = {"steps": None}
    if from_file:
        from sfumato.systems.ddo.datasets import load_fields

        read = _drawn(config)
        made, frame = torch.from_numpy(read.values[: config.n]), read.frame
        names = [q.name for q in frame.quantities]
        data = load_fields(config.data, split, how=config.file.reading(names))
        real = fitting(data, frame, config.data).select(names, config.data)
    else:
        opened = load_field_model(config.name, config.drawing.device, config.drawing.threads)
        frame = opened.description.frame
        real, given = real_fields(
            config.name, opened.description, config.data, split, config.file, config.n
        )
        drawn = config.drawing.draw(
            opened, opened.denoiser, config.resolution, config.n, config.seed, given, config.quiet
        )
        made = drawn.values
        row = {
            "steps": drawn.steps,
            "solver": drawn.solver,
            "nfe": drawn.nfe,
            "n": config.n,
            "seconds": round(drawn.seconds, 2),
            "per_second": round(config.n / drawn.seconds, 2),
        }
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
        from sfumato.systems.ddo.plots import report_figure

        report = report_figure({"real": real, "generated": made}, frame)
        pictures.save(report, config.picture)
        print(f"wrote {config.picture}")
