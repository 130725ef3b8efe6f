r"""Critically damped Langevin diffusion (Dockhorn et al. 2022, arXiv 2112.07068).

State u = (x, v), both shaped like the data; with B(t) = ∫₀ᵗ β and critical damping Γ = 2√M,

.. math::
   dx = M^{-1} v\,\beta\,dt, \qquad
   dv = -x\,\beta\,dt - \Gamma M^{-1} v\,\beta\,dt + \sqrt{2\Gamma\beta}\,dW .

With a = B/√M the exact kernel is e^{-a} [[1 + a, a/√M], [-√M a, 1 - a]] and, from an initial
velocity variance S, with P = P(3, 2a) the regularised lower incomplete gamma function,

.. math::
   \Sigma_{xx} &= P + e^{-2a} (a^2/M) S \\
   \Sigma_{xv} &= e^{-2a} [2\sqrt{M} a^2 + (a/\sqrt{M})(1 - a) S] \\
   \Sigma_{vv} &= M (P + 4 a e^{-2a}) + e^{-2a} (1 - a)^2 S .

P and the determinant below hold no differences of nearly equal numbers, so the kernel and its
Cholesky factor keep their digits in float32 down to t = 1e-5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from sfumato.noise import Noise, White
from sfumato.process import Coef, Diffusion, Gaussian, matrix
from sfumato.schedule import Time, as_time


@final
@dataclass(frozen=True)
class CriticallyDamped(Diffusion):
    """Phase space, k = 2: position and velocity; defaults as published.

    Args:
        beta0, beta1: β(t) = β₀ + β₁ t.
        mass_inv: M⁻¹; the prior's velocity variance is M.
        gamma: v_0 ~ N(0, γM), integrated out (hybrid score matching).
        noise: N(0, K) over one block.

    Raises:
        ValueError: a parameter outside its range.
    """

    beta0: float = 4.0
    beta1: float = 0.0
    mass_inv: float = 4.0
    gamma: float = 0.04
    noise: Noise = White()
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not (self.beta0 > 0 and self.beta1 >= 0 and self.mass_inv > 0 and self.gamma > 0):
            raise ValueError(
                "expected beta0 > 0, beta1 >= 0, mass_inv > 0 and gamma > 0, "
                f"got {self.beta0}, {self.beta1}, {self.mass_inv}, {self.gamma}"
            )

    @property
    def mass(self) -> float:
        """M."""
        return 1 / self.mass_inv

    def beta(self, t: Time) -> Tensor:
        """β(t) = β₀ + β₁ t."""
        return self.beta0 + self.beta1 * as_time(t)

    def scaled_time(self, s: Time, t: Time) -> Tensor:
        """a = (B(t) - B(s))/√M, as (t - s)(β₀ + β₁ (s + t)/2)/√M."""
        t = as_time(t)
        s = s if isinstance(s, float) else as_time(s)  # a number leaves t's precision alone
        return (t - s) * (self.beta0 + 0.5 * self.beta1 * (s + t)) / math.sqrt(self.mass)

    def drift(self, t: Time) -> Coef:
        """β [[0, M⁻¹], [-1, -ΓM⁻¹]], ΓM⁻¹ = 2/√M."""
        b = self.beta(t)
        friction = 2 / math.sqrt(self.mass)
        return matrix([[0 * b, self.mass_inv * b], [-b, -friction * b]])

    def diffusion(self, t: Time) -> Coef:
        """diag(0, 2Γβ), Γ = 2√M."""
        b = self.beta(t)
        return matrix([[0 * b, 0 * b], [0 * b, 4 * math.sqrt(self.mass) * b]])

    def _spread(self, a: Tensor, sv: float) -> tuple[Coef, Tensor]:
        """Covariance and its determinant after scaled time a, from v-variance sv."""
        m, root = self.mass, math.sqrt(self.mass)
        e2 = (-2 * a).exp()
        p = torch.special.gammainc(torch.full_like(a, 3.0), 2 * a)
        nxx, nxv, nvv = p, 2 * root * a.square() * e2, m * (p + 4 * a * e2)
        # p² + 4a e² p - 4a⁴ e⁴, the two last nearly cancel when p is small: p = (4/3)a³ + ...
        det = m * (p.square() + 4 * a * e2 * (p - a * (a * a) * e2))
        if sv:
            wx, wv = a / root, 1 - a
            gain = wx.square() * nvv - 2 * wx * wv * nxv + wv.square() * nxx
            det = det + sv * e2 * gain
            nxx = nxx + sv * e2 * wx.square()
            nxv = nxv + sv * e2 * wx * wv
            nvv = nvv + sv * e2 * wv.square()
        return matrix([[nxx, nxv], [nxv, nvv]]), det

    def kernel(self, s: Time, t: Time) -> Gaussian:
        """q(u_t | u_s), exact also for β₁ > 0: it depends on B(t) - B(s) alone."""
        a = self.scaled_time(s, t)
        root = math.sqrt(self.mass)
        move = matrix([[1 + a, a / root], [-root * a, 1 - a]])
        cov, det = self._spread(a, 0.0)
        return Gaussian((-a).exp()[..., None, None] * move, cov, det)

    def marginal(self, t: Time) -> Gaussian:
        """q(u_t | x_0), v_0 ~ N(0, γM) integrated out."""
        a = self.scaled_time(0.0, t)
        mean = (-a).exp()[..., None, None] * matrix([[1 + a], [-math.sqrt(self.mass) * a]])
        cov, det = self._spread(a, self.gamma * self.mass)
        return Gaussian(mean, cov, det)

    def clock(self, t: Time) -> Tensor:
        """ln a: the estimate of x_0 is smooth in the logarithm of time near the data."""
        return self.scaled_time(0.0, t).log()

    def clock_dot(self, t: Time) -> Tensor:
        """β / (√M a)."""
        return self.beta(t) / (math.sqrt(self.mass) * self.scaled_time(0.0, t))

    def noise_level(self, t: Time) -> Tensor:
        """ln(a)/4, bounded below at t = 1e-9."""
        return 0.25 * self.scaled_time(0.0, as_time(t).clamp_min(1e-9)).log()
