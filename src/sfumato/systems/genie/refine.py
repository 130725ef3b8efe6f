r"""Time steps fitted to a model and a solver ("learned time steps" in GENIE, arXiv 2210.05475).

For few steps the best grid depends on the model. From N + 1 times the inner ones are moved, one
after the other, so that the walk ends nearer to a fine solution from the same noise,

.. math:: \min_{t_1 > \dots > t_{N-1}} \sum_i \| x^{(i)}(t_{0..N}) - x^{(i)}_{fine} \|^2 ,

by a search that asks for no gradient: each time tries both directions by a share of the gap to its
neighbour, in ln γ; what helps is kept, and the share is halved after each round.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.condition import Given
from sfumato.denoise import Denoiser
from sfumato.sampling import Solver, sample
from sfumato.times import schedule_of


def refine(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    x: Tensor,
    goal: Tensor,
    *,
    cond: Given = None,
    rounds: int = 4,
    share: float = 0.4,
    progress: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Times (N + 1,) between the same ends, on which the walk from x ends nearer to ``goal``.

    Costs 2 (N - 1) walks a round, one for each try. Check the result on other noise than x:
    a few hundred states are enough for the handful of times to carry over.

    Args:
        denoiser: on a process with a schedule; not changed.
        solver: deterministic.
        times: falling, from the prior; the end may be 0.
        x: states at ``times[0]``, (B, C, ...).
        goal: where a fine solution from x ends, (B, C, ...).
        cond: passed on to the denoiser.
        rounds: how often every time is tried.
        share: of the gap to its neighbours, how far a time is moved in the first round.
        progress: called after each round with (round, root mean square distance).

    Raises:
        ValueError: a solver that draws noise, a share outside (0, 1), or fewer than two steps.
        UsageError: a process without a schedule.
    """
    schedule = schedule_of(denoiser.process)
    if not solver.deterministic:
        raise ValueError(f"time steps are fitted to an ODE: {type(solver).__name__} draws noise")
    if not 0 < share < 1:
        raise ValueError(f"expected a share in (0, 1), got {share}")
    if len(times) < 3:
        raise ValueError(f"expected at least 2 steps, got {len(times) - 1}")

    def distance(grid: Tensor) -> float:
        got = sample(denoiser, solver, grid, x, cond=cond).x
        return float((got - goal).square().mean().sqrt())

    best = times.double().clone()
    error = distance(best)
    for i in range(rounds):
        for j in range(1, len(best) - 1):
            clock = -0.5 * schedule.log_snr(best)
            gaps = clock[j - 1] - clock[j], clock[j] - clock[j + 1]
            finite = [g if bool(g.isfinite()) else torch.ones_like(g) for g in gaps]
            for move in (share * finite[0], -share * finite[1]):
                tried = best.clone()
                tried[j] = schedule.time(-2 * (clock[j] + move))
                if (found := distance(tried)) < error:
                    best, error = tried, found
                    break
        share /= 2
        if progress is not None:
            progress(i, error)
    return best
