r"""Score matching in phase space: hybrid or plain, and the three weightings.

(Dockhorn et al. 2022, arXiv 2112.07068.) Only the velocity is driven by noise, so only the
velocity's score is learned. With u = (x, v) at time t, L the Cholesky factor of its covariance and
ℓ = 1/L₂₂, the score of a Gaussian perturbation is -ℓ ε_v, and a model's is s = -ℓ α(u, t).

* Hybrid: v_0 ~ N(0, γM) is integrated out, u ~ q(u | x_0). One source of variance less.
* Plain: v_0 is drawn too, u ~ q(u | x_0, v_0), with its own, smaller, L and larger ℓ.

Both are minimised by the same score, since :math:`E[\ell^{plain} \epsilon_v^{plain} | u, x_0]
= \ell\, \epsilon_v`. With λ(t) the weighting, per example and averaged over the d numbers of x_0,

.. math:: \frac{\lambda}{d} \| \ell^{-1} s + \epsilon_v \|^2, \qquad \lambda =
   \begin{cases} 1 & \text{reweighted v2: unit weight on the velocity's noise} \\
   \Gamma\beta & \text{reweighted v1} \\
   \Gamma\beta\,\ell^2 & \text{likelihood: bounds } -\log p \end{cases}

The covariances keep their digits down to t = 1e-5 (see `sfumato.damped`), so that no numerical
offset is added to them, which would change the target below t = 1e-3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.condition import Condition, Given
from sfumato.damped import CriticallyDamped
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.process import Gaussian, columns, mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators
from sfumato.systems.cld.options import Matching, Weighting


def loss_weight(weighting: Weighting, process: CriticallyDamped, t: Time, q: Gaussian) -> Tensor:
    """λ, one per time, on the squared error of ε_v for the perturbation ``q``."""
    power = 2 * math.sqrt(process.mass) * process.beta(t)  # Γβ
    match weighting:
        case Weighting.REWEIGHTED_V2:
            return torch.ones_like(power)
        case Weighting.REWEIGHTED_V1:
            return power
        case Weighting.LIKELIHOOD:
            return power / q.root()[..., 1, 1].square()


def damped_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Time,
    *,
    matching: Matching = Matching.HYBRID,
    weighting: Weighting = Weighting.REWEIGHTED_V2,
    cond: Given = None,
    generator: Generators = None,
) -> Tensor:
    """Weighted score matching of the velocity, one value per sample, (B,).

    Hybrid with reweighted v2 is `denoising_loss`.

    Args:
        denoiser: a `Preconditioned` that predicts velocity noise, mixed or not.
        x0: data, (B, C, ...).
        t: time in (0, 1], () or (B,).
        matching, weighting: see the module's text.
        cond: passed on to the denoiser.
        generator: one, or one per sample.

    Raises:
        ValueError: another process or prediction, or t is not one value or one per sample.
    """
    process = denoiser.process
    if not isinstance(process, CriticallyDamped):
        raise ValueError(f"expected a critically damped process, got {process!r}")
    if not (
        isinstance(denoiser, Preconditioned) and denoiser.predicts is Prediction.VELOCITY_NOISE
    ):
        raise ValueError(
            f"expected a network that predicts {Prediction.VELOCITY_NOISE.value!r}, "
            f"got {type(denoiser).__name__}"
        )
    told, t = Condition.of(cond), as_time(t)
    if t.ndim and t.shape != (x0.shape[0],):
        raise ValueError(
            f"expected one time or one per sample ({x0.shape[0]},), got {tuple(t.shape)}"
        )
    q = process.marginal(t)
    if matching is Matching.HYBRID:
        x_t, eps = process.perturb(x0, t, generator)
        error = denoiser.residual(x_t, t, x0, eps, told)
    else:
        error, q = _plain(denoiser, process, q, x0, t, told, generator)
    weight = loss_weight(weighting, process, t, q).to(error)
    return weight * error.square().flatten(1).mean(1)


def _plain(
    denoiser: Preconditioned,
    process: CriticallyDamped,
    hybrid: Gaussian,
    x0: Tensor,
    t: Tensor,
    cond: Condition,
    generator: Generators,
) -> tuple[Tensor, Gaussian]:
    """The error of ε_v for the perturbation q(u | x_0, v_0), and that perturbation."""
    plain = process.kernel(0.0, t)
    kick = math.sqrt(process.gamma * process.mass) * plain.A[..., 1:]  # of z, v_0 = √(γM) z
    own = columns(kick, plain.root())  # over (z, ε_x, ε_v)
    ends = [process.noise.sample(x0, generator) for _ in range(3)]
    x_t = mix(columns(hybrid.A, own), x0, *ends)
    # the same state in the hybrid's noise, whose residual is α - ε_v
    low = hybrid.root()
    eps = mix(torch.linalg.solve_triangular(low, own, upper=False), *ends)
    share = (plain.root()[..., 1, 1] / low[..., 1, 1]).to(x0)  # ℓ over the plain one's
    alpha = denoiser.residual(x_t, t, x0, eps, cond) + eps.chunk(2, dim=1)[1]
    return share.reshape(-1, *[1] * (x0.ndim - 1)) * alpha - ends[2], plain
