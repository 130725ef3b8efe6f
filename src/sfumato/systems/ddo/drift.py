r"""A linear term that keeps the power of a walk what it should be, wave by wave.

For the exact denoiser E[x_t · x̂_0] = α E|x_0|² in every wave, and the power of a deterministic walk
depends on its denoiser through E[x_t · x̂_0] alone, since d|x|²/dt = 2 x · v and v is linear in x_t
and x̂_0. A trained network may fulfil this for noised data and yet lose power on its own walk: what
it cannot foresee, such as how strong the filaments in an eddy will be, it underestimates in spread,
growth is exponential in what is foreseen, and so the mean power falls short; states with too little
power are then taken for noise (the exposure bias of diffusion models: Ning et al. 2024, arXiv
2308.15321, who scale the predicted noise by one number). The remedy here goes wave by wave and
level by level, and adds a share of the state:

.. math:: \hat x_0 \leftarrow \hat x_0 + a(\sigma/\alpha, |j|)\, x_t, \qquad
          a = \frac{\alpha\,E|x_0|^2 - E[x_t \cdot \hat x_0]}{E|x_t|^2},

with E|x_0|² of the data, and the other expectations over the model's own walk. It repairs the power
in each shell of waves, and what follows from it; it cannot tell the network what it does not
foresee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.field import GaussianField, radius
from sfumato.systems.ddo.nn.harmonic import Domain, wave_numbers


@final
@dataclass(frozen=True)
class PowerCorrection:
    """The factors a, between whose levels and waves lie straight lines.

    Args:
        levels: ln(σ/α), rising; the first and the last also stand for what lies beyond.
        factors: for each level, for each channel, for 0, 1, ... waves along the longest side (half
            waves where the border mirrors); from the last they fall to 0 within one wave.

    Raises:
        ValueError: levels that do not rise, another number of factors, or any that is not finite.
    """

    levels: tuple[float, ...]
    factors: tuple[tuple[tuple[float, ...], ...], ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.levels, self.levels[1:]))
        shapes = {tuple(len(channel) for channel in level) for level in self.factors}
        if not self.levels or not rising or len(self.factors) != len(self.levels):
            raise ValueError(
                f"expected factors for each of some rising levels, got {len(self.factors)} for "
                f"{self.levels}"
            )
        if not all(map(math.isfinite, (*self.levels, *self._flat))):
            raise ValueError("expected finite levels and factors")
        if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1 or 0 in next(iter(shapes)):
            raise ValueError("expected as many factors for each level and channel, at least one")

    @property
    def _flat(self) -> list[float]:
        return [a for level in self.factors for channel in level for a in channel]

    @property
    def most(self) -> float:
        """The largest size of a factor."""
        return max(map(abs, self._flat))

    @property
    def channels(self) -> int:
        """Of the fields."""
        return len(self.factors[0])

    def on(self, level: Tensor, waves: Tensor) -> Tensor:
        """The factors at levels ln(σ/α) (B,) and numbers of waves (*grid): (B, C, *grid)."""
        table = torch.tensor(self.factors, dtype=torch.float64, device=level.device)
        table = torch.nn.functional.pad(table, (0, 1))
        known = torch.tensor(self.levels, dtype=torch.float64, device=level.device)
        made = _between(table, _place(level.double(), known), 0)  # (B, C, waves)
        last = table.shape[-1] - 1
        return _between(made, waves.to(level.device).clamp(max=last).double(), 2)


def _place(x: Tensor, known: Tensor) -> Tensor:
    """Where x lies among the known: 1.5 is in the middle between the second and the third."""
    if len(known) == 1:
        return torch.zeros_like(x)
    x = x.clamp(known[0], known[-1])
    i = torch.searchsorted(known, x, right=True).clamp(1, len(known) - 1)
    return i - 1 + (x - known[i - 1]) / (known[i] - known[i - 1])


def _between(table: Tensor, place: Tensor, axis: int) -> Tensor:
    """The table at places (*S) along an axis, which becomes the axes S."""
    last = table.shape[axis] - 1
    low = place.floor().long().clamp(0, last)
    share = place - low
    shape = (*table.shape[:axis], *place.shape, *table.shape[axis + 1 :])
    first = table.index_select(axis, low.flatten()).reshape(shape)
    second = table.index_select(axis, (low + 1).clamp(max=last).flatten()).reshape(shape)
    share = share.reshape(*place.shape, *[1] * (table.ndim - axis - 1))
    return first + share * (second - first)


def waves_of(field: GaussianField, grid: tuple[int, ...]) -> Tensor:
    """How many waves (half waves) along the longest side each mode has: float64 (*grid)."""
    sides = field.extent or (1.0,) * field.dims
    unit = max(sides) * (1 if field.domain is Domain.PERIODIC else 2)
    return radius([wave_numbers(n, field.domain) for n in grid], sides) * unit
