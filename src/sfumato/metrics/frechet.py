"""Fréchet distance between two sets of features.

With Gaussians N(μ_r, Σ_r), N(μ_g, Σ_g) fitted to the features of real and generated images
(Heusel et al. 2017, arXiv 1706.08500, eq. 6)

    d² = |μ_r - μ_g|² + Tr(Σ_r + Σ_g - 2 (Σ_r Σ_g)^½).

The trace of the square root is Σ_i √λ_i with λ_i the eigenvalues of the symmetric matrix
Σ_r^½ Σ_g Σ_r^½, found by two symmetric eigendecompositions: no complex numbers, no jitter on the
diagonal, exact zeros where n < F.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.metrics.moments import GroupedMoments, Moments
from sfumato.metrics.score import Score


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
    if isinstance(real, Tensor):
        real = moments(real)
    if isinstance(generated, Tensor):
        if generated.ndim != 2:
            raise ValueError(f"expected features (n, F), got {tuple(generated.shape)}")
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
    centre = math.fsum(left) / count
    error = math.sqrt((count - 1) / count * math.fsum((d - centre) ** 2 for d in left))
    unbiased = count * value - (count - 1) * centre if whole.n >= 5 * whole.dim else None
    return Score("Fréchet distance", value, error, whole.n, features, unbiased=unbiased)


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
