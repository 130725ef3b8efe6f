"""Euler's method on the probability flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from sfumato.denoise import Condition, Denoiser
from sfumato.process import mix
from sfumato.sampling import Carry, Solver
from sfumato.seeds import Generators


@final
@dataclass(frozen=True)
class Euler(Solver):
    """x_s = x_t + (s - t) ẋ. A step to t = 0 is the exact transport with x̂_0 held fixed."""

    order: int = field(default=1, init=False, repr=False)

    def step(
        self,
        denoiser: Denoiser,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        carry: Carry,
        *,
        cond: Condition = None,
        generator: Generators = None,
    ) -> tuple[Tensor, Carry]:
        """One evaluation."""
        process = denoiser.process
        x0 = denoiser(x_t, t, cond, generator)
        if float(s) == 0:
            return mix(process.transport(t, s), x_t, x0), carry
        return x_t + float(s - t) * process.velocity(x_t, x0, t), carry
