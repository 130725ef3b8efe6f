r"""Vorticity of a fluid that random forces have stirred: simulated once, and kept.

Field i is w(T) of the Navier-Stokes equations on the periodic unit square (`NavierStokes`), from
rest, w(0) = 0, under a force whose curl f is constant in time and random,

    f(x) = s Σ_{0 < |j| <= 5} (4π²|j|² + τ²)^{-p/2} h_j (cos + sin)(2πj·x),   h_j ~ N(0, 1),

which is N(0, s² (-Δ + τ²)^-p) without its constant and its short waves, so that it is the same
function on every grid. The law of w(T) is the push-forward of a Gaussian by the equations, a kind
of data that Lim et al., Denoising Diffusion Operators (arXiv 2302.07400), use; theirs is at a
lower Reynolds number.

Nothing has units: lengths are in sides of the square and times in T.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, Split, check_split
from sfumato.errors import SfumatoError, UsageError
from sfumato.seeds import fold, generators
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.cache import cached_fields
from sfumato.systems.ddo.data.mixture import harmonics
from sfumato.systems.ddo.data.navier_stokes import NavierStokes
from sfumato.systems.ddo.nn.harmonic import Domain, resample

__all__ = ["forcing", "vorticity"]

VISCOSITY: Final = 2e-3
TIME: Final = 1.0
STEPS: Final = 600
"""On a grid of 64 points along each axis; in proportion on finer ones."""
LONGEST: Final = 5
"""|j| of the shortest waves of the forcing."""
SHIFT: Final = 20.0
POWER: Final = 3.0
DEVIATION: Final = 25.0
"""Standard deviation of f at a point; s follows from it."""

_SOLVED = 64
_CHUNK = 8
_GENERATION = 1


@lru_cache(maxsize=1)
def _root() -> Tensor:
    """Standard deviations of the h_j, s included; float64 (11, 11)."""
    j = torch.arange(-LONGEST, LONGEST + 1, dtype=torch.float64)
    squared = j[:, None] ** 2 + j**2
    power = (4 * math.pi**2 * squared + SHIFT**2) ** -POWER
    power[(squared == 0) | (squared > LONGEST**2)] = 0.0
    return (DEVIATION**2 * power / power.sum()).sqrt()


def forcing(split: Split, indices: Iterable[int], grid: int = 64) -> Tensor:
    """f of the fields at ``indices``, float64 (B, grid, grid); no grid below 11 holds all of it.

    Raises:
        UsageError: an unknown split.
    """
    check_split(split)
    seed, root = fold(0, "vorticity", split), _root()
    z = [
        torch.randn(root.shape, generator=g, dtype=torch.float64) for g in generators(seed, indices)
    ]
    return harmonics(torch.stack(z) * root, grid)


def _stirred(force: Tensor, steps: int) -> Tensor:
    """w(T). A field whose flow is too fast for the steps is solved alone, with twice as many."""
    try:
        return NavierStokes(VISCOSITY, TIME, steps).solve(torch.zeros_like(force), force)
    except SfumatoError:
        if len(force) == 1:
            return _stirred(force, 2 * steps)
        return torch.cat([_stirred(f[None], steps) for f in force])


def _fields(split: Split, n: int, grid: int) -> Iterator[np.ndarray]:
    fine = max(grid, _SOLVED)
    steps = math.ceil(STEPS * fine / _SOLVED)
    for i in range(0, n, _CHUNK):
        made = _stirred(forcing(split, range(i, min(i + _CHUNK, n)), fine), steps)
        yield from resample(made, (grid, grid), Domain.PERIODIC).float()[:, None].numpy()


def vorticity(
    split: Split, n: int, grid: int = 64, root: Path | None = None, progress: bool = True
) -> FieldSet:
    """n fields of vorticity at time T, of which field i depends on the split and i alone.

    Made once and kept in the data folder: on one core 0.10 s a field at 64 points along each axis
    (4,000 and 500 of them take 8 minutes) and 0.8 s at 128. Coarser fields are those of 64 points,
    cut off. Vortices and filaments; the Reynolds number, root mean square speed times side over
    viscosity, is about 1,000, and the standard deviation 14.8.

    At 64 points the equations are solved for up to 21 waves along each axis, where the power is
    1e-5 of that of the longest waves. In twelve fields the root mean square differences were:
    0.02 to 0.06 per cent from four times as many time steps; from a grid of 128 points, 0.02 per
    cent on average over modes of up to 4 waves, and 0.1 to 0.4 per cent over all.

    Args:
        split: "train" or "test".
        n: how many, >= 1.
        grid: points along each axis, 16..512.
        root: the data folder; `data_root()` when None.
        progress: show a progress bar while they are made.

    Returns:
        float32 values (n, 1, grid, grid) of the quantity "vorticity".

    Raises:
        UsageError: an unknown split, or n or the grid out of range.
        SfumatoError: what is kept is damaged, or the folder cannot be written.
    """
    check_split(split)
    if n < 1 or not 16 <= grid <= 512:
        raise UsageError(f"vorticity: expected n >= 1 and grid in 16..512, got n={n}, grid={grid}")
    root = data_root() if root is None else root
    card = DataCard(
        name="vorticity",
        source="simulated by sfumato (ddo.data.vorticity): 2-D Navier-Stokes on the periodic unit "
        f"square, viscosity {VISCOSITY:g}, from rest to time {TIME:g}, Gaussian random forcing "
        f"constant in time (shift {SHIFT:g}, power {POWER:g}, at most {LONGEST} waves, deviation "
        f"{DEVIATION:g})",
        licence="CC0-1.0",
        size="",
        note="Two-dimensional, so vortices merge and grow, unlike in three dimensions. No waves of "
        "a third of the grid or more. One field in a hundred, too fast for the time steps, has "
        "twice as many.",
    )
    return cached_fields(
        root / "vorticity" / f"{split}-{n}x{grid}-g{_GENERATION}", card, split,
        Frame(Domain.PERIODIC, (Axis("x"), Axis("y")), (Quantity("vorticity"),)), (grid, grid),
        lambda: (n, _fields(split, n, grid)), f"stirring fields of {grid}x{grid}", progress,
    )  # fmt: skip
