"""Restoration: a Schrödinger bridge against a conditional diffusion and a regression.

    python benchmarks/i2sb.py --bridge runs/i2sb-bridge --diffusion runs/i2sb-diffusion \
        --regression runs/i2sb-regression
    python benchmarks/i2sb.py ... --quick

Three models with the same network, data and training budget undo five degradations of pictures that
none of them was trained on: crops of scikit-image's photographs, emoji of other things, other
avatars. Each picture's degradation and each walk have their own seeds, the same for all methods.

The diffusion is walked by two solvers: DPM-Solver++ 2M, the best of ours for few steps, and the
ancestral one, which Palette used. `input` is the bad picture itself. Distances between sets are
between the restored pictures and the good ones they came from. Accuracy is that of the shipped
classifier of avatars, after halving to its 32 pixels.

Rows are kept as they are measured in `benchmarks/results/i2sb.json`; the same command goes
on where it stopped. Ends with a plot, `docs/img/i2sb-nfe.png`, and a sheet,
`docs/img/i2sb-methods.webp`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import tyro
from rich.console import Console
from textures import Textures
from torch import Tensor

import sfumato as sf
from sfumato.data import ImageSet, avatars, mobilenet_weights_path, to_uint8
from sfumato.data.degrade import Problem, posed
from sfumato.denoise import Denoiser
from sfumato.files import pictures
from sfumato.files.cards import find
from sfumato.metrics import (
    ImageNetPerceptual,
    detail,
    extract,
    frechet_distance,
    label_accuracy,
    load_classifier,
    restoration_scores,
)
from sfumato.model.load import load_model
from sfumato.sampling import Solver
from sfumato.solve import Ancestral
from sfumato.systems.i2sb.model import RestorationModel
from sfumato.systems.i2sb.recipe import restoration_data
from sfumato.systems.i2sb.restoring import Walk, restore, usual_walk
from sfumato.times import karras, uniform

sys.path.insert(0, str(Path(__file__).parent))
from written import write

ROOT = Path(__file__).resolve().parents[1]
SETS = ("photographs", "emoji", "avatars")
WEIGHTS = (3.0, 1.0, 1.0)
BATCH = 50


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    bridge, diffusion, regression: models, by name or folder; an empty one is left out.
    nfe: network evaluations for a picture.
    n: pictures; the accuracy takes as many avatars.
    tasks: those of the models' tasks that are measured; all when empty.
    seed: of degradations and walks.
    quick: few pictures, to check that it runs; nothing is written.
    results, img: folders that are written to.
    """

    bridge: str
    diffusion: str
    regression: str
    nfe: tuple[int, ...] = (1, 2, 5, 10, 20, 100)
    n: int = 300
    tasks: tuple[str, ...] = ()
    seed: int = 0
    quick: bool = False
    results: Path = ROOT / "benchmarks" / "results"
    img: Path = ROOT / "docs" / "img"


def ancestral_from_noise(denoiser: Denoiser, steps: int) -> tuple[Solver, Tensor]:
    """What Palette did: draw from the posterior at each step, over uniform times.

    They begin where the other solver begins, σ = 80 α: at t = 1 itself there is no noise level
    to tell a network, and one evaluation there was of no use.
    """
    return Ancestral(), uniform(steps, start=float(karras(denoiser.process, 1)[0]))


@dataclass(frozen=True)
class Method:
    """A model and how it is walked."""

    title: str
    denoiser: Denoiser
    model: RestorationModel
    walk: Walk = usual_walk
    once: bool = False

    def __call__(self, problem: Problem, steps: int, seed: int, first: int) -> Tensor:
        """The restored pictures, each from its own seed; bfloat16 inside the network."""
        random = sf.generators(seed, range(first, first + len(problem.x0)))
        with torch.autocast("cpu", torch.bfloat16):
            done = restore(self.denoiser, self.model, problem, steps, random, walk=self.walk)
        if done.nfe != steps:
            raise SystemExit(f"{self.title}: {done.nfe} evaluations in {steps} steps")
        return done.x.float().clamp(-1, 1)


def methods(options: Options) -> list[Method]:
    """The contenders. Raises SystemExit for another kind of model."""

    def load(name: str) -> tuple[Denoiser, RestorationModel]:
        denoiser, model = load_model(find(name))
        if not isinstance(model, RestorationModel):
            raise SystemExit(f"{name} is no model of restoration")
        return denoiser, model

    rivals = load(options.diffusion)
    found = [
        Method("bridge", *load(options.bridge)),
        Method("diffusion, 2M", *rivals),
        Method("diffusion, ancestral", *rivals, walk=ancestral_from_noise),
    ]
    if options.regression:
        found.append(Method("regression", *load(options.regression), once=True))
    return found


def problems(model: RestorationModel, task: int, truth: Tensor, seed: int) -> Problem:
    """Every picture degraded by one task, from a seed of its own."""
    random = sf.generators(sf.seeds.fold(seed, "degrade", task), range(len(truth)))
    return posed(model.tasks[task], truth, random, task)


def all_of(method: Method, problem: Problem, steps: int, seed: int) -> tuple[Tensor, float]:
    """All pictures restored, and seconds for one."""
    began, out = time.perf_counter(), []
    for first in range(0, len(problem.x0), BATCH):
        part = Problem(*(a[first : first + BATCH] for a in problem))
        out.append(method(part, steps, seed, first))
    return torch.cat(out), (time.perf_counter() - began) / len(problem.x0)


@dataclass
class Judge:
    """What restored pictures are compared by."""

    perceptual: ImageNetPerceptual
    features: Textures
    classifier: Any

    @classmethod
    def make(cls) -> Judge:
        """From the fetched weights and the shipped classifier."""
        weights = mobilenet_weights_path()
        return cls(
            ImageNetPerceptual(weights),
            Textures(weights),
            load_classifier(find("avatars-classifier")),
        )

    def scores(self, made: Tensor, truth: Tensor) -> dict[str, Any]:
        """Figures by short names, each with its error."""
        names = ("psnr", "ssim", "perceptual")
        found = dict(zip(names, restoration_scores(made, truth, self.perceptual), strict=True))
        real, drawn = (extract(self.features, x) for x in (truth, made))
        found["frechet"] = frechet_distance(real, drawn, features=self.features.name, groups=4)
        row: dict[str, Any] = {"detail": detail(made, truth)}
        for name, score in found.items():
            row |= {name: score.value, f"{name}_error": score.error}
        return row

    def accuracy(self, made: Tensor, labels: Tensor) -> float:
        """Mean over the axes of the share of labels that are read, in %."""
        small = torch.nn.functional.avg_pool2d(made, 2)
        return float(np.mean([s.value for s in label_accuracy(self.classifier, small, labels)]))


def measure(options: Options, console: Console) -> dict[str, Any]:
    """All rows, those that were measured before included."""
    n = 20 if options.quick else options.n
    nfe = (1, 2) if options.quick else options.nfe
    contenders = methods(options)
    model = contenders[0].model
    judge = Judge.make()
    data = restoration_data(SETS, WEIGHTS, model.shape[-1], "test")
    truth = data.batch(np.arange(n))[0]
    faces: ImageSet = avatars("test", model.shape[-1], n)
    face, labels = faces.batch(np.arange(n))
    assert labels is not None  # noqa: S101
    path = options.results / "i2sb.json"
    kept: dict[str, Any] = {}
    if path.is_file() and not options.quick:
        kept = {r["key"]: r for r in json.loads(path.read_text())["results"]["rows"]}
    rows: list[dict[str, Any]] = []

    def row(task: str, title: str, steps: int, make: Callable[[], dict[str, Any]]) -> None:
        key = f"{task}/{title}/{steps}/{n}/{options.seed}"
        found = kept.get(key)
        if found is None:
            found = {"key": key, "task": task, "method": title, "nfe": steps, "n": n, **make()}
            text = ", ".join(f"{k} {v:.4g}" for k, v in found.items() if k in SHOWN)
            console.print(f"{task}, {title}, {steps}: {text}")
        rows.append(found)
        if not options.quick:
            write(
                path,
                options.seed,
                {
                    "rows": rows,
                    "pivot": pivot(rows),
                    "behind": behind(rows),
                    **about(data, judge, contenders),
                },
            )

    wanted = options.tasks or model.names
    for task, name in enumerate(model.names):
        if name not in wanted:
            continue
        problem = problems(model, task, truth, options.seed)
        seen = problems(model, task, face, options.seed + 1)

        def unchanged(problem: Problem = problem, seen: Problem = seen) -> dict[str, Any]:
            bad = problem.beside.clamp(-1, 1)
            right = judge.accuracy(seen.beside.clamp(-1, 1), labels)
            return {**judge.scores(bad, truth), "accuracy": right}

        row(name, "input", 0, unchanged)
        for method in contenders:
            for steps in nfe if not method.once else (1,):

                def made(
                    method: Method = method,
                    steps: int = steps,
                    problem: Problem = problem,
                    seen: Problem = seen,
                ) -> dict[str, Any]:
                    x, seconds = all_of(method, problem, steps, options.seed)
                    found = judge.scores(x, truth)
                    if steps in (1, 10):
                        drawn, _ = all_of(method, seen, steps, options.seed)
                        found["accuracy"] = judge.accuracy(drawn, labels)
                    return {**found, "seconds": seconds}

                row(name, method.title, steps, made)
    if not options.quick and options.regression:
        plot(rows, tuple(n for n in model.names if n in wanted), options.img)
        sheet(contenders, model, truth, options)
    return {"rows": rows}


SHOWN = ("psnr", "ssim", "perceptual", "frechet", "detail", "accuracy")


def pivot(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each task and method; figures by the number of evaluations."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        mine = found.setdefault(
            (row["task"], row["method"]), {"task": row["task"], "method": row["method"]}
        )
        for key in SHOWN:
            if row.get(key) is not None:
                mine.setdefault(key, {})[str(row["nfe"])] = row[key]
    return list(found.values())


def behind(rows: list[dict[str, Any]]) -> dict[str, float]:
    """By how many dB one evaluation of the bridge is behind the regression, task by task."""
    one = {(r["task"], r["method"]): r["psnr"] for r in rows if r["nfe"] == 1}
    tasks = dict.fromkeys(r["task"] for r in rows if (r["task"], "regression") in one)
    return {task: one[task, "regression"] - one[task, "bridge"] for task in tasks}


def about(data: ImageSet, judge: Judge, contenders: list[Method]) -> dict[str, Any]:
    """What the figures are of."""
    return {
        "data": data.card.size,
        "perceptual": judge.perceptual.name,
        "features": judge.features.name,
        "params": sum(p.numel() for p in contenders[0].denoiser.parameters()),
    }


def plot(rows: list[dict[str, Any]], tasks: tuple[str, ...], img: Path) -> None:
    """PSNR, perceptual and Fréchet distance over evaluations: a column for each task."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"bridge": "C0", "diffusion, 2M": "C1", "diffusion, ancestral": "C3"}
    figure, axes = plt.subplots(3, len(tasks), figsize=(2.6 * len(tasks), 6.2), sharex=True)
    axes = np.asarray(axes).reshape(3, -1)
    what = (("psnr", "PSNR in dB"), ("perceptual", "perceptual"), ("frechet", "Fréchet"))
    for column, task in enumerate(tasks):
        for i, (key, title) in enumerate(what):
            panel = axes[i, column]
            for method, colour in colours.items():
                mine = [r for r in rows if r["task"] == task and r["method"] == method]
                x, y = [r["nfe"] for r in mine], [r[key] for r in mine]
                panel.plot(x, y, "o-", color=colour, ms=3, lw=1.2, label=method)
            for method, style in (("regression", "k--"), ("input", "k:")):
                (value,) = (r[key] for r in rows if r["task"] == task and r["method"] == method)
                panel.plot([1, 100], [value, value], style, lw=1, label=method)
            panel.set_xscale("log")
            if key != "psnr":
                panel.set_yscale("log")
            if not column:
                panel.set_ylabel(title)
            if not i:
                panel.set_title(task)
    axes[0, 0].legend(fontsize=6)
    figure.supxlabel("network evaluations")
    figure.tight_layout()
    img.mkdir(parents=True, exist_ok=True)
    figure.savefig(img / "i2sb-nfe.png", dpi=90)
    plt.close(figure)


def sheet(
    contenders: list[Method], model: RestorationModel, truth: Tensor, options: Options
) -> None:
    """One picture a task: good, bad, and restored by each method in 2 and in 10 evaluations."""
    tiles, names = [], []
    columns = ["truth", "input", "regression"]
    columns += [f"{m}, {k}" for m in ("bridge", "2M", "anc.") for k in (2, 10)]
    by = {m.title: m for m in contenders}
    for task, name in enumerate(model.names):
        chosen = truth[[task, task + 5]]
        problem = problems(model, task, chosen, options.seed)
        rows = [chosen, problem.beside.clamp(-1, 1), by["regression"](problem, 1, options.seed, 0)]
        for title in ("bridge", "diffusion, 2M", "diffusion, ancestral"):
            rows += [by[title](problem, steps, options.seed, 0) for steps in (2, 10)]
        tiles.append(torch.stack(rows, 1).flatten(0, 1))
        names += [name, ""]
    picture = pictures.sheet(
        to_uint8(torch.cat(tiles)).numpy(),
        columns=len(columns),
        scale=1,
        row_labels=names,
        column_labels=columns,
    )
    picture.save(options.img / "i2sb-methods.webp", quality=90)  # lossy: under 300 kB


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    with torch.no_grad():
        measure(options, Console())


if __name__ == "__main__":
    main()
