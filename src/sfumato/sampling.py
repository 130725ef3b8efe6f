"""The verbs that walk: `sample` from noise to data, `encode` back, `edit` part of the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition, Given
from sfumato.denoise import Denoiser, counted
from sfumato.process import Coef, Process, mix
from sfumato.seeds import Generators

Carry = Any
"""What a solver remembers between steps: made by ``init``, opaque to everybody else."""

Callback = Callable[[int, float, Tensor], None]
"""Called after step i with (i, the time reached, the state)."""


@final
@dataclass(frozen=True, eq=False)
class Ask:
    """What a solver may ask for in a walk: ``ask(x_t, t)`` is x̂_0, ``ask.draw(R, x_t)`` noise.

    Args:
        denoiser: of the walk; also for solvers that want more of it than the estimate.
        times: the grid that is walked.
        cond: what the denoiser is told.
        generator: what the noise comes from.
    """

    denoiser: Denoiser
    times: Tensor
    cond: Condition = NOTHING
    generator: Generators = None

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x̂_0 (B, C, ...) at the state x_t (B, kC, ...) and time t, () or (B,)."""
        return self.denoiser(x_t, t, self.cond, self.generator)

    @property
    def process(self) -> Process:
        """The denoiser's process."""
        return self.denoiser.process

    def draw(self, root: Coef, like: Tensor) -> Tensor:
        """N(0, R Rᵀ ⊗ K) for a k x k matrix R, shaped like the state ``like``."""
        return self.process.draw(root, like, self.generator)


class Solver(ABC):
    """One rule to step from t to s; keeps nothing itself, everything is in the carry."""

    order: int
    """Declared order of convergence of the global error (weak order if stochastic)."""
    deterministic: ClassVar[bool] = True

    def init(self, x: Tensor) -> Carry:
        """The carry before the first step."""
        return None

    @abstractmethod
    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """From the state at t to the state at s (0-d float64 times), and the next step's carry."""


@dataclass(frozen=True)
class Solution:
    """What a walk returned."""

    x: Tensor
    """The last state, (B, kC, ...); ``process.to_data(x)`` is data."""
    times: Tensor
    """The grid that was walked."""
    nfe: int
    """Network evaluations: two per guided call, two per Heun step, and so on."""
    path: list[Tensor] = field(default_factory=list)
    """All states, the first included, if they were asked for."""


def _walk(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    x: Tensor,
    cond: Given,
    generator: Generators,
    callback: Callback | None,
    save_path: bool,
) -> Solution:
    path = [x] if save_path else []
    ask = Ask(denoiser, times, Condition.of(cond), generator)
    with torch.no_grad(), counted() as spent:
        carry = solver.init(x)
        for i in range(len(times) - 1):
            x, carry = solver.step(ask, x, times[i], times[i + 1], carry)
            if save_path:
                path.append(x)
            if callback is not None:
                callback(i, float(times[i + 1]), x)
    return Solution(x, times, spent.evaluations, path)


def _grid(times: Tensor, falling: bool) -> Tensor:
    times = torch.as_tensor(times, dtype=torch.float64).cpu()
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"expected at least 2 times in a row, got shape {tuple(times.shape)}")
    gaps = times.diff()
    if not bool((gaps < 0).all() if falling else (gaps > 0).all()):
        want = "falling from the prior (t = 1) to the data" if falling else "rising from the data"
        raise ValueError(f"expected times strictly {want}, got {times[:4].tolist()} ...")
    if float(times.min()) < 0 or float(times.max()) > 1:
        raise ValueError(
            f"expected times in [0, 1], got {float(times.min())} to {float(times.max())}"
        )
    return times


def sample(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    x: Tensor,
    *,
    cond: Given = None,
    generator: Generators = None,
    callback: Callback | None = None,
    save_path: bool = False,
) -> Solution:
    """Walk from the prior to data.

    Args:
        denoiser: estimates x_0; its process defines the walk.
        solver: the rule for one step.
        times: strictly falling times in [0, 1], see `sfumato.times`.
        x: the state at ``times[0]``, (B, kC, ...): ``process.prior_sample(...)``, a bridge's x_1.
        cond: passed on to the denoiser.
        generator: one for all, or one per sample, which makes a sample independent of its batch.
        callback: called after each step.
        save_path: keep every state.

    Raises:
        ValueError: times that do not fall, or that leave [0, 1].
    """
    grid = _grid(times, falling=True)
    return _walk(denoiser, solver, grid, x, cond, generator, callback, save_path)


def encode(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    x0: Tensor,
    *,
    cond: Given = None,
    generator: Generators = None,
    callback: Callback | None = None,
    save_path: bool = False,
) -> Solution:
    """Walk the probability flow backwards, from data to its latent code at ``times[-1]``.

    The data enters as the state M_t x_0 at ``times[0]`` > 0, for phase space with a velocity
    drawn from its law given x_0, so that `sample` over the reversed times leads back.

    Raises:
        ValueError: times that do not rise or start at 0, or a stochastic solver.
    """
    if not solver.deterministic:
        raise ValueError(f"encoding follows an ODE: {type(solver).__name__} draws noise")
    grid = _grid(times, falling=False)
    if float(grid[0]) <= 0:
        raise ValueError("expected the first time above 0 (the flow is singular at 0), got 0")
    x = enter(denoiser, x0, grid[0], generator)
    return _walk(denoiser, solver, grid, x, cond, generator, callback, save_path)


def edit(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    x0: Tensor,
    *,
    cond: Given = None,
    generator: Generators = None,
    callback: Callback | None = None,
    save_path: bool = False,
) -> Solution:
    """Noise, then denoise: draw x_t at ``times[0]`` from q(x_t | x_0), and walk back to data.

    What is coarser than the noise stays, what is finer is made anew (Meng et al. 2022, SDEdit; the
    strokes of DDGAN). Another generator, another variation.

    Raises:
        ValueError: times that do not fall, or that leave [0, 1].
    """
    grid = _grid(times, falling=True)
    x, _ = denoiser.process.perturb(x0, grid[0], generator)
    return _walk(denoiser, solver, grid, x, cond, generator, callback, save_path)


def enter(denoiser: Denoiser, x0: Tensor, t: Tensor, generator: Generators = None) -> Tensor:
    """The state at a small time t whose first block is M_t x_0 exactly.

    In phase space v = M_v x_0 + √Σ_vv ε: over data that is spread much wider than the noise in
    x, the velocity is independent of the position.
    """
    process = denoiser.process
    q = process.marginal(t)
    if process.k == 1:
        return mix(q.A, x0)
    spread = torch.diag_embed(q.cov.diagonal(dim1=-2, dim2=-1).sqrt())
    spread[..., 0, 0] = 0
    return mix(q.A, x0) + process.draw(spread, process.to_state(x0), generator)
