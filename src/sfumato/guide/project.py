"""Projection: the estimate must satisfy a constraint."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


@final
class Projected(Denoiser):
    """x̂ := P(x̂) whenever t lies in [start, end] (PhysDiff, 2212.02500, section 3.3).

    Args:
        denoiser: what is guided.
        project: maps data to data that satisfies the constraint, e.g. a clamp, a known total,
            or a physics simulation.
        start, end: times between which the projection is applied.

    Raises:
        ValueError: the window is empty.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        project: Callable[[Tensor], Tensor],
        start: float = 0.0,
        end: float = 1.0,
    ) -> None:
        super().__init__()
        if not start <= end:
            raise ValueError(f"expected start <= end, got {start} and {end}")
        self.denoiser = denoiser
        self.process = denoiser.process
        self.project = project
        self.start, self.end = start, end

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """The projected estimate."""
        x0 = self.denoiser(x_t, t, cond, generator)
        inside = (as_time(t) >= self.start) & (as_time(t) <= self.end)
        if not bool(inside.any()):
            return x0
        projected = self.project(x0)
        if bool(inside.all()):
            return projected
        keep = inside.reshape(-1, *[1] * (x0.ndim - 1)).to(x0.device)
        return projected.where(keep, x0)
