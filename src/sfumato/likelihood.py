r"""Log-likelihood of data by the probability flow (Song et al. 2021, eq. 39).

.. math:: \log p_\epsilon(x_\epsilon) = \log p_1(x_1)
          + \int_\epsilon^1 \nabla\cdot \dot x\, dt,

with the divergence exact (one vector-Jacobian product per dimension) or estimated with random
signs (Hutchinson). The data enters at a small time ε as x_ε = M_ε x_0.

In phase space the flow gives the joint density of (x, v) with v drawn; since x_0 and v_0
are independent, log p(x) = E_v[log p(x, v) - log p(v)] for an exact score, and
E_v[log p(x, v)] + H(v) is a lower bound for any (Dockhorn et al. 2022, eq. 13). `log_likelihood`
returns the former integrand: the same mean as the bound, less variance.
"""

from __future__ import annotations

import math
from enum import Enum

import torch
from torch import Tensor

from sfumato.bridge import Bridge
from sfumato.condition import Given
from sfumato.denoise import Denoiser
from sfumato.integrate import integrate
from sfumato.process import Process, mix
from sfumato.sampling import enter
from sfumato.seeds import Generators, randn


class Trace(Enum):
    """How the divergence is computed."""

    EXACT = "exact"
    HUTCHINSON = "hutchinson"


def _divergence(
    denoiser: Denoiser, x: Tensor, t: Tensor, cond: Given, probes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Velocity and its divergence (B,); ``probes`` (n, B, ...) or None for the exact trace."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = denoiser.process.velocity(x, denoiser(x, t, cond), t)
        if probes is not None:
            total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
            for i, e in enumerate(probes):
                (g,) = torch.autograd.grad(v, x, e, retain_graph=i + 1 < len(probes))
                total = total + (g * e).flatten(1).sum(1)
            return v.detach(), total / len(probes)
        flat = v.flatten(1)
        total = torch.zeros_like(flat[:, 0])
        for j in range(flat.shape[1]):
            (g,) = torch.autograd.grad(flat[:, j].sum(), x, retain_graph=j + 1 < flat.shape[1])
            total = total + g.flatten(1)[:, j]
        return v.detach(), total.detach()


def prior_log_prob(process: Process, x: Tensor) -> Tensor:
    """log p_1 of a state, N(0, Σ_1 ⊗ K), in nats per sample."""
    q = process.marginal(1.0)
    root = q.root()
    eye = torch.eye(process.k, dtype=root.dtype, device=root.device)
    white = mix(torch.linalg.solve_triangular(root, eye, upper=False), x)
    blocks = white.chunk(process.k, dim=1)
    d = blocks[0][0].numel()
    logdet = d * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    total = sum((process.noise.log_prob(b) for b in blocks), torch.zeros(len(x), device=x.device))
    return total - logdet.to(total)


@torch.no_grad()
def log_likelihood(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    cond: Given = None,
    trace: Trace = Trace.HUTCHINSON,
    probes: int = 1,
    start: float = 1e-4,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    generator: Generators = None,
) -> Tensor:
    """log p(x_0) in nats per sample, (B,) float64.

    Args:
        denoiser: its process must have a flow that is finite on [start, 1].
        x0: data (B, C, ...).
        cond: passed on to the denoiser.
        trace: exact costs one backward pass per dimension of the state.
        probes: random sign vectors per sample, for Hutchinson.
        start: time ε at which the data enters.
        rtol, atol: tolerances of the adaptive integration.
        generator: draws the probes, and velocities in phase space.

    Raises:
        ValueError: probes < 1, start outside (0, 1), or a bridge.
    """
    joint, given = _joint(denoiser, x0, cond, trace, probes, start, rtol, atol, generator)
    return joint - given


@torch.no_grad()
def likelihood_bound(
    denoiser: Denoiser,
    x0: Tensor,
    *,
    velocities: int = 1,
    cond: Given = None,
    trace: Trace = Trace.HUTCHINSON,
    probes: int = 1,
    start: float = 1e-4,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    generator: Generators = None,
) -> Tensor:
    r"""A lower bound on log p(x_0) in phase space, in nats per sample, (B,) float64.

    .. math:: \log p(x) \ge E_v[\log p(x, v)] + H(v), \qquad
              H(v) = \frac d2 (1 + \log 2\pi\Sigma) + \frac12 \log\det K

    (Dockhorn et al. 2022, arXiv 2112.07068, eq. 13), with Σ the velocity's variance at time
    ``start``, γM at 0; the mean is over ``velocities`` draws. It is log p(x) where the model's
    velocity does not depend on the position. `log_likelihood` has the same mean and spreads less.

    Args:
        velocities: how many are drawn for each sample; each costs one integration.
        Others as for `log_likelihood`.

    Raises:
        ValueError: velocities < 1, a process without velocities, or as `log_likelihood`.
    """
    process = denoiser.process
    if velocities < 1:
        raise ValueError(f"expected velocities >= 1, got {velocities}")
    if process.k != 2:
        raise ValueError(
            f"the bound is for position and velocity, got {process!r}: use log_likelihood"
        )
    total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    for _ in range(velocities):
        total += _joint(denoiser, x0, cond, trace, probes, start, rtol, atol, generator)[0]
    d = x0[0].numel()
    # H = -E log N(√Σ ε; 0, Σ K) with |ε|² = d in the mean: log_prob at 0 less d/2
    at_zero = float(process.noise.log_prob(torch.zeros_like(x0[:1])))
    spread = float(process.marginal(start).cov[1, 1])
    return total / velocities - at_zero + 0.5 * d * (1 + math.log(spread))


def _joint(
    denoiser: Denoiser,
    x0: Tensor,
    cond: Given,
    trace: Trace,
    probes: int,
    start: float,
    rtol: float,
    atol: float,
    generator: Generators,
) -> tuple[Tensor, Tensor]:
    """log p(x_0, v) and log p(v) for a velocity that is drawn; for k = 1 log p(x_0) and 0."""
    if probes < 1 or not 0 < start < 1:
        raise ValueError(f"expected probes >= 1 and 0 < start < 1, got {probes} and {start}")
    process = denoiser.process
    if isinstance(process, Bridge):
        raise ValueError("a likelihood needs a prior at t = 1, which a bridge does not have")
    t = torch.tensor(start, dtype=torch.float64)
    x = enter(denoiser, x0, t, generator)
    signs = None
    if trace is Trace.HUTCHINSON:
        signs = torch.stack(
            [
                randn(x.shape, generator, dtype=x.dtype, device=x.device).sign()
                for _ in range(probes)
            ]
        )

    def field(joint: Tensor, time: Tensor) -> Tensor:
        state = joint[:, :-1].reshape(x.shape)
        v, div = _divergence(denoiser, state, time, cond, signs)
        return torch.cat([v.flatten(1), div[:, None]], dim=1)

    joint = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], dim=1)
    joint, _ = integrate(
        field, joint, t, torch.tensor(1.0, dtype=torch.float64), rtol=rtol, atol=atol
    )
    end = joint[:, :-1].reshape(x.shape)
    total = prior_log_prob(process, end).double() + joint[:, -1].double()
    q = process.marginal(t)
    d = x0[0].numel()
    total = total + d * float(q.A[..., 0, 0].log())
    if process.k == 1:
        return total, torch.zeros_like(total)
    spread = float(q.cov[1, 1].sqrt())  # v = M_v x_0 + √Σ_vv ε, independent of the position
    velocity = x.chunk(2, dim=1)[1]
    white = (velocity - float(q.A[1, 0]) * x0) / spread
    given = process.noise.log_prob(white) - d * math.log(spread)
    return total, given.double()


def bits_per_dim(log_prob: Tensor, dims: int, scale: float = 127.5) -> Tensor:
    """Nats of log-density on x = y/scale - 1 to bits per dimension of the integers y."""
    return (-log_prob / dims + math.log(scale)) / math.log(2)
