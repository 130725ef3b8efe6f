"""Everything random in a training step, as a function of (seed, step).

Nothing here has a state. The order of the data in epoch e follows from (seed, "epoch", e); what a
task draws for the whole batch of step n (times, hidden labels) from (seed, "train", n), and is
then cut; the noise of example i of step n from (seed, "noise", n, i). So a resumed run needs only
its step, several processes see what one process would see, and accumulation changes nothing but
the order of a sum. Dropout inside the network alone also depends on the process's rank.

The paths of players other than "model" have their name in front; all see the same examples.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

import numpy as np
import torch

from sfumato.errors import UsageError
from sfumato.seeds import fold, generator
from sfumato.train.config import TrainConfig
from sfumato.train.task import MAIN, Data, Part, Task, rows


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
        config: seed, batch and accumulation.
        data: the examples.
        rank: which process this is.
        world: how many processes there are.

    Raises:
        UsageError: the batch cannot be divided, or the data is empty.
    """

    def __init__(self, config: TrainConfig, data: Data, rank: int = 0, world: int = 1) -> None:
        pieces = world * config.accumulate
        if config.batch % pieces:
            raise UsageError(
                f"train.batch: {config.batch} images cannot be divided among {world} processes "
                f"with {config.accumulate} parts each; choose a multiple of {pieces}"
            )
        if len(data) < 1:
            raise UsageError("the data set is empty")
        self.config, self.data, self.rank, self.world = config, data, rank, world

    def drawn(self, task: Task, step: int, player: str = MAIN) -> Any:
        """What a task draws for the whole batch of a step."""
        return task.draw(
            self.config.batch, generator(self.config.seed, *_path(player), "train", step)
        )

    def parts(self, task: Task, step: int, player: str = MAIN) -> list[Any]:
        """This process's share of the step, in ``accumulate`` parts, as the task prepared them."""
        config = self.config
        drawn = self.drawn(task, step, player)
        share = config.batch // self.world
        size = share // config.accumulate
        start = step * config.batch
        if task.distinct:
            epoch, place = divmod(step, max(1, len(self.data) // config.batch))
            start = epoch * len(self.data) + place * config.batch
        index = positions(config.seed, start, config.batch, len(self.data))
        out = []
        for low in range(self.rank * share, (self.rank + 1) * share, size):
            here = slice(low, low + size)
            noise = [
                generator(config.seed, *_path(player), "noise", step, i)
                for i in range(low, low + size if task.noise else low)
            ]
            part = Part(self.data.batch(index[here]), rows(drawn, here), noise, step)
            out.append(task.prepare(part))
        return out

    def seed_dropout(self, step: int) -> None:
        """Seed torch's global generators, which dropout inside a network draws from."""
        seed = fold(self.config.seed, "dropout", step, self.rank)
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # which does not note a traceback in each step for devices that are not there
            torch.default_generator.manual_seed(seed)


def _path(player: str) -> tuple[str, ...]:
    return () if player == MAIN else (player,)
