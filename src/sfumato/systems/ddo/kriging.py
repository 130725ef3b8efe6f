r"""Kriging of many points: the system (H R H* + τ²) w = y without its matrix.

R is diagonal in the harmonics φ of the grid, with eigenvalues λ, and H takes grid values to values
at P points, so

.. math:: H R H^* = \Phi \Lambda \Phi^*, \qquad \Phi_{pk} = \varphi_k(p),

which is applied in O(P N) by one small matrix for each axis and an FFT. Conjugate gradients are
preconditioned by the harmonics of the greatest λ, F = Φ_m Λ_m^{1/2}, and by a constant for the
rest, inverted by Woodbury's identity with the m × m matrix 1 + F*F/δ, or where m > P by the P × P
matrix F F* + δ. Those are kept whose λ (√P + √N)², which bounds the eigenvalues of the rest at
random points, is above τ²: about 10 iterations then suffice, whatever τ, R and P are. A factor
also serves other noise levels whose λ are its own to a factor of 4. The dense system takes O(P² N)
to set up and O(P³) to solve, at every noise level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.nn.harmonic import Domain, cardinal, filtered

_TOLERANCE = 1e-8
_ITERATIONS = 200
_REST = 1.0
_NEAR = 4.0
_KEPT = 2**26
"""Numbers in the factors that are kept for the next batch, at most: 512 MB."""


@final
class Kriging:
    """The equations of one set of points on one grid.

    Args:
        points: float64 (P, d) in the unit box.
        grid, domain: of the fields.
        noise: deviation τ of the observations' error.
    """

    def __init__(self, points: Tensor, grid: Sequence[int], domain: Domain, noise: float) -> None:
        self.grid, self.domain, self.noise = tuple(grid), domain, noise
        with torch.inference_mode(False):  # kept for later, which may need gradients
            axes = list(enumerate(self.grid))
            self._rows = [cardinal(points[:, a], n, domain) for a, n in axes]  # H, axis by axis
            self._waves = [_harmonics(points[:, a], n, domain) for a, n in axes]  # Φ likewise
        self._factors: list[tuple[Tensor, Tensor]] = []

    def at_points(self, x: Tensor) -> Tensor:
        """H x: fields (B, *grid) to values (B, P)."""
        y = x.double() @ self._rows[-1].mT
        for rows in reversed(self._rows[:-1]):
            y = (y * rows.mT).sum(-2)
        return y

    def to_grid(self, w: Tensor) -> Tensor:
        """H* w: values (B, P) to fields (B, *grid)."""
        made = []
        for one in w:
            left = one[:, None] * self._rows[0]
            for rows in self._rows[1:-1]:
                left = (left[..., None] * rows[:, None]).flatten(1)
            made.append(left.mT @ self._rows[-1] if len(self.grid) > 1 else left.sum(0))
        return torch.stack(made).reshape(-1, *self.grid)

    def spread(self, w: Tensor, power: Tensor) -> Tensor:
        """R H* w on the grid; ``power`` (*grid) are the variances λ of the modes."""
        scale = math.prod(self.grid)
        return filtered(self.to_grid(w), power * scale, self.domain, len(self.grid))

    def solve(self, miss: Tensor, power: Tensor) -> Tensor | None:
        """w (B, P) of (H R H* + τ²) w = miss; None where the iteration does not converge."""
        precondition = self._preconditioner(power)

        def apply(w: Tensor) -> Tensor:
            return self.at_points(self.spread(w, power)) + self.noise**2 * w

        return _conjugate_gradients(apply, precondition, miss)

    def _preconditioner(self, power: Tensor) -> Callable[[Tensor], Tensor]:
        points = len(self._rows[0])
        lam = power
        for a, n in enumerate(self.grid):
            lam = lam.index_select(a, _modes(n, self.domain).to(lam.device))
        flat = lam.flatten()
        most = (math.sqrt(points) + math.sqrt(len(flat))) ** 2
        least = self.noise**2 / most
        lower = None
        for known, factor in self._factors:  # of another noise level, where little has changed
            ratio = (flat + least) / (known + least)
            if float(ratio.max() / ratio.min()) <= _NEAR:
                flat, lower = known, factor
                break
        count = int((flat > _REST * least).sum())
        count = min(count, max(points, 4096), len(flat))
        order = flat.argsort(descending=True, stable=True)
        kept, rest = order[:count], order[count:]
        delta = self.noise**2 + float(flat[rest].sum())
        factor = flat[kept].sqrt()[None]
        for waves, index in zip(self._waves, torch.unravel_index(kept, self.grid), strict=True):
            factor = factor * waves[:, index]  # (P, m)
        small = count < points
        if lower is None:
            gram = factor.mT @ factor / delta if small else factor @ factor.mT
            lower = _lower(gram, small, delta)
            self._keep(flat, lower)
        triangle = lower

        def inverse(v: Tensor) -> Tensor:
            if not small:
                return torch.cholesky_solve(v.mT, triangle).mT
            inner = torch.cholesky_solve((v @ factor).mT / delta, triangle).mT
            return (v - inner @ factor.mT) / delta

        return inverse

    def _keep(self, power: Tensor, lower: Tensor) -> None:
        """Keep a factor for other noise levels and the next batch."""
        held = sum(kept.numel() for _, kept in self._factors)
        if held + lower.numel() <= _KEPT:
            self._factors.append((power, lower))


@torch.no_grad()
def _lower(gram: Tensor, small: bool, delta: float) -> Tensor:
    """The Cholesky factor of 1 + F*F/δ, or of F F* + δ."""
    gram.diagonal().add_(1.0 if small else delta)
    return torch.linalg.cholesky(gram)


def _harmonics(points: Tensor, n: int, domain: Domain) -> Tensor:
    """The n harmonics of a grid at points: float64 (P, n), of mean square 1 on the grid."""
    x, root = points.double()[:, None] * math.pi, math.sqrt(2)
    if domain is Domain.REFLECTING:
        k = torch.arange(n, dtype=torch.float64, device=x.device)
        made = root * (x * k).cos()
        made[:, 0] = 1
        return made
    top = (n - 1) // 2
    j = 2 * torch.arange(1, top + 1, dtype=torch.float64, device=x.device)
    parts = [torch.ones_like(x), root * (x * j).cos(), root * (x * j).sin()]
    return torch.cat([*parts, *[(x * n).cos()] * (n % 2 == 0)], 1)


def _modes(n: int, domain: Domain) -> Tensor:
    """For each of `_harmonics` its place among the modes of `ddo.nn.harmonic.to_modes`."""
    if domain is Domain.REFLECTING:
        return torch.arange(n)
    j = torch.arange(1, (n - 1) // 2 + 1)
    return torch.cat(
        [torch.zeros(1, dtype=j.dtype), j, j, *[torch.tensor([n // 2])] * (n % 2 == 0)]
    )


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor], precondition: Callable[[Tensor], Tensor], b: Tensor
) -> Tensor | None:
    """x of apply(x) = b, for each row of b; None where it is not reached in 200 iterations."""
    enough = _TOLERANCE * b.norm(dim=1, keepdim=True)
    x, r = torch.zeros_like(b), b
    p = z = precondition(r)
    energy = (r * z).sum(1, keepdim=True)
    for _ in range(_ITERATIONS):
        if bool((r.norm(dim=1, keepdim=True) <= enough).all()):
            return x
        q = apply(p)
        step = _ratio(energy, (p * q).sum(1, keepdim=True))
        x, r = x + step * p, r - step * q
        z = precondition(r)
        energy, before = (r * z).sum(1, keepdim=True), energy
        p = z + _ratio(energy, before) * p
    return None


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 of a row that is solved."""
    return torch.where(b > 0, a / b, torch.zeros_like(a))
