"""Heun's method on the probability flow, with optional churn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.process import mix
from sfumato.sampling import Ask, Carry, Solver
from sfumato.times import schedule_of


@final
@dataclass(frozen=True)
class Heun(Solver):
    """Second-order trapezoidal steps (Karras et al. 2022, algorithms 1 and 2).

    Two evaluations per step; a step to t = 0 is one exact transport with x̂_0 held fixed.

    Args:
        churn: S_churn. Before a step from a noise level σ/α inside [churn_min, churn_max] fresh
            noise raises that level by the factor 1 + γ, γ = churn / (steps of the walk). It is
            never raised above the prior's: at t = 1 there is no churn, and just below it less.
        churn_min, churn_max: S_tmin and S_tmax, noise levels σ/α between which to churn.
        churn_noise: S_noise, inflation of the fresh noise's standard deviation.
        churn_limit: γ is at most this, √2 - 1 in EDM, 1 in DPDM.

    Raises:
        ValueError: a negative parameter.
    """

    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0
    churn_limit: float = field(default=math.sqrt(2) - 1, repr=False)
    order: int = field(default=2, init=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.churn, self.churn_min, self.churn_noise, self.churn_limit) < 0:
            raise ValueError(f"expected churn parameters >= 0, got {self}")

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """Whether no noise is drawn."""
        return self.churn == 0

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """Raise the noise if asked, predict with Euler, correct with the mean slope."""
        process = ask.process
        if self.churn > 0:
            x_t, t = self._stir(ask, x_t, t)
        x0 = ask(x_t, t)
        if float(s) == 0:
            return mix(process.transport(t, s), x_t, x0), carry
        h = float(s - t)
        slope = process.velocity(x_t, x0, t)
        guess = x_t + h * slope
        end = process.velocity(guess, ask(guess, s), s)
        return x_t + 0.5 * h * (slope + end), carry

    def _stir(self, ask: Ask, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        process = ask.process
        if process.k != 1:
            raise UsageError(
                f"churn needs a noise level σ/α, so a scheduled process, got {process!r}: "
                "use churn = 0, or SSCS, EulerMaruyama or Ancestral for fresh noise"
            )
        schedule = schedule_of(process)
        lam = schedule.log_snr(t)
        level = float((-0.5 * lam).exp())
        if not self.churn_min <= level <= self.churn_max:
            return x_t, t
        gamma = min(self.churn / (len(ask.times) - 1), self.churn_limit)
        up = torch.minimum(schedule.time(lam - 2 * math.log1p(gamma)), torch.ones_like(t))
        q = process.kernel(t, up)
        return mix(q.A, x_t) + ask.draw(self.churn_noise * q.root(), x_t), up
