r"""A mixture of two Gaussian random fields on the periodic unit square, all of it in closed form.

With c = 0, 1 drawn with known weights,

    u(x) = m_c(x) + Σ_j √P_c(j) h_j (cos + sin)(2πj·x),   h_j ~ N(0, 1),   |j_x|, |j_y| <= 15,

    P_c(j) = a_c (1 + (2πℓ_c |j|)²)^-p_c,   a_c so that Σ_j P_c(j) = s_c²,

with different mean functions m_c, made of a few long waves, and different powers P_c. At every
point the variance about the mean is s_c². A grid of 32 points along each axis, or more, holds the
functions without loss; a coarser grid has their waves as far as they fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.data.sets import DataCard, Split, check_split
from sfumato.errors import UsageError
from sfumato.seeds import fold, generators
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity, size_of
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["BAND", "Component", "Mixture", "harmonics", "mixture"]

BAND = 15
"""The highest number of waves along an axis."""


def harmonics(h: Tensor, grid: int) -> Tensor:
    """Σ_j h_j (cos + sin)(2πj·x) on a grid: (..., 2m+1, 2m+1) to (..., grid, grid).

    Row and column i of h are for i - m waves. Waves that the grid does not have, grid/2 or more,
    are left out. With independent h_j of mean 0 and variances P(j) = P(-j), the mode û_j has
    E|û_j|² = P(j), and the field is stationary.
    """
    m = (h.shape[-1] - 1) // 2
    top = min(m, (grid - 1) // 2)
    place = torch.arange(-top, top + 1) % grid
    modes = h.new_zeros(*h.shape[:-2], grid, grid)
    inner = h[..., m - top : m + top + 1, m - top : m + top + 1]
    modes[..., place[:, None], place] = inner
    made = torch.fft.ifft2(modes, norm="forward")
    return made.real + made.imag


@final
@dataclass(frozen=True)
class Component:
    """One Gaussian random field: its mean and its power.

    Args:
        waves: the mean, a sum of a cos(2πj·x) + b sin(2πj·x), as (j_x, j_y, a, b) each.
        deviation: s > 0, the standard deviation at a point, about the mean.
        length: ℓ > 0, in sides of the square.
        decay: p >= 3.

    Raises:
        ValueError: a number out of range.
    """

    waves: tuple[tuple[int, int, float, float], ...]
    deviation: float
    length: float
    decay: float

    def __post_init__(self) -> None:
        if not (self.deviation > 0 and self.length > 0 and self.decay >= 3):
            raise ValueError(
                "expected deviation > 0, length > 0 and decay >= 3, got "
                f"{self.deviation}, {self.length}, {self.decay}"
            )
        high = [wave for wave in self.waves if max(abs(wave[0]), abs(wave[1])) > BAND]
        if high:
            raise ValueError(f"expected at most {BAND} waves along an axis, got {high}")

    def mean(self) -> Tensor:
        """The h_j of the mean function, for `harmonics`; float64 (2·15+1, 2·15+1)."""
        made = torch.zeros(2 * BAND + 1, 2 * BAND + 1, dtype=torch.float64)
        for x, y, a, b in self.waves:  # h (cos + sin)(θ) + h' (cos - sin)(θ) = a cos + b sin
            made[BAND + x, BAND + y] += (a + b) / 2
            made[BAND - x, BAND - y] += (a - b) / 2
        return made

    def power(self) -> Tensor:
        """P(j), float64 (2·15+1, 2·15+1), j = -15..15 along each axis."""
        j = torch.arange(-BAND, BAND + 1, dtype=torch.float64)
        bend = 1 + (2 * math.pi * self.length) ** 2 * (j[:, None] ** 2 + j**2)
        made = bend**-self.decay
        return self.deviation**2 * made / made.sum()


_TWO = (
    Component(((1, 0, 1.0, 0.0), (0, 2, 0.0, 0.5)), deviation=0.5, length=0.05, decay=3.0),
    Component(((1, 1, 0.0, 0.7), (0, 1, -0.7, 0.0)), deviation=0.7, length=0.15, decay=4.0),
)


@final
@dataclass(frozen=True)
class Mixture:
    """Gaussian random fields, one of which is drawn, with known weights.

    Args:
        weights: their probabilities, which sum to 1.
        components: the fields.

    Raises:
        ValueError: not one positive weight for each component, or they do not sum to 1.
    """

    weights: tuple[float, ...] = (0.3, 0.7)
    components: tuple[Component, ...] = _TWO

    def __post_init__(self) -> None:
        w = self.weights
        if len(w) != len(self.components) or not w or min(w) <= 0 or abs(sum(w) - 1) > 1e-9:
            raise ValueError(
                f"expected {len(self.components)} positive weights that sum to 1, got {w}"
            )

    def _component(self, component: int) -> Component:
        if not 0 <= component < len(self.components):
            raise ValueError(
                f"expected a component in 0..{len(self.components) - 1}, got {component}"
            )
        return self.components[component]

    def mean(self, component: int, grid: int) -> Tensor:
        """m_c on the grid, float64 (grid, grid).

        Raises:
            ValueError: there is no such component.
        """
        return harmonics(self._component(component).mean(), grid)

    def power(self, component: int, grid: int) -> Tensor:
        """E|û_j - m̂_j|² of each mode of the grid, in the order of `to_modes`; float64 (grid, grid).

        Zero for an even grid's highest mode and beyond 15 waves. The covariance of two points is
        Σ_j P(j) cos(2πj·(x - y)), the real part of ``torch.fft.fft2(power)`` at x - y.

        Raises:
            ValueError: there is no such component.
        """
        whole = self._component(component).power()
        top = min(BAND, (grid - 1) // 2)
        place = torch.arange(-top, top + 1)
        made = torch.zeros(grid, grid, dtype=torch.float64)
        made[place[:, None] % grid, place % grid] = whole[place[:, None] + BAND, place + BAND]
        return made

    def draw(self, streams: Sequence[torch.Generator], grid: int) -> tuple[Tensor, Tensor]:
        """One field from each generator, the same function on every grid.

        Args:
            streams: B generators.
            grid: points along each axis.

        Returns:
            fields, float64 (B, grid, grid), and which component each is, int64 (B,).

        Raises:
            ValueError: no generator.
        """
        if not streams:
            raise ValueError("expected at least one generator, got none")
        edges = torch.tensor(self.weights, dtype=torch.float64).cumsum(0)[:-1]
        side = 2 * BAND + 1
        mean = torch.stack([c.mean() for c in self.components])
        root = torch.stack([c.power() for c in self.components]).sqrt()
        which, h = [], []
        for stream in streams:
            u = torch.rand((), generator=stream, dtype=torch.float64)
            c = int(torch.searchsorted(edges, u, right=True))
            z = torch.randn(side, side, generator=stream, dtype=torch.float64)
            which.append(c)
            h.append(mean[c] + root[c] * z)
        return harmonics(torch.stack(h), grid), torch.tensor(which)


def mixture(split: Split, n: int, grid: int = 64) -> FieldSet:
    """n draws of ``Mixture()``, of which field i depends on the split and i alone.

    The fields have modes of up to 15 waves along each axis. On grids of 32 points or more, field i
    is the same function; coarser grids have what fits on them.

    Args:
        split: "train" or "test".
        n: how many, >= 1.
        grid: points along each axis, >= 4.

    Returns:
        float32 values (n, 1, grid, grid) of the quantity "value".

    Raises:
        UsageError: an unknown split, or n or the grid out of range.
    """
    check_split(split)
    if n < 1 or grid < 4:
        raise UsageError(f"mixture: expected n >= 1 and grid >= 4, got n={n}, grid={grid}")
    law = Mixture()
    values = torch.empty(n, 1, grid, grid)
    seed = fold(0, "mixture", split)
    for i in range(0, n, 256):
        drawn, _ = law.draw(generators(seed, range(i, min(i + 256, n))), grid)
        values[i : i + 256, 0] = drawn.float()
    frame = Frame(Domain.PERIODIC, (Axis("x"), Axis("y")), (Quantity("value"),))
    card = DataCard(
        name="mixture",
        source="drawn: a mixture of two Gaussian random fields, "
        "sfumato.systems.ddo.data.mixture.Mixture()",
        licence="none needed",
        size=size_of(values.shape, split),
        note=f"No waves of more than {BAND} along an axis; weights "
        + " and ".join(f"{w:g}" for w in law.weights),
    )
    return FieldSet("mixture", values.numpy(), frame, card)
