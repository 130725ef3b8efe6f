r"""Observations at scattered points: kriging inside the sampler.

Values y = x_0(p_i) + N(0, τ²) are known at some points. Given the state, x_0 has the mean x̂_0 and,
under the Gaussian law of the denoiser (`ddo.wiener`), the covariance R_t of the filter's error,
whose power is r. Conditioning that Gaussian on the observations gives

.. math:: \hat x_0 + R_t H^* (H R_t H^* + \tau^2)^{-1} (y - H \hat x_0),

with H the values at the points. For Gaussian data this is E[x_0 | x_t, y], so that any solver
draws from the posterior of kriging; for other data R_t stands for the true covariance, as r_t² I
does in guidance by pseudo-inverses (Song et al. 2023, ΠGDM), but with correlations, which carry an
observation to its surroundings. No derivative of the network is needed. The system is small and
dense, or for many points iterated (`ddo.kriging`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.schedule import Time
from sfumato.seeds import Generators
from sfumato.systems.ddo.kriging import Kriging
from sfumato.systems.ddo.nn.harmonic import cardinal, evaluate, filtered
from sfumato.systems.ddo.wiener import Wiener

_DENSE = 512
"""With more points the system is solved without its matrix (`ddo.kriging`)."""


@final
class PointObservations(Denoiser):
    """The estimate, made to agree with observations.

    Args:
        denoiser: what is guided: a `Wiener`, or what wraps one, which is then given as ``law``.
        points: (P, d) in the unit box; on a periodic box, anywhere.
        values: (P,) for all samples, or (B, P); of the channel ``channel``.
        noise: deviation τ > 0 of the observations' error, in units of the data.
        channel: which quantity was observed.
        law: the Gaussian law that carries observations to their surroundings.

    Raises:
        ValueError: arrays that do not fit, points outside a reflecting box, values that are not
            finite, noise or channel outside its range, or no law.
    """

    points: Tensor
    values: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        points: Tensor,
        values: Tensor,
        noise: float = 1e-2,
        channel: int = 0,
        law: Wiener | None = None,
    ) -> None:
        super().__init__()
        law = denoiser if law is None and isinstance(denoiser, Wiener) else law
        if law is None:
            raise ValueError(
                "expected a Wiener denoiser, or the law of the one inside as law=..., got "
                f"{type(denoiser).__name__}"
            )
        dims = law.noise.dims
        if points.ndim != 2 or points.shape[1] != dims or values.shape[-1:] != points.shape[:1]:
            raise ValueError(
                f"expected points (P, {dims}) and values (P,) or (B, P), "
                f"got {tuple(points.shape)} and {tuple(values.shape)}"
            )
        if not bool(points.isfinite().all()) or not bool(values.isfinite().all()):
            raise ValueError("expected finite points and values; leave out what was not observed")
        if law.noise.domain.value == "reflecting" and not bool(
            ((points >= 0) & (points <= 1)).all()
        ):
            raise ValueError("expected points inside the unit box, coordinates from 0 to 1")
        if not noise > 0:
            raise ValueError(f"expected noise > 0, got {noise}")
        if channel < 0:
            raise ValueError(f"expected channel >= 0, got {channel}")
        self.denoiser, self.law = denoiser, law
        self.process = denoiser.process
        self.noise, self.channel = noise, channel
        self._kriging: Kriging | None = None
        self.register_buffer("points", points.double(), persistent=False)
        self.register_buffer("values", values.double(), persistent=False)

    def carriers(self, t: Time, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """R H* (T, P, *grid), and H R H* + τ² (T, P, P), for T = 1 time or one per sample."""
        domain, dims = self.law.noise.domain, len(grid)
        rows = cardinal(self.points[:, 0], grid[0], domain)  # H, one function for each point
        for a in range(1, dims):
            rows = rows[..., None] * cardinal(self.points[:, a], grid[a], domain).reshape(
                len(self.points), *[1] * a, -1
            )
        r = self.law.spectra(t, grid).unexplained
        r = r[:, min(self.channel, r.shape[1] - 1)] * rows[0].numel()  # eigenvalues of R
        spread = filtered(rows, r[:, None], domain, dims)
        gram = evaluate(spread, self.points, domain)
        eye = torch.eye(len(rows), dtype=gram.dtype, device=gram.device)
        return spread, 0.5 * (gram + gram.mT) + self.noise**2 * eye

    def _iterated(self, miss: Tensor, t: Time, grid: Sequence[int]) -> Tensor | None:
        """R H* (H R H* + τ²)⁻¹ miss without the matrix; None where that does not converge."""
        if self._kriging is None or self._kriging.grid != tuple(grid):
            self._kriging = Kriging(self.points, grid, self.law.noise.domain, self.noise)
        r = self.law.spectra(t, grid).unexplained
        r = r[:, min(self.channel, r.shape[1] - 1)]
        parts = []
        for i, power in enumerate(r):
            own = miss if len(r) == 1 else miss[i : i + 1]
            weight = self._kriging.solve(own, power)
            if weight is None:
                return None
            parts.append(self._kriging.spread(weight, power))
        return torch.cat(parts)

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0 + R H* (H R H* + τ²)⁻¹ (y - H x̂_0) in the observed channel."""
        x0 = self.denoiser(x_t, t, cond, generator)
        seen = x0[:, self.channel].double()
        miss = self.values - evaluate(seen, self.points, self.law.noise.domain)  # (B, P)
        shift = self._iterated(miss, t, x0.shape[2:]) if len(self.points) > _DENSE else None
        if shift is None:
            spread, gram = self.carriers(t, x0.shape[2:])
            weight = torch.linalg.solve(gram, miss[..., None])[..., 0]
            shift = (weight.reshape(*weight.shape, *[1] * (spread.ndim - 2)) * spread).sum(1)
        moved = (seen + shift).to(x0.dtype)
        return torch.cat([x0[:, : self.channel], moved[:, None], x0[:, self.channel + 1 :]], 1)
