r"""A process pinned at t = 1: the Schrödinger bridge of I²SB (Liu et al. 2023, 2302.05872).

Pairs (x_0, x_1) of clean and degraded data are given. Conditioning an ordinary process on both
ends gives q(x_t | x_0, x_1), which is its own ``posterior(t, 1)``; for a Brownian motion with
σ_t² = ∫₀ᵗ β and σ̄_t² = ∫ₜ¹ β that is

.. math:: N\!\left(\frac{\bar\sigma^2 x_0 + \sigma^2 x_1}{\sigma^2 + \bar\sigma^2},
          \frac{\sigma^2 \bar\sigma^2}{\sigma^2 + \bar\sigma^2} I\right).

By the Markov property, x_s given (x_t, x_0) does not depend on x_1 for s < t, so the reverse
sampler is the inner process's ordinary posterior step, started at x_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sfumato.noise import Noise
from sfumato.process import Coef, Gaussian, Process, Scheduled, columns, mix
from sfumato.schedule import SymmetricBrownian, Time, as_time
from sfumato.seeds import Generators


@final
@dataclass(frozen=True)
class Bridge(Process):
    """A bridge between data x_0 and a given x_1, k = 1.

    ``kernel`` and ``bridge`` have the given x_1 as their last end. ``drift``, ``diffusion``,
    ``posterior`` and ``score`` are those of the reverse process that starts at x_1, which is
    the inner one conditioned on x_0 alone. ``score`` is therefore the gradient of
    log q(x_t | x_0) of the *inner* process (the paper's Ψ̂).

    Args:
        inner: the process that is pinned.
        deterministic: I²SB's OT-ODE: every variance is dropped, in training and in sampling,
            and the path is the bridge's mean. It is a training choice.

    Raises:
        ValueError: the inner process is not a scheduled one.
    """

    inner: Scheduled = Scheduled(SymmetricBrownian())
    deterministic: bool = False
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Scheduled):
            raise ValueError(f"expected a scheduled process to pin, got {self.inner!r}")

    @property
    def noise(self) -> Noise:  # type: ignore[override]
        """N(0, K) of the inner process."""
        return self.inner.noise

    def _still(self, q: Gaussian) -> Gaussian:
        return Gaussian(q.A, torch.zeros_like(q.cov)) if self.deterministic else q

    def drift(self, t: Time) -> Coef:
        """F of the inner process."""
        return self.inner.drift(t)

    def diffusion(self, t: Time) -> Coef:
        """G Gᵀ of the inner process; zero if deterministic."""
        g = self.inner.diffusion(t)
        return torch.zeros_like(g) if self.deterministic else g

    def kernel(self, s: Time, t: Time) -> Gaussian:
        """q(x_t | x_s, x_1); A is (..., 1, 2) over the ends (x_s, x_1)."""
        a, q, _ = self.inner.kernel(s, t)
        b, r, _ = self.inner.kernel(t, torch.ones_like(as_time(t)))
        total = b * q * b + r
        gain = q * b / total
        cov = q * r / total
        return self._still(Gaussian(columns(a - gain * b * a, gain), cov))

    def bridge(self, t: Time) -> Gaussian:
        """q(x_t | x_0, x_1); A is (..., 1, 2) over the ends (x_0, x_1)."""
        a, cov, _ = self.inner.posterior(t, torch.ones_like(as_time(t)))
        return self._still(Gaussian(a.flip(-1), cov))

    def marginal(self, t: Time) -> Gaussian:
        """q(x_t | x_0) of the inner process: what the reverse process is conditioned on."""
        return self.inner.marginal(t)

    def posterior(self, s: Time, t: Time) -> Gaussian:
        """q(x_s | x_t, x_0), the sampler's step; its mean alone if deterministic."""
        return self._still(self.inner.posterior(s, t))

    def flow(self, t: Time) -> Coef:
        """OT-ODE: ẋ = (G²/σ²)(x - M x_0) + ..., the mean of the posterior step in the limit.

        Raises:
            ValueError: the bridge is not deterministic; its flow would need x_1 too.
        """
        self._need_deterministic()
        f, q = self.inner.drift(t), self.inner.marginal(t)
        return columns(f + q.solve(self.inner.diffusion(t)), f @ q.A)

    def transport(self, t: Time, s: Time) -> Coef:
        """OT-ODE: the posterior's mean, exact for any step.

        Raises:
            ValueError: the bridge is not deterministic.
        """
        self._need_deterministic()
        return self.inner.posterior(s, t).A

    def _need_deterministic(self) -> None:
        if not self.deterministic:
            raise ValueError(
                "a stochastic bridge has no flow without x_1: use Ancestral or EulerMaruyama, "
                "or Bridge(..., deterministic=True) for the OT-ODE"
            )

    def perturb(
        self, x0: Tensor, t: Time, generator: Generators = None, x1: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw x_t on the bridge; returns x_t and (x_t - M_t x_0)/σ_t, I²SB's target.

        Raises:
            ValueError: no x_1 was given, or one of another shape.
        """
        if x1 is None:
            raise ValueError("a bridge needs both ends: pass x1, shaped like x0")
        if x1.shape != x0.shape:
            raise ValueError(
                f"expected x1 shaped like x0, {tuple(x0.shape)}, got {tuple(x1.shape)}"
            )
        q, inner = self.bridge(t), self.inner.marginal(t)
        x_t = mix(columns(q.A, q.root()), x0, x1, self.noise.sample(x0, generator))
        scale = inner.root()
        return x_t, mix(columns(1 / scale, -inner.A / scale), x_t, x0)

    def prior_sample(
        self,
        shape: Sequence[int],
        generator: Generators = None,
        *,
        t: Time = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """A bridge starts at a given x_1, never at noise. Raises ValueError: always."""
        raise ValueError("a bridge starts at the degraded data: pass x1 to sample() as x")

    def clock(self, t: Time) -> Tensor:
        """ln(σ/α) of the inner process."""
        return self.inner.clock(t)

    def clock_dot(self, t: Time) -> Tensor:
        """σ̇/σ - α̇/α of the inner process."""
        return self.inner.clock_dot(t)

    def noise_level(self, t: Time) -> Tensor:
        """ln(σ/α)/4 of the inner process, in [-5, 5]."""
        return self.inner.noise_level(as_time(t))
