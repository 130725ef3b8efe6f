r"""Gaussian random fields as noise: one continuous field, seen on any grid.

On a box with the harmonics φ_j (`ddo.nn.harmonic`), normalised to mean square 1,

.. math:: \xi = \sum_j \sqrt{s_j}\, h_j\, \varphi_j, \qquad \sum_j s_j = 1, \quad h_j \sim N(0, 1),

with s_j from a `Covariance`, normalised over *all* j once and not on each grid. On a grid of n
points
the harmonics beyond it fold onto those that it has, and their powers are added: the values on the
grid are the exact restriction of the continuous field, and a coarse grid inside a fine one sees the
same covariance.

Each draw takes one number from its generator, which seeds the h_j, block by block of wave numbers
in an order that does not depend on the grid, and apart from them what folds. So the same seed gives
the same field on every grid, but for what the grid cannot show.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from sfumato.noise import Noise
from sfumato.seeds import Generators, NumberSource, children
from sfumato.seeds import generator as stream
from sfumato.systems.ddo.kernel import Covariance, Matern
from sfumato.systems.ddo.nn.harmonic import (
    Domain,
    evaluate,
    highest,
    to_grid,
    to_modes,
    wave_numbers,
)

_SUMMED = {1: 2**18, 2: 1024, 3: 96}
"""Wave numbers up to which powers are summed one by one; beyond them by an integral."""
_FOLDS = {1: 16, 2: 4, 3: 2}
"""Aliases that are added one by one on each axis and side; the rest is spread evenly."""
_COUNTED = 2**23
"""Cosines that are counted to know the rest; a grid with more has next to none."""


def _extent(extent: tuple[float, ...], dims: int) -> tuple[float, ...]:
    return extent or (1.0,) * dims


def radius(axes: Sequence[Tensor], extent: Sequence[float]) -> Tensor:
    """|κ| in waves per unit length over the outer product of wave numbers j, κ = j / extent."""
    total = torch.zeros((), dtype=torch.float64)
    for j, length in zip(axes, extent, strict=True):
        total = total[..., None] + (j / length).square()
    return total.sqrt()


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later, which may need gradients
def _total(kernel: Covariance, dims: int, domain: Domain, extent: tuple[float, ...]) -> float:
    """Σ density over all harmonics of the box."""
    longest = max(extent)
    top = [max(4, math.ceil(_SUMMED[dims] * length / longest)) for length in extent]
    if domain is Domain.PERIODIC:
        axes = [torch.arange(-m, m + 1, dtype=torch.float64) for m in top]
    else:
        axes = [torch.arange(2 * m + 1, dtype=torch.float64) / 2 for m in top]
    total = float(kernel.density(radius(axes, extent), dims).sum())
    # the ball that is as large as the box of frequencies just summed; one harmonic per 1/volume
    volume = math.prod(extent)
    cube = math.prod((2 * m + 1) / length for m, length in zip(top, extent, strict=True))
    ball = math.pi ** (dims / 2) / math.gamma(dims / 2 + 1)
    start = (cube / ball) ** (1 / dims)
    log = torch.linspace(math.log(start), math.log(start) + 20, 20_001, dtype=torch.float64)
    r = log.exp()
    shell = kernel.density(r, dims) * dims * ball * r.pow(dims) * volume
    return total + float(torch.trapezoid(shell, log))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later, which may need gradients
def _powers(
    kernel: Covariance, dims: int, domain: Domain, extent: tuple[float, ...], grid: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """(own, folded) variances per mode of the grid: of its harmonics, and with their aliases."""
    total = _total(kernel, dims, domain, extent)
    own_axes = [wave_numbers(n, domain) for n in grid]
    own = kernel.density(radius(own_axes, extent), dims) / total
    if domain is Domain.PERIODIC:  # an even grid's highest harmonic is two that fold
        for a, n in enumerate(grid):
            if n % 2 == 0:
                own.select(a, n // 2).zero_()
    folds = _FOLDS[dims]
    columns, weights = zip(*(_aliases(n, domain, folds) for n in grid), strict=True)
    folded = torch.zeros(grid, dtype=torch.float64)
    for shift in itertools.product(*(range(c.shape[1]) for c in columns)):
        axes = [c[:, m] for c, m in zip(columns, shift, strict=True)]
        w = torch.ones((), dtype=torch.float64)
        for c, m in zip(weights, shift, strict=True):
            w = w[..., None] * c[:, m]
        folded += w * kernel.density(radius(axes, extent), dims) / total
    if domain is Domain.PERIODIC:
        rest = 1 - float(folded.sum())
    else:
        rest = _beyond(kernel, dims, extent, grid, total)
    return own, folded + (rest if rest > 1e-12 else 0.0) / math.prod(grid)


def _beyond(
    kernel: Covariance, dims: int, extent: tuple[float, ...], grid: tuple[int, ...], total: float
) -> float:
    """The variance of the cosines that `_aliases` leaves out; 0 where there are too many to count.

    (On the points of the grid a cosine may have twice its variance, or none; on average over the
    waves that look alike it has its own.)
    """
    counts = [n * (4 * _FOLDS[dims] + 1) for n in grid]
    if math.prod(counts) > _COUNTED:
        return 0.0
    axes = [torch.arange(m, dtype=torch.float64) / 2 for m in counts]
    return 1 - float(kernel.density(radius(axes, extent), dims).sum()) / total


def _aliases(n: int, domain: Domain, folds: int) -> tuple[Tensor, Tensor]:
    """Wave numbers (n, A) that look like each mode of a grid, and the square of how they look."""
    j = wave_numbers(n, domain)[:, None]
    if domain is Domain.PERIODIC:
        m = torch.arange(-folds, folds + 1, dtype=torch.float64)
        return j + n * m, torch.ones(n, 2 * folds + 1, dtype=torch.float64)
    m = torch.arange(1, 2 * folds + 1, dtype=torch.float64)  # cos π(2nm ± k)x at cells' centres
    waves = torch.cat([j, n * m - j, n * m + j], 1)
    weight = torch.ones_like(waves)
    weight[0, 1 : 1 + len(m)] = 2.0  # √2 cos falls on the constant, once
    weight[0, 1 + len(m) :] = 0.0
    return waves, weight


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later, which may need gradients
def _layout(
    grid: tuple[int, ...], domain: Domain
) -> tuple[tuple[tuple[int, ...], int, Tensor, Tensor], ...]:
    """Blocks of harmonics: (which, size, those that the grid has, where they go on it).

    On each axis shell 0 holds |j| <= 2, and shell b the j with 2^b < |j| <= 2^{b+1}; a block is the
    product of one shell of each axis, in an order that does not depend on the grid.
    """
    shells = [_shells(n, domain) for n in grid]
    blocks = []
    for which in itertools.product(*(range(len(axis)) for axis in shells)):
        axes = [axis[b] for axis, b in zip(shells, which, strict=True)]
        j = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        limit = torch.tensor([highest(n, domain) for n in grid])[:, None]
        here = (j.abs() <= limit).all(0).nonzero()[:, 0]
        where = torch.zeros(len(here), dtype=torch.int64)
        for a, n in enumerate(grid):
            where = where * n + j[a, here] % n
        blocks.append((which, j.shape[1], here, where))
    return tuple(blocks)


def _shells(n: int, domain: Domain) -> list[Tensor]:
    """Wave numbers of one axis, of both signs if periodic, from long waves to short ones."""
    shells, low, high = [], -1, 2
    while low < highest(n, domain):
        j = torch.arange(-high if domain is Domain.PERIODIC else 0, high + 1)
        shells.append(j[j.abs() > low])
        low, high = high, 2 * high
    return shells


@final
@dataclass(frozen=True)
class GaussianField(Noise):
    """A stationary field on a periodic box, or a field on a box whose border is a mirror.

    On a periodic box the variance is 1 at every point. With mirrors it is 1 on average over the
    box, and up to 2^d times as large at the border, where the field meets its image.

    Args:
        kernel: how power falls with the wave number.
        dims: number d of spatial axes, the last ones of the tensor: 1, 2 or 3.
        domain: what is beyond the border.
        extent: lengths of the axes, in the units of the kernel's; () is 1 for each.

    Raises:
        ValueError: a parameter outside its range.
    """

    kernel: Covariance = Matern()
    dims: int = 2
    domain: Domain = Domain.PERIODIC
    extent: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.dims not in (1, 2, 3):
            raise ValueError(f"expected dims 1, 2 or 3 of space, got dims={self.dims}")
        if self.extent and (len(self.extent) != self.dims or min(self.extent) <= 0):
            raise ValueError(f"expected {self.dims} positive lengths as extent, got {self.extent}")

    def _both(self, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        extent = _extent(self.extent, self.dims)
        return _powers(self.kernel, self.dims, self.domain, extent, tuple(grid))

    def power(self, grid: Sequence[int]) -> Tensor:
        """Variance of each normalised harmonic on a grid, aliases included; float64, ``grid``.

        The covariance operator on the grid has these values, times the number of points, as its
        eigenvalues. On a periodic box they sum to 1.
        """
        return self._both(tuple(grid))[1]

    def own_power(self, grid: Sequence[int]) -> Tensor:
        """As `power`, without what folds: 0 for an even periodic grid's highest mode."""
        return self._both(tuple(grid))[0]

    def _grid(self, x: Tensor) -> tuple[int, ...]:
        if x.ndim < self.dims + 1:
            raise ValueError(
                f"a {self.dims}-dimensional field needs a batch and {self.dims} spatial axes, "
                f"got shape {tuple(x.shape)}"
            )
        return tuple(x.shape[-self.dims :])

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw fields on the grid of ``like``; channels and samples are independent.

        Numbers of a `NumberSource` are taken for those of the grid's harmonics.
        """
        grid = self._grid(like)
        own, folded = self._both(grid)
        if isinstance(generator, NumberSource):
            numbers = generator.normal(tuple(like.shape)).to(like)
            return self._synthesis(numbers * folded.sqrt().to(like))
        tail = (folded - own).clamp_min(0)
        seeds = children(len(like), generator)
        fields = like.shape[1 : like.ndim - self.dims].numel() * len(like) // len(seeds)
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32

        def draw(size: int, *path: int | str) -> Tensor:
            made = [
                torch.randn(fields, size, generator=stream(seed, *path), dtype=wide)
                for seed in seeds
            ]
            return torch.cat(made)

        h = torch.zeros(fields * len(seeds), math.prod(grid), dtype=wide)
        for which, size, here, where in _layout(grid, self.domain):
            h[:, where] = draw(size, "waves", *which)[:, here]
        h = h.to(like.device) * own.flatten().sqrt().to(like.device, wide)
        if float(tail.max()) > 1e-14:
            z = draw(math.prod(grid), "folded", *grid)
            h += z.to(like.device) * tail.flatten().sqrt().to(like.device, wide)
        return self._synthesis(h.reshape(like.shape)).to(like.dtype)

    def _synthesis(self, h: Tensor) -> Tensor:
        """Σ h_j φ_j on the grid: cos + sin of 2πj·x, or √2 cos per axis."""
        if self.domain is Domain.PERIODIC:
            made = torch.fft.ifftn(h, dim=tuple(range(-self.dims, 0)), norm="forward")
            return made.real + made.imag
        return to_grid(h * _norms(h, self.dims), self.dims, self.domain)

    def whiten(self, x: Tensor) -> Tensor:
        """K^{-1/2} x on the grid of x; what K never draws becomes zero."""
        grid = self._grid(x)
        eigen = self.power(grid) * math.prod(grid)
        wide = x if x.dtype == torch.float64 else x.float()
        drawn = eigen > torch.finfo(wide.dtype).tiny  # in the type of x
        root = torch.where(drawn, eigen, torch.inf).rsqrt().to(x.device)
        made = to_modes(wide, self.dims, self.domain) * root.to(wide.dtype)
        return to_grid(made, self.dims, self.domain).to(x.dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; 0, K) on the grid of x, per sample, in nats.

        Raises:
            ValueError: some harmonic is never drawn, so that there is no density.
        """
        grid = self._grid(x)
        eigen = self.power(grid) * math.prod(grid)
        if float(eigen.min()) <= 0:
            raise ValueError(f"{self!r} leaves out some harmonics, so it has no density")
        flat = self.whiten(x.double()).flatten(1)
        fields = x[0].numel() // math.prod(grid)
        logdet = fields * float(eigen.log().sum())
        return -0.5 * (flat.square().sum(1) + logdet + x[0].numel() * math.log(2 * math.pi))

    def at(
        self,
        points: Tensor,
        n: int,
        generator: Generators = None,
        *,
        channels: int = 1,
        resolution: int = 0,
    ) -> Tensor:
        """n draws at any points (P, d) of the unit box, by the sum over harmonics: (n, C, P).

        The field is that of `sample` on a grid of ``resolution`` points along each axis (512, 128
        or 32 in 1, 2 or 3 dimensions), interpolated by its harmonics.
        """
        side = resolution or {1: 512, 2: 128, 3: 32}[self.dims]
        like = torch.zeros(n, channels, *[side] * self.dims, dtype=torch.float64)
        return evaluate(self.sample(like, generator), points, self.domain)


def _norms(h: Tensor, dims: int) -> Tensor:
    """√2 for each axis on which a cosine is not constant."""
    made = torch.ones((), dtype=h.dtype, device=h.device)
    for n in h.shape[-dims:]:
        axis = h.new_full((n,), math.sqrt(2.0))
        axis[0] = 1.0
        made = made[..., None] * axis
    return made


@final
@dataclass(frozen=True)
class OpenField(Noise):
    """A stationary field of all space, seen through the box: circulant embedding.

    The box is made larger by the kernel's `reach` (correlations beyond it are below 1e-4) and
    periodic; fields are drawn there and cut out. The spectrum is the kernel's own, so the
    embedding never fails. The larger box is a whole number of the grid's points, so one seed is
    not one field on all grids here; the law is.

    Args:
        kernel: a kernel whose correlations die away.
        dims, extent: as of `GaussianField`.

    Raises:
        ValueError: correlations do not die away.
    """

    kernel: Covariance = Matern()
    dims: int = 2
    extent: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self.kernel.reach(self.dims)
        GaussianField(self.kernel, self.dims, extent=self.extent)

    def embedding(self, grid: Sequence[int]) -> tuple[GaussianField, tuple[int, ...]]:
        """The periodic field that is cut, and its grid."""
        reach = self.kernel.reach(self.dims)
        lengths = _extent(self.extent, self.dims)
        wide = tuple(
            math.ceil(n * (1 + reach / length)) for n, length in zip(grid, lengths, strict=True)
        )
        larger = tuple(length * m / n for length, m, n in zip(lengths, wide, grid, strict=True))
        return GaussianField(self.kernel, self.dims, extent=larger), wide

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw fields on the grid of ``like``."""
        grid = tuple(like.shape[-self.dims :])
        field, wide = self.embedding(grid)
        x = field.sample(like.new_zeros(*like.shape[: -self.dims], *wide), generator)
        for i, n in enumerate(reversed(grid)):
            x = x.narrow(-1 - i, 0, n)
        return x

    def whiten(self, x: Tensor) -> Tensor:
        """Not by harmonics.

        Raises:
            ValueError: always.
        """
        raise ValueError(_OPEN)

    def log_prob(self, x: Tensor) -> Tensor:
        """Not by harmonics.

        Raises:
            ValueError: always.
        """
        raise ValueError(_OPEN)


_OPEN = "harmonics do not diagonalise an open field; use GaussianField, periodic or with mirrors"
