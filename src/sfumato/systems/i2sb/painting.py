"""Holes larger than a tile: painted small first, then finer and finer.

A network that saw squares of 64 pixels of which two fifths were lost at most knows nothing to
paint where a whole tile is lost. So the picture is halved until in every tile enough is known,
painted at that size, and brought back by factors of two. At each finer size what lies deep in the
hole stays as it was painted, and a band along its border is made anew: there the walk begins half
of the way, on the bridge between the enlarged guess and noise, so that what is coarse stays and
what is fine fits its surroundings (as SDEdit does from noise, Meng et al. 2022, arXiv 2108.01073).
The middle of a large hole is therefore smoother than its surroundings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.degrade import FreeForm, Problem, Task, begin, with_hole
from sfumato.seeds import Generators

MOST = 0.4
"""The share of a tile that may be lost: what `restore-inpaint` was trained with."""
SINCE = 0.5
"""The time at which finer walks begin."""
BAND = 10
"""Pixels along the border of a hole that are painted anew at each finer size."""

_PAINT = Task("inpaint", FreeForm())


def widest_share(hole: Tensor, side: int, step: int) -> float:
    """The largest share of any window of ``side`` that is lost; windows every ``step`` pixels."""
    height, width = hole.shape[-2:]
    window = (min(side, height), min(side, width))
    return float(F.avg_pool2d(hole, window, stride=step).amax())


def halved(problem: Problem, multiple: int, generators: Generators) -> Problem:
    """Half the size, continued to a multiple: a pixel is known where half of its four are."""
    weight = F.avg_pool2d(problem.known, 2)
    value = F.avg_pool2d(problem.beside * problem.known, 2) / weight.clamp_min(0.25)
    down, right = (-n % multiple for n in value.shape[-2:])
    value = F.pad(value, (0, right, 0, down), mode="replicate")
    hole = F.pad((weight < 0.5).to(value), (0, right, 0, down), mode="replicate")
    x1, known = with_hole(value, hole, generators)
    return begin(_PAINT, x1, known, generators, int(problem.task[0]))


def pyramid(problem: Problem, side: int, multiple: int, generators: Generators) -> list[Problem]:
    """The problem, and halves of it until no tile has lost too much; fine to coarse."""
    found = [problem]
    while True:
        hole = 1 - found[-1].known
        small = min(hole.shape[-2:]) <= 2 * multiple or not bool(found[-1].known.any())
        if small or widest_share(hole, side, multiple) <= MOST:
            return found
        found.append(halved(found[-1], multiple, generators))


def refined(guess: Tensor, problem: Problem, generators: Generators) -> tuple[Problem, Tensor]:
    """A finer problem in which a guess at half the size counts as known deep in the hole.

    Returns the problem, of which a band of `BAND` pixels along the hole's border is left to be
    painted, and the guess on its grid.
    """
    height, width = problem.x1.shape[-2:]
    large = F.interpolate(guess, scale_factor=2, mode="bilinear", align_corners=False)
    large = torch.where(problem.known > 0, problem.x1, large[..., :height, :width])
    near = F.max_pool2d(problem.known, 2 * BAND + 1, stride=1, padding=BAND)
    hole = (1 - problem.known) * near
    x1, known = with_hole(large, hole, generators)
    return begin(_PAINT, x1, known, generators, int(problem.task[0])), large
