"""Euler's method on the probability flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from sfumato.process import mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class Euler(Solver):
    """x_s = x_t + (s - t) ẋ. A step to t = 0 is the exact transport with x̂_0 held fixed."""

    order: int = field(default=1, init=False, repr=False)

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One evaluation."""
        process = ask.process
        x0 = ask(x_t, t)
        if float(s) == 0:
            return mix(process.transport(t, s), x_t, x0), carry
        return x_t + float(s - t) * process.velocity(x_t, x0, t), carry
