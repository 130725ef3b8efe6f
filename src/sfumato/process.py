r"""Processes: how data becomes noise, dx = F(t) x dt + G(t) dW, and what follows from it.

One closed form suffices, the forward kernel q(x_t | x_s). With M_t = A(0, t) e (e lifts data
to a state) and Σ_t the covariance of x_t given x_0, everything else is Gaussian conditioning:

* marginal    q(x_t | x_0) = N(M_t x_0, Σ_t ⊗ K)
* posterior   q(x_s | x_t, x_0), with gain J = Σ_s Aᵀ Σ_t⁻¹:
  mean J x_t + (M_s - J M_t) x_0, covariance (I - J A) Σ_s (I - J A)ᵀ + J Q Jᵀ
* score       K ∇ log p(x_t | x_0) = -Σ_t⁻¹ (x_t - M_t x_0)
* velocity    of the probability flow, F x - ½ G Gᵀ (K score)
* transport   the exact flow from t to s while x_0 is held fixed

where every matrix is k x k and acts on the k blocks that are stacked on axis 1 of the state
(k = 1 for ordinary diffusion, 2 for position and velocity). E[x_0 | x_t] in place of x_0 turns
the score, the velocity and the transport into those of the data distribution.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from sfumato.noise import Noise, White
from sfumato.schedule import EDM, Schedule, Time, as_time
from sfumato.seeds import Generators

Coef = Tensor
"""A coefficient matrix (..., k, m): float64, or float32 if the time was; cast on use."""


class Gaussian(NamedTuple):
    """N(A @ ends, cov ⊗ K) over k blocks; ``det`` is given where cov's own would cancel."""

    A: Coef  # (..., k, number of blocks in all ends)
    cov: Coef  # (..., k, k)
    det: Tensor | None = None  # (...)

    def root(self) -> Coef:
        """Lower Cholesky factor L of cov, (..., k, k); zero variances are allowed."""
        c = self.cov
        if c.shape[-1] == 1:
            return c.clamp_min(0).sqrt()
        a, b, d = c[..., 0, 0], c[..., 1, 0], c[..., 1, 1]
        l11 = a.clamp_min(0).sqrt()
        l21 = torch.where(l11 > 0, b / l11, torch.zeros_like(b))
        if self.det is None:
            l22 = (d - l21.square()).clamp_min(0).sqrt()
        else:
            l22 = torch.where(a > 0, self.det / a, d).clamp_min(0).sqrt()
        return matrix([[l11, torch.zeros_like(l11)], [l21, l22]])

    def solve(self, y: Coef) -> Coef:
        """cov⁻¹ y for a coefficient matrix y (..., k, m)."""
        c = self.cov
        if c.shape[-1] == 1:
            return y / c
        det = c[..., 0, 0] * c[..., 1, 1] - c[..., 0, 1] * c[..., 1, 0]
        det = det if self.det is None else self.det
        adjugate = matrix([[c[..., 1, 1], -c[..., 0, 1]], [-c[..., 1, 0], c[..., 0, 0]]])
        return adjugate @ y / det[..., None, None]


def matrix(rows: Sequence[Sequence[Tensor]]) -> Coef:
    """A coefficient matrix (..., k, m) of its k rows, each of m entries (...) that broadcast."""
    return torch.stack([torch.stack(torch.broadcast_tensors(*r), -1) for r in rows], -2)


def mix(coef: Coef, *ends: Tensor) -> Tensor:
    """Apply a coefficient matrix (..., k, m) to states whose blocks number m in all.

    ``coef`` has no batch axes or one, (k, m) or (B, k, m); each end is (B, c·C, ...) with c
    blocks of C channels. The smallest axis 1 among the ends tells C. A coefficient for each place
    of the state is (B, ..., k, m), B its batch or 1.

    Raises:
        ValueError: the blocks do not add up, or the batches differ.
    """
    k, m = coef.shape[-2:]
    first = ends[0]
    if coef.ndim > 2 and coef.shape[0] not in (1, first.shape[0]):
        raise ValueError(
            f"expected one time, or one per sample ({first.shape[0]}), got {coef.shape[0]}"
        )
    width = sum(e.shape[1] for e in ends)
    if width % m:
        raise ValueError(
            f"expected ends that hold {m} equal blocks on axis 1, "
            f"got {[tuple(e.shape) for e in ends]}"
        )
    channels = width // m
    blocks = [b for e in ends for b in e.split(channels, dim=1)]
    if len(blocks) != m:
        raise ValueError(
            f"expected {m} blocks of {channels} channels, got {[tuple(e.shape) for e in ends]}"
        )
    c = coef.to(device=first.device, dtype=first.dtype)
    if coef.ndim > 3:  # (B, ..., k, m): one for each place
        pick = lambda i, j: c[..., i, j].unsqueeze(1)  # noqa: E731
    else:
        c = c.reshape(*c.shape, *([1] * (first.ndim - 1)))  # (B?, k, m, 1, ...)
        pick = (lambda i, j: c[:, i, j]) if coef.ndim == 3 else (lambda i, j: c[i, j])
    rows = []
    for i in range(k):
        row = pick(i, 0) * blocks[0]
        for j in range(1, m):
            row = torch.addcmul(row, pick(i, j), blocks[j])
        rows.append(row)
    return rows[0] if k == 1 else torch.cat(rows, dim=1)


def columns(*coefs: Coef) -> Coef:
    """Coefficient matrices (..., k, m_i) side by side, (..., k, Σ m_i): for several ends."""
    return torch.cat(coefs, dim=-1)


_NODES, _WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(48))


class Process(ABC):
    """What verbs and solvers ask of a linear Gaussian process on k blocks.

    A new one with a prior is a `Diffusion`, for which three of these methods are to be written.
    """

    noise: Noise
    k: ClassVar[int]

    @abstractmethod
    def drift(self, t: Time) -> Coef:
        """F(t), (..., k, k)."""

    @abstractmethod
    def diffusion(self, t: Time) -> Coef:
        """G Gᵀ(t), (..., k, k)."""

    @abstractmethod
    def kernel(self, s: Time, t: Time) -> Gaussian:
        """q(x_t | x_s) for s <= t; A is (..., k, k)."""

    @abstractmethod
    def marginal(self, t: Time) -> Gaussian:
        """q(x_t | x_0) with x_0 data; A = M_t is (..., k, 1)."""

    @abstractmethod
    def posterior(self, s: Time, t: Time) -> Gaussian:
        """q(x_s | x_t, x_0) for s <= t; A is (..., k, k + 1) over the ends (x_t, x_0)."""

    @abstractmethod
    def flow(self, t: Time) -> Coef:
        """W(t) and Ṁ, (..., k, k + 1): with x_0 fixed, ẋ = W (x - M x_0) + Ṁ x_0."""

    @abstractmethod
    def transport(self, t: Time, s: Time) -> Coef:
        """Exact flow from t to s with x_0 held fixed; (..., k, k + 1) over (x_t, x_0)."""

    @abstractmethod
    def perturb(
        self, x0: Tensor, t: Time, generator: Generators = None, x1: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw x_t for training; returns x_t and the noise ε that is in it, both states."""

    @abstractmethod
    def prior_sample(
        self,
        shape: Sequence[int],
        generator: Generators = None,
        *,
        t: Time = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw x_1 from the prior; ``shape`` is that of data, (B, C, ...)."""

    @abstractmethod
    def clock(self, t: Time) -> Tensor:
        """A monotone function of t in which E[x_0 | x_t] is smooth; multistep solvers use it."""

    @abstractmethod
    def clock_dot(self, t: Time) -> Tensor:
        """d clock / dt."""

    @abstractmethod
    def noise_level(self, t: Time) -> Tensor:
        """The noise level that a network is told: ln(σ/α)/4 or the like, finite inside (0, 1)."""

    def to_state(self, x0: Tensor) -> Tensor:
        """Data (B, C, ...) to the state's mean (B, kC, ...) at t = 0: further blocks are zero."""
        if self.k == 1:
            return x0
        return torch.cat([x0, *[torch.zeros_like(x0)] * (self.k - 1)], dim=1)

    def to_data(self, x: Tensor) -> Tensor:
        """State (B, kC, ...) to data (B, C, ...): the first block."""
        if x.shape[1] % self.k:
            raise ValueError(f"expected {self.k} blocks on axis 1, got shape {tuple(x.shape)}")
        return x if self.k == 1 else x.narrow(1, 0, x.shape[1] // self.k)

    def draw(self, root: Coef, like: Tensor, generator: Generators = None) -> Tensor:
        """N(0, R Rᵀ ⊗ K) for a k x k matrix R; ``like`` is a state (B, kC, ...)."""
        block = self.to_data(like)
        return mix(root, *[self.noise.sample(block, generator) for _ in range(self.k)])

    def velocity(self, x_t: Tensor, x0: Tensor, t: Time) -> Tensor:
        """dx/dt of the probability flow at x_t, for the data estimate x_0."""
        w, m_dot = self.flow(t).split([self.k, 1], dim=-1)
        return mix(columns(w, m_dot - w @ self.marginal(t).A), x_t, x0)

    def score(self, x_t: Tensor, x0: Tensor, t: Time) -> Tensor:
        """K ∇ log p = -Σ_t⁻¹ (x_t - M_t x_0), a state."""
        q = self.marginal(t)
        eye = torch.eye(self.k, dtype=q.cov.dtype, device=q.cov.device).expand_as(q.cov)
        return mix(columns(-q.solve(eye), q.solve(q.A)), x_t, x0)


class Diffusion(Process, ABC):
    """A process with a prior: all follows from drift, diffusion and kernel (see the module's text).

    With more than one block `clock`, `clock_dot` and `noise_level` are to be written too.
    """

    def marginal(self, t: Time) -> Gaussian:
        """q(x_t | x_0): the kernel from 0, further blocks being zero there."""
        a, cov, det = self.kernel(0.0, t)
        return Gaussian(a[..., :1], cov, det)

    def clock(self, t: Time) -> Tensor:
        """ln(σ/α) = ½ ln Σ - ln M."""
        self._need_one_block("clock")
        q = self.marginal(t)
        return 0.5 * q.cov[..., 0, 0].log() - q.A[..., 0, 0].log()

    def clock_dot(self, t: Time) -> Tensor:
        """½ G² / Σ, since Σ̇ = 2 F Σ + G² and Ṁ = F M."""
        self._need_one_block("clock_dot")
        return 0.5 * (self.diffusion(t) / self.marginal(t).cov)[..., 0, 0]

    def noise_level(self, t: Time) -> Tensor:
        """ln(σ/α)/4 in [-5, 5], Karras et al. 2022's c_noise."""
        return (0.25 * self.clock(t)).clamp(-5, 5)

    def _need_one_block(self, name: str) -> None:
        if self.k != 1:
            raise ValueError(f"{type(self).__name__} has {self.k} blocks: write its {name}")

    def prior_sample(
        self,
        shape: Sequence[int],
        generator: Generators = None,
        *,
        t: Time = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw x_1 from the prior, N(0, Σ_1 ⊗ K); ``shape`` is that of data, (B, C, ...).

        Give ``t = times[0]`` for a grid that begins below 1: N(0, Σ_t ⊗ K), which leaves out what
        little data x_t still holds.
        """
        like = self.to_state(torch.zeros(tuple(shape), dtype=dtype, device=device))
        return self.draw(self.marginal(t).root(), like, generator)

    def perturb(
        self, x0: Tensor, t: Time, generator: Generators = None, x1: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw x_t = M_t x_0 + L ε; returns x_t and ε, both states.

        Raises:
            ValueError: an x_1 was given, which only a bridge has.
        """
        if x1 is not None:
            raise ValueError("x1 was given, but this process is no bridge: use Bridge(process)")
        q = self.marginal(t)
        eye = torch.eye(self.k, dtype=q.cov.dtype, device=q.cov.device)
        eps = self.draw(eye, self.to_state(x0), generator)
        return mix(columns(q.A, q.root()), x0, eps), eps

    def posterior(self, s: Time, t: Time) -> Gaussian:
        """q(x_s | x_t, x_0) for s <= t; A is (..., k, k + 1) over the ends (x_t, x_0)."""
        a, q, _ = self.kernel(s, t)
        now, before = self.marginal(t), self.marginal(s)
        gain = now.solve(a @ before.cov).mT
        rest = torch.eye(self.k, dtype=a.dtype, device=a.device) - gain @ a
        cov = rest @ before.cov @ rest.mT + gain @ q @ gain.mT
        return Gaussian(columns(gain, before.A - gain @ now.A), cov)

    def flow(self, t: Time) -> Coef:
        """W(t) = F + ½ G Gᵀ Σ⁻¹ and Ṁ = F M: with x_0 fixed, ẋ = W (x - M x_0) + Ṁ x_0."""
        f, q = self.drift(t), self.marginal(t)
        # Σ⁻¹ is symmetric, so G Gᵀ Σ⁻¹ = (Σ⁻¹ G Gᵀ)ᵀ
        return columns(f + 0.5 * q.solve(self.diffusion(t)).mT, f @ q.A)

    def angle(self, t: Tensor, s: Tensor) -> Tensor:
        r"""Rotation of L⁻¹(x - M x_0) along the flow from t to s, for k = 2, in radians.

        With Σ = L Lᵀ and y = x - M x_0 = L R z, R turns at the rate
        :math:`\dot\theta = -[L^{-1} W L]_{12}`: L⁻¹L̇ is lower triangular, so the upper corner
        is the whole skew part. Gauss-Legendre quadrature in √t, in which it is smooth.
        """
        a, b = torch.broadcast_tensors(t.double().sqrt(), s.double().sqrt())
        u = 0.5 * (a + b)[..., None] + 0.5 * (b - a)[..., None] * _NODES.to(a.device)
        w = self.flow(u.square())[..., :, : self.k]
        root = self.marginal(u.square()).root()
        lw = w[..., 0, 1] * root[..., 1, 1] / root[..., 0, 0]  # rows of L⁻¹ W L, upper corner
        rate = lw * 2 * u
        return -(0.5 * (b - a) * (rate * _WEIGHTS.to(a.device)).sum(-1))

    def transport(self, t: Time, s: Time) -> Coef:
        """Exact flow from t to s with x_0 held fixed; (..., k, k + 1) over (x_t, x_0)."""
        t, s = as_time(t), as_time(s)
        now, then = self.marginal(t), self.marginal(s)
        if self.k == 1:
            ratio = then.root() / now.root()
        elif self.k == 2:
            theta = self.angle(t, s)
            c, d = theta.cos(), theta.sin()
            turn = matrix([[c, -d], [d, c]]).to(then.cov)
            low = now.root()
            l11, l21, l22 = low[..., 0, 0], low[..., 1, 0], low[..., 1, 1]
            inverse = matrix([[1 / l11, torch.zeros_like(l11)], [-l21 / (l11 * l22), 1 / l22]])
            ratio = then.root() @ turn @ inverse
        else:
            raise ValueError(f"transport is known for k = 1 and 2 blocks, got k = {self.k}")
        return columns(ratio, then.A - ratio @ now.A)


@final
@dataclass(frozen=True)
class Scheduled(Diffusion):
    """k = 1: x_t = α(t) x_0 + σ(t) ε with any `Schedule`.

    F = α̇/α, G² = 2σ² (σ̇/σ - α̇/α), q(x_t | x_s) = N(α_t/α_s x_s, σ_t² - (α_t/α_s)² σ_s²).
    """

    schedule: Schedule = EDM()
    noise: Noise = White()
    k: ClassVar[int] = 1

    def drift(self, t: Time) -> Coef:
        """α̇/α."""
        return (self.schedule.alpha_dot(t) / self.schedule.alpha(t))[..., None, None]

    def diffusion(self, t: Time) -> Coef:
        """2σσ̇ - 2σ² α̇/α."""
        h, t = self.schedule, as_time(t)
        sigma, ratio = h.sigma(t), h.alpha_dot(t) / h.alpha(t)
        # σσ̇ stays finite at t = 0 where σ̇ alone does not
        tiny = torch.finfo(t.dtype).tiny ** 0.25
        safe = t.clamp_min(tiny)
        return (2 * h.sigma(safe) * h.sigma_dot(safe) - 2 * sigma.square() * ratio)[..., None, None]

    def kernel(self, s: Time, t: Time) -> Gaussian:
        """A = α_t/α_s, variance -σ_t² expm1(λ_t - λ_s)."""
        h = self.schedule
        start, end = torch.broadcast_tensors(as_time(s), as_time(t))
        still = start == end  # also where α = 0 or σ = 0, and the ratios below are undefined
        a = h.alpha(end) / h.alpha(start)
        gap = h.gap(start, end)
        if a.ndim > start.ndim:  # a level for each mode
            still = still.reshape(-1, *[1] * (a.ndim - 1))
        a = torch.where(still, torch.ones_like(a), a)
        gap = torch.where(still, torch.zeros_like(gap), gap)
        var = -h.sigma(end).square() * torch.expm1(gap)
        return Gaussian(a[..., None, None], var[..., None, None])

    def marginal(self, t: Time) -> Gaussian:
        """N(α x_0, σ²)."""
        h = self.schedule
        return Gaussian(h.alpha(t)[..., None, None], h.sigma(t).square()[..., None, None])

    def flow(self, t: Time) -> Coef:
        """W = σ̇/σ and Ṁ = α̇: finite where α = 0, unlike F."""
        h = self.schedule
        w = h.sigma_dot(t) / h.sigma(t)
        return columns(w[..., None, None], h.alpha_dot(t)[..., None, None])

    def clock(self, t: Time) -> Tensor:
        """-λ/2 = ln(σ/α), rising in t."""
        return -0.5 * self.schedule.log_snr(t)

    def clock_dot(self, t: Time) -> Tensor:
        """σ̇/σ - α̇/α."""
        h = self.schedule
        return h.sigma_dot(t) / h.sigma(t) - h.alpha_dot(t) / h.alpha(t)

    def noise_level(self, t: Time) -> Tensor:
        """ln(σ/α)/4, Karras et al. 2022's c_noise."""
        return (-0.125 * self.schedule.log_snr(t)).clamp(-5, 5)
