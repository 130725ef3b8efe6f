r"""Truncated Taylor steps of second order along the flow: GENIE's solver.

In x̄ = x_t/α and γ = σ/α the flow is dx̄/dγ = ε̂, so with h = γ_s - γ_t

.. math:: \bar x_s = \bar x_t + h\,\hat\epsilon + \tfrac12 h^2\, d_\gamma\hat\epsilon

(Dockhorn et al. 2022, arXiv 2210.05475, eq. 7). The first two terms are DDIM's step, that is, the
exact transport with x̂_0 held fixed, and are computed as such, so that nothing cancels where γ is
large; the third is ½ α_s h² d_γ ε̂.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.process import mix
from sfumato.sampling import Ask, Carry, Solver
from sfumato.systems.genie.derivative import Differentiable, gamma


@final
@dataclass(frozen=True)
class Taylor(Solver):
    """The second-order truncated Taylor method, for a `Differentiable` denoiser.

    One evaluation per step with a learned derivative. A step that ends at t = 0 is the plain
    denoising step x̂_0, and a step that starts where α = 0 is DDIM's, as γ is infinite there. It
    runs in both directions: `encode` follows the same expansion with rising γ.

    Args:
        analytic: take the first step from the prior without asking the network: x_1 holds almost
            nothing but noise, so ε̂ = x_1/σ_1 and d_γ ε̂ = 0 there ("AFS", their appendix). Used
            for a step that starts at t = 1 exactly; saves one evaluation.
    """

    analytic: bool = False
    order: int = field(default=2, init=False, repr=False)

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One step. Raises UsageError: the denoiser has no derivative."""
        if not isinstance(ask.denoiser, Differentiable):
            raise UsageError(
                "the Taylor solver needs the derivative of the noise estimate, which "
                f"{type(ask.denoiser).__name__} does not have: take a model with a derivative head "
                "(train one with `sfumato train genie --model NAME`), or wrap any denoiser in "
                "ExactDerivative, which costs three evaluations a step; guidance goes around a "
                "derivative as MixedDerivative"
            )
        process = ask.denoiser.process
        transport = process.transport(t, s)
        if self.analytic and float(t) == 1 and float(s) > 0:
            return mix(transport, x_t, torch.zeros_like(x_t)), carry
        finite = process.clock(torch.stack([t, s])).isfinite()
        if not bool(finite.all()):
            return mix(transport, x_t, ask(x_t, t)), carry
        x0, slope = ask.denoiser.with_derivative(x_t, t, ask.cond, ask.generator)
        h = gamma(process, s) - gamma(process, t)
        bend = 0.5 * process.schedule.alpha(s) * h.square()
        return mix(transport, x_t, x0) + mix(bend[None, None], slope), carry
