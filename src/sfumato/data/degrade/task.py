"""Problems to be solved: a degradation under a name, and what a restorer is given to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from sfumato.data.degrade.base import Degradation, need_picture
from sfumato.data.degrade.blur import Blur, BlurKernel
from sfumato.data.degrade.jpeg import Jpeg
from sfumato.data.degrade.masks import FreeForm
from sfumato.data.degrade.resolution import Bicubic, Pooled
from sfumato.data.degrade.simple import Given, Grey, Noisy
from sfumato.errors import UsageError, unknown
from sfumato.seeds import Generators, rand, randn


@final
@dataclass(frozen=True)
class Task:
    """A degradation, as something to be undone.

    Args:
        name: what it is asked for by.
        degradation: what makes the bad picture.
        noise: deviation of noise that is added where the walk begins, not to what the network
            sees beside: where one bad picture has many good ones, all of their bridges would
            begin at one point (I²SB adds N(0, I) for colourisation).
    """

    name: str
    degradation: Degradation
    noise: float = 0.0


def _tasks() -> dict[str, Task]:
    made = (
        Task("sr4x", Bicubic(4)),
        Task("sr4x-pool", Pooled(4)),
        Task("deblur", Blur(BlurKernel.GAUSSIAN, 13, (0.8, 2.5))),
        Task("deblur-uniform", Blur(BlurKernel.UNIFORM, 9)),
        Task("deblur-gauss", Blur(BlurKernel.GAUSSIAN, 5, (10.0, 10.0))),
        Task("jpeg", Jpeg((5, 60))),
        Task("jpeg-5", Jpeg((5, 5))),
        Task("jpeg-10", Jpeg((10, 10))),
        Task("denoise", Noisy((0.1, 0.5))),
        Task("colourise", Grey(), noise=1.0),
        Task("inpaint", FreeForm(0.1, 0.4)),
    )
    return {task.name: task for task in made}


TASKS = _tasks()
"""The tasks that have names."""


def tasks_named(names: Sequence[str]) -> tuple[Task, ...]:
    """Tasks by their names. Raises UsageError: no name, an unknown one, or one that comes twice."""
    if not names or len(set(names)) != len(names):
        raise UsageError(f"expected one or more different tasks, got {', '.join(names) or 'none'}")
    for name in names:
        if name not in TASKS:
            raise unknown("task", name, TASKS)
    return tuple(TASKS[name] for name in names)


class Problem(NamedTuple):
    """A batch of bad pictures of good ones."""

    x0: Tensor
    """The good ones, (B, C, H, W)."""
    x1: Tensor
    """Where a bridge begins: the bad ones, with noise where there is a hole and where asked for."""
    beside: Tensor
    """What a network sees beside: the bad ones without any noise of ours, 0 in holes."""
    known: Tensor
    """(B, 1, H, W): 1 where x1 is x0, else 0."""
    task: Tensor
    """The number of each picture's task, int64 (B,)."""


def pose(tasks: Sequence[Task], x0: Tensor, generators: Sequence[torch.Generator]) -> Problem:
    """Degrade each picture by a task drawn for it, each as likely, from its own generator.

    Where the only task is `Given`, the pictures are pairs instead, see `posed`.

    Raises:
        ValueError: no task, or pictures that a degradation cannot be applied to.
    """
    if not tasks:
        raise ValueError("expected at least one task, got none")
    if isinstance(tasks[0].degradation, Given):
        return posed(tasks[0], x0, generators)
    number = (rand((len(x0), 1), generators)[:, 0] * len(tasks)).long()
    x1, beside = torch.empty_like(x0), torch.empty_like(x0)
    known = torch.zeros(len(x0), 1, *x0.shape[2:], dtype=x0.dtype, device=x0.device)
    for i, task in enumerate(tasks):
        rows = (number == i).nonzero()[:, 0].tolist()
        if rows:
            found = posed(task, x0[rows], [generators[r] for r in rows])
            x1[rows], beside[rows], known[rows] = found.x1, found.beside, found.known
    return Problem(x0, x1, beside, known, number.to(x0.device))


def posed(task: Task, x0: Tensor, generators: Generators, number: int = 0) -> Problem:
    """Degrade all pictures by one task.

    Args:
        task: of a degradation that is known by its results only (`Given`), the pictures are pairs
            of a good and a bad one, side by side on axis 1: (B, 2 C, H, W).
        x0: the good pictures, or the pairs.
        generators: one, or one per picture.
        number: the task's number among a model's.

    Raises:
        ValueError: pairs of an odd number of channels, or what the degradation cannot take.
    """
    if isinstance(task.degradation, Given):
        if x0.ndim != 4 or x0.shape[1] % 2:
            raise ValueError(f"expected pairs (B, 2 C, H, W), got {tuple(x0.shape)}")
        x0, bad = x0.chunk(2, dim=1)
        return begin(task, bad, None, generators, number)._replace(x0=x0)
    degraded = task.degradation.degrade(x0, generators)
    return begin(task, degraded.x1, degraded.known, generators, number)._replace(x0=x0)


def begin(
    task: Task, x1: Tensor, known: Tensor | None, generators: Generators, number: int = 0
) -> Problem:
    """The problem of a bad picture (on the grid of the good one) whose good one is not known.

    Its x0 is the bad picture, for want of another; ``number`` is the task's among a model's.

    Raises:
        ValueError: no pictures.
    """
    need_picture(x1)
    if known is None:
        known, beside = torch.zeros_like(x1[:, :1]), x1
    else:
        known = known.to(x1).expand(len(x1), -1, -1, -1)
        beside = x1 * known
    start = x1
    if task.noise:
        z = randn(x1.shape, generators, dtype=x1.dtype, device=x1.device)
        start = torch.where(known > 0, x1, x1 + task.noise * z)  # what is known stays so
    numbers = torch.full((len(x1),), number, dtype=torch.int64, device=x1.device)
    return Problem(x1, start, beside, known, numbers)
