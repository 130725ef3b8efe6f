"""Fréchet distance between two sets of features.

With Gaussians N(μ_r, Σ_r), N(μ_g, Σ_g) fitted to the features of real and generated images
(Heusel et al. 2017, arXiv 1706.08500, eq. 6)

    d² = |μ_r - μ_g|² + Tr(Σ_r + Σ_g - 2 (Σ_r Σ_g)^½).

The trace of the square root is Σ_i √λ_i with λ_i the eigenvalues of the symmetric matrix
Σ_r^½ Σ_g Σ_r^½, found by two symmetric eigendecompositions: no complex numbers, no jitter on the
diagonal, exact zeros where n < F. Where both sets are few samples of many features, matrices of the
size of F are never made: with A_r = (x_r - μ_r)/√(N-1), (N, F), and A_g likewise, the trace of the
root is the sum of the singular values of A_r A_gᵀ, (N, n).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.metrics.moments import GroupedMoments, Moments, parts_of
from sfumato.metrics.score import Score, jackknife


def gaussian_frechet(mean_r: Tensor, cov_r: Tensor, mean_g: Tensor, cov_g: Tensor) -> float:
    """d² between N(mean_r, cov_r) and N(mean_g, cov_g); (F,) and (F, F), computed in float64.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    dim = mean_r.shape[0]
    for name, item, shape in (
        ("mean_r", mean_r, (dim,)),
        ("mean_g", mean_g, (dim,)),
        ("cov_r", cov_r, (dim, dim)),
        ("cov_g", cov_g, (dim, dim)),
    ):
        if tuple(item.shape) != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {tuple(item.shape)}")
        if not torch.isfinite(item).all():
            raise ValueError(f"{name} holds values that are not finite")
    root = _root(cov_r.double())
    return _distance(mean_r.double(), cov_r.double(), root, mean_g.double(), cov_g.double())


def frechet_distance(
    real: Tensor | Moments, generated: Tensor | GroupedMoments, *, features: str, groups: int = 10
) -> Score:
    """The distance (the squared d² above, as everybody reports it) with a standard error.

    Error and bias are those of the finite number of *generated* samples, by the jackknife over
    ``groups`` parts: with d_(j) the distance without part j and d̄ their mean,

        error² = (g-1)/g Σ_j (d_(j) - d̄)²,     unbiased = g d - (g-1) d̄,

    the second removing the bias of order 1/n that makes small samples look bad. The real set is
    taken as given. The bias estimate means something for n well above F; it is left out below.

    Args:
        real: features (N, F), or the moments accumulated from a stream.
        generated: features (n, F), or the grouped moments of a stream.
        features: the features' name, printed with the score.
        groups: parts for the jackknife, when ``generated`` is a tensor.

    Raises:
        ValueError: fewer than 2 real samples or 2·groups generated ones, or dims that differ.
    """
    if isinstance(generated, Tensor) and generated.ndim != 2:
        raise ValueError(f"expected features (n, F), got {tuple(generated.shape)}")
    if isinstance(real, Tensor) and isinstance(generated, Tensor) and _few(real, generated):
        return _between_few(real, generated, features, groups)
    if isinstance(real, Tensor):
        real = moments(real)
    if isinstance(generated, Tensor):
        grouped = GroupedMoments(generated.shape[1], groups)
        grouped.update(generated)
    else:
        grouped = generated
    whole = grouped.total()
    if real.dim != whole.dim:
        raise ValueError(f"real features have dim {real.dim}, generated ones {whole.dim}")
    count = len(grouped.parts)
    if whole.n < 2 * count:
        raise ValueError(f"expected at least {2 * count} generated samples, got {whole.n}")
    cov_r = real.covariance
    root = _root(cov_r)
    value = _distance(real.mean, cov_r, root, whole.mean, whole.covariance)
    left = [
        _distance(real.mean, cov_r, root, rest.mean, rest.covariance)
        for rest in (whole.without(part) for part in grouped.parts)
    ]
    return _score(value, left, whole.n, whole.dim, features)


def _score(value: float, left: list[float], n: int, dim: int, features: str) -> Score:
    """With the jackknife over the distances without each part."""
    count = len(left)
    centre, error = jackknife(left)
    unbiased = count * value - (count - 1) * centre if n >= 5 * dim else None
    return Score("Fréchet distance", value, error, n, features, unbiased=unbiased)


def _few(real: Tensor, generated: Tensor) -> bool:
    """Whether the singular values of (N, n) are less work than eigenvalues of (F, F)."""
    if real.ndim != 2 or real.shape[1] != generated.shape[1]:
        return False
    low, high = sorted((len(real), len(generated)))
    return low >= 2 and high < real.shape[1]


def _between_few(real: Tensor, generated: Tensor, features: str, groups: int) -> Score:
    """The same distance by products of samples, (N, n) numbers; each part left out in turn."""
    n = len(generated)
    if n < 2 * groups:
        raise ValueError(f"expected at least {2 * groups} generated samples, got {n}")
    x, y = real.double(), generated.double()
    for name, item in (("real", x), ("generated", y)):
        if not torch.isfinite(item).all():
            raise ValueError(f"{name} features hold values that are not finite")
    centre = y.mean(0)
    shift = x.mean(0) - centre
    x, y = x - x.mean(0), y - centre  # y about one centre, whichever part is left out
    products, squares = x @ y.T, y.square().sum(1)
    own = float(x.square().sum() / (len(x) - 1))

    def distance(keep: Tensor) -> float:
        some, count = products[:, keep], int(keep.sum())
        mean = keep.double() @ y / count
        spread = (squares[keep].sum() - count * mean.square().sum()) / (count - 1)
        cross = torch.linalg.svdvals(some - some.mean(1, keepdim=True)).sum()
        cross = cross / math.sqrt((len(x) - 1) * (count - 1))
        return float((shift - mean).square().sum() + own + spread - 2 * cross)

    part = parts_of(0, n, groups)
    value = distance(torch.ones(n, dtype=torch.bool))
    return _score(value, [distance(part != j) for j in range(groups)], n, x.shape[1], features)


def moments(features: Tensor, chunk: int = 4096) -> Moments:
    """Moments of a tensor of features (N, F)."""
    if features.ndim != 2:
        raise ValueError(f"expected features (N, F), got {tuple(features.shape)}")
    total = Moments(features.shape[1])
    for part in features.split(chunk):
        total.update(part)
    return total


def _root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a positive semidefinite matrix, (F, F) float64."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _distance(mean_r: Tensor, cov_r: Tensor, root: Tensor, mean_g: Tensor, cov_g: Tensor) -> float:
    product = root @ cov_g @ root
    values = torch.linalg.eigvalsh((product + product.T) / 2)
    # eigenvalues that are zero come out as rounding noise, whose root would not be small
    noise = values.abs().max() * values.shape[0] * torch.finfo(torch.float64).eps
    cross = torch.where(values > noise, values, 0.0).sqrt().sum()
    shift = (mean_r - mean_g).square().sum()
    return float(shift + cov_r.trace() + cov_g.trace() - 2 * cross)
