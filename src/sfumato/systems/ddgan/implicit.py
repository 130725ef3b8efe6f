r"""Denoising diffusion GANs: a denoiser that *draws* x_0 given x_t, and the game that trains it.

With few large steps the law of x_0 given x_t is far from a point, and its mean is a blur. A
generator G(x_t, t, z) with z ~ N(0, I) can follow any law (Xiao, Kreis, Vahdat 2022, arXiv
2112.07804, section 3.2), and one ancestral step with its draw,

.. math:: x_s \sim q(x_s \mid x_t,\ \hat x_0 = G(x_t, t, z)),

keeps every marginal exactly once G's law is the true one. A discriminator D(x_s, x_t, t) that sees
pairs, real by q(x_0) q(x_s | x_0) q(x_t | x_s) or with x_s drawn as above, is trained by

.. math:: \ell_D = f(-D(x_s^{real}, x_t, t)) + f(D(x_s^{fake}, x_t, t))
          + \tfrac{\gamma}{2} |\nabla_{x_s} D(x_s^{real}, x_t, t)|^2,
          \qquad \ell_G = f(-D(x_s^{fake}, x_t, t)),

f = softplus: the non-saturating game of Goodfellow et al. 2014, with the R1 of Mescheder et al.
2018 in the first argument alone, and only in some steps, without a factor that makes up for it.
That game tends to drop modes. Judging each fake against a real one (Jolicoeur-Martineau 2019,
arXiv 1807.00734; Sun et al. 2020; with R1 on both: Huang et al. 2024, arXiv 2501.05441),

.. math:: \ell_D = f(D^{fake} - D^{real}) + \tfrac{\gamma}{2} (|\nabla D^{real}|^2
          + |\nabla D^{fake}|^2), \qquad \ell_G = f(D^{real} - D^{fake}),

keeps more of them: it is ``relativistic`` below. Real and fake share x_t here, so a fake is
compared with another answer to the same question.

Neither game says how much the draws must differ. To the generator's loss may be added ``energy``
times the energy score of two of its draws (Gneiting and Raftery 2007, eq. 21; alone it trains the
distributional diffusion models of De Bortoli et al. 2025, arXiv 2502.02483), with d numbers in x_0:

.. math:: S = \tfrac{1}{\sqrt d} \left( \tfrac12 |x_0 - \hat x| + \tfrac12 |x_0 - \hat x'|
          - \tfrac12 |\hat x - \hat x'| \right),

whose mean is least for draws from q(x_0 | x_t) alone, as is the game's: they have one optimum. In
many dimensions the score sees little but the size of the spread; its shape is the discriminator's.

The last step's pairs may be compared at a time a little above 0 (``nearest``): there x_s is data
with a little noise, real by q(x_s | x_0), made by q(x_s | x_t, G(x_t, t, z)). Everything above
still holds. It is for images of 8 bits: a discriminator that sees them as they are can tell them by
their 256 values and their exact black, which a generator does not have.

Everything is exact on the process, whose last step leads to t = 0. The published code instead takes
t = 0.001 for data: its signal levels are the ratios ᾱ(t_i)/ᾱ(0.001), which are larger by 1.1e-4.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Protocol, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.condition import NOTHING, Condition, Given
from sfumato.denoise import Denoiser, Preconditioned, Prediction
from sfumato.process import Process, Scheduled, mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators, randn
from sfumato.times import offset


class Bound(Enum):
    """How a generator's output is kept in [-1, 1]."""

    TANH = "tanh"
    CLAMP = "clamp"
    NONE = "none"

    def __call__(self, x: Tensor) -> Tensor:
        """``x`` bounded by tanh or by clamping to [-1, 1], or unchanged."""
        match self:
            case Bound.TANH:
                return x.tanh()
            case Bound.CLAMP:
                return x.clamp(-1, 1)
            case Bound.NONE:
                return x


class PairDiscriminator(Protocol):
    """A discriminator: logits (B,) that x_s is a step back from x_t on real data."""

    def __call__(
        self, x_s: Tensor, x_t: Tensor, noise_level: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """Logits (B,): positive where the pair (x_s, x_t) looks real."""
        ...


@final
class ImplicitDenoiser(Denoiser):
    """A generator of x_0 given x_t: its estimate is a draw, another one for each z.

    Args:
        network: called as ``network(scaled x_t, level (B,), cond, z (B, latent) or None)``.
        process: a scheduled process; variance preserving in the paper.
        steps: T; it was trained for the times `times` alone.
        latent: width of z; 0 is a generator without it, whose steps are Gaussian.
        predicts: x_0 itself, as published, or another scaling of the output (see `denoise`), with
            which the weights of a trained denoiser can be taken over.
        sigma_data: standard deviation of the data, for the scaling.
        bound: how the draw is kept in the range of the data.

    Raises:
        ValueError: not a scheduled process, or a size out of range.
    """

    draws: ClassVar[bool] = True

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        steps: int = 4,
        latent: int = 64,
        predicts: Prediction = Prediction.X0,
        sigma_data: float = 0.5,
        bound: Bound = Bound.TANH,
    ) -> None:
        super().__init__()
        if not isinstance(process, Scheduled):
            raise ValueError(f"expected a scheduled process, got {process!r}")
        if latent < 0:
            raise ValueError(f"expected latent >= 0, got {latent}")
        self.network = network
        self.process = process
        self.times = offset(steps)
        self.latent = latent
        self.bound = bound
        self._scaling = Preconditioned(nn.Identity(), process, predicts, sigma_data)

    def before(self, t: Time, nearest: float = 0.0) -> Tensor:
        """The time that the step from t leads to, at least ``nearest``, of the same shape.

        Raises:
            ValueError: t is not one of the times that the generator steps from, or ``nearest`` is
                not below the lowest of them.
        """
        if not 0 <= nearest < float(self.times[-2]):
            raise ValueError(
                f"expected 0 <= nearest < {float(self.times[-2]):.4g}, the last step's time, "
                f"got {nearest}"
            )
        given = as_time(t)
        t = given.double().cpu()
        index = (t[..., None] - self.times[:-1]).abs().argmin(-1)
        if not torch.allclose(self.times[index], t, rtol=0, atol=1e-6):
            known = ", ".join(f"{v:.4g}" for v in self.times[:-1].tolist())
            raise ValueError(f"this generator steps from t = {known} alone, got {t.tolist()}")
        return self.times[index + 1].clamp_min(nearest).to(given.device)

    def level(self, t: Time, like: Tensor) -> Tensor:
        """The noise level that networks are told, (B,), for a batch like ``like``."""
        level = self.process.noise_level(as_time(t)).to(device=like.device, dtype=torch.float32)
        return level.expand(like.shape[0])

    def draw(self, x_t: Tensor, generator: Generators = None) -> Tensor | None:
        """z ~ N(0, I), (B, latent); None where there is none."""
        if not self.latent:
            return None
        shape = (x_t.shape[0], self.latent)
        return randn(shape, generator, dtype=torch.float32, device=x_t.device)

    def generate(self, x_t: Tensor, t: Time, z: Tensor | None, cond: Given = None) -> Tensor:
        """G(x_t, t, z): the x_0 that this z means."""
        c_in, c_out, _ = self._scaling.coefficients(as_time(t))
        weight = next(self.network.parameters(), x_t)
        x = mix(c_in, x_t).to(weight.dtype)
        y = self.network(x, self.level(t, x_t), Condition.of(cond).told, z).to(x_t.dtype)
        return self.bound(mix(c_out, x_t, y))

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """A draw of x_0 given x_t, shaped like x_t; z is drawn from ``generator``."""
        return self.generate(x_t, t, self.draw(x_t, generator), cond)

    def step(
        self,
        x_t: Tensor,
        t: Time,
        cond: Given = None,
        generator: Generators = None,
        nearest: float = 0.0,
    ) -> Tensor:
        """A differentiable ancestral step to `before` (t, nearest): the pair's fake x_s."""
        return self.back(x_t, self(x_t, t, cond, generator), t, generator, nearest)

    def back(
        self,
        x_t: Tensor,
        x0: Tensor,
        t: Time,
        generator: Generators = None,
        nearest: float = 0.0,
    ) -> Tensor:
        """x_s ~ q(x_s | x_t, x_0) at s = `before` (t, nearest), differentiable."""
        q = self.process.posterior(self.before(t, nearest), as_time(t))
        return mix(q.A, x_t, x0) + self.process.draw(q.root(), x_t, generator)


def real_pair(
    process: Process, x0: Tensor, s: Time, t: Time, generator: Generators = None
) -> tuple[Tensor, Tensor]:
    """(x_s, x_t) of data: x_s from q(x_s | x_0), then x_t from q(x_t | x_s)."""
    x_s, _ = process.perturb(x0, s, generator)
    q = process.kernel(s, t)
    return x_s, mix(q.A, x_s) + process.draw(q.root(), x_s, generator)


def energy_score(x0: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(|x_0 - a| + |x_0 - b| - |a - b|) / (2 √d) of two independent draws a, b; (B,)."""

    def size(x: Tensor) -> Tensor:
        return (x.float().flatten(1).square().mean(1) + 1e-8).sqrt()

    return 0.5 * (size(x0 - first) + size(x0 - second) - size(first - second))


def generator_loss(
    denoiser: ImplicitDenoiser,
    judge: PairDiscriminator,
    x0: Tensor,
    t: Tensor,
    *,
    relativistic: bool = False,
    energy: float = 0.0,
    nearest: float = 0.0,
    cond: Tensor | None = None,
    generator: Generators = None,
) -> Tensor:
    """softplus(-D(fake x_s, x_t, t)), (B,): the generator wants to be taken for real.

    ``relativistic``: softplus(D(real) - D(fake)), for more real than the data. ``energy`` is the
    weight of `energy_score`, ``nearest`` the time that the last step's pairs are compared at.

    Raises:
        ValueError: a time that is not one of the generator's.
    """
    if relativistic:
        x_s, x_t = real_pair(denoiser.process, x0, denoiser.before(t, nearest), t, generator)
        real = judge(x_s, x_t, denoiser.level(t, x_t), cond).float()
    else:
        x_t, _ = denoiser.process.perturb(x0, t, generator)
        real = x_t.new_zeros(())
    drawn = denoiser(x_t, t, cond, generator)
    made = denoiser.back(x_t, drawn, t, generator, nearest)
    loss = F.softplus(real - judge(made, x_t, denoiser.level(t, x_t), cond).float())
    if energy:
        loss = loss + energy * energy_score(x0, drawn, denoiser(x_t, t, cond, generator))
    return loss


def discriminator_loss(
    denoiser: ImplicitDenoiser,
    judge: PairDiscriminator,
    x0: Tensor,
    t: Tensor,
    *,
    penalty: float = 0.0,
    relativistic: bool = False,
    nearest: float = 0.0,
    cond: Tensor | None = None,
    generator: Generators = None,
) -> Tensor:
    """softplus(-D(real)) + softplus(D(fake)) + R1, or the ``relativistic`` loss, (B,).

    Args:
        denoiser: the generator; no gradient reaches it.
        judge: the discriminator.
        x0: data.
        t: times among ``denoiser.times``, (B,).
        penalty: γ of R1 in this step, 0 leaves it out.
        relativistic: judge each fake against a real one, with R1 on both.
        nearest: the time that the last step's pairs are compared at.
        cond: passed to both.
        generator: one, or one per example.

    Raises:
        ValueError: a time that is not one of the generator's.
    """
    x_s, x_t = real_pair(denoiser.process, x0, denoiser.before(t, nearest), t, generator)
    with torch.no_grad():
        made = denoiser.step(x_t, t, cond, generator, nearest)
    level = denoiser.level(t, x_t)
    x_s.requires_grad_(penalty > 0)
    made.requires_grad_(penalty > 0 and relativistic)
    real, fake = (judge(x, x_t, level, cond).float() for x in (x_s, made))
    loss = F.softplus(fake - real) if relativistic else F.softplus(-real) + F.softplus(fake)
    for logit, x in ((real, x_s), (fake, made)):
        if x.requires_grad:
            (slope,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
            loss = loss + 0.5 * penalty * slope.square().flatten(1).sum(1)
    return loss
