r"""Spectral convolution: an integral operator by its longest waves (Li et al. 2021, 2010.08895).

.. math:: (\mathcal K u)(x) = \sum_{|j_a| \le m_a} R_j\, \hat u_j\, e^{2\pi i j \cdot x},

one complex matrix R_j (from C to C' channels) for each wave. The coefficients û are those of the
function, divided by the number of points, so that the operator does not depend on the grid. On a
reflecting box û is that of the mirrored function, of period 2, and waves count halves.

As few waves are kept, the transforms are small matrix products. They cost as much per point on
any grid, and the result may be asked for on another grid than the argument's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import final

import torch
from torch import Tensor, nn

from sfumato.systems.ddo.nn.harmonic import Domain, highest, places

__all__ = ["SpectralConvolution"]


@final
class SpectralConvolution(nn.Module):
    """(B, inputs, *grid) -> (B, outputs, *grid), with one complex matrix per wave.

    ``weight`` is (2 m_1 + 1, ..., m_d + 1, 2, inputs, outputs): waves -m..m on each axis and 0..m
    on the last (the others follow, as the function is real), then real and imaginary part.
    Computed in float32, or float64 if the weights are, whatever surrounds it.

    Args:
        inputs, outputs: channels.
        modes: m for each axis: waves up to this number are kept (those that the grid has).
        domain: what is beyond the border.
        zero: begin with zero instead of matrices that keep the variance of what is kept.

    Raises:
        ValueError: fewer than 1 channel, or not 1 to 3 axes.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        modes: Sequence[int],
        domain: Domain = Domain.PERIODIC,
        zero: bool = False,
    ) -> None:
        super().__init__()
        if min(inputs, outputs) < 1 or len(modes) not in (1, 2, 3) or min(modes) < 0:
            raise ValueError(
                "expected at least one channel and 1 to 3 numbers of modes >= 0, "
                f"got {inputs}, {outputs} and {tuple(modes)}"
            )
        self.modes = tuple(int(m) for m in modes)
        self.domain = domain
        waves = [2 * m + 1 for m in self.modes[:-1]] + [self.modes[-1] + 1]
        weight = torch.randn(*waves, 2, inputs, outputs) * math.sqrt(0.5 / inputs)
        self.weight = nn.Parameter(torch.zeros_like(weight) if zero else weight)

    def forward(self, u: Tensor, grid: Sequence[int] | None = None) -> Tensor:
        """R applied to u (B, inputs, *grid'), on ``grid`` (that of u unless given); type of u."""
        dims = len(self.modes)
        if u.ndim != dims + 2 or u.shape[1] != self.weight.shape[-2]:
            raise ValueError(
                f"expected u of shape (B, {self.weight.shape[-2]}, {dims} axes), "
                f"got {tuple(u.shape)}"
            )
        with torch.autocast(u.device.type, enabled=False):
            kind = torch.float64 if self.weight.dtype == torch.float64 else torch.float32
            return self._convolve(u.to(kind), tuple(grid or u.shape[2:])).to(u.dtype)

    def _convolve(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        dims, sides = len(self.modes), u.shape[2:]
        kept = [
            min(m, highest(n, self.domain), highest(k, self.domain))
            for m, n, k in zip(self.modes, sides, grid, strict=True)
        ]
        weight: Tensor = self.weight
        for a, (m, k) in enumerate(zip(self.modes, kept, strict=True)):
            low = m - k if a < dims - 1 else 0
            weight = weight.narrow(a, low, 2 * k + 1 if a < dims - 1 else k + 1)
        there, back = zip(
            *(
                transforms(n, k, m, self.domain, a == dims - 1)
                for a, (n, k, m) in enumerate(zip(sides, grid, kept, strict=True))
            ),
            strict=True,
        )
        x = (u @ there[-1].to(u)).unflatten(-1, (-1, 2))  # (B, C, ..., n, m + 1, [re, im])
        for a in range(dims - 1):
            x = _along(x, there[a], a + 2)
        waves = x.shape[2:-1]
        q = x.flatten(2, -2).permute(2, 0, 1, 3)  # (Q, B, C, 2)
        y = _multiply(q, weight.flatten(0, dims - 1))  # (Q, B, C', 2)
        y = y.permute(1, 2, 0, 3).unflatten(2, waves)
        for a in range(dims - 1):
            y = _along(y, back[a], a + 2)
        return y.flatten(-2) @ back[-1].to(u)


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    """x (Q, B, C, 2) times weight (Q, 2, C, C') for each wave: (Q, B, C', 2)."""
    q, b, c, _ = x.shape
    y = x.permute(0, 3, 1, 2).reshape(q, 1, 2 * b, c) @ weight  # re and im by re and by im
    (rr, ir), (ri, ii) = y[:, 0].split(b, 1), y[:, 1].split(b, 1)
    return torch.stack([rr - ii, ri + ir], -1)


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """A complex matrix along one axis of x (..., [re, im]), as one real product.

    (Products of many small complex matrices are a loop on the CPU, and several times slower.)
    """
    x = x.movedim(axis, -2)
    re, im = matrix.real, matrix.imag
    block = torch.stack([torch.stack([re, im], 1), torch.stack([-im, re], 1)], -1)
    # (to, [re, im] out, from, [re, im] in) -> from the right: (2 from, 2 to)
    block = block.flatten(2).flatten(0, 1).mT
    y = x.flatten(-2) @ block.to(x)
    return y.unflatten(-1, (-1, 2)).movedim(-2, axis)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # kept for later, which may need gradients
def transforms(n: int, k: int, modes: int, domain: Domain, last: bool) -> tuple[Tensor, Tensor]:
    """Matrices from n grid points to waves, and from waves to k grid points; float64.

    Complex (2m + 1, n) and (k, 2m + 1) for waves -m..m. On the last axis real ones that act from
    the right, (n, 2 (m + 1)) and (2 (m + 1), k), with real and imaginary parts in turn, waves 0..m.
    """
    turn = (2 if domain is Domain.PERIODIC else 1) * math.pi
    j = torch.arange(0 if last else -modes, modes + 1, dtype=torch.float64)
    angle = turn * places(n, domain)[:, None] * j  # (n, waves)
    if domain is Domain.PERIODIC:
        there = torch.polar(torch.full_like(angle, 1 / n), -angle)
    else:  # of the mirrored function: cosines only
        there = torch.complex(angle.cos() / n, torch.zeros_like(angle))
    angle = turn * places(k, domain)[:, None] * j
    back = torch.polar(torch.ones_like(angle), angle)
    if not last:
        return there.mT.contiguous(), back
    twice = torch.where(j > 0, 2.0, 1.0)
    real = torch.stack([back.real * twice, -back.imag * twice], -1).flatten(1)
    return torch.view_as_real(there).flatten(1), real.mT.contiguous()
