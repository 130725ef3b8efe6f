"""Everything random in a training step, as a function of (seed, step).

Nothing here has a state. The order of the data in epoch e follows from (seed, "epoch", e);
times and hidden labels of step n from (seed, "train", n), drawn for the whole batch and then
cut; the noise of example i of step n from (seed, "noise", n, i). So a resumed run needs only
its step, several processes see what one process would see, and accumulation changes nothing
but the order of a sum. Dropout inside the network alone also depends on the process's rank.

A second player (see `adversary`) draws for itself: its name goes in front of the paths, and only
the examples are the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, final

import numpy as np
import torch
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.loss import TimeLaw, denoising_loss
from sfumato.process import Process
from sfumato.seeds import fold, generator
from sfumato.train.config import TrainConfig


class Data(Protocol):
    """What the loop needs of a data set; `sfumato.data`'s sets are like this."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Examples (B, ...) float32 and labels (B, A) int64 or None, at these indices."""
        ...


class Microbatch(NamedTuple):
    """What a process needs for one forward and backward pass."""

    x0: Tensor
    t: Tensor
    cond: Tensor | None
    generators: Sequence[torch.Generator]

    def to(self, device: torch.device) -> Microbatch:
        """On the device; the noise is drawn on the CPU, the same on any device."""
        cond = None if self.cond is None else self.cond.to(device)
        return Microbatch(self.x0.to(device), self.t.to(device), cond, self.generators)

    def rows(self, here: slice) -> Microbatch:
        """Some of its examples."""
        cond = None if self.cond is None else self.cond[here]
        return Microbatch(self.x0[here], self.t[here], cond, self.generators[here])


Loss = Callable[[Denoiser, Microbatch], Tensor]
"""Losses (B,) of a part, in the order of its examples; never reduced."""


def standard_loss(denoiser: Denoiser, part: Microbatch) -> Tensor:
    """`denoising_loss` of a part, each example with its own noise generator."""
    return denoising_loss(denoiser, part.x0, part.t, cond=part.cond, generator=part.generators)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    return torch.randperm(length, generator=generator(seed, "epoch", epoch)).numpy()


def positions(seed: int, start: int, count: int, length: int) -> np.ndarray:
    """Indices of the ``count`` examples from position ``start`` of the endless shuffled data."""
    out, at = [], start
    while at < start + count:
        epoch, offset = divmod(at, length)
        piece = _permutation(seed, epoch, length)[offset : offset + start + count - at]
        out.append(piece)
        at += len(piece)
    return np.concatenate(out)


@final
class Draws:
    """The parts of every step for one of ``world`` processes.

    Args:
        config: seed, batch, accumulation and label dropout.
        data: the examples.
        process: the process the times are drawn for.
        law: the law of the times.
        labels: number of classes on every label axis; () hides labels from the model.
        rank: which process this is.
        world: how many processes there are.

    Raises:
        UsageError: the batch cannot be divided, or the data is empty or has other labels.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Data,
        process: Process,
        law: TimeLaw,
        labels: Sequence[int],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        pieces = world * config.accumulate
        if config.batch % pieces:
            raise UsageError(
                f"train.batch: {config.batch} images cannot be divided among {world} processes "
                f"with {config.accumulate} parts each; choose a multiple of {pieces}"
            )
        if len(data) < 1:
            raise UsageError("the data set is empty")
        first = data.batch(np.zeros(1, dtype=np.int64))[1]
        have = 0 if first is None else first.shape[1]
        if labels and have != len(labels):
            raise UsageError(
                f"the model takes {len(labels)} label axes, but the data set has {have}"
            )
        self.config, self.data, self.process, self.law = config, data, process, law
        self.labels = torch.tensor(list(labels), dtype=torch.int64)
        self.rank, self.world = rank, world

    def times(self, step: int, *player: str) -> tuple[Tensor, Tensor]:
        """Times of the whole batch, (B,) float64, and hidden labels, (B, A) bool."""
        config, g = self.config, generator(self.config.seed, *player, "train", step)
        t = self.law.draw(self.process, config.batch, g)
        u = torch.rand(config.batch, 1 + len(self.labels), generator=g, dtype=torch.float64)
        hidden = (u[:, :1] < config.label_dropout) | (u[:, 1:] < config.axis_dropout)
        return t, hidden

    def parts(self, step: int, *player: str) -> list[Microbatch]:
        """This process's share of the step, in ``accumulate`` parts."""
        config = self.config
        t, hidden = self.times(step, *player)
        share = config.batch // self.world
        size = share // config.accumulate
        index = positions(config.seed, step * config.batch, config.batch, len(self.data))
        out = []
        for a in range(config.accumulate):
            low = self.rank * share + a * size
            here = slice(low, low + size)
            x0, cond = self.data.batch(index[here])
            if len(self.labels) and cond is not None:
                cond = torch.where(hidden[here], self.labels, cond)
            else:
                cond = None
            noise = [
                generator(config.seed, *player, "noise", step, i) for i in range(low, low + size)
            ]
            out.append(Microbatch(x0, t[here], cond, noise))
        return out

    def seed_dropout(self, step: int) -> None:
        """Seed torch's global generators, which dropout inside a network draws from."""
        torch.manual_seed(fold(self.config.seed, "dropout", step, self.rank))
