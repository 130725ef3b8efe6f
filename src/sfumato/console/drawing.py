"""Samples from a model, each one depending on the seed and its own number alone.

Sample i starts from noise of ``generators(seed, [i])``, and every later random number comes from
the same generator. So it does not matter with which others it is computed, in which process, or
whether the run was interrupted between.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato import zoo
from sfumato.console.how import SamplingOptions
from sfumato.console.labels import labels
from sfumato.console.options import DTypeName, torch_device, torch_dtype
from sfumato.console.writers import About, Labelled, Output, Parts
from sfumato.data import to_uint8
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.description import ModelConfig, ModelDescription
from sfumato.model.plan import SamplingPlan
from sfumato.sampling import Solution, sample
from sfumato.seeds import fold, generators
from sfumato.system import solvers


def load(name: str, how: SamplingOptions) -> tuple[Denoiser, ModelDescription]:
    """The model that ``name`` means; for ``--solver genie`` with its derivative head.

    Raises UsageError if it has none or is for another command, and what `zoo.load` raises.
    """
    denoiser, model = zoo.load(name)
    if model.command != "sample":
        raise UsageError(f"{name} is not for this: see sfumato {model.command} --help")
    solver = solvers().get(how.solver)
    if solver is None or not solver.head or not isinstance(model, ModelConfig):
        return denoiser, model
    head = f"{name}-{solver.name}"
    if head not in zoo.folders():
        raise UsageError(solver.advice.format(name=name))
    return zoo.load(head)


@final
@dataclass(frozen=True)
class Drawer:
    """A model, ready to draw sample after sample."""

    denoiser: Denoiser
    config: ModelDescription
    how: SamplingOptions
    plan: SamplingPlan
    seed: int
    device: torch.device

    @classmethod
    def of(
        cls,
        denoiser: Denoiser,
        config: ModelDescription,
        how: SamplingOptions,
        steps: int | None,
        seed: int,
    ) -> Drawer:
        """Put the model on its device and wrap it in the guidance asked for.

        Raises UsageError for guidance of a model that has no labels.
        """
        if how.threads:
            torch.set_num_threads(how.threads)
        plan = how.plan(denoiser.process, config.sampling, steps)
        if how.guidance != 1.0 and not config.axes:
            raise UsageError("--guidance needs a model with labels; this one has none")
        denoiser = plan.prepare(denoiser, how.guidance)
        device = torch_device(how.device)
        return cls(denoiser.to(device).eval(), config, how, plan, seed, device)

    @property
    def steps(self) -> int:
        """Steps from noise to data."""
        return self.plan.steps

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
        x = self.denoiser.process.prior_sample(shape, random)
        return x.to(self.device), random

    def cond(self, labels: NDArray[np.int64]) -> Tensor | None:
        """Labels (B, A) as the network takes them."""
        return torch.from_numpy(labels).to(self.device) if self.config.axes else None

    def solve(
        self, indices: Sequence[int], labels: NDArray[np.int64], *, save_path: bool = False
    ) -> Solution:
        """Walk these samples from noise to data."""
        x, random = self.start(indices)
        with torch.inference_mode(), precision(self.device, self.how.dtype):
            return sample(
                self.denoiser,
                self.plan.solver,
                self.plan.times,
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
        x = self.denoiser.process.to_data(solution.x).float().cpu()
        if not bool(torch.isfinite(x).all()):
            raise SfumatoError(
                "the samples are not finite; try more --steps, less --guidance, or float32"
            )
        return (to_uint8(x) if x.ndim == 4 else x).numpy(), solution.nfe


def prepare(
    name: str, how: SamplingOptions, n: int, steps: int | None, seed: int, label: str
) -> tuple[Drawer, Labelled, dict[str, Any]]:
    """What draws n samples of the model ``name``, their labels, and how they are made, as JSON.

    Raises what `load`, `Drawer.of` and `labels` raise.
    """
    from sfumato import __version__

    denoiser, model = load(name, how)
    axes = [(axis.name, axis.values) for axis in model.axes]
    wanted = labels(label, axes, n, lambda axis, i: fold(seed, "label", axis, i))
    drawer = Drawer.of(denoiser, model, how, steps, seed)
    options = {k: getattr(v, "value", v) for k, v in asdict(how).items()}
    for left_out in ("device", "threads", "batch"):
        options.pop(left_out)
    about = {
        "sfumato": __version__,
        "model": name,
        "n": n,
        "steps": drawer.steps,
        "seed": seed,
        "label": label,
        **options,
        "solver": drawer.plan.name,
        "grid": drawer.plan.grid,
        "weights": drawer.weights(),
    }
    return drawer, wanted, about


@contextmanager
def precision(device: torch.device, dtype: DTypeName) -> Iterator[None]:
    """Run networks in ``dtype`` inside; everything around them stays as it is."""
    lower = dtype is not DTypeName.FLOAT32
    with torch.autocast(device.type, torch_dtype(dtype), enabled=lower):
        yield


@final
@dataclass(frozen=True)
class StreamResult:
    """What a run of :func:`stream` did: samples drawn now, by all processes, and the NFE of one."""

    samples: int
    nfe: int


def stream(
    drawer: Drawer,
    labels: Labelled,
    out: Output,
    about: About,
    advance: Callable[[int], None] = lambda done: None,
) -> StreamResult:
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
        return StreamResult(n, nfe)
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
    return StreamResult(made, nfe)


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
