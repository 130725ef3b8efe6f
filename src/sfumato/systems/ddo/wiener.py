r"""A denoiser of functions: the best linear estimate, and a network for what is not linear.

With x_t = α x_0 + σ ξ, ξ ~ N(0, C), and a Gaussian law N(0, K) that has the data's spectrum, the
best estimate that is linear in x_t is the Wiener filter, mode by mode (k and c are the eigenvalues
of K and C)

.. math:: G x_t, \quad G = \frac{\alpha k}{\alpha^2 k + \sigma^2 c}, \qquad
          \text{with the error's power} \quad r = \frac{k\, \sigma^2 c}{\alpha^2 k + \sigma^2 c}.

For Gaussian data this is E[x_0 | x_t] = K(K + σ²C)⁻¹x_t (Lim et al. 2023, arXiv 2302.07400, the
score operator in closed form). For other data a network adds what is left. With the covariance of
x_t, W = α²K + σ²C, of eigenvalues w, and the share P = α²k/w of the signal in each mode,

.. math:: \hat x_0 = G x_t
              + c_{out}\, (\sigma^2 C)^{1/2} S F(W^{-1/2} x_t,\; P W^{-1/2} x_t,\; G x_t,\; t),
          \quad c_{out}^2 = \sum \frac{P}{\alpha^2}, \quad S^2 = \frac{P}{\max P},

F's arguments scaled to variance 1; sum and maximum over the modes of the grid that it was trained
on. Up to a factor, (σ²C)^{1/2} S is √r, so what F gets wrong is in each mode the same share of what
is not known of it. This is EDM's preconditioning mode by mode (σ_d² there is k here).

The error is measured in the noise's Cameron-Martin norm: S F against
(σ²C)^{-1/2}(x_0 - G x_t)/c_out, which has variance 1 at every noise level and, in mode j, the share
P of it (but for a common factor). Up to its weight this is the Kullback-Leibler divergence between
the laws of the exact walk and of the walk with F (Girsanov), and with white noise the loss of every
diffusion of pictures. A mode counts from when it begins to be decided, and goes on to count: of an
error in what is known already, however small beside the noise, the walk makes a drift. Two norms
that seem as natural do worse. In L² the few modes of great power are nearly all that counts: of two
mixed Gaussian fields, a network so trained had learned next to nothing, after four times as many
steps, of the modes from the 11th on. Whitened by W, modes count as P(1 - P), while they are being
decided: the longest waves of signed distances then lost much of their variance at noise levels
where they had long been known.

What is added is as smooth as the noise, and no larger in any mode than what is not known of the
data, whatever F says. Waves that the network does not have are estimated by the filter, with the
spectrum carried on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.process import Process
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators
from sfumato.systems.ddo.drift import PowerCorrection, waves_of
from sfumato.systems.ddo.field import GaussianField
from sfumato.systems.ddo.nn.harmonic import filtered


@final
@dataclass(frozen=True, eq=False)
class Spectra:
    """What is known at one time, mode by mode: float64, (B or 1, C or 1, *grid).

    noise: σ²c.  total: w, the power of x_t.  share: P = α²k/w.  gain: G = P/α.
    decided: P/α² = k/w.  unexplained: r, the variance of x_0 given x_t.
    """

    noise: Tensor
    total: Tensor
    share: Tensor
    gain: Tensor
    decided: Tensor
    unexplained: Tensor

    @property
    def whitening(self) -> Tensor:
        """w^{-1/2}, 0 where there is no power."""
        return _over(torch.ones_like(self.total), self.total).sqrt()


@final
@dataclass(frozen=True, eq=False)
class Scales:
    """Factors that do not depend on the grid: float64, (B or 1, C or 1, 1, ...).

    known, linear: of P W^{-1/2} x_t and of G x_t.  out: c_out.  most: max P/α².
    size: √Σ r, the deviation of x_0 - G x_t.
    """

    known: Tensor
    linear: Tensor
    out: Tensor
    most: Tensor
    size: Tensor


@final
class Wiener(Denoiser):
    """x̂_0 = G x_t + c_out (σ²C)^{1/2} S F(3 functions, level); see the module's text.

    Args:
        network: takes 3C channels (and those of a condition's picture) to C, on any grid; None
            is the filter alone, which is exact for Gaussian data.
        process: of one block, driven by a `GaussianField`.
        data: the law N(0, K) of variance 1 that has the data's spectrum; one for all channels, or
            one for each.
        reference: a grid on which the scales are computed, so that they are the same on all; that
            on which the network was trained.
        drift: a x_t, added to the estimate (not in training); see `ddo.drift`.

    Raises:
        ValueError: another process, or fields of other dimensions.
    """

    def __init__(
        self,
        network: nn.Module | None,
        process: Process,
        data: GaussianField | Sequence[GaussianField],
        reference: Sequence[int],
        drift: PowerCorrection | None = None,
    ) -> None:
        super().__init__()
        fields = (data,) if isinstance(data, GaussianField) else tuple(data)
        noise = process.noise
        if process.k != 1 or not isinstance(noise, GaussianField):
            raise ValueError(
                f"expected a process of one block driven by a GaussianField, got {process!r}"
            )
        for field in fields:
            if (field.dims, field.domain) != (noise.dims, noise.domain):
                raise ValueError(f"expected data on the box of the noise, {noise!r}, got {field!r}")
        if len(reference) != noise.dims:
            raise ValueError(f"expected a grid of {noise.dims} axes, got {tuple(reference)}")
        self.network, self.process = network, process
        self.data, self.noise = fields, noise
        self.reference = tuple(int(n) for n in reference)
        self.drift = drift

    def spectra(self, t: Time, grid: Sequence[int]) -> Spectra:
        """On a grid, at times t, () or (B,)."""
        q = self.process.marginal(as_time(t))
        over = (-1, 1, *[1] * len(grid))
        alpha, var = q.A[..., 0, 0].double().reshape(over), q.cov[..., 0, 0].double().reshape(over)
        k = torch.stack([field.power(grid) for field in self.data]).to(alpha.device)
        noise = var * self.noise.power(grid).to(alpha.device)
        total = alpha.square() * k + noise
        share = _over(alpha.square() * k, total)
        return Spectra(
            noise,
            total,
            share,
            torch.where(alpha > 0, share / alpha, torch.zeros_like(share)),
            _over(k, total),
            k * torch.where(total > 0, noise / total, torch.ones_like(total)),
        )

    def scales(self, t: Time, at: Spectra | None = None) -> Scales:
        """At times t; ``at`` are its spectra on the grid of reference, if they are known."""
        at = at or self.spectra(t, self.reference)
        axes, least = tuple(range(-len(self.reference), 0)), 1e-24
        linear = at.gain.square() * at.total
        return Scales(
            at.share.square().sum(axes, keepdim=True).clamp_min(least).rsqrt(),
            linear.sum(axes, keepdim=True).clamp_min(least).rsqrt(),
            at.decided.sum(axes, keepdim=True).clamp_min(least).sqrt(),
            at.decided.amax(axes, keepdim=True),
            at.unexplained.sum(axes, keepdim=True).sqrt(),
        )

    def _both(self, x_t: Tensor, t: Time) -> tuple[Spectra, Scales]:
        """On the grid of x_t."""
        grid = tuple(x_t.shape[2:])
        here = self.spectra(t, grid)
        return here, self.scales(t, here if grid == self.reference else None)

    def linear(self, x_t: Tensor, t: Time) -> Tensor:
        """G x_t.

        Raises:
            ValueError: as many laws as channels are expected, or one.
        """
        return self._filtered(x_t, self.spectra(t, x_t.shape[2:]).gain)

    def _filtered(self, x: Tensor, multiplier: Tensor) -> Tensor:
        if len(self.data) not in (1, x.shape[1]):
            raise ValueError(
                f"expected a state of {len(self.data)} channels, one for each law, "
                f"got shape {tuple(x.shape)}"
            )
        return filtered(x, multiplier, self.noise.domain, x.ndim - 2)

    def predict(
        self,
        x_t: Tensor,
        linear: Tensor,
        t: Time,
        here: Spectra,
        scales: Scales,
        cond: Condition = NOTHING,
    ) -> Tensor:
        """F, in the type of x_t.

        Raises:
            ValueError: there is no network.
        """
        if self.network is None:
            raise ValueError("this is the Wiener filter alone: it has no network")
        white = self._filtered(x_t, here.whitening)
        known = self._filtered(white, here.share) * scales.known.to(x_t)
        white = white * math.prod(self.reference) ** -0.5
        x = cond.beside(torch.cat([white, known, scales.linear.to(x_t) * linear], 1))
        weight = next(self.network.parameters(), x)
        level = self.process.noise_level(as_time(t)).to(device=x.device, dtype=torch.float32)
        made: Tensor = self.network(x.to(weight.dtype), level.expand(len(x)), cond.told)
        return made.to(x_t.dtype)

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """G x_t + c_out (σ²C)^{1/2} S F, and a x_t."""
        made = self._estimate(x_t, t, cond)
        if self.drift is None:
            return made
        q = self.process.marginal(as_time(t).reshape(-1))
        level = 0.5 * q.cov[..., 0, 0].log() - q.A[..., 0, 0].log()
        factors = self.drift.on(level, waves_of(self.noise, tuple(x_t.shape[2:])))
        return made + self._filtered(x_t, factors)

    def _estimate(self, x_t: Tensor, t: Time, cond: Condition) -> Tensor:
        if self.network is None:
            return self.linear(x_t, t)
        here, scales = self._both(x_t, t)
        linear = self._filtered(x_t, here.gain)
        said = self.predict(x_t, linear, t, here, scales, cond)
        root = scales.out * (_over(here.unexplained, scales.most)).sqrt()  # c_out (σ²C)^{1/2} S
        return linear + self._filtered(said, root)

    def residual(
        self, x_t: Tensor, t: Time, x0: Tensor, eps: Tensor, cond: Condition = NOTHING
    ) -> Tensor:
        """S F - (σ²C)^{-1/2}(x_0 - G x_t)/c_out."""
        here, scales = self._both(x_t, t)
        linear = self._filtered(x_t, here.gain)
        said = self.predict(x_t, linear, t, here, scales, cond)
        shape = _over(here.decided, scales.most).sqrt()
        whiten = _over(torch.ones_like(here.noise), here.noise).sqrt()
        left = self._filtered(x0 - linear, whiten / scales.out)
        return self._filtered(said, shape) - left


def _over(a: Tensor, b: Tensor) -> Tensor:
    """a/b, and 0 where b is 0."""
    return torch.where(b > 0, a / b, torch.zeros_like(a / b))
