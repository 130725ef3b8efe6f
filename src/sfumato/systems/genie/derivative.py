r"""Denoisers that also tell how their noise estimate turns along the probability flow.

Let γ = σ/α and x̄ = x_t/α. With ε̂ = (x_t - α x̂_0)/σ the flow is dx̄/dγ = ε̂ (Song et al. 2021,
DDIM), and a solver of second order may use the *total* derivative along it (Dockhorn et al. 2022,
GENIE, arXiv 2210.05475, eq. 9),

.. math:: d_\gamma \hat\epsilon = \partial_x \hat\epsilon\,\frac{dx}{d\gamma}
          + \partial_t \hat\epsilon\,\frac{dt}{d\gamma} .

Because x̂_0 = x̄ - γ ε̂, and dx̄/dγ = ε̂ cancels,

.. math:: \frac{d\hat x_0}{d\gamma} = -\gamma\, d_\gamma\hat\epsilon, \qquad
          \frac{d\hat x_0}{d\ln\gamma} = -\gamma^2\, d_\gamma\hat\epsilon ,

so the derivative of the data estimate, which stays of the size of the data at every noise level,
is what is computed, in the direction

.. math:: \frac{dt}{d\ln\gamma}
          = \Big(\frac{\dot\sigma}{\sigma}-\frac{\dot\alpha}{\alpha}\Big)^{-1}, \qquad
          \frac{dx}{d\ln\gamma} = \dot x\,\frac{dt}{d\ln\gamma} ,

with ẋ the velocity of the flow. It holds for whatever the network predicts (ε, v, x_0, EDM's F)
and for every `Scheduled` process.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, Self, cast, final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition, Given
from sfumato.denoise import Denoiser, Preconditioned, counted, evaluation, spend
from sfumato.errors import UsageError
from sfumato.nn import MLP, Prompt, UNet
from sfumato.process import Process, Scheduled, columns, matrix, mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators
from sfumato.systems.genie.head import DerivativeHead
from sfumato.systems.genie.options import Target


class Differentiable(Denoiser):
    """A denoiser that can give the derivative of its estimate along the flow.

    Raises:
        UsageError: the process is not `Scheduled`: without α and σ there is no γ.
    """

    def __init__(self, process: Process) -> None:
        super().__init__()
        if not isinstance(process, Scheduled):
            raise UsageError(
                f"a derivative along γ = σ/α needs a scheduled process, got {process!r}"
            )
        self.process: Scheduled = process

    @abstractmethod
    def differentiate(
        self, x_t: Tensor, t: Time, cond: Condition, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """x̂_0 and its derivative, as `with_derivative` returns them."""

    @final
    def with_derivative(
        self, x_t: Tensor, t: Time, cond: Given = None, generator: Generators = None
    ) -> tuple[Tensor, Tensor]:
        """x̂_0 and d_γ ε̂, both (B, C, ...), at the state x_t (B, C, ...) at time t, () or (B,).

        Raises:
            ValueError: α = 0 or σ = 0 at t, where γ or its inverse is infinite.
        """
        if not bool(self.process.clock(t).isfinite().all()):
            raise ValueError(f"γ = σ/α or its inverse is infinite at t = {t}: differentiate inside")
        with evaluation():
            return self.differentiate(x_t, t, Condition.of(cond), generator)


def gamma(process: Process, t: Time) -> Tensor:
    """γ = σ/α in the precision of t; ``expm1`` inside `Schedule.log_snr` keeps its digits."""
    return process.clock(t).exp()


def noise_estimate(process: Process, t: Time, x_t: Tensor, x0: Tensor) -> Tensor:
    """ε̂ = (x_t - α x̂_0)/σ."""
    q = process.marginal(t)
    sigma = q.root()
    return mix(columns(1 / sigma, -q.A / sigma), x_t, x0)


def direction(process: Process, t: Time, x_t: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """(dx/d ln γ, dt/d ln γ) along the flow at x_t, for the data estimate x_0."""
    rate = 1 / process.clock_dot(t)
    w, m_dot = process.flow(t).split([1, 1], dim=-1)
    coef = columns(w, m_dot - w @ process.marginal(t).A) * rate[..., None, None]
    return mix(coef, x_t, x0), rate


@final
class ExactDerivative(Differentiable):
    """One Jacobian-vector product of any denoiser, in state and time together.

    The direction holds ε̂ itself, so the denoiser is evaluated once for the direction and once
    with its tangent; the tangent is counted as an evaluation too, because it costs one: three in
    all. Around a guided denoiser this is the derivative along the guided flow.

    Args:
        denoiser: smooth and without randomness; on a `Scheduled` process.

    Raises:
        UsageError: another process.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser.process)
        self.denoiser = denoiser

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """E[x_0 | x_t] of the inner denoiser, shaped like x_t."""
        return self.denoiser(x_t, t, cond, generator)

    def differentiate(
        self, x_t: Tensor, t: Time, cond: Condition, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """One evaluation, and one Jacobian-vector product."""
        time = as_time(t)
        dx, dt = direction(self.process, time, x_t, self.denoiser(x_t, time, cond))

        def estimate(x: Tensor, at: Tensor) -> Tensor:
            return self.denoiser(x, at, cond)

        with counted() as asked:
            x0, slope = torch.func.jvp(estimate, (x_t, time), (dx, dt))[:2]
        spend(2 * asked.evaluations)  # a tangent costs what the evaluation does
        power = -gamma(self.process, time).square().reciprocal()
        return x0, mix(power[..., None, None], slope)


class Tapped(NamedTuple):
    """What a network was given and computed: scaled state, features, conditioning vector."""

    x: Tensor
    features: list[Tensor]
    embedding: Tensor


@final
class LearnedDerivative(Differentiable):
    r"""A network and a small head on its features that predicts d_γ ε̂ (GENIE, section 3.2).

    A step costs one evaluation of the network and the head's share. With g = γ/σ_d the
    head's three outputs are mixed as GENIE's are, in units of the data's deviation, under an
    envelope that makes them of unit size at every noise level:

    .. math:: k = \frac{1}{5\,\gamma\sqrt{1+g^2}}
              \Big(-k_1 + k_2\,\frac{g^2}{1+g^2} + k_3\,\frac{1}{1+g^2}\Big).

    (Measured on trained models of images, the root mean square of γ√(1+g²) d_γ ε̂ lies between 0.1
    and 0.3 for γ from 0.02 to 80, while that of γ d_γ ε̂ falls by a factor of 300.)

    Args:
        backbone: the trained model; its weights are frozen, and it stays in evaluation mode.
        head: a head for its network; a fresh one predicts 0, which makes Taylor steps DDIM's.

    Raises:
        UsageError: a process that is not `Scheduled`, or a network without features.
    """

    def __init__(self, backbone: Preconditioned, head: DerivativeHead) -> None:
        super().__init__(backbone.process)
        if not isinstance(backbone.network, UNet | MLP):
            raise UsageError(
                "a derivative head reads the features of a UNet or an MLP, got "
                f"{type(backbone.network).__name__}"
            )
        self.backbone = backbone.requires_grad_(False).eval()
        self.head = head

    @property
    def network(self) -> UNet | MLP:
        """The network whose features the head reads."""
        return cast(UNet | MLP, self.backbone.network)

    def train(self, mode: bool = True) -> Self:
        """Training mode is the head's alone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """E[x_0 | x_t] of the backbone, shaped like x_t."""
        return self.backbone(x_t, t, cond, generator)

    def differentiate(
        self, x_t: Tensor, t: Time, cond: Condition, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """The backbone once, and the head on its features."""
        x0, tapped = self.tap(x_t, t, cond)
        unit = self.unit(tapped, t, noise_estimate(self.process, t, x_t, x0))
        return x0, mix((1 / self.scale(t))[..., None, None], unit)

    def tap(self, x_t: Tensor, t: Time, cond: Condition) -> tuple[Tensor, Tapped]:
        """x̂_0, and what the network computed on the way."""
        network = self.network
        x, level = self.backbone.scaled(x_t, t)
        x, labels = cond.beside(x), cond.told
        if isinstance(labels, Prompt):
            raise ValueError("a derivative head knows labels and embeddings, not prompts")
        e = network.conditioning(level, labels)
        if isinstance(network, UNet):
            network.check(x, level)
            features = network.pyramid(x, e)
        else:
            features = [network.features(x, level, labels)]
        out = network.head(features[-1]).to(x_t.dtype)
        return mix(self.backbone.coefficients(t)[1], x_t, out), Tapped(x, features, e)

    def scale(self, t: Time) -> Tensor:
        """5 γ √(1 + g²): what makes d_γ ε̂ of unit size."""
        level = gamma(self.process, t)
        return 5 * level * (1 + (level / self.backbone.sigma_data).square()).sqrt()

    def unit(self, tapped: Tapped, t: Time, eps: Tensor) -> Tensor:
        """The head's outputs, mixed: d_γ ε̂ times `scale`."""
        x, features, embedding = tapped
        out = self.head(x, eps.to(x), features, embedding).to(eps.dtype)
        near = 1 / (1 + (gamma(self.process, t) / self.backbone.sigma_data).square())
        return mix(matrix([[-torch.ones_like(near), 1 - near, near]]), out)


def along(
    denoiser: Denoiser, x_t: Tensor, t: Time, x0: Tensor, cond: Given = None, h: float = 0.03
) -> Tensor:
    """d_γ ε̂ by a central difference of x̂_0 over ln γ ± h along the flow; two evaluations.

    Within about h²/6 of `ExactDerivative`, at a third of its cost: for targets of training.
    """
    process = denoiser.process
    time = as_time(t)
    dx, dt = direction(process, time, x_t, x0)
    ends = [denoiser(x_t + s * h * dx, time + s * h * dt, cond) for s in (1, -1)]
    power = -1 / (2 * h * gamma(process, time).square())
    return mix(power[..., None, None], ends[0] - ends[1])


def derivative_loss(
    denoiser: LearnedDerivative,
    x0: Tensor,
    t: Time,
    *,
    cond: Given = None,
    generator: Generators = None,
    target: Target = Target.EXACT,
    published: bool = False,
) -> Tensor:
    r"""Distillation of d_γ ε̂ into the head, (B,), never reduced (GENIE, eq. 13).

    .. math:: w(\gamma)\,\gamma^2\,\| k - d_\gamma\hat\epsilon \|^2 / d,

    with w = 25 (1 + g²), so that every noise level counts alike, and the law of the times alone
    says how much. No gradient reaches the target.

    Args:
        denoiser: backbone and head; only the head learns.
        x0: data, (B, C, ...).
        t: time in (0, 1), () or (B,).
        cond: passed on to the backbone.
        generator: one, or one per sample.
        target: one Jacobian-vector product, or a central difference.
        published: as in the published code, w = 1 and the head is shown the true noise, which it
            never sees when it samples.
    """
    process, backbone = denoiser.process, denoiser.backbone
    x_t, true = process.perturb(x0, t, generator)
    with torch.no_grad(), torch.autocast(x_t.device.type, enabled=False):
        estimate, tapped = denoiser.tap(x_t, t, Condition.of(cond))
        eps = true if published else noise_estimate(process, t, x_t, estimate)
        if target is Target.EXACT:
            slope = ExactDerivative(backbone).with_derivative(x_t, t, cond)[1]
        else:
            slope = along(backbone, x_t, t, estimate, cond)
        goal = mix(denoiser.scale(t)[..., None, None], slope)
    error = denoiser.unit(tapped, t, eps) - goal
    loss = error.square().flatten(1).mean(1)
    if published:
        loss = loss * (gamma(process, t) / denoiser.scale(t)).square().to(loss)
    return loss
