"""GENIE measured: orders, distance to the exact flow, Frechet distance, and what the head costs.

    python benchmarks/genie.py orders                       # on exact mathematics, three minutes
    python benchmarks/genie.py distance --models fashion    # from the same noise to a fine solution
    python benchmarks/genie.py frechet --models fashion --n 2000     # hours; row by row, resumable
    python benchmarks/genie.py cost

`orders` is float64 on eight Gaussians on a circle, plain and under guidance. `distance` walks from
the same noise with every solver and takes the root mean square difference, over pixels in [-1, 1],
from a fine solution; `frechet` compares samples with the test set. NFE counts evaluations of the
backbone; the head's share of a step is what `cost` measures. Each part writes
`benchmarks/results/genie-PART.json`; rows that stand in it are not measured again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from torch import Tensor

import sfumato as sf
from sfumato.data import to_uint8
from sfumato.guide import ClassifierFree, ClassifierGuided
from sfumato.metrics import extract, frechet_distance
from sfumato.model.description import ModelDescription
from sfumato.model.load import load
from sfumato.seeds import fold, generators
from sfumato.solve import DDIM, DormandPrince, DPMSolverPP, Heun
from sfumato.systems.genie.derivative import ExactDerivative, LearnedDerivative, along
from sfumato.systems.genie.guidance import MixedDerivative
from sfumato.systems.genie.taylor import Taylor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(Path(__file__).parent))
from written import write  # noqa: E402

sys.path.insert(0, str(HERE.parent / "tests"))

from orders import NAMES  # noqa: E402

from analytic import F64, PROCESSES, slope  # noqa: E402
from ring import Ring  # noqa: E402

SEED = 0
STEPS = (5, 10, 15, 20, 25)
Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to measure.

    part: which of the measurements.  models: shipped models by name; the head is NAME-genie.
    heads: folder of a head's run for each model, instead of the shipped one.  n: samples.
    batch: samples at once.  out: the file; by default benchmarks/results/genie-PART.json.
    """

    part: Annotated[Literal["orders", "distance", "frechet", "cost"], tyro.conf.Positional]
    models: tuple[str, ...] = ("fashion", "avatars")
    heads: tuple[str, ...] = ()
    n: int = 32
    batch: int = 50
    out: Path | None = None


class Results:
    """Rows by key, written after each."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path, self.console = path, console
        self.rows: list[Row] = json.loads(path.read_text())["results"] if path.exists() else []

    def has(self, **key: Any) -> bool:
        return any(all(r.get(k) == v for k, v in key.items()) for r in self.rows)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        write(self.path, SEED, self.rows)
        self.console.print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})


def cases() -> Iterator[tuple[str, Ring, sf.Denoiser, dict[str, sf.Denoiser], Tensor | None]]:
    """(name, data, the denoiser whose flow is followed, denoisers for Taylor by key, labels)."""
    for name in ("vp", "cosine", "ve", "edm", "flow"):
        ring = Ring(PROCESSES[name]())
        yield NAMES[name], ring, ring, {"taylor": ExactDerivative(ring)}, None
    label = torch.arange(8) % 2
    ring = Ring(PROCESSES["vp"]())
    for w in (1.0, 1.5, 2.0, 4.0):
        guided = ClassifierFree(ring, w)
        by = {
            "taylor": ExactDerivative(guided),
            "mixed": MixedDerivative(ExactDerivative(ring), w),
        }
        yield f"VP linear, classifier-free w = {w:g}", ring, guided, by, label
    guided = ClassifierGuided(ring, ring.log_prob, 1.5)
    yield "VP linear, classifier w = 1.5", ring, guided, {"taylor": ExactDerivative(guided)}, label


def orders(results: Results) -> None:
    """Slopes of DDIM, of Taylor with the exact derivative, and of the published mixture."""
    steps = (80, 160)
    spans = {"EDM": (0.05, 0.006), "VE": (0.7, 0.4)}
    for name, ring, denoiser, by, label in cases():
        if results.has(case=name):
            continue
        begin, end = spans.get(name, (0.8, 0.1))
        seed = torch.Generator().manual_seed(SEED)
        x = ring.process.perturb(ring.draw(8, seed), begin, seed)[0]
        fine = sf.times.uniform(160, begin, end)
        goal = sf.sample(denoiser, DormandPrince(adaptive=False), fine, x, cond=label).x
        row: Row = {"case": name}
        pairs = {"ddim": (DDIM(), denoiser), **{k: (Taylor(), d) for k, d in by.items()}}
        for key, (solver, used) in pairs.items():
            errors = [
                sf.sample(used, solver, sf.times.uniform(n, begin, end), x, cond=label).x - goal
                for n in steps
            ]
            row[key] = slope([float(e.norm()) for e in errors], list(steps))
            row[f"{key}_error"] = float(errors[-1].norm())
        results.add(row)


def models(options: Options) -> Iterator[tuple[str, LearnedDerivative, ModelDescription]]:
    """Each model with its head."""
    for i, name in enumerate(options.models):
        given = options.heads[i] if options.heads else f"{name}-genie"
        model = load(given)
        if not isinstance(model.denoiser, LearnedDerivative):
            raise SystemExit(f"{given} has no derivative head")
        yield name, model.denoiser, model.description


def begin(
    model: ModelDescription, indices: range, denoiser: sf.Denoiser
) -> tuple[Tensor, Tensor | None]:
    """Noise and labels of these samples; each follows from its number alone."""
    x = denoiser.process.prior_sample((len(indices), *model.shape), generators(SEED, indices))
    rows = [[fold(SEED, "label", i, a) % n for a, n in enumerate(model.labels)] for i in indices]
    return x, torch.tensor(rows) if model.labels else None


GRIDS: dict[str, Callable[[sf.Process, int], Tensor]] = {
    "karras": lambda p, n: sf.times.karras(p, n),
    "karras 0.02": lambda p, n: sf.times.karras(p, n, sigma_min=0.02),
    "log-snr 0.05": lambda p, n: sf.times.log_snr(p, n, sigma_min=0.05),
}


def solvers(denoiser: LearnedDerivative) -> dict[str, tuple[sf.Solver, sf.Denoiser]]:
    """Solvers by name, and the denoiser each is given."""
    backbone = denoiser.backbone
    return {
        "DDIM": (DDIM(), backbone),
        "GENIE": (Taylor(), denoiser),
        "GENIE, AFS": (Taylor(analytic=True), denoiser),
        "Taylor, exact derivative": (Taylor(), ExactDerivative(backbone)),
        "DPM-Solver++ 2M": (DPMSolverPP(), backbone),
        "DPM-Solver++ 3M": (DPMSolverPP(3), backbone),
        "Heun": (Heun(), backbone),
    }


def grid_steps(solver: sf.Solver, nfe: int) -> int:
    """Steps that cost so many evaluations (Heun: the odd number below)."""
    if isinstance(solver, Heun):
        return (nfe + 1) // 2
    if isinstance(solver, DPMSolverPP) and solver.order == 3:
        return nfe - 1
    return nfe + 1 if isinstance(solver, Taylor) and solver.analytic else nfe


def distance(results: Results, options: Options) -> None:
    """Root mean square difference from a fine solution, from the same noise."""
    for name, denoiser, model in models(options):
        x, cond = begin(model, range(options.n), denoiser)
        fine: Tensor | None = None
        for grid, make in GRIDS.items():
            for method, (solver, used) in solvers(denoiser).items():
                if grid != "karras" and method not in ("DDIM", "GENIE", "Taylor, exact derivative"):
                    continue
                for nfe in STEPS:
                    if results.has(model=name, grid=grid, solver=method, steps=nfe):
                        continue
                    if fine is None:
                        times = sf.times.karras(denoiser.process, 100)
                        fine = sf.sample(denoiser.backbone, DPMSolverPP(3), times, x, cond=cond).x
                    times = make(denoiser.process, grid_steps(solver, nfe))
                    got = sf.sample(used, solver, times, x, cond=cond)
                    rms = float((got.x - fine).square().mean().sqrt())
                    row = {"model": name, "grid": grid, "solver": method, "steps": nfe}
                    results.add({**row, "nfe": got.nfe, "rms": rms, "n": options.n})


def frechet(results: Results, options: Options) -> None:
    """Frechet distance of DDIM and GENIE on one grid and the same noise."""
    from sfumato.cli.judging import Reference
    from sfumato.console import datasets

    for name, denoiser, model in models(options):
        wish = datasets.DataRequest("test", 0, model.shape[-1], SEED, channels=model.shape[0])
        judge = Reference.of(model.data, wish, "auto", False)
        assert judge.features is not None  # noqa: S101
        for nfe in STEPS:
            for method in ("DDIM", "GENIE"):
                key = {"model": name, "grid": "karras", "solver": method, "steps": nfe}
                if results.has(**key, n=options.n):
                    continue
                solver, used = solvers(denoiser)[method]
                times = sf.times.karras(denoiser.process, nfe)
                images, count = [], 0
                for low in range(0, options.n, options.batch):
                    indices = range(low, min(low + options.batch, options.n))
                    x, cond = begin(model, indices, denoiser)
                    drawn = sf.sample(used, solver, times, x, cond=cond)
                    images.append(to_uint8(drawn.x))
                    count = drawn.nfe
                seen = extract(judge.features, torch.cat(images).numpy(), batch=256)
                score = frechet_distance(judge.real, seen, features=judge.features.name)
                row: Row = {**key, "nfe": count, "n": options.n, "value": score.value}
                results.add({**row, "error": score.error, "scores": [asdict(score)]})


def costs(
    denoiser: LearnedDerivative, x: Tensor, cond: Tensor | None, t: Tensor
) -> dict[str, Callable[[], object]]:
    """What is timed: the backbone, the backbone and its head, the exact derivative."""
    exact = ExactDerivative(denoiser.backbone)
    return {
        "backbone": lambda: denoiser.backbone(x, t, cond),
        "with_head": lambda: denoiser.with_derivative(x, t, cond),
        "exact": lambda: exact.with_derivative(x, t, cond),
    }


def agreement(
    denoiser: LearnedDerivative, x: Tensor, cond: Tensor | None
) -> tuple[list[float], list[float]]:
    """Relative errors of the central difference, and of the head, at each time of a fine walk."""
    backbone, process = denoiser.backbone, denoiser.process
    times = sf.times.karras(process, 12)
    path = sf.sample(backbone, DPMSolverPP(), times, x, cond=cond, save_path=True).path
    exact = ExactDerivative(backbone)
    differences, heads = [], []
    for state, t in zip(path[1:-1], times[1:-1], strict=True):
        x0, want = exact.with_derivative(state, t, cond)
        for found, got in (
            (differences, along(backbone, state, t, x0, cond)),
            (heads, denoiser.with_derivative(state, t, cond)[1]),
        ):
            found.append(float((got - want).norm() / want.norm()))
    return differences, heads


def cost(results: Results, options: Options) -> None:
    """The head's share: parameters, multiplications, and CPU time of a step; and its error."""
    from torch.utils.flop_counter import FlopCounterMode

    for name, denoiser, model in models(options):
        if results.has(model=name):
            continue
        state = (*begin(model, range(16), denoiser), torch.tensor(0.01, dtype=F64))
        calls = costs(denoiser, *state)
        row: Row = {"model": name}
        with torch.no_grad():
            for key in ("backbone", "with_head"):
                with FlopCounterMode(display=False) as counter:
                    calls[key]()
                row[f"{key}_mflop"] = counter.get_total_flops() / len(state[0]) / 1e6
            spent: dict[str, list[float]] = {key: [] for key in calls}
            for _ in range(30):
                for key, call in calls.items():  # in turn, so that a busy machine is fair to all
                    start = time.process_time()
                    call()
                    spent[key].append(time.process_time() - start)
        for key, seconds in spent.items():
            row[f"{key}_ms"] = 1e3 * sorted(seconds)[len(seconds) // 2] / len(state[0])
        sizes = [sum(p.numel() for p in m.parameters()) for m in (denoiser.head, denoiser.backbone)]
        row |= {"head_params": sizes[0], "backbone_params": sizes[1], "params": sizes[0] / sizes[1]}
        row["flops"] = row["with_head_mflop"] / row["backbone_mflop"] - 1
        row["time"] = row["with_head_ms"] / row["backbone_ms"] - 1
        row["exact_time"] = row["exact_ms"] / row["backbone_ms"]
        differences, heads = agreement(denoiser, *begin(model, range(16), denoiser))
        row |= {"difference_median": median(differences), "difference_worst": max(differences)}
        row |= {"head_median": median(heads), "head_worst": max(heads)}
        results.add(row)


def pivot(folder: Path) -> None:
    """genie-table.json: a row for each model and solver, a column for each number of steps."""
    tables: dict[str, list[Row]] = {}
    for part in ("distance", "frechet"):
        path = folder / f"genie-{part}.json"
        rows: dict[tuple[str, ...], Row] = {}
        for r in json.loads(path.read_text())["results"] if path.exists() else []:
            key = (r["model"], r["grid"], r["solver"])
            row = rows.setdefault(key, {"model": key[0], "grid": key[1], "solver": key[2]})
            score = f"{r['value']:.2f} ± {r['error']:.2f}" if part == "frechet" else r["rms"]
            row |= {"n": r["n"], str(r["steps"]): score}
        tables[part] = list(rows.values())
        for grid in GRIDS:
            tables[f"{part} {grid}"] = [r for r in tables[part] if r["grid"] == grid]
    text = json.dumps({"from": "genie-distance, genie-frechet", "results": tables}, indent=1)
    (folder / "genie-table.json").write_text(text + "\n")


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    out = options.out or HERE / "results" / f"genie-{options.part}.json"
    results = Results(out, Console())
    match options.part:
        case "orders":
            orders(results)
        case "distance":
            distance(results, options)
        case "frechet":
            frechet(results, options)
        case _:
            cost(results, options)
    pivot(out.parent)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
