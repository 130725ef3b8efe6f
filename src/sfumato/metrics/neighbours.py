"""Precision, recall, density and coverage from nearest neighbours.

With B(X_i) the ball around real sample X_i that reaches to its k-th nearest other real sample, and
B(Y_j) likewise among generated ones,

    precision = share of Y_j in some B(X_i),      recall = share of X_i in some B(Y_j)

(Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 2-4), and

    density = 1/(k M) Σ_j #{i: Y_j in B(X_i)},    coverage = share of B(X_i) that hold some Y_j

(Naeem et al. 2020, arXiv 2002.09797, eq. 5-6), less sensitive to single outliers. Precision and
density speak of quality, recall and coverage of variety. All depend on n and on the features:
compare only at the same.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.metrics.score import Score

_TILE = 16 * 2**20  # numbers in a tile of distances: 64 MiB of float32


class Neighbourhoods(NamedTuple):
    """The four scores of :func:`neighbourhoods`."""

    precision: Score
    recall: Score
    density: Score
    coverage: Score

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def neighbourhoods(
    real: Tensor, generated: Tensor, *, features: str, k_precision: int = 3, k_density: int = 5
) -> Neighbourhoods:
    """Precision and recall with k_precision neighbours, density and coverage with k_density.

    Distances are made in tiles of at most 64 MiB, N·M·F operations thrice; the features are
    centred first so that float32 keeps its digits. Errors are those of a share (or a mean) over
    the samples that are judged, the balls being taken as given.

    Args:
        real: (N, F); generated: (M, F); features: their name.

    Raises:
        ValueError: shapes that differ, or no more samples than neighbours.
    """
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"expected (N, F) and (M, F), got {tuple(real.shape)} and {tuple(generated.shape)}"
        )
    most = max(k_precision, k_density)
    if min(k_precision, k_density) < 1 or min(len(real), len(generated)) <= most:
        raise ValueError(
            f"expected k >= 1 and more than {most} samples of each, "
            f"got {len(real)} real and {len(generated)} generated"
        )
    dtype = torch.float64 if real.dtype == torch.float64 else torch.float32
    centre = real.mean(0, dtype=torch.float64).to(dtype)
    x, y = real.to(dtype) - centre, generated.to(dtype) - centre
    n, m = len(x), len(y)
    balls_x = _radii(x, (k_precision, k_density))
    balls_y = _radii(y, (k_precision,))
    inside_real = torch.zeros(m, dtype=torch.bool)
    inside_generated = torch.zeros(n, dtype=torch.bool)
    hits = torch.zeros(m, dtype=torch.int64)
    covered = torch.zeros(n, dtype=torch.bool)
    rows = max(1, _TILE // n)
    for start in range(0, m, rows):
        stop = min(start + rows, m)
        d = squared_distances(y[start:stop], x)
        inside_real[start:stop] = (d <= balls_x[0]).any(1).cpu()
        inside_generated |= (d <= balls_y[0][start:stop, None]).any(0).cpu()
        within = d <= balls_x[1]
        hits[start:stop] = within.sum(1).cpu()
        covered |= within.any(0).cpu()
    density = hits.double() / k_density

    def share(name: str, mask: Tensor, k: int) -> Score:
        p = float(mask.double().mean())
        return Score(name, p, math.sqrt(p * (1 - p) / len(mask)), m, features, f"k={k}")

    spread = float(density.std()) / math.sqrt(m)
    return Neighbourhoods(
        precision=share("precision", inside_real, k_precision),
        recall=share("recall", inside_generated, k_precision),
        density=Score("density", float(density.mean()), spread, m, features, f"k={k_density}"),
        coverage=share("coverage", covered, k_density),
    )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|² for (n, F), (m, F) -> (n, m), never negative."""
    d = torch.addmm(y.square().sum(1)[None, :], x, y.T, alpha=-2)
    return d.add_(x.square().sum(1)[:, None]).clamp_min_(0)


def _radii(x: Tensor, ks: tuple[int, ...]) -> list[Tensor]:
    """Squared distance of each sample to its k-th nearest other one, (n,) for each k."""
    n = len(x)
    out = [x.new_empty(n) for _ in ks]
    rows = max(1, _TILE // n)
    for start in range(0, n, rows):
        d = squared_distances(x[start : start + rows], x)
        index = torch.arange(len(d), device=x.device)
        d[index, start + index] = math.inf  # a sample is not its own neighbour
        nearest = d.topk(max(ks), dim=1, largest=False).values
        for radii, k in zip(out, ks, strict=True):
            radii[start : start + len(d)] = nearest[:, k - 1]
    return out
