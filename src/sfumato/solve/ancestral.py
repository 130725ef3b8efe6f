"""Ancestral sampling: draw x_s from q(x_s | x_t, x̂_0)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from torch import Tensor

from sfumato.process import mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class Ancestral(Solver):
    """The posterior step (Ho et al. 2020, eq. 6 and 7; DDGAN, I²SB's bridge).

    With a posterior *mean* in place of x_0 it converges with weak order 1; with a *draw* of
    x_0 | x_t, as from a GAN, it keeps every marginal exactly for any number of steps. One
    evaluation per step.
    """

    order: int = field(default=1, init=False, repr=False)
    deterministic: ClassVar[bool] = False

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """J x_t + (M_s - J M_t) x̂_0 + R z, with R Rᵀ the posterior covariance."""
        x0 = ask(x_t, t)
        q = ask.process.posterior(s, t)
        noise = ask.draw(q.root(), x_t)
        return mix(q.A, x_t, x0) + noise, carry
