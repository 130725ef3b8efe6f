"""From names to what walks from noise to data: a solver, a grid of times, a guided denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.guide import ClassifierFree
from sfumato.model.description import Sampling
from sfumato.process import Process, Scheduled
from sfumato.sampling import Solver
from sfumato.schedule import RectifiedFlow
from sfumato.system import AUTO, SolverEntry, find, grids, resolve, solvers

MOST_STEPS = 100_000
"""More are a mistake: the error of a walk has long met that of its arithmetic."""


def make_solver(name: str, steps: int, **options: float) -> Solver:
    """The solver of that name for a walk of so many steps.

    Raises:
        UsageError: an unknown name, or an option that the solver does not take.
    """
    made: Solver = find("solver", name, solvers()).build(steps, **options)
    return made


def fits(solver: SolverEntry, process: Process) -> bool:
    """Whether a solver that needs a noise level σ/α finds one."""
    return not solver.level or isinstance(process, Scheduled)


def make_times(grid: str, process: Process, steps: int) -> Tensor:
    """The grid of that name, float64 (steps + 1,), from 1 down to 0.

    ``auto``: Karras's for processes with a noise level σ/α, uniform for straight paths, and
    quadratic otherwise.

    Raises:
        UsageError: an unknown name, a grid that the process has not, or a number of steps out of
            range.
    """
    if grid == AUTO:
        grid = "quadratic"
        if isinstance(process, Scheduled):
            straight = isinstance(process.schedule, RectifiedFlow)
            grid = "uniform" if straight else "karras"
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"expected 1 to {MOST_STEPS:,} steps, got {steps:,}")
    entry = find("grid", grid, grids())
    made: Any = resolve(entry.make)
    times: Tensor = made(process, steps) if entry.level else made(steps)
    return times


@final
@dataclass(frozen=True)
class SamplingPlan:
    """How samples are drawn: a solver, its entry in the table, and the times it walks."""

    solver: Solver
    entry: SolverEntry
    grid: str
    times: Tensor

    @property
    def name(self) -> str:
        """The solver's name."""
        return self.entry.name

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times) - 1

    def prepare(self, denoiser: Denoiser, guidance: float = 1.0) -> Denoiser:
        """The denoiser that the solver asks: guided, unless ``guidance`` is 1, and wrapped."""
        if guidance != 1.0:
            guide: Any = resolve(self.entry.guides) if self.entry.guides else ClassifierFree
            denoiser = guide(denoiser, guidance)
        return resolve(self.entry.wraps)(denoiser) if self.entry.wraps else denoiser


def make_plan(
    process: Process,
    usual: Sampling,
    *,
    steps: int | None = None,
    solver: str = AUTO,
    grid: str = AUTO,
    **options: float,
) -> SamplingPlan:
    """The plan that the names and `sfumato.system.OPTIONS` ask for.

    Args:
        process: of the model.
        usual: what suits the model, where the arguments say nothing.
        steps: from noise to data; None takes the usual number.
        solver, grid: names from the tables, or "auto".
        options: of the solver: eta, churn, churn_min, churn_max.

    Raises:
        UsageError: unknown names, a solver or grid that the process has not, options that the
            solver does not take, or any of these for a model that is sampled in one way only.
    """
    if usual.times:
        own = len(usual.times) - 1
        if solver not in (AUTO, usual.solver) or grid != AUTO or steps not in (None, own):
            raise UsageError(
                f"this model was made for its own {own} steps of {usual.solver} and no others: "
                "leave out --solver, --grid and --steps"
            )
        times = torch.tensor(usual.times, dtype=torch.float64)
        entry = find("solver", usual.solver, solvers())
        return SamplingPlan(entry.build(own, **options), entry, AUTO, times)
    entry = find("solver", usual.solver if solver == AUTO else solver, solvers())
    grid = usual.grid if grid == AUTO else grid
    steps = usual.steps if steps is None else steps
    if not fits(entry, process):
        raise UsageError(
            f"the solver {entry.name!r} needs a model with a noise level σ/α, which this one has "
            "not: take dpmpp2m, or sscs for a model with a velocity"
        )
    return SamplingPlan(
        entry.build(steps, **options), entry, grid, make_times(grid, process, steps)
    )
