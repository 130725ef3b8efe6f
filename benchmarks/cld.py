"""Critically-damped Langevin diffusion: splitting (SSCS) against Euler-Maruyama, by evaluations.

    python benchmarks/cld.py points        # the models in the plane, about half an hour
    python benchmarks/cld.py images        # the image model, longer
    python benchmarks/cld.py exact         # one Gaussian, without sampling: a minute
    python benchmarks/cld.py points --quick

Both solvers walk the same grids with the same model, start states and seeds: n - 1 steps down to
t = 1e-3 and one to 0, which both take as the mean of q(x_0 | x_t), so that n is the number of
evaluations. The probability flow (`DPMSolverPP()`) stands beside them. Writes
`benchmarks/results/cld-points.json`, `cld-images.json` or `cld-exact.json`, and pictures to
`docs/img`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from torch import Tensor

import sfumato as sf
from sfumato.data import PointName, fashion_mnist, points, to_uint8
from sfumato.data.plane import modes
from sfumato.files import pictures
from sfumato.files.cards import find
from sfumato.metrics import (
    compare_features,
    extract,
    label_accuracy,
    load_classifier,
    mode_coverage,
    sliced_wasserstein,
)
from sfumato.metrics.classifier import ClassifierFeatures
from sfumato.model.load import load_model
from sfumato.solve import DPMSolverPP, EulerMaruyama
from sfumato.systems.cld.sscs import SSCS

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from written import write  # noqa: E402

from analytic import F64, PROCESSES, Linear, Scripted, propagate, slope  # noqa: E402

SOLVERS: dict[str, sf.Solver] = {
    "SSCS": SSCS(),
    "Euler-Maruyama": EulerMaruyama(),
    "flow": DPMSolverPP(),
}
GRIDS: dict[str, Callable[[int, float, float], Tensor]] = {
    "quadratic": sf.times.quadratic,
    "uniform": sf.times.uniform,
}
SEED = 0


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    what: which models.
    roll, diamond, fashion: models, by name or folder.
    n: samples; 10,000 points or 1,000 images when 0.
    steps: evaluations; 20, 50, 100, 200 for points and 50, 100 for images when empty.
    grids, methods: which of them.
    quick: few samples, to check that it runs; nothing is written.
    results, img: folders that are written to.
    """

    what: tyro.conf.Positional[Literal["points", "images", "exact"]]
    roll: str = "multi-swiss-roll-cld"
    diamond: str = "diamond-cld"
    fashion: str = "fashion-cld"
    n: int = 0
    steps: tuple[int, ...] = ()
    grids: tuple[Literal["quadratic", "uniform"], ...] = ("quadratic", "uniform")
    methods: tuple[Literal["SSCS", "Euler-Maruyama", "flow"], ...] = (
        "SSCS",
        "Euler-Maruyama",
        "flow",
    )
    quick: bool = False
    results: Path = ROOT / "benchmarks" / "results"
    img: Path = ROOT / "docs" / "img"


def grid(kind: str, n: int) -> Tensor:
    """n - 1 steps from 1 to 1e-3, and one to 0."""
    times = GRIDS[kind](n - 1, 1.0, 1e-3)
    return torch.cat([times, times.new_zeros(1)])


def distance(x: Tensor, real: Tensor) -> float:
    """Sliced W1: unlike W2 it is not ruled by the few points by which parts differ in number."""
    return sliced_wasserstein(x, real, p=1, projections=64).value


def within(x: Tensor, real: Tensor, centres: Tensor) -> float:
    """Sliced W1 inside each part, seen from its centre: mean over the parts of a point set."""

    def parts(points: Tensor) -> list[Tensor]:
        nearest = torch.cdist(points, centres).argmin(1)
        return [points[nearest == k] - centres[k] for k in range(len(centres))]

    pairs = [(a, b) for a, b in zip(parts(x), parts(real), strict=True) if len(a)]
    return float(np.mean([distance(a, b) for a, b in pairs]))


def in_the_plane(options: Options, console: Console) -> dict[str, Any]:
    """Sliced Wasserstein distances of the two point sets, and their picture."""
    n = options.n or (500 if options.quick else 10_000)
    counts = options.steps or ((10, 20) if options.quick else (20, 50, 100, 200))
    results: dict[str, Any] = {}
    rolls = torch.tensor([(0, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8)])
    for name, folder in (("multi-swiss-roll", options.roll), ("diamond", options.diamond)):
        denoiser, _ = load_model(find(folder))
        real = draw_points(name, 40_000, 1)
        gaussians = name == "diamond"
        centres = torch.from_numpy(modes(name)[0]).float() if gaussians else rolls
        other = draw_points(name, n, 2)
        floor = {
            "sw1": distance(other, real),
            "within": within(other, real, centres),
        }
        rows, shown = [], {}
        for kind in options.grids:
            for steps in counts:
                row: dict[str, Any] = {"grid": kind, "steps": steps}
                for method in options.methods:
                    x, nfe = draw(denoiser, SOLVERS[method], grid(kind, steps), n, (2,))
                    row[method] = {
                        "sw1": distance(x, real),
                        "within": within(x, real, centres),
                        "nfe": nfe,
                    }
                    if gaussians:
                        cover = mode_coverage(x, centres, std=modes(name)[1])
                        row[method] |= {"quality": cover.quality, "found": cover.found}
                    shown[method, kind, steps] = x[:3000]
                rows.append(row)
                sums = [f"{m} {row[m]['sw1']:.4f} {row[m]['within']:.4f}" for m in options.methods]
                console.print(f"{name}, {kind}, {steps} evaluations: {', '.join(sums)}")
        results[name.replace("-", "_")] = {"floor": floor, "n": n, "rows": rows}
        if not options.quick:
            picture(shown, real[:6000], counts, options.img / f"cld-{name}.png")
    return results


def draw_points(name: str, n: int, seed: int) -> Tensor:
    """n points of the data."""
    return torch.from_numpy(points(PointName(name), n, seed=seed).points)


def draw(
    denoiser: sf.Denoiser,
    solver: sf.Solver,
    times: Tensor,
    n: int,
    shape: tuple[int, ...],
    cond: Tensor | None = None,
    batch: int = 10_000,
) -> tuple[Tensor, int]:
    """n samples, each batch from its own seed, and the evaluations of one sample."""
    done, nfe = [], 0
    for i in range(0, n, batch):
        size = min(batch, n - i)
        g = sf.generator(SEED, "benchmark", i)
        x = denoiser.process.prior_sample((size, *shape), g)
        labels = None if cond is None else cond[i : i + size]
        solution = sf.sample(denoiser, solver, times, x, cond=labels, generator=g)
        nfe = solution.nfe
        done.append(denoiser.process.to_data(solution.x))
    return torch.cat(done), nfe


def picture(shown: dict[Any, Tensor], real: Tensor, counts: tuple[int, ...], path: Path) -> None:
    """A row for each solver, a column for each number of evaluations; quadratic times."""
    tiles = [
        np.asarray(
            pictures.scatter(
                shown[method, "quadratic", steps].numpy(),
                behind=real.numpy(),
                limit=1.15,
                size=220,
            )
        ).transpose(2, 0, 1)
        for method in ("SSCS", "Euler-Maruyama")
        for steps in counts
    ]
    sheet = pictures.sheet(
        np.stack(tiles),
        columns=len(counts),
        scale=1,
        row_labels=("SSCS", "Euler"),
        column_labels=[f"{s} evaluations" for s in counts],
    )
    pictures.save(sheet.quantize(64).convert("RGB"), path)


def of_images(options: Options, console: Console) -> dict[str, Any]:
    """Fréchet distance and label accuracy of the image model, and its picture."""
    n = options.n or (40 if options.quick else 1000)
    counts = options.steps or ((4,) if options.quick else (50, 100))
    denoiser, model = load_model(find(options.fashion))
    reader = load_classifier(find("fashion-classifier"))
    features = ClassifierFeatures(reader)
    real = extract(features, fashion_mnist("train").images)
    cond = (torch.arange(n) % model.labels[0])[:, None]
    rows, shown = [], []
    for kind in options.grids:
        for steps in counts:
            row: dict[str, Any] = {"grid": kind, "steps": steps}
            for method in options.methods:
                begin = time.perf_counter()
                x, nfe = draw(
                    denoiser, SOLVERS[method], grid(kind, steps), n, model.shape, cond, 100
                )
                seconds = time.perf_counter() - begin
                images = to_uint8(x).numpy()
                seen = extract(features, images)
                scores = compare_features(real, seen, features.name).scores
                scores += tuple(label_accuracy(reader, images, cond.numpy()))
                row[method] = {s.metric.replace(" ", "_"): s.as_dict() for s in scores}
                row[method] |= {"nfe": nfe, "seconds": seconds}
                if kind == "quadratic":
                    shown.append((f"{method} {steps}", images[:10]))
                console.print(f"{kind}, {steps} evaluations, {method}: {scores[0]}")
            rows.append(row)
    if not options.quick:
        sheet = pictures.sheet(
            np.concatenate([images for _, images in shown]),
            columns=10,
            row_labels=[label for label, _ in shown],
        )
        pictures.save(sheet, options.img / "cld-fashion.png")
    return {"features": features.name, "n": n, "rows": rows}


WALKS = {
    "0.8 to 0.2, uniform": (0.25, lambda n: sf.times.uniform(n, 0.8, 0.2)),
    "1 to 0.001, quadratic": (1.0, lambda n: sf.times.quadratic(n, 1.0, 1e-3)),
    "1 to 0.001, quadratic, narrow": (0.04, lambda n: sf.times.quadratic(n, 1.0, 1e-3)),
}
"""Variance of the data, and the grid."""


def exactly(options: Options, console: Console) -> dict[str, Any]:
    """Error of mean and covariance for one Gaussian, propagated through the steps exactly."""
    counts = options.steps or ((10, 20) if options.quick else (25, 50, 100, 200))
    rows = []
    for beta, name in (("4", "cld"), ("0.1 + 6.9 t", "cld-rising")):
        for walk, (variance, times) in WALKS.items():
            data = torch.tensor([0.3], dtype=F64), torch.tensor([[variance]], dtype=F64)
            denoiser = Linear(PROCESSES[name](Scripted()), *data)
            errors: dict[str, list[float]] = {"SSCS": [], "Euler-Maruyama": []}
            for n in counts:
                grid = times(n)
                want = denoiser.state(float(grid[-1]))
                for method, found in errors.items():
                    start = denoiser.state(float(grid[0]))
                    got = propagate(denoiser, SOLVERS[method], grid, start)
                    found.append(sum(float((a - b).norm()) for a, b in zip(got, want, strict=True)))
            row = {"beta": beta, "walk": walk, "variance": variance, "steps": list(counts)}
            row |= {m: {"errors": e, "order": slope(e, list(counts))} for m, e in errors.items()}
            pairs = zip(errors["SSCS"], errors["Euler-Maruyama"], strict=True)
            row["ratio"] = [a / b for a, b in pairs]
            rows.append(row)
            console.print(f"β = {beta}, {walk}, variance {variance}: ratio {row['ratio'][-1]:.2f}")
    return {"rows": rows}


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    console = Console()
    measure = {"points": in_the_plane, "images": of_images, "exact": exactly}[options.what]
    results = measure(options, console)
    if options.quick:
        return
    path = options.results / f"cld-{options.what}.json"
    write(path, SEED, results)
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
