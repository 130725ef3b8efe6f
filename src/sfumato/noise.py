r"""The noise N(0, K) that drives a process: white, or a Gaussian random field.

A process multiplies one covariance operator K by scalars (or k x k blocks), so all that a
solver needs of K is to draw from it. The score enters every drift as K times score, which
cancels K⁻¹ (Song et al. 2021; Lim et al. 2023, arXiv 2302.07400). Only likelihoods need
``log_prob``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.seeds import Generators, randn


class Noise(ABC):
    """A centred Gaussian N(0, K) over one block of the state."""

    @abstractmethod
    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw a batch with the shape, type and device of ``like``, (B, ...)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, K) in nats, one value per sample, (B,)."""


@final
@dataclass(frozen=True)
class White(Noise):
    """K = I: every number independent."""

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw independent standard normal numbers shaped as ``like``."""
        return randn(like.shape, generator, dtype=like.dtype, device=like.device)

    def log_prob(self, x: Tensor) -> Tensor:
        """-(|x|² + d log 2π) / 2, per sample, in nats."""
        flat = x.flatten(1).double()
        return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))


@final
@dataclass(frozen=True)
class GaussianField(Noise):
    r"""A stationary Matérn-like field on the unit torus, restricted to any grid.

    The field is :math:`\xi = \sum_j \sqrt{s_j}\, z_j e^{2\pi i j\cdot x}` over all integer
    frequencies with

    .. math:: s_j \propto (1 + (2\pi\,\ell\,|j|)^2)^{-(\nu + d/2)}, \qquad \sum_j s_j = 1,

    so its point-wise variance is 1 on every grid. On a grid of n points per axis the
    frequencies j + n m fold onto j; their powers are added, which makes the grid values the
    exact restriction of one continuous field (up to the truncation ``folds``): a coarse grid
    inside a fine one sees the same covariance.

    Args:
        length: correlation length ℓ, in units of the domain.
        smoothness: Matérn ν > 0; the field has derivatives of order below ν.
        dims: number d of spatial axes, the last ones of the tensor: 1, 2 or 3.
        folds: aliases m = -folds..folds that are summed along each axis.

    Raises:
        ValueError: a parameter outside its range.
    """

    length: float = 0.1
    smoothness: float = 1.5
    dims: int = 2
    folds: int = 4

    def __post_init__(self) -> None:
        if not self.length > 0 or not self.smoothness > 0:
            raise ValueError(
                "expected length > 0 and smoothness > 0, "
                f"got length={self.length}, smoothness={self.smoothness}"
            )
        if self.dims not in (1, 2, 3) or self.folds < 0:
            raise ValueError(
                f"expected dims 1, 2 or 3 and folds >= 0, got dims={self.dims}, folds={self.folds}"
            )

    def power(self, grid: tuple[int, ...]) -> Tensor:
        """Folded spectrum s on the FFT's frequencies of ``grid``; float64, sums to 1."""
        axes = []
        for n in grid:
            j = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
            m = n * torch.arange(-self.folds, self.folds + 1, dtype=torch.float64)
            axes.append((j[:, None] + m[None, :]).square())  # (n, 2 folds + 1)
        total: Tensor = axes[0]
        for a in axes[1:]:  # outer sum, frequencies and aliases apart
            total = total.unsqueeze(-1).unsqueeze(-1) + a
        exponent = -(self.smoothness + self.dims / 2)
        s = (1 + (2 * math.pi * self.length) ** 2 * total).pow(exponent)
        s = s.sum(dim=tuple(range(1, 2 * len(grid), 2)))
        return s / s.sum()

    def _grid(self, x: Tensor) -> tuple[int, ...]:
        if x.ndim < self.dims + 1:
            raise ValueError(
                f"a {self.dims}-dimensional field needs a batch and {self.dims} spatial axes, "
                f"got shape {tuple(x.shape)}"
            )
        return tuple(x.shape[-self.dims :])

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw fields on the grid of ``like``; channels and samples are independent."""
        grid = self._grid(like)
        z = randn(like.shape, generator, dtype=like.dtype, device=like.device)
        work = z.double() if like.device.type == "cpu" else z.float()
        over = tuple(range(-self.dims, 0))
        root = (self.power(grid) * math.prod(grid)).sqrt().to(work)
        return torch.fft.ifftn(torch.fft.fftn(work, dim=over) * root, dim=over).real.to(like.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, K) on the grid of x, per sample, in nats."""
        grid = self._grid(x)
        over = tuple(range(-self.dims, 0))
        eigenvalues = (self.power(grid) * math.prod(grid)).to(x.device)
        modes = torch.fft.fftn(x.double(), dim=over, norm="ortho")
        quadratic = (modes.abs().square() / eigenvalues).flatten(1).sum(1)
        fields = x[0].numel() // math.prod(grid)
        logdet = fields * eigenvalues.log().sum()
        return -0.5 * (quadratic + logdet + x[0].numel() * math.log(2 * math.pi))
