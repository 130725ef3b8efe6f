r"""DEIS: multistep on the noise estimate (Zhang and Chen 2023, arXiv 2204.13902, tAB-DEIS).

With ρ = σ/α the flow is d(x/α)/dρ = ε(x, t). The estimates at this time and the last ones are
extrapolated by a polynomial in u = ln ρ and integrated exactly,

.. math:: x_s = \frac{\alpha_s}{\alpha_t} x_t + \alpha_s \sum_j w_j\, \hat\epsilon_j, \qquad
          w_j = \int_{u_t}^{u_s} \ell_j(u)\, e^u\, du,

ℓ_j the Lagrange basis over the times of the estimates. One estimate is DDIM. `DPMSolverPP` takes
the data estimate for slow; here it is the noise estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.process import Scheduled, mix
from sfumato.sampling import Ask, Carry, Solver
from sfumato.solve.lagrange import NODES, WEIGHTS, basis

History = tuple[tuple[Tensor, Tensor], ...]
"""(u, ε̂) of earlier steps, the newest first."""


def weights(begin: Tensor, end: Tensor, past: list[Tensor]) -> Tensor:
    """w_j = ∫ ℓ_j(u) e^u du from ``begin`` to ``end``, one for each of ``past``, (p,) float64."""
    half = 0.5 * (end - begin)
    u = begin + half * (NODES + 1)
    return basis(u, torch.stack(past)) @ (u.exp() * half * WEIGHTS)


@final
@dataclass(frozen=True)
class DEIS(Solver):
    """One evaluation per step. A step to t = 0, or from where α = 0, is DDIM's.

    The first steps have fewer estimates to go by, and their error is of order 2 whatever follows;
    the third estimate lessens the constant.

    Args:
        estimates: how many are remembered, this one included: 1, 2 or 3.

    Raises:
        ValueError: another number, or a process that is not a scheduled one.
    """

    estimates: int = 3

    @property
    def order(self) -> int:  # type: ignore[override]
        """1 for one estimate, otherwise 2."""
        return min(self.estimates, 2)

    def __post_init__(self) -> None:
        if self.estimates not in (1, 2, 3):
            raise ValueError(f"expected 1, 2 or 3 estimates, got {self.estimates}")

    def init(self, x: Tensor) -> History:
        """An empty history of (u, ε̂)."""
        return ()

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One step on the polynomial through this estimate and the remembered ones."""
        process = ask.process
        if not isinstance(process, Scheduled):
            raise ValueError(f"DEIS needs a scheduled process, got {process!r}: use DPMSolverPP")
        x0 = ask(x_t, t)
        begin, end = process.clock(t), process.clock(s)
        if not bool(begin.isfinite()):
            return mix(process.transport(t, s), x_t, x0), ()
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        noise = mix(torch.stack([1 / sigma, -alpha / sigma])[None], x_t, x0)
        history: History = ((begin, noise), *carry)[: self.estimates]
        if not bool(end.isfinite()):
            return mix(process.transport(t, s), x_t, x0), ()
        then = process.schedule.alpha(s)
        w = then * weights(begin, end, [u for u, _ in history])
        coef = torch.cat([(then / alpha)[None], w])[None]
        return mix(coef, x_t, *[e for _, e in history]), history[: self.estimates - 1]
