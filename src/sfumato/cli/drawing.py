"""Samples from a model, each one depending on the seed and its own number alone.

Sample i starts from noise of ``generators(seed, [i])``, and every later random number comes from
the same generator. So it does not matter with which others it is computed, in which process, or
whether the run was interrupted between.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.cli.how import How
from sfumato.cli.options import DTypeName, GridName, SolverName, torch_device, torch_dtype
from sfumato.cli.writers import About, Labelled, Output, Parts
from sfumato.data import to_uint8
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.guide import ClassifierFree
from sfumato.process import Process, Scheduled
from sfumato.recipes.model import Model
from sfumato.sample import Solution, Solver, sample
from sfumato.schedule import RectifiedFlow
from sfumato.seeds import generators
from sfumato.solve import (
    Ancestral,
    DormandPrince,
    Euler,
    EulerMaruyama,
    Exponential,
    Heun,
)
from sfumato.times import karras, log_snr, quadratic, uniform


def make_solver(how: How, steps: int) -> Solver:
    """The solver that the options name, for a walk of so many steps."""
    churn = min(how.churn / steps, math.sqrt(2) - 1)  # Karras et al. 2022, algorithm 2
    table: dict[SolverName, Callable[[], Solver]] = {
        SolverName.DDIM: lambda: Exponential(order=1, eta=how.eta),
        SolverName.DPMPP2M: lambda: Exponential(order=2),
        SolverName.DPMPP3M: lambda: Exponential(order=3),
        SolverName.HEUN: lambda: Heun(churn=churn),
        SolverName.EULER: Euler,
        SolverName.ANCESTRAL: Ancestral,
        SolverName.EULER_MARUYAMA: EulerMaruyama,
        SolverName.DORMAND_PRINCE: DormandPrince,
    }
    return table[how.solver]()


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
class Drawer:
    """A model, ready to draw sample after sample."""

    denoiser: Denoiser
    config: Model
    how: How
    steps: int
    seed: int
    device: torch.device

    @classmethod
    def of(cls, denoiser: Denoiser, config: Model, how: How, steps: int, seed: int) -> Drawer:
        """Put the model on its device and wrap it in the guidance asked for.

        Raises UsageError for guidance of a model that has no labels.
        """
        if how.threads:
            torch.set_num_threads(how.threads)
        if how.guidance != 1.0:
            if not config.axes:
                raise UsageError("--guidance needs a model with labels; this one has none")
            denoiser = ClassifierFree(denoiser, how.guidance)
        device = torch_device(how.device)
        return cls(denoiser.to(device).eval(), config, how, steps, seed, device)

    def weights(self) -> str:
        """A short digest of the weights: a run goes on only with the same ones."""
        digest = hashlib.blake2b(digest_size=8)
        for value in self.denoiser.state_dict().values():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()

    def start(self, indices: Sequence[int]) -> tuple[Tensor, list[torch.Generator]]:
        """x_1 of these samples, (B, k C, ...), and the generators that go on from there."""
        random = generators(self.seed, indices)
        shape = (len(indices), *self.config.shape)
        x = self.denoiser.process.start(shape, random)
        return x.to(self.device), random

    def cond(self, labels: NDArray[np.int64]) -> Tensor | None:
        """Labels (B, A) as the network takes them."""
        return torch.from_numpy(labels).to(self.device) if self.config.axes else None

    def solve(
        self, indices: Sequence[int], labels: NDArray[np.int64], *, save_path: bool = False
    ) -> Solution:
        """Walk these samples from noise to data."""
        x, random = self.start(indices)
        times = make_times(self.how.grid, self.denoiser.process, self.steps)
        with torch.inference_mode(), precision(self.device, self.how.dtype):
            return sample(
                self.denoiser,
                make_solver(self.how, self.steps),
                times,
                x,
                cond=self.cond(labels),
                generator=random,
                save_path=save_path,
            )

    def draw(self, indices: Sequence[int], labels: NDArray[np.int64]) -> tuple[NDArray[Any], int]:
        """These samples as pixels uint8 (B, C, H, W) or points float32 (B, d), and the NFE.

        Raises SfumatoError when the network's output is not finite.
        """
        solution = self.solve(indices, labels)
        x = self.denoiser.process.read(solution.x).float().cpu()
        if not bool(torch.isfinite(x).all()):
            raise SfumatoError(
                "the samples are not finite; try more --steps, less --guidance, or float32"
            )
        return (to_uint8(x) if x.ndim == 4 else x).numpy(), solution.nfe


@contextmanager
def precision(device: torch.device, dtype: DTypeName) -> Iterator[None]:
    """Run networks in ``dtype`` inside; everything around them stays as it is."""
    lower = dtype is not DTypeName.FLOAT32
    with torch.autocast(device.type, torch_dtype(dtype), enabled=lower):
        yield


@final
@dataclass(frozen=True)
class Drawn:
    """What a run of :func:`stream` did: samples drawn now, by all processes, and the NFE of one."""

    samples: int
    nfe: int


def stream(
    drawer: Drawer,
    labels: Labelled,
    out: Output,
    about: About,
    advance: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Draw ``len(labels.labels)`` samples in batches and write them, never holding them all.

    With several processes (``accelerate launch``) each draws its share of the batches, and the
    first writes the output. A run that was interrupted goes on where it stopped when it is
    started again with the same plan. ``advance`` is told of every finished batch.
    """
    n, batch = len(labels.labels), drawer.how.batch
    chunks = [range(i, min(i + batch, n)) for i in range(0, n, batch)]
    shape = (n, *drawer.config.shape)
    state = processes(drawer.device)
    nfe = 0
    if len(chunks) == 1 and state.count == 1:
        pixels, nfe = drawer.draw(chunks[0], labels.labels)
        advance(n)
        out.write([pixels], shape, labels, about)
        return Drawn(n, nfe)
    parts = Parts(out.path, {**about, "n": 0, "labels": _digest(labels)})
    if state.index == 0:
        parts.prepare()
    state.wait()
    made = sum(len(indices) for indices in chunks if not parts.has(indices))
    state.wait()
    for number, indices in enumerate(chunks):
        if number % state.count != state.index:
            continue
        if not parts.has(indices):
            pixels, nfe = drawer.draw(indices, labels.labels[indices.start : indices.stop])
            parts.write(indices, pixels)
        advance(len(indices) * state.count)
    state.wait()
    if state.index == 0:
        out.write(parts.read(chunks), shape, labels, about)
        parts.remove()
    state.wait()
    return Drawn(made, nfe)


@final
@dataclass(frozen=True)
class Processes:
    """The processes that work on one command together."""

    index: int
    count: int
    wait: Callable[[], None]


def processes(device: torch.device) -> Processes:
    """This process among those that ``accelerate launch`` started; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, lambda: None)
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu")
    return Processes(state.process_index, state.num_processes, state.wait_for_everyone)


def _digest(labels: Labelled) -> str:
    return hashlib.sha256(labels.labels.tobytes()).hexdigest()
