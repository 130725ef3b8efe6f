r"""Symmetric splitting of the reverse diffusion in phase space (CLD's "SSCS").

Written in τ = 1 - t, the reverse of critically damped Langevin diffusion is a sum of

.. math::
   A:\ & dx = -M^{-1} v\,\beta\,d\tau, \quad
        dv = (x - \Gamma M^{-1} v)\,\beta\,d\tau + \sqrt{2\Gamma\beta}\,dW \\
   S:\ & dv = 2\Gamma\beta\,[s(x, v) + M^{-1} v]\,d\tau .

A is an Ornstein-Uhlenbeck process whose kernel is known: it is the forward diffusion with the
velocity's sign turned, because s = -M⁻¹v at equilibrium. S is the remainder, small where the model
is near equilibrium. A step from t to s is A from t to the middle, S over t - s with the model asked
at the state reached and at the *beginning* of the step, and A from the middle to s (Dockhorn et
al. 2022, arXiv 2112.07068, algorithm 1). Each part takes its own ∫β, so that a rising β is a
constant one on another grid; with a = ∫β/√M and P = P(3, 2a), A has mean and covariance

.. math::
   e^{-a} \begin{pmatrix} 1 + a & -a/\sqrt{M} \\ \sqrt{M} a & 1 - a \end{pmatrix}, \qquad
   \begin{pmatrix} P & -2\sqrt{M} a^2 e^{-2a} \\ \cdot & M(P + 4a e^{-2a}) \end{pmatrix} .
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from sfumato.damped import CriticallyDamped
from sfumato.errors import UsageError
from sfumato.process import Gaussian, columns, matrix, mix
from sfumato.sampling import Ask, Carry, Solver
from sfumato.schedule import Time


def back(process: CriticallyDamped, t: Time, s: Time) -> Gaussian:
    """The kernel of part A from t down to s: the forward one, seen in a mirror v -> -v."""
    a, cov, det = process.kernel(s, t)
    flip = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=a.dtype, device=a.device)
    return Gaussian(a * flip, cov * flip, det)


@final
@dataclass(frozen=True)
class SSCS(Solver):
    """SSCS: an exact half step, the score's kick, an exact half step; weak order 1.

    One evaluation per step. A step to t = 0 is the mean of q(x_0 | x_t, x̂_0), which is x̂_0, as for
    `EulerMaruyama`. (The published last step moves x by -M⁻¹vβt, so that its evaluation of the
    model changes the velocity alone, which nobody reads.)
    """

    order: int = field(default=1, init=False, repr=False)
    deterministic: ClassVar[bool] = False

    def step(
        self, ask: Ask, x_t: Tensor, t: Tensor, s: Tensor, carry: Carry
    ) -> tuple[Tensor, Carry]:
        """One step. Raises UsageError: the process is not critically damped Langevin diffusion."""
        process = ask.process
        if not isinstance(process, CriticallyDamped):
            raise UsageError(
                f"splitting (SSCS) is for critically damped Langevin diffusion, got {process!r}: "
                "use EulerMaruyama or Ancestral"
            )
        if float(s) == 0:
            x0 = ask(x_t, t)
            return mix(process.posterior(s, t).A, x_t, x0), carry
        middle = 0.5 * (t + s)
        first, second = back(process, t, middle), back(process, middle, s)
        x = mix(first.A, x_t) + ask.draw(first.root(), x_t)
        x0 = ask(x, t)
        x = mix(kick(process, t, s), x, x0)
        return mix(second.A, x) + ask.draw(second.root(), x), carry


def kick(process: CriticallyDamped, t: Tensor, s: Tensor) -> Tensor:
    """Part S over t - s, (2, 3) over (x, v, x̂_0): v += 2Γ ∫β [s_v + M⁻¹v]."""
    q = process.marginal(t)
    eye = torch.eye(2, dtype=q.cov.dtype, device=q.cov.device)
    score = columns(-q.solve(eye), q.solve(q.A))[..., 1, :]
    gain = 4 * process.mass * process.scaled_time(s, t)  # 2Γ ∫β, Γ = 2√M
    one, zero = torch.ones_like(gain), torch.zeros_like(gain)
    return matrix(
        [
            [one, zero, zero],
            [gain * score[0], one + gain * (score[1] + process.mass_inv), gain * score[2]],
        ]
    )
