"""What is trained, and towards what: players, their tasks, and the parts of a batch.

A *task* gives a loss for each example and never reduces it over the batch; the loop takes the mean.
A *player* is a module with its task, its learning rate and the steps in which it moves. Most runs
have one; a game has several, which move in turn, each with the others held still.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.errors import UsageError

MAIN: Final = "model"
"""Name of the player whose averaged weights are the run's result."""
_TAKEN = {
    "ema", "optimizer", "state", "step", "random", "train", "levels", "scaler", "frozen", "epoch",
    "position", "ledger", "privacy",
}  # fmt: skip


class Data(Protocol):
    """What the loop needs of a data set."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> Any:
        """The examples at these indices (B,): tensors with the batch on axis 0, alone or in a
        tuple, a NamedTuple, a dict or a dataclass; a list holds one thing for each example."""
        ...


@final
class TensorData:
    """Tensors with the examples on axis 0, as a data set.

    Args:
        tensors: all of one length; a batch is a tuple of their rows, of one tensor the rows.

    Raises:
        UsageError: none, or of different lengths.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if len({len(t) for t in tensors}) != 1:
            raise UsageError(f"expected tensors of one length, got {[len(t) for t in tensors]}")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, indices: np.ndarray) -> Any:
        """The rows at these indices."""
        found = tuple(t[torch.from_numpy(indices)] for t in self.tensors)
        return found if len(found) > 1 else found[0]


def moved(value: Any, device: torch.device) -> Any:
    """A batch with all its tensors on a device."""
    if isinstance(value, Tensor) or hasattr(value, "to"):
        return value.to(device)
    return _each(value, lambda v: moved(v, device), slices=None)


def rows(value: Any, here: slice) -> Any:
    """Some of a batch's examples."""
    if isinstance(value, Tensor | np.ndarray):
        return value[here]
    if hasattr(value, "rows"):
        return value.rows(here)
    return _each(value, lambda v: rows(v, here), slices=here)


def _each(value: Any, do: Callable[[Any], Any], slices: slice | None) -> Any:
    if isinstance(value, list):
        return [do(v) for v in value] if slices is None else value[slices]
    if isinstance(value, dict):
        return {k: do(v) for k, v in value.items()}
    if isinstance(value, tuple):
        parts = [do(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if f.init]
        return dataclasses.replace(value, **{name: do(getattr(value, name)) for name in names})
    return value


class Part(NamedTuple):
    """What a process needs for one forward and backward pass.

    Args:
        batch: what `Data.batch` gave.
        drawn: these examples' rows of what `Task.draw` gave.
        generators: one for each example, on the CPU; none where `Task.noise` is false.
        step: number of the step, from 0.
    """

    batch: Any
    drawn: Any
    generators: list[torch.Generator]
    step: int


class Observer(ABC):
    """Sees a player's losses, beside their mean; what it says goes into the log."""

    @abstractmethod
    def add(self, losses: Tensor, drawn: Any) -> None:
        """A step's losses (B,), on the CPU, and what was drawn for it."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What the log's next line says."""

    @abstractmethod
    def clear(self) -> None:
        """A new interval of the log begins."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, in JSON, so that the next line is the same after a resume."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""

    def where(self, drawn: Any, bad: Tensor) -> str:
        """Where the losses with these marks (B,) lie, for the message that they are not finite."""
        del drawn, bad
        return ""


class Task(ABC):
    """A loss for each example."""

    noise: bool = True
    """Whether each example gets a generator of its own; without, a step has less to prepare."""
    distinct: bool = False
    """Whether no example may be in a batch twice: what is left of an epoch when the next batch is
    too large for it is then passed over, and otherwise filled up from the next epoch."""

    def check(self, data: Data) -> None:
        """Refuse data that does not fit, by a UsageError."""
        del data

    def draw(self, count: int, generator: torch.Generator) -> Any:
        """What is drawn for a whole batch at once and then cut: tensors of ``count`` rows."""
        del count, generator
        return None

    def prepare(self, part: Part) -> Any:
        """What the loss gets; made on the CPU while the step before still runs."""
        return part

    @abstractmethod
    def losses(self, module: Any, part: Any) -> Tensor:
        """(B,), in the order of the examples, of the player's module and what `prepare` made."""

    def observer(self) -> Observer | None:
        """Who sees the losses, if anyone does."""
        return None

    def compiled(self, module: nn.Module) -> nn.Module:
        """The module that ``train.compile`` compiles."""
        return module


Losses = Callable[[Any, Part], Tensor]
"""Losses (B,) of a module and a part."""


@final
class _Function(Task):
    """A task that is a loss alone."""

    def __init__(self, function: Losses) -> None:
        self.function = function

    def losses(self, module: Any, part: Any) -> Tensor:
        """Those of the function."""
        return self.function(module, part)


@final
@dataclass(frozen=True)
class Player:
    """A module with what it minimises.

    Args:
        module: all of its parameters that require a gradient are trained, in place.
        task: its loss; a plain function of (module, part) will do.
        name: "model" is the one that is averaged, and whose files have no prefix in a checkpoint;
            others' are ``NAME.safetensors`` and ``NAME-optimizer.safetensors``.
        every: it moves in the steps that this number divides.
        ratio: of its learning rate to the run's.
        optimizer: "adam" or "muon"; None is the run's for "model", adam for others.
        betas: Adam's decay rates; None are the run's.
        decay_vectors: whether weight decay acts on biases and scales (one axis or none) too.

    Raises:
        UsageError: a name that a checkpoint cannot have, or a number out of range.
    """

    module: nn.Module
    task: Task | Losses
    name: str = MAIN
    every: int = 1
    ratio: float = 1.0
    optimizer: Literal["adam", "muon"] | None = None
    betas: tuple[float, float] | None = None
    decay_vectors: bool = True

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in _TAKEN:
            raise UsageError(f"a player's name: expected a word not in use, got {self.name!r}")
        if self.every < 1:
            raise UsageError(f"{self.name}: expected every >= 1, got {self.every}")
        if not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise UsageError(
                f"{self.name}: expected a positive ratio of learning rates, got {self.ratio}"
            )

    @property
    def goal(self) -> Task:
        """The task, also where a function was given."""
        return self.task if isinstance(self.task, Task) else _Function(self.task)


def ordered(players: Player | Sequence[Player]) -> list[Player]:
    """The players in the order they move.

    Raises:
        UsageError: two of one name, or none that is called "model".
    """
    several = [players] if isinstance(players, Player) else list(players)
    names = [p.name for p in several]
    if len(set(names)) < len(names) or MAIN not in names:
        raise UsageError(f"expected players with names of their own, one of them {MAIN!r}: {names}")
    return several
