"""``sfumato evaluate``: measure a model, or pictures, against real data."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from sfumato.console import datasets
from sfumato.console.how import SamplingOptions
from sfumato.console.options import Integers, Name, at_least, parse
from sfumato.errors import UsageError
from sfumato.files.atomic import write
from sfumato.files.words import many

if TYPE_CHECKING:
    from sfumato.cli.judging import Reference

_ABOUT = """Measure a model, or pictures, against real data.

Images: Frechet and kernel distance, precision, recall, density and coverage, in features whose
name is printed with every figure, and how often a classifier reads the labels that were asked
for. Points: sliced Wasserstein distance and MMD. Distances fall as --n grows: compare equal --n.

examples:
  sfumato evaluate fashion --n 10000 --steps 10,18,50 --out scores.json
  sfumato evaluate fashion --compare --n 1000 --steps 5,10,20
  sfumato evaluate runs/faces --n 2000 --solver heun --features mobilenet
  sfumato evaluate samples.npz --data fashion-mnist --accuracy
  sfumato evaluate samples.npz --data fashion-mnist --downstream
  sfumato evaluate pictures/ --data avatars --resolution 32
"""


@final
@dataclass(frozen=True)
class EvaluateConfig:
    """What to measure, and against what."""

    name: Name
    """A shipped model, the folder of a checkpoint or run, an .npz of images, a folder or a zip."""
    data: str = ""
    """The real data: a data set, or a folder of images; by default what the model learned from."""
    n: int = 0
    """How many samples are drawn and measured; 0 is 10,000, or 500 of a model of one's own
    pictures."""
    steps: Integers = ()
    """How many steps from noise to data, by default what suits the model; several give a row of
    the table each."""
    seed: int = 0
    """The seed of all randomness."""
    features: str = "auto"
    """What to compare by: a shipped classifier, mobilenet, pixels, thumbnails (16x16 pixels), or a
    TorchScript file."""
    split: str = "test"
    """Which real images to compare with: train or test; of a folder also validation or all."""
    real: int = 0
    """At most so many real images; 0 takes all of the split."""
    resolution: int = 0
    """Pixels along a side, for folders of images and for data drawn at any."""
    skip_broken: bool = False
    """Leave out images of a --data folder that cannot be read."""
    compare: bool = False
    """Every sampler that fits the model, at as many network evaluations as --steps says."""
    accuracy: bool = False
    """Also train a classifier on the samples and test it on real images (takes minutes)."""
    downstream: bool = False
    """Also train logistic regression, an MLP and a CNN on them, tested likewise (takes minutes)."""
    out: Path | None = None
    """Write the figures as JSON, with the command, seed and machine."""
    quiet: bool = False
    """No progress bar."""
    drawing: SamplingOptions = field(default_factory=SamplingOptions)
    folders: datasets.FolderOptions = field(default_factory=datasets.FolderOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato evaluate``."""
    run(parse(EvaluateConfig, "evaluate", argv, _ABOUT), argv)


def run(config: EvaluateConfig, argv: list[str]) -> None:
    """Draw, measure, print and write.

    Raises UsageError for options that make no sense, SfumatoError for data or models that cannot
    be read.
    """
    from sfumato import zoo

    if config.n == 0:
        config = replace(config, n=_usual_n(config))
    at_least("n", config.n, 20)
    at_least("real", config.real, 0)
    for steps in config.steps:
        at_least("steps", steps, 1)
    config.drawing.check()
    wish = datasets.DataRequest(
        config.split,
        config.real,
        config.resolution,
        config.seed,
        skip_broken=config.skip_broken,
        folder=config.folders.arguments(),
    )
    if config.data:
        datasets.check(config.data, wish)
    given = is_pictures(Path(config.name))
    if given and not config.data:
        raise UsageError("say with --data what the pictures should be compared with")
    if not given:
        zoo.find(config.name)
    if config.compare:
        if given:
            raise UsageError("--compare needs a model to draw from, not pictures")
        if config.downstream:
            raise UsageError(
                "--compare trains no classifier for each sampler: leave out --downstream"
            )
        from sfumato.cli import compare

        compare.check(config)
        compare.run(config, wish, argv)
        return

    if given:
        channels, wide = _shape(Path(config.name))
        if wide and config.data not in datasets.table():
            wish = wish._replace(folder={**wish.folder, "image_width": wide})
        judge = _judge(config, config.data, wish._replace(channels=channels or wish.channels))
        rows = [_pictures(config, judge)]
    else:
        rows = _model(config, wish)
    if rows:
        from sfumato.console.report import record, table

        table(config.name, rows)
        if config.out is not None:
            settings = json.loads(json.dumps(asdict(config), default=_plain))
            text = json.dumps(record("evaluate", argv, config.seed, settings, rows), indent=2)
            write(config.out, text + "\n")
            print(f"wrote {config.out}")


def _usual_n(config: EvaluateConfig) -> int:
    """As published figures have it; fewer where each is drawn to be compared with few pictures."""
    if is_pictures(Path(config.name)):
        return 10_000
    if config.data:
        return 10_000 if config.data in datasets.table() else 500
    from sfumato.model.known_data import run_source

    run = Path(config.name)
    return 500 if run.is_dir() and run_source(run) is not None else 10_000


def is_pictures(path: Path) -> bool:
    """Whether ``path`` holds pictures, and is not the folder of a model."""
    if path.suffix.lower() in (".npz", ".zip"):
        return True
    model = (path / "model.json").exists() or (path / "checkpoints").exists()
    return path.is_dir() and not model


def _shape(path: Path) -> tuple[int, int]:
    """Channels of the pictures in an .npz, and their width where they are not square.

    Each is 0 where it follows what they are compared with.
    """
    from sfumato.console.reading import read_images

    if path.suffix != ".npz":
        return 0, 0
    x = read_images(path).x
    if x.ndim != 4:
        return 0, 0
    return int(x.shape[1]), 0 if x.shape[2] == x.shape[3] else int(x.shape[3])


def _judge(config: EvaluateConfig, data: str, wish: datasets.DataRequest) -> Reference:
    from sfumato.cli.judging import Reference

    return Reference.of(
        data, wish, config.features, config.accuracy, config.downstream, config.quiet
    )


def _pictures(config: EvaluateConfig, judge: Reference) -> dict[str, Any]:
    from sfumato.console.reading import read_images

    read = read_images(Path(config.name), judge.resolution, judge.channels, judge.image_width)
    labels = read.labels_on(judge.axes)
    images = read.x[: config.n]
    labels = None if labels is None else labels[: config.n]
    judge.check(labels, len(images))
    if not config.quiet and len(images) < len(read.x):
        print(f"the first {len(images):,} of {len(read.x):,} are measured; --n takes more")
    return {"steps": None, "n": len(images), "scores": judge.scores(images, labels)}


def _model(config: EvaluateConfig, wish: datasets.DataRequest) -> list[dict[str, Any]]:
    """A row for each number of steps; only in the first of several processes."""
    from sfumato.console.drawing import open_sampler, processes, stream
    from sfumato.console.progress import bar
    from sfumato.console.writers import Memory
    from sfumato.model.labels import labels
    from sfumato.seeds import fold

    model = open_sampler(config.name, config.drawing)
    shape = model.description.shape
    if len(shape) == 3:
        resolution = wish.resolution or shape[-2]
        wish = wish._replace(resolution=resolution, channels=shape[0])
    data, wish = datasets.of_model(config.data, model, wish, config.folders)
    if len(shape) == 3 and shape[1] != shape[2] and data not in datasets.table():
        wish = wish._replace(folder={**wish.folder, "image_width": shape[2]})
    wanted = labels("", model.axes, config.n, config.seed)
    judge: Reference | None = None
    rows = []
    for steps in config.steps or (None,):
        drawer = config.drawing.prepare(model, steps, config.seed)
        steps = drawer.plan.steps
        first = processes(drawer.device).index == 0
        if first and judge is None:  # before drawing: say early if something is missing
            judge = _judge(config, data, wish)
            judge.check(wanted.labels if model.axes else None, config.n)
        plan = {"model": config.name, "weights": model.digest, "how": str(config.drawing)}
        plan |= {"steps": str(steps), "seed": str(config.seed), "n": str(config.n)}
        # a name of its own, so that two evaluations at once do not share half-done work
        mark = fold(config.seed, *(f"{k}={v}" for k, v in sorted(plan.items())))
        memory = Memory(Path(tempfile.gettempdir()) / f"sfumato-evaluate-{mark:016x}")
        began = time.perf_counter()
        with bar(many(steps, "step"), config.n, quiet=config.quiet or not first) as advance:
            drawn = stream(drawer, wanted, memory, plan, config.drawing.batch, advance)
        spent = time.perf_counter() - began
        if judge is None:
            continue
        scores = judge.scores(memory.x, wanted.labels if model.axes else None)
        rows.append(
            {
                "steps": steps,
                "solver": drawer.plan.name,
                "nfe": drawn.nfe,
                "n": config.n,
                "seconds": round(spent, 2),
                "per_second": round(drawn.samples / spent, 1),
                "scores": scores,
            }
        )
    return rows


def _plain(value: object) -> str:
    return str(getattr(value, "value", value))
