"""Distances between point sets in the plane, and which modes of a mixture were found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.metrics.score import Score, plus_minus


def wasserstein_1d(x: Tensor, y: Tensor, p: float = 2.0) -> Tensor:
    """W_p^p between one-dimensional samples, exact, column by column.

    On the line the optimal plan joins equal quantiles: W_p^p = ∫₀¹ |F⁻¹(u) - G⁻¹(u)|^p du. With
    n and m samples both quantile functions are constant between the levels i/n and j/m.

    Args:
        x: (n, c); y: (m, c), n and m may differ. p: order, at least 1.

    Returns:
        (c,) float64.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise ValueError(f"expected (n, c) and (m, c), got {tuple(x.shape)} and {tuple(y.shape)}")
    if p < 1:
        raise ValueError(f"expected p >= 1, got {p}")
    x, y = _sorted(x), _sorted(y)  # (c, n), (c, m)
    n, m = x.shape[1], y.shape[1]
    if n == m:
        return (x - y).abs().pow(p).mean(1)
    # levels in units of 1 / (n m), where they are whole numbers
    levels = torch.cat((torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n)).unique()
    start = torch.cat((levels.new_zeros(1), levels[:-1]))
    weight = (levels - start).double() / (n * m)
    gap = x[:, (start // m).to(x.device)] - y[:, (start // n).to(y.device)]
    return gap.abs().pow(p) @ weight.to(gap.device)


def sliced_wasserstein(
    x: Tensor,
    y: Tensor,
    *,
    p: float = 2.0,
    projections: int = 256,
    seed: int = 0,
    features: str = "points",
) -> Score:
    """Sliced Wasserstein distance SW_p = (E_θ W_p^p(θ·x, θ·y))^{1/p}, θ uniform on the sphere.

    (Rabin et al. 2011; Bonneel et al. 2015.) Each one-dimensional distance is exact. The error is
    that of averaging over ``projections`` directions, carried through the root; it does not speak
    of the finite sample, which biases the distance upwards by about n^{-1/2}.

    Args:
        x: (n, d); y: (m, d).
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"expected (n, d) and (m, d), got {tuple(x.shape)} and {tuple(y.shape)}")
    if projections < 2:
        raise ValueError(f"expected projections >= 2, got {projections}")
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(x.shape[1], projections, generator=generator, dtype=torch.float64)
    theta = (theta / theta.norm(dim=0)).to(x.device)
    chunk = max(1, 2**24 // (len(x) + len(y)))
    powers = torch.cat(
        [wasserstein_1d(x.double() @ part, y.double() @ part, p) for part in theta.split(chunk, 1)]
    )
    mean = float(powers.mean())
    error = float(powers.std()) / math.sqrt(projections)
    value = mean ** (1 / p)
    slope = value / (p * mean) if mean > 0 else 0.0
    return Score(
        f"sliced W{p:g}", value, error * slope, len(y), features, f"{projections} projections"
    )


@final
@dataclass(frozen=True)
class ModeCoverage:
    """How a sample spreads over the modes of a known mixture.

    Attributes:
        modes: number of modes; found: those with at least one high-quality sample.
        quality: share of samples within ``radius`` of the nearest mode's centre.
        divergence: KL(sample's shares of the modes || weights), in nats; 0 is a perfect balance.
        n: number of samples.
        radius: in units of the data.
    """

    modes: int
    found: int
    quality: float
    divergence: float
    n: int
    radius: float

    def __str__(self) -> str:
        error = math.sqrt(self.quality * (1 - self.quality) / self.n)
        return (
            f"modes (points, n={self.n}, radius={self.radius:.3g}) {self.found} of {self.modes}; "
            f"high quality {plus_minus(self.quality, error)}; "
            f"KL of mode shares {self.divergence:.4f} nats"
        )


def mode_coverage(
    samples: Tensor,
    centres: Tensor,
    *,
    std: float,
    weights: Tensor | None = None,
    sigmas: float = 3.0,
) -> ModeCoverage:
    """Modes found by a sample of a mixture of equal round Gaussians.

    The usual test on 25 Gaussians (Srivastava et al. 2017, VEEGAN, section 4.1): a sample is of
    high quality within ``sigmas`` standard deviations of the nearest centre, and a mode is found
    if such a sample belongs to it. A perfect sample in d = 2 has quality 1 - exp(-sigmas²/2).

    Args:
        samples: (n, d); centres: (k, d); std: of each mode; weights: (k,), equal if None.
    """
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"expected samples (n, d) and centres (k, d), "
            f"got {tuple(samples.shape)} and {tuple(centres.shape)}"
        )
    if not len(samples) or not std > 0:
        raise ValueError(f"expected samples and std > 0, got {len(samples)} and {std}")
    k = len(centres)
    law = torch.full((k,), 1.0 / k) if weights is None else weights
    if law.shape != (k,) or not bool((law > 0).all()):
        raise ValueError(f"expected {k} positive weights, got {law.tolist()}")
    law = law.double() / law.double().sum()
    nearest = torch.cdist(samples.double(), centres.double().to(samples.device)).min(1)
    good = nearest.values <= sigmas * std
    counts = torch.bincount(nearest.indices[good].cpu(), minlength=k)
    shares = torch.bincount(nearest.indices.cpu(), minlength=k).double() / len(samples)
    divergence = torch.special.xlogy(shares, shares / law).sum()
    return ModeCoverage(
        k, int((counts > 0).sum()), float(good.double().mean()), float(divergence), len(samples),
        sigmas * std,
    )  # fmt: skip


def _sorted(x: Tensor) -> Tensor:
    """(n, c) -> (c, n), sorted; much faster along the last dimension."""
    return x.double().T.contiguous().sort(1).values
