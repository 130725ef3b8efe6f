r"""UniPC: a corrector that costs no evaluation (Zhao et al. 2023, arXiv 2302.04867).

A multistep predictor leads from t to s with the estimates that are known, here DPM-Solver++'s
(UniP-p on the data estimate, with their B_2(h) = e^h - 1 where p = 2). The estimate at the state
it reached is needed in the next step anyway, and together with the p remembered ones it makes the
last step again, on the polynomial through p + 1 of them (UniC-p),

.. math:: x_s^c = \Phi(t, s)\, x_t^c + \sum_{j=0}^{p-1} w_j\, \hat x_0(t_j) + w_p\,
          \hat x_0(x_s, s),

with the weights w of `solve.dpm_solver`: for p > 1 their conditions on a_p (eq. 5) have one
solution, in which B(h) cancels. UniC-1 has a_1 = 1/2, which is the mean of both estimates, held.
The walk goes on from x_s^c, without another evaluation there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.process import Process, mix
from sfumato.sampling import Ask, Carry, Solver
from sfumato.solve.dpm_solver import History, predict, weights


def correct(process: Process, x_r: Tensor, past: History, t: Tensor, x0: Tensor) -> Tensor:
    """x_t from x_r again, now that the estimate x_0 at t is known; past[0] is that at r."""
    times, estimates = [r for r, _ in past], [e for _, e in past]
    if len(past) == 1:
        return mix(process.transport(times[0], t), x_r, torch.lerp(estimates[0], x0, 0.5))
    return mix(weights(process, times[0], t, [*times, t]), x_r, *estimates, x0)


@final
@dataclass(frozen=True)
class UniPC(Solver):
    """UniPC-p on the data estimate, one evaluation per step; the last state is not corrected.

    A step that ends at t = 0, or starts where the clock is infinite (α = 0), is DDIM's.

    Args:
        estimates: p, how many are remembered: 1, 2 or 3. The corrector raises the predictor's
            order p by one; for p = 3 it is declared as 3, because the first steps know fewer.

    Raises:
        ValueError: another number.
    """

    estimates: int = 2

    def __post_init__(self) -> None:
        if self.estimates not in (1, 2, 3):
            raise ValueError(f"expected 1, 2 or 3 estimates, got {self.estimates}")

    @property
    def order(self) -> int:  # type: ignore[override]
        """2 for one estimate, otherwise 3."""
        return min(self.estimates + 1, 3)

    def init(self, x: Tensor) -> tuple[Tensor, History]:
        """The start state, and an empty history of (time, x̂_0)."""
        return x, ()

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """Correct the state at t with its own estimate, then predict that at s."""
        process, x0 = ask.process, ask(x_t, t)
        x_r, past = carry
        if not bool(process.clock(t).isfinite()):
            return mix(process.transport(t, s), x_t, x0), (x_t, ())
        if past:
            x_t = correct(process, x_r, past, t, x0)
        history: History = ((t, x0), *past)[: self.estimates]
        return predict(process, x_t, t, s, history, self.estimates), (x_t, history)
