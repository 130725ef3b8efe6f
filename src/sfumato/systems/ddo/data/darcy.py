r"""Two equations solved by others: Darcy flow in the square and Burgers' equation on a ring.

Both sets come in the PyPI package neuraloperator 0.3.0, which says little about them. What stands
here was found by looking at the numbers, and the tests look again.

Darcy flow: -∇·(a ∇u) = 1 in the unit square, u = 0 on its border.

* a takes two values, and the files hold only which: 0 stands for a = 0.02, 1 for a = 0.36
  (`PERMEABILITY`). Where a is constant -Δu is 1/a, and that tends to 50.0 and 2.78 as the grid
  becomes finer.
* The points are x_k = 1/1024 + k/n, k = 0 .. n-1: every 32nd (n = 32) or 64th (n = 16) inner
  point of a grid of 1024 cells. u extrapolates to zero at 0 and at 1. The 16 points are every
  second of the 32, so both lie in one frame, and the test set is the same functions on both.
* Solving the equation anew from a (finite volumes on the file's own points) gives u to 3 % on 32
  points, 9 % on 16: what the corners of a between the points are worth.
* u is positive by the maximum principle; in 12 of 1,000 training fields and 1 of 50 test fields
  one value next to the border is not (-0.43 at the worst), which is an error of whoever solved it.
  Nothing is mended here.

Burgers' equation: ∂u/∂t + u ∂u/∂x = ν ∂²u/∂x² with ν = 0.01 (in the file) on the periodic unit
interval, at 16 points k/16 and 17 times 0.06 m, m = 0 .. 16. A solution by Fourier modes from the
stored beginnings agrees with all later states to 2e-4.

There are no units. N. Kovachki et al., Neural Operator, J. Mach. Learn. Res. 24 (2023), has the
equations; sets of the same kind are used there with other numbers.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.download import check
from sfumato.data.packages import NEURALOPERATOR
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, Split, check_split
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity, size_of
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["FRAME_INTERVAL", "PERMEABILITY", "VISCOSITY", "burgers", "darcy"]

PERMEABILITY: Final = (0.02, 0.36)
"""What the stored 0 and 1 of the permeability stand for, where the source is 1."""
VISCOSITY: Final = 0.01
"""ν of Burgers' equation."""
FRAME_INTERVAL: Final = 0.06
"""Time between two stored states of Burgers' equation."""

_OFFSET = 1 / 1024
_STATES = 17
_TRAINING = 1000
_SOURCE = f"PyPI package {NEURALOPERATOR.name} {NEURALOPERATOR.version}, "


def _load(name: str, shapes: dict[str, tuple[int, ...]], root: Path | None) -> dict[str, Tensor]:
    """The tensors in one of the package's files, after comparing them with what they must be.

    Raises:
        SfumatoError: the file is not there, was changed, or holds something else.
    """
    folder = (data_root() if root is None else root) / NEURALOPERATOR.key
    if not folder.is_dir():
        raise SfumatoError(
            f"the solved equations are not in {folder}; run 'sfumato data fetch "
            f"{NEURALOPERATOR.key}' ({NEURALOPERATOR.megabytes:g} MB)"
        )
    check(folder)
    path = folder / f"{name}.pt"
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
        got = {key: tuple(value.shape) for key, value in found.items()}
    except (OSError, RuntimeError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise SfumatoError(f"{path} cannot be read ({error}); fetch it again") from error
    if got != shapes:
        raise SfumatoError(f"{path} should hold {shapes}, and holds {got}; fetch it again")
    return dict(found)


def darcy(split: Split = "train", grid: int = 16, root: Path | None = None) -> FieldSet:
    """Darcy flow: the permeability and the pressure it makes, 1,000 pairs to train on, 50 to test.

    The frame is PERIODIC, which neither field is: it is the one that puts both grids' points where
    they are. u, which is zero on the border, is continued with a kink; a is continued with jumps
    that mean nothing.

    Args:
        split: "train" or "test".
        grid: 16, or 32 (test only); the test set is the same 50 functions on both.
        root: the data folder; `data_root()` when None.

    Returns:
        float32 values (N, 2, grid, grid): "permeability class", 0 or 1 as stored (`PERMEABILITY`
        has what they stand for), and "pressure". The file does not say which axis is x; here it is
        the first.

    Raises:
        UsageError: another split or grid.
        SfumatoError: the files are not there (the message says what to run) or are damaged.
    """
    check_split(split)
    grids = (16, 32) if split == "test" else (16,)
    if grid not in grids:
        has = " and ".join(map(str, grids))
        raise UsageError(f"darcy: the {split} set is on grids of {has} points, got {grid}")
    n = 50 if split == "test" else _TRAINING
    shape = (n, grid, grid)
    found = _load(f"darcy_{split}_{grid}", {"x": shape, "y": shape}, root)
    values = torch.stack([found["x"].float(), found["y"].float()], dim=1).numpy()
    axes = tuple(Axis(name, _OFFSET, 1 + _OFFSET) for name in ("x", "y"))
    card = DataCard(
        name="darcy",
        source=_SOURCE + f"darcy_{split}_{grid}.pt",
        licence=NEURALOPERATOR.licence,
        size=size_of(values.shape, split),
        note="-∇·(a ∇u) = 1, u = 0 on the border; a = 0.02 or 0.36, stored as 0 and 1. In about "
        "1 % of the fields one value of u next to the border is wrong (negative).",
    )
    quantities = (Quantity("permeability class"), Quantity("pressure"))
    return FieldSet("darcy", values, Frame(Domain.PERIODIC, axes, quantities), card)


def burgers(
    split: Split = "train", states: Sequence[int] = (0, 16), root: Path | None = None
) -> FieldSet:
    """Solutions of Burgers' equation from 1,200 random beginnings; the last 200 are for test.

    PERIODIC is what the equation is. The 16 points, of finer ones, carry the beginnings without
    loss; of later, steeper states they fold back what waves are shorter than the grid's: less than
    0.1 % of the norm for most, up to 5 % for a few.

    Args:
        split: "train" (the first 1,000) or "test". The package leaves the choice to its user.
        states: which of the 17 stored times become channels, 0 .. 16, times `FRAME_INTERVAL`.
        root: the data folder; `data_root()` when None.

    Returns:
        float32 values (N, len(states), 16), quantities "u(t=0)", "u(t=0.96)" and so on.

    Raises:
        UsageError: another split; no states, one twice, or one out of range.
        SfumatoError: the files are not there (the message says what to run) or are damaged.
    """
    check_split(split)
    chosen = [int(s) for s in states]
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(range(_STATES)):
        raise UsageError(f"burgers: expected different states of 0 .. 16, got {list(states)}")
    n = 1200
    shapes = {"input": (n, 16), "output": (n, _STATES, 16), "visc": (1, 1)}
    found = _load("burgers_lowres", shapes, root)
    if not torch.equal(found["output"][:, 0], found["input"]):
        raise SfumatoError("burgers_lowres.pt: the first states are not the inputs; fetch it again")
    part = slice(None, _TRAINING) if split == "train" else slice(_TRAINING, None)
    values = np.ascontiguousarray(found["output"][part][:, chosen].float().numpy())
    quantities = tuple(Quantity(f"u(t={FRAME_INTERVAL * s:g})") for s in chosen)
    card = DataCard(
        name="burgers",
        source=_SOURCE + "burgers_lowres.pt",
        licence=NEURALOPERATOR.licence,
        size=size_of(values.shape, split),
        note=f"Burgers' equation, viscosity {VISCOSITY:g}, periodic unit interval.",
    )
    return FieldSet("burgers", values, Frame(Domain.PERIODIC, (Axis("x"),), quantities), card)
