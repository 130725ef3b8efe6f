"""Measured orders of the solvers, and errors of kernels and likelihoods, on exact mathematics.

    python benchmarks/orders.py            # about two minutes
    python benchmarks/orders.py --quick    # fewer solvers, to check that it runs

The data is a mixture of three Gaussians in the plane (one Gaussian for stochastic solvers), whose
denoiser, moments and likelihood are known. Everything is float64. Writes the measurements to
`benchmarks/results/orders.json`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

import sfumato as sf
from sfumato.solve import (
    DDIM,
    DEIS,
    Ancestral,
    DormandPrince,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from written import write  # noqa: E402

from analytic import F64, PROCESSES, SPAN, Linear, Scripted, mixture, propagate, slope  # noqa: E402
from stochastic import SDE, lyapunov  # noqa: E402

SEED = 0
SOLVERS: dict[str, tuple[sf.Solver, tuple[int, int]]] = {
    "Euler": (Euler(), (320, 640)),
    "Heun": (Heun(), (160, 320)),
    "Exponential 1": (DDIM(), (160, 320)),
    "Exponential 2": (DPMSolverPP(), (160, 320)),
    "Exponential 3": (DPMSolverPP(3), (160, 320)),
    "DEIS 2": (DEIS(2), (160, 320)),
    "Dormand-Prince": (DormandPrince(adaptive=False), (48, 96)),
    "Ancestral": (Ancestral(), (60, 120)),
    "Euler-Maruyama": (EulerMaruyama(), (60, 120)),
}
NAMES = {
    "vp": "VP linear",
    "cosine": "VP cosine",
    "shifted": "VP linear, shifted",
    "ve": "VE",
    "edm": "EDM",
    "flow": "rectified flow",
    "cld": "damped Langevin",
    "cld-rising": "damped Langevin, rising β",
}


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    quick: two solvers and two processes only.  out: where the measurements go.
    """

    quick: bool = False
    out: Path = HERE / "results" / "orders.json"


def paths(
    name: str, solver: sf.Solver, steps: tuple[int, int], goal: dict[str, Tensor]
) -> list[float]:
    """Distance to the exact end of the flow, for the mixture."""
    denoiser = mixture(PROCESSES[name]())
    begin, end = SPAN[name]
    g = torch.Generator().manual_seed(SEED)
    x = denoiser.process.perturb(denoiser.draw(12, g), begin, g)[0]
    if name not in goal:
        fine = sf.times.uniform(300, begin, end)
        goal[name] = sf.sample(denoiser, DormandPrince(adaptive=False), fine, x).x
    grids = [sf.times.uniform(n, begin, end) for n in steps]
    return [float((sf.sample(denoiser, solver, t, x).x - goal[name]).norm()) for t in grids]


def moments(name: str, solver: sf.Solver, steps: tuple[int, int]) -> list[float]:
    """Error of mean and covariance, propagated exactly, for one Gaussian."""
    data = torch.tensor([0.7], dtype=F64), torch.tensor([[0.25]], dtype=F64)
    denoiser = Linear(PROCESSES[name](Scripted()), *data)
    begin, end = SPAN[name]
    errors = []
    for n in steps:
        grid = sf.times.uniform(n, begin, end)
        got = propagate(denoiser, solver, grid, denoiser.state(begin))
        want = denoiser.state(end)
        errors.append(sum(float((a - b).norm()) for a, b in zip(got, want, strict=True)))
    return errors


def kernel_error(name: str) -> float:
    """Largest relative difference between kernel and Lyapunov equation, over three spans."""
    process, worst = PROCESSES[name](), 0.0
    for s, t in ((0.1, 0.6), (0.0, 0.3), (0.02, 0.95)):
        for got, want in zip(
            process.kernel(s, t), lyapunov(SDE[name], s, t, process.k), strict=False
        ):
            worst = max(worst, float(np.abs(got.numpy() - want).max() / np.abs(want).max()))
    return worst


def likelihood_error(name: str) -> tuple[float, float]:
    """Mean and largest absolute error in nats over 16 points of the mixture, exact trace."""
    denoiser = mixture(PROCESSES[name]())
    g = torch.Generator().manual_seed(SEED)
    x0 = denoiser.draw(16, g)
    start = 1e-6 if name == "edm" else 1e-4
    got = sf.log_likelihood(denoiser, x0, trace=sf.Trace.EXACT, start=start, generator=g)
    gap = got - denoiser.log_prob(x0)
    return float(gap.mean()), float(gap.abs().max())


def bridge_error() -> float:
    """Largest difference between the pinned Brownian motion and its closed form."""
    process = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()))
    t = torch.linspace(0, 1, 1001, dtype=F64)
    schedule = process.inner.schedule
    before, total = schedule.sigma(t).square(), schedule.sigma(1.0).square()
    share, got = before / total, process.bridge(t)
    worst = (got.cov[:, 0, 0] - before * (1 - share)).abs().max()
    means = (got.A[:, 0] - torch.stack([1 - share, share], 1)).abs().max()
    return float(torch.maximum(worst, means))


def measure(options: Options, console: Console) -> dict[str, Any]:
    """All measurements."""
    names = ["vp", "cld"] if options.quick else list(PROCESSES)
    methods = ["Euler", "Exponential 2"] if options.quick else list(SOLVERS)
    orders, goal = [], dict[str, Tensor]()
    worst = 0.0
    for name in names:
        row: dict[str, Any] = {"process": NAMES[name], "last_errors": {}}
        for method in methods:
            solver, steps = SOLVERS[method]
            if isinstance(solver, DEIS) and not isinstance(PROCESSES[name](), sf.Scheduled):
                continue
            errors = (
                paths(name, solver, steps, goal)
                if solver.deterministic
                else moments(name, solver, steps)
            )
            row[method] = slope(errors, list(steps))
            row["last_errors"][method] = errors[-1]
            worst = max(worst, abs(row[method] - solver.order))
        mean, largest = likelihood_error(name)
        row |= {"kernel": kernel_error(name), "nats_mean": mean, "nats_worst": largest}
        orders.append(row)
        console.print(f"{NAMES[name]} done", style="dim")
    return {
        "rows": orders,
        "declared": {m: SOLVERS[m][0].order for m in methods},
        "steps": {m: list(SOLVERS[m][1]) for m in methods},
        "worst_gap_to_declared": worst,
        "bridge_error": bridge_error(),
    }


def table(results: dict[str, Any]) -> Table:
    """The measurements as a table for people."""
    methods = list(results["declared"])
    shown = Table(title="Measured order (declared in the header), errors against exact mathematics")
    shown.add_column("process")
    for m in methods:
        shown.add_column(f"{m}\n({results['declared'][m]})", justify="right")
    shown.add_column("kernel\nrelative", justify="right")
    shown.add_column("likelihood\nworst, nats", justify="right")
    for row in results["rows"]:
        shown.add_row(
            row["process"], *[f"{row[m]:.2f}" if m in row else "" for m in methods],
            f"{row['kernel']:.0e}", f"{row['nats_worst']:.4f}",
        )  # fmt: skip
    return shown


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    console = Console()
    console.width = max(console.width, 150)  # the table, also where nobody looks
    results = measure(options, console)
    console.print(table(results))
    console.print(
        f"furthest from a declared order: {results['worst_gap_to_declared']:.3f}; "
        f"bridge against its closed form: {results['bridge_error']:.0e}"
    )
    write(options.out, SEED, results)
    console.print(f"written to {options.out}")


if __name__ == "__main__":
    main()
