"""DDIM, with η: from the probability flow to the ancestral step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from sfumato.process import Scheduled, columns, mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class DDIM(Solver):
    """The exact transport with x̂_0 held fixed (Song et al. 2021), one evaluation per step.

    Args:
        eta: scheduled processes only. 0 follows the flow, on any process; 1 is the ancestral step
            (their eq. 16).

    Raises:
        ValueError: η outside [0, 1], or η > 0 where it is not defined.
    """

    eta: float = 0.0
    order: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"expected eta in [0, 1], got {self.eta}")

    @property
    def deterministic(self) -> bool:  # type: ignore[override]
        """Whether no noise is drawn."""
        return self.eta == 0

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """Φ x_t + c x̂_0; with η, √((σ_s² - v)/σ_t²) (x_t - α_t x̂_0) + α_s x̂_0 + √v z."""
        process, x0 = ask.process, ask(x_t, t)
        if self.eta == 0:
            return mix(process.transport(t, s), x_t, x0), carry
        if not isinstance(process, Scheduled):
            raise ValueError(f"eta needs a scheduled process, got {process!r}: use Ancestral")
        now, then = process.marginal(t), process.marginal(s)
        var = self.eta**2 * process.posterior(s, t).cov
        ratio = ((then.cov - var).clamp_min(0) / now.cov).sqrt()
        coef = columns(ratio, then.A - ratio @ now.A)
        return mix(coef, x_t, x0) + ask.draw(var.sqrt(), x_t), carry


def StochasticDDIM(eta: float = 1.0) -> DDIM:
    """`DDIM` that draws fresh noise, as much as η in (0, 1] says."""
    return DDIM(eta)
