"""Samples from a model to an output: in batches, by several processes, interrupted or not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.console.how import SamplingOptions
from sfumato.console.writers import About, Output, Parts
from sfumato.data import to_uint8
from sfumato.errors import UsageError, noting
from sfumato.files.atomic import beside
from sfumato.files.cards import folders
from sfumato.files.lock import held
from sfumato.model.description import ModelConfig
from sfumato.model.labels import Labelled, labels
from sfumato.model.load import load
from sfumato.model.sampler import Drawer, Sampler
from sfumato.system import solvers


def open_sampler(name: str, how: SamplingOptions) -> Sampler:
    """The model that ``name`` means; for ``--solver genie`` with its derivative head.

    Raises UsageError if it has none or is for another command, and what `sfumato.load` raises.
    """
    model = load(name, Sampler)
    solver = solvers().get(how.solver)
    if solver is None or not solver.head or not isinstance(model.description, ModelConfig):
        return model
    head = f"{name}-{solver.name}"
    if head not in folders():
        raise UsageError(solver.advice.format(name=name))
    return load(head, Sampler)


def pixels(x: Tensor) -> NDArray[Any]:
    """Images in [-1, 1] as uint8 (B, C, H, W); points float32 (B, d) as they are."""
    return (to_uint8(x) if x.ndim == 4 else x.float()).cpu().numpy()


def prepare(
    name: str, how: SamplingOptions, n: int, steps: int | None, seed: int, label: str
) -> tuple[Drawer, Labelled, dict[str, Any]]:
    """What draws n samples of the model ``name``, their labels, and how they are made, as JSON.

    Raises what `open_sampler`, `Sampler.prepare` and `labels` raise.
    """
    from sfumato import __version__

    model = open_sampler(name, how)
    wanted = labels(label, model.axes, n, seed)
    drawer = how.prepare(model, steps, seed)
    options = {k: getattr(v, "value", v) for k, v in asdict(how).items()}
    for left_out in ("device", "threads", "batch"):
        options.pop(left_out)
    about = {
        "sfumato": __version__,
        "model": name,
        "n": n,
        "steps": drawer.plan.steps,
        "seed": seed,
        "label": label,
        **options,
        "solver": drawer.plan.name,
        "grid": drawer.plan.grid,
        "weights": model.digest,
    }
    return drawer, wanted, about


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
    batch: int,
    advance: Callable[[int], None] = lambda done: None,
) -> StreamResult:
    """Draw ``len(labels.labels)`` samples in batches and write them, never holding them all.

    With several processes (``accelerate launch``) each draws its share of the batches, and the
    first writes the output. A run that was interrupted goes on where it stopped when it is
    started again with the same plan. ``advance`` is told of every finished batch.
    """
    n = len(labels.labels)
    chunks = [range(i, min(i + batch, n)) for i in range(0, n, batch)]
    shape = (n, *drawer.description.shape)
    state = processes(drawer.device)
    nfe = 0
    out.room(shape)

    def draw(indices: range) -> NDArray[Any]:
        nonlocal nfe
        some = labels.labels[indices.start : indices.stop]
        drawn = drawer.draw(indices, some, batch=batch)
        nfe = drawn.nfe
        return pixels(drawn.x)

    if len(chunks) == 1 and state.count == 1:
        made = draw(chunks[0])
        advance(n)
        out.write([made], shape, labels, about)
        return StreamResult(n, nfe)
    with ExitStack() as stack:
        if state.count == 1:  # several processes hand their parts to each other
            stack.enter_context(held(beside(out.path, "lock"), out.path))
        left = _by_parts(chunks, draw, out, labels, about, shape, state, advance)
    return StreamResult(left, nfe)


def _by_parts(
    chunks: Sequence[range],
    draw: Callable[[range], NDArray[Any]],
    out: Output,
    labels: Labelled,
    about: About,
    shape: tuple[int, ...],
    state: Processes,
    advance: Callable[[int], None],
) -> int:
    """Draw the chunks that are not there yet, write the output; returns how many were drawn."""
    parts = Parts(out.path, {**about, "n": 0, "labels": _digest(labels)})
    if state.index == 0:
        parts.prepare()
    state.wait()
    left = sum(len(indices) for indices in chunks if not parts.has(indices))
    state.wait()
    with noting(parts.kept):
        for number, indices in enumerate(chunks):
            if number % state.count != state.index:
                continue
            if not parts.has(indices):
                parts.write(indices, draw(indices))
            advance(len(indices) * state.count)
        state.wait()
        if state.index == 0:
            out.write(parts.read(chunks), shape, labels, about)
            parts.remove()
    state.wait()
    return left


@final
class KeptBatches:
    """Finished batches beside an output, see `Parts`; the folder is made for the first."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self._ready = parts, False

    def find(self, places: range) -> Tensor | None:
        """The samples at these places, if an earlier run of the same plan drew them."""
        if not self._ready:
            self.parts.prepare()
            self._ready = True
        found = next(iter(self.parts.read([places]))) if self.parts.has(places) else None
        return None if found is None else torch.from_numpy(found)

    def put(self, places: range, x: Tensor) -> None:
        """Keep the samples at these places."""
        self.parts.write(places, x.numpy())


@contextmanager
def kept_batches(out: Path, plan: About) -> Iterator[KeptBatches]:
    """Draw and write ``out`` in this block: if it is stopped, the same command goes on.

    Args:
        out: what is written; it is held for the block.
        plan: everything that the samples depend on.
    """
    with held(beside(out, "lock"), out):
        parts = Parts(out, plan)
        with noting(parts.kept):
            yield KeptBatches(parts)
        parts.remove()


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
