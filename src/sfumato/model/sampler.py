"""Models that draw images or points from noise: `Sampler`, and the `Drawer` it prepares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription
from sfumato.model.labels import ANY, labels
from sfumato.model.model import Model
from sfumato.model.plan import SamplingPlan, make_plan
from sfumato.model.walk import Drawn, Progress, computing, in_batches, walk
from sfumato.sampling import Callback, Solution, Solver
from sfumato.sampling import encode as walk_up
from sfumato.seeds import generators


@final
@dataclass(frozen=True, eq=False)
class Drawer:
    """A model with its guidance, solver and times chosen, ready to draw sample after sample.

    Args:
        denoiser: guided, and wrapped as the solver needs it; on ``device``.
        description: of the model.
        plan: solver and times.
        seed: sample i depends on it and on i alone.
        device: where it runs.
        dtype: what networks compute in; the state stays float32.
    """

    denoiser: Denoiser
    description: ModelDescription
    plan: SamplingPlan
    seed: int
    device: torch.device
    dtype: torch.dtype = torch.float32

    def cond(self, labels: NDArray[np.int64]) -> Tensor | None:
        """Labels (B, A) as the network takes them; None for a model without labels."""
        return torch.from_numpy(labels).to(self.device) if self.description.axes else None

    def solve(
        self,
        indices: Sequence[int],
        labels: NDArray[np.int64],
        *,
        start: Tensor | None = None,
        save_path: bool = False,
        callback: Callback | None = None,
    ) -> Solution:
        """Walk these samples from noise, or from states ``start`` at t = 1, to data."""
        return walk(
            self.denoiser, self.plan.solver, self.plan.times, self.description.shape, self.seed,
            indices, cond=self.cond(labels), start=start, device=self.device, dtype=self.dtype,
            save_path=save_path, callback=callback,
        )  # fmt: skip

    def draw(
        self,
        indices: Sequence[int],
        labels: NDArray[np.int64],
        *,
        batch: int = 64,
        start: Tensor | None = None,
        progress: Progress | None = None,
        callback: Callback | None = None,
    ) -> Drawn:
        """These samples as data, float32 on the CPU.

        Args:
            indices: numbers of the samples.
            labels: (n, A), see `sfumato.model.labels`.
            batch: most samples computed together.
            start: states at t = 1 instead of draws from the prior.
            progress: told of finished samples.
            callback: told of every step, see `sfumato.sample`.

        Raises:
            SfumatoError: the network's output is not finite.
        """

        def some(places: range) -> tuple[Tensor, int]:
            part = slice(places.start, places.stop)
            done = self.solve(
                [indices[i] for i in places],
                labels[part],
                start=None if start is None else start[part],
                callback=callback,
            )
            return self.denoiser.process.to_data(done.x), done.nfe

        return in_batches(len(indices), batch, some, progress)

    def encode(self, x0: Tensor, labels: NDArray[np.int64], indices: Sequence[int]) -> Tensor:
        """The states at t = 1 that the flow leads to data (B, C, ...), float32 on the CPU.

        ``indices`` number the draws of velocities in phase space.
        """
        with computing(self.device, self.dtype):
            solution = walk_up(
                self.denoiser, self.plan.solver, self.plan.times[:-1].flip(0), x0.to(self.device),
                cond=self.cond(labels), generator=generators(self.seed, indices),
            )  # fmt: skip
        return solution.x.float().cpu().clone()


class How(TypedDict, total=False):
    """How samples are drawn: the arguments of `Sampler.prepare`."""

    seed: int
    steps: int | None
    solver: str | Solver
    grid: str
    guidance: float
    eta: float
    churn: float
    churn_min: float
    churn_max: float
    device: torch.device | str | None
    dtype: torch.dtype


@final
class Sampler(Model):
    """A model of images or points.

    Everywhere ``labels`` are as `sfumato.model.labels.labels` takes them: a name, a number, a
    list or array of them for each sample, or None for classes in turn (of several label axes,
    each drawn).
    """

    called = "a generative model"

    @property
    def axes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Names and values of the label axes."""
        return tuple((axis.name, axis.values) for axis in self.description.axes)

    def prepare(
        self,
        *,
        seed: int = 0,
        steps: int | None = None,
        solver: str | Solver = "auto",
        grid: str = "auto",
        guidance: float = 1.0,
        eta: float = 0.0,
        churn: float = 0.0,
        churn_min: float = 0.0,
        churn_max: float = 1e9,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Drawer:
        """Choose how samples are drawn.

        Args:
            seed: of all randomness; sample i depends on it and on i alone.
            steps: from noise to data; None takes what suits the model.
            solver, grid: names, see ``docs/cli.md``; "auto" takes what suits the model. A `Solver`
                of your own walks the same grid.
            guidance: scale of classifier-free guidance; 1 is the plain conditional model and 0
                ignores the labels. Anything but these doubles the evaluations.
            eta: noise of DDIM, from 0 to 1 (as much as ancestral sampling).
            churn, churn_min, churn_max: noise of Heun over all steps, and the noise levels
                between which it is added (S_churn, S_min, S_max of Karras et al. 2022).
            device: to move the model to first; None leaves it where it is.
            dtype: what networks compute in; the state stays float32.

        Raises:
            UsageError: unknown names; options that do not fit the model or the solver.
        """
        if device is not None:
            self.to(device)
        plan = make_plan(
            self.process, self.description.sampling, steps=steps,
            solver=solver if isinstance(solver, str) else "auto", grid=grid, eta=eta, churn=churn,
            churn_min=churn_min, churn_max=churn_max,
        )  # fmt: skip
        if not isinstance(solver, str):
            plan = replace(plan, solver=solver)
        if guidance != 1.0 and not self.description.axes:
            raise UsageError("guidance needs a model with labels; this one has none")
        denoiser = plan.prepare(self.denoiser, guidance)
        return Drawer(denoiser, self.description, plan, seed, self.device, dtype)

    def preview(self) -> Drawer:
        """The few steps by which the sheets of a training are drawn, with seed 0."""
        plan = make_plan(self.process, self.description.preview)
        return Drawer(plan.prepare(self.denoiser), self.description, plan, 0, self.device)

    def labels(self, wanted: Any, n: int, seed: int = 0) -> NDArray[np.int64]:
        """Labels of n samples as numbers, (n, A).

        Raises:
            UsageError: labels that the model does not have; with the nearest names.
        """
        return labels(wanted, self.axes, n, seed).labels

    def sample(
        self,
        n: int = 1,
        labels: Any = None,
        *,
        batch: int = 64,
        progress: Progress | None = None,
        callback: Callback | None = None,
        **how: Unpack[How],
    ) -> Tensor:
        """Draw n samples: images float32 (n, C, H, W) in [-1, 1], or points (n, d); on the CPU.

        Args:
            n: number of samples.
            labels: see the class.
            batch: most samples computed together; what is drawn does not depend on it.
            progress: told how many more samples are finished, after each batch.
            callback: called after each step of each batch with (step, time, state).
            how: seed, steps, solver, grid, guidance, ...; see `prepare`.

        Raises:
            UsageError: labels or options that do not fit the model.
            SfumatoError: values that are not finite.
        """
        chosen = self.labels(labels, _count(n), how.get("seed", 0))
        drawer = self.prepare(**how)
        x = drawer.draw(range(n), chosen, batch=batch, progress=progress, callback=callback).x
        return x.clamp(-1, 1) if x.ndim == 4 else x

    def solve(
        self,
        n: int = 1,
        labels: Any = None,
        *,
        save_path: bool = False,
        callback: Callback | None = None,
        **how: Unpack[How],
    ) -> Solution:
        """The same walk in one batch, with its states, times and number of evaluations.

        Args:
            n, labels, callback, how: as of `sample`.
            save_path: keep every state.

        Raises:
            UsageError: as `sample`.
        """
        chosen = self.labels(labels, _count(n), how.get("seed", 0))
        drawer = self.prepare(**how)
        return drawer.solve(range(n), chosen, save_path=save_path, callback=callback)

    def encode(
        self,
        x0: Tensor,
        labels: Any = ANY,
        *,
        steps: int = 40,
        solver: str = "heun",
        batch: int = 64,
        **how: Unpack[_HowElse],
    ) -> Tensor:
        """The latents of data: states at t = 1 that the flow leads to it, (n, k C, ...).

        Args:
            x0: images (n, C, H, W) in [-1, 1], or points (n, d).
            labels: of the data; "any" tells the model nothing.
            steps, solver: of the flow; a solver that draws no noise.
            batch: most examples computed together.
            how: see `prepare`.

        Raises:
            UsageError: data of another shape, or a solver that draws noise.
        """
        if tuple(x0.shape[1:]) != self.description.shape:
            raise UsageError(
                f"this model takes data of shape {self.description.shape}, got "
                f"{tuple(x0.shape[1:])}"
            )
        drawer = self.prepare(steps=steps, solver=solver, **how)
        chosen = self.labels(labels if self.axes else None, len(x0))
        parts = []
        for i in range(0, len(x0), batch):
            here = range(i, min(i + batch, len(x0)))
            parts.append(drawer.encode(x0[i : i + batch], chosen[i : i + batch], here))
        return torch.cat(parts)

    def decode(
        self,
        latents: Tensor,
        labels: Any = ANY,
        *,
        steps: int = 40,
        solver: str = "heun",
        batch: int = 64,
        **how: Unpack[_HowElse],
    ) -> Tensor:
        """The inverse of `encode`, up to the error of the solver: data (n, C, ...)."""
        drawer = self.prepare(steps=steps, solver=solver, **how)
        chosen = self.labels(labels if self.axes else None, len(latents))
        return drawer.draw(range(len(latents)), chosen, batch=batch, start=latents).x


class _HowElse(TypedDict, total=False):
    """The arguments of `Sampler.prepare` apart from steps and solver."""

    seed: int
    grid: str
    guidance: float
    device: torch.device | str | None
    dtype: torch.dtype


def _count(n: int) -> int:
    if n < 1:
        raise UsageError(f"expected at least 1 sample, got {n}")
    return n
