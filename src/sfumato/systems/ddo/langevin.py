r"""Annealed Langevin dynamics, preconditioned by the noise's covariance (Lim et al. 2023, DDO).

At each noise level, some steps of

.. math:: x \leftarrow x + h\,(\alpha \hat x_0(x) - x) + \sqrt{2h}\,\sigma\, \xi,
          \qquad \xi \sim N(0, K),

then the next level (NCSN: Song & Ermon 2019, arXiv 1907.05600, algorithm 1, with K in place of the
identity). σ² times K times the score is α x̂_0 - x, in which K⁻¹ has cancelled: in every mode the
drift pulls by a factor of at most 1, so h < 2 is stable on every grid.

Plain steps make the variance of a mode that is pulled with strength a too large by
1/(1 - h a/2). The average of two successive draws in place of ξ (Leimkuhler & Matthews 2013,
doi 10.1093/amrx/abs010, eq. 1.5) makes it exact for Gaussian laws, and the order 2 for others, at
no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sfumato.process import columns, mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class AnnealedLangevin(Solver):
    """``inner`` Langevin steps at each time of the grid, for processes of one block.

    Between two times the state is scaled by the ratio of the α (the smallest, where each mode has
    its own, so that noise is not amplified); the last estimate, at the last
    time above 0, is the sample. ``inner`` evaluations per step, and one more in the last.

    Args:
        inner: Langevin steps at each noise level.
        size: h.
        averaged: noise that is the average of two successive draws.

    Raises:
        ValueError: fewer than 1 step, or h outside (0, 2).
    """

    inner: int = 20
    size: float = 0.3
    averaged: bool = True
    deterministic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.inner < 1 or not 0 < self.size < 2:
            raise ValueError(
                f"expected inner >= 1 and 0 < size < 2, got {self.inner} and {self.size}"
            )

    @property
    def order(self) -> int:  # type: ignore[override]
        """Weak order in h of the law that the inner steps settle in."""
        return 2 if self.averaged else 1

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """Settle at t, then go to s."""
        process = ask.process
        if process.k != 1:
            raise ValueError(f"expected a process of one block, got {process!r}")
        q = process.marginal(t)
        if not bool((q.A > 0).all()):
            raise ValueError(
                f"Langevin dynamics needs a signal at every time, got none at t = {float(t):g}; "
                "begin below it"
            )
        h = self.size
        pull = columns(torch.full_like(q.A, 1 - h), h * q.A)
        spread = (2 * h) ** 0.5 * q.root()
        before = ask.draw(spread, x_t) if self.averaged else None
        for _ in range(self.inner):
            x_t = mix(pull, x_t, ask(x_t, t))
            now = ask.draw(spread, x_t)
            x_t = x_t + (now if before is None else 0.5 * (before + now))
            before = None if before is None else now
        if float(s) <= 0:
            return ask(x_t, t), carry
        ratio = (process.marginal(s).A / q.A).amin()  # where modes are blurred, others are huge
        return mix(ratio.reshape(1, 1), x_t), carry
