"""Euler-Maruyama on the reverse SDE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from torch import Tensor

from sfumato.process import Gaussian, columns, mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class EulerMaruyama(Solver):
    """x_s = x_t + (s - t)(F x - G Gᵀ K∇log p) + √(t - s) G z (Anderson 1982), weak order 1.

    One evaluation per step. A step to t = 0 is the mean of q(x_0 | x_t, x̂_0).
    """

    order: int = field(default=1, init=False, repr=False)
    deterministic: ClassVar[bool] = False

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One step.

        Raises:
            ValueError: the drift is infinite at t, as where α = 0, or there is no noise at all.
        """
        process = ask.process
        drift, power, now = process.drift(t), process.diffusion(t), process.marginal(t)
        if not bool(drift.isfinite().all() and power.isfinite().all()):
            raise ValueError(
                f"the reverse SDE is infinite at t = {float(t):g} for {process!r}: "
                "start the grid below it, or use Ancestral"
            )
        if not bool(power.any()) and float(t) > 0:
            raise ValueError(f"there is no reverse SDE without noise for {process!r}: use Euler")
        x0 = ask(x_t, t)
        if float(s) == 0:
            return mix(process.posterior(s, t).A, x_t, x0), carry
        gain = now.solve(power).mT  # G Gᵀ Σ⁻¹
        rate = columns(drift + gain, -gain @ now.A)
        noise = ask.draw(Gaussian(power, float(t - s) * power).root(), x_t)
        return x_t + float(s - t) * mix(rate, x_t, x0) + noise, carry
