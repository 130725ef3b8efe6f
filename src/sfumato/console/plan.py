"""From the options of a command to a solver and a grid of times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from sfumato.console.how import SamplingOptions
from sfumato.console.options import GridName, SolverName
from sfumato.errors import UsageError
from sfumato.model.description import Sampling
from sfumato.process import Process, Scheduled
from sfumato.sampling import Solver
from sfumato.schedule import RectifiedFlow
from sfumato.solve import DEIS, Ancestral, DormandPrince, Euler, EulerMaruyama, Exponential, Heun
from sfumato.systems.cld.sscs import SSCS
from sfumato.systems.genie.taylor import Taylor
from sfumato.times import karras, log_snr, quadratic, uniform


def make_solver(how: SamplingOptions, steps: int) -> Solver:
    """The solver that the options name, for a walk of so many steps."""
    churn = min(how.churn / steps, math.sqrt(2) - 1)  # Karras et al. 2022, algorithm 2
    table: dict[SolverName, Callable[[], Solver]] = {
        SolverName.DDIM: lambda: Exponential(order=1, eta=how.eta),
        SolverName.DPMPP2M: lambda: Exponential(order=2),
        SolverName.DPMPP3M: lambda: Exponential(order=3),
        SolverName.DEIS: DEIS,
        SolverName.HEUN: lambda: Heun(churn, how.churn_min, how.churn_max),
        SolverName.GENIE: Taylor,
        SolverName.TAYLOR: Taylor,
        SolverName.EULER: Euler,
        SolverName.ANCESTRAL: Ancestral,
        SolverName.SSCS: SSCS,
        SolverName.EULER_MARUYAMA: EulerMaruyama,
        SolverName.DORMAND_PRINCE: DormandPrince,
    }
    return table[how.solver]()


def fits(name: SolverName, process: Process) -> bool:
    """Whether a solver that needs a noise level σ/α finds one; only DEIS does."""
    return name is not SolverName.DEIS or isinstance(process, Scheduled)


def make_times(grid: GridName, process: Process, steps: int) -> Tensor:
    """The time grid that the options name, float64 (steps + 1,), from 1 down to 0.

    ``auto``: Karras's for processes with a noise level σ/α, uniform for straight paths, and
    quadratic otherwise. Raises UsageError for a grid that the process has not.
    """
    if grid is GridName.AUTO:
        grid = GridName.QUADRATIC
        if isinstance(process, Scheduled):
            straight = isinstance(process.schedule, RectifiedFlow)
            grid = GridName.UNIFORM if straight else GridName.KARRAS
    if grid is GridName.UNIFORM:
        return uniform(steps)
    if grid is GridName.QUADRATIC:
        return quadratic(steps)
    return karras(process, steps) if grid is GridName.KARRAS else log_snr(process, steps)


@final
@dataclass(frozen=True)
class SamplingPlan:
    """How samples are drawn: a solver, its name, and the times it walks."""

    solver: Solver
    name: SolverName
    grid: GridName
    times: Tensor

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.times) - 1


def make_plan(
    how: SamplingOptions, steps: int | None, usual: Sampling, process: Process
) -> SamplingPlan:
    """The plan that the options name, with what suits the model where they say nothing.

    Raises:
        UsageError: a grid that the process has not, or options for a model that is sampled in
            one way only.
    """
    if usual.times:
        own = len(usual.times) - 1
        asked = how.solver not in (SolverName.AUTO, SolverName(usual.solver))
        if asked or how.grid is not GridName.AUTO or steps not in (None, own):
            raise UsageError(
                f"this model was made for its own {own} steps of {usual.solver} and no others: "
                "leave out --solver, --grid and --steps"
            )
        times = torch.tensor(usual.times, dtype=torch.float64)
        name = SolverName(usual.solver)
        return SamplingPlan(make_solver(replace(how, solver=name), own), name, GridName.AUTO, times)
    name = SolverName(usual.solver) if how.solver is SolverName.AUTO else how.solver
    grid = GridName(usual.grid) if how.grid is GridName.AUTO else how.grid
    steps = usual.steps if steps is None else steps
    if not fits(name, process):
        raise UsageError(
            "--solver deis needs a model with a noise level σ/α, which this one has not: take "
            "dpmpp2m, or sscs for a model with a velocity"
        )
    solver = make_solver(replace(how, solver=name), steps)
    return SamplingPlan(solver, name, grid, make_times(grid, process, steps))
