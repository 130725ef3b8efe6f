"""The task of denoisers: times and hidden labels are drawn here, and losses told by noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.denoise import Denoiser, Preconditioned
from sfumato.errors import UsageError
from sfumato.loss import TimeLaw, denoising_loss
from sfumato.process import Process
from sfumato.train.config import TrainConfig
from sfumato.train.levels import Levels, level_edges
from sfumato.train.task import Data, Part, Player, Task, moved, rows


class Microbatch(NamedTuple):
    """What a denoiser's loss needs.

    Args:
        x0: data, (B, ...).
        t: times (B,), float64.
        cond: labels (B, A) with those that are hidden replaced by "none", or None.
        generators: one for each example; noise is drawn on the CPU, the same on any device.
        batch: all that the data set gave.
        hidden: (B, A) bool, which labels or conditions are hidden.
        step: number of the step, from 0.
    """

    x0: Tensor
    t: Tensor
    cond: Any
    generators: Sequence[torch.Generator]
    batch: Any = None
    hidden: Tensor | None = None
    step: int = 0

    def to(self, device: torch.device) -> Microbatch:
        """On the device."""
        return Microbatch(*(moved(value, device) for value in self))

    def rows(self, here: slice) -> Microbatch:
        """Some of its examples."""
        return Microbatch(*(rows(value, here) for value in self))


Loss = Callable[[Any, Microbatch], Tensor]
"""Losses (B,) of a denoiser and a microbatch, in the order of its examples; never reduced."""


def standard_loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
    """`denoising_loss` of a part, each example with its own noise generator."""
    return denoising_loss(denoiser, part.x0, part.t, cond=part.cond, generator=part.generators)


class DiffusionDraw(NamedTuple):
    """What is drawn for a batch: times (B,) float64, and what is hidden (B, A) bool."""

    t: Tensor
    hidden: Tensor | None


@final
class DiffusionTask(Task):
    """A denoiser learns from data at random times, with labels hidden at random.

    The data's batch is x0 alone, the pair (x0, labels), or anything with an ``x0`` and perhaps
    ``labels``; labels are int64 (B, A).

    Args:
        process: how data becomes noise.
        law: the law of the times.
        loss: of each example.
        labels: number of classes on every label axis that the denoiser takes; () gives it none.
        label_dropout: probability with which all labels of an example are hidden, which is what
            classifier-free guidance needs.
        axis_dropout: probability with which one label axis alone is hidden, for each axis.
        levels: equally likely noise levels by which the log tells the loss.
        conditions: columns of `Microbatch.hidden` where a loss has conditions that are no labels.
    """

    def __init__(
        self,
        process: Process,
        law: TimeLaw,
        loss: Loss = standard_loss,
        labels: Sequence[int] = (),
        label_dropout: float = 0.0,
        axis_dropout: float = 0.0,
        levels: int = 8,
        conditions: int = 0,
    ) -> None:
        self.process, self.law, self.loss, self.levels = process, law, loss, levels
        self.labels = torch.tensor(list(labels), dtype=torch.int64)
        self.label_dropout, self.axis_dropout = label_dropout, axis_dropout
        self.columns = max(len(self.labels), conditions)

    def check(self, data: Data) -> None:
        """Refuse data with another number of label axes."""
        first = examples(data.batch(np.zeros(1, dtype=np.int64)))[1]
        have = 0 if first is None else first.shape[1]
        if len(self.labels) and have != len(self.labels):
            raise UsageError(
                f"the model takes {len(self.labels)} label axes, but the data set has {have}"
            )

    def draw(self, count: int, generator: torch.Generator) -> DiffusionDraw:
        """Times, and what is hidden."""
        t = self.law.draw(self.process, count, generator)
        u = torch.rand(count, 1 + self.columns, generator=generator, dtype=torch.float64)
        return DiffusionDraw(t, self.hide(u))

    def hide(self, u: Tensor) -> Tensor:
        """Which labels (B, A) uniform numbers (B, 1 + A) hide."""
        return (u[:, :1] < self.label_dropout) | (u[:, 1:] < self.axis_dropout)

    def known(self, labels: Tensor | None, hidden: Tensor) -> Tensor | None:
        """Labels without those that are hidden, or None where the denoiser takes none."""
        if labels is None or not len(self.labels):
            return None
        return torch.where(hidden, self.labels, labels)

    def prepare(self, part: Part) -> Microbatch:
        """With the hidden labels replaced."""
        x0, labels = examples(part.batch)
        t, hidden = part.drawn
        cond = self.known(labels, hidden)
        return Microbatch(x0, t, cond, part.generators, part.batch, hidden, part.step)

    def losses(self, module: Any, part: Any) -> Tensor:
        """Those of `loss`."""
        return self.loss(module, part)

    def observer(self) -> Levels:
        """The loss by noise level."""
        return Levels(self.process, level_edges(self.process, self.law, self.levels))

    def compiled(self, module: nn.Module) -> nn.Module:
        """The network alone: what is around it is float64 in part."""
        return module.network if isinstance(module, Preconditioned) else module


def examples(batch: Any) -> tuple[Tensor, Tensor | None]:
    """x0 and labels of a batch."""
    if isinstance(batch, Tensor):
        return batch, None
    if hasattr(batch, "x0"):
        return batch.x0, getattr(batch, "labels", None)
    x0, labels = batch
    return x0, labels


def diffusion(
    config: TrainConfig,
    denoiser: Denoiser,
    law: TimeLaw,
    loss: Loss = standard_loss,
    labels: Sequence[int] = (),
    conditions: int = 0,
) -> Player:
    """The player that a denoiser is, with the label dropout and the levels of a configuration."""
    task = DiffusionTask(
        denoiser.process, law, loss, labels,
        config.label_dropout, config.axis_dropout, config.levels, conditions,
    )  # fmt: skip
    return Player(denoiser, task)
