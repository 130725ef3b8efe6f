"""An adaptive solver for the probability flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from sfumato.integrate import fixed_step, integrate
from sfumato.process import mix
from sfumato.sampling import Ask, Carry, Solver


@final
@dataclass(frozen=True)
class DormandPrince(Solver):
    """Dormand-Prince 5(4) inside every interval of the grid (Song et al. 2021 use it as RK45).

    Step sizes are chosen for each sample apart, so a sample does not depend on its batch; the
    evaluations counted are the sequential calls. A step to t = 0 is one exact transport with
    x̂_0 held fixed: grids should come close to 0 before it.

    Args:
        rtol, atol: relative and absolute tolerance per step.
        adaptive: if false, one fifth-order step per interval, six evaluations each.

    Raises:
        ValueError: a tolerance that is not positive.
    """

    rtol: float = 1e-4
    atol: float = 1e-4
    adaptive: bool = True
    order: int = field(default=5, init=False, repr=False)

    def __post_init__(self) -> None:
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(f"expected positive tolerances, got {self.rtol} and {self.atol}")

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """Integrate from t to s; the carry is each sample's last step size."""
        process = ask.process

        def field(x: Tensor, time: Tensor) -> Tensor:
            return process.velocity(x, ask(x, time), time)

        if float(s) == 0:
            return mix(process.transport(t, s), x_t, ask(x_t, t)), carry
        if not self.adaptive:
            batch = x_t.shape[0]
            return fixed_step(field, x_t, t.expand(batch), s.expand(batch)), carry
        return integrate(field, x_t, t, s, rtol=self.rtol, atol=self.atol, first=carry)
