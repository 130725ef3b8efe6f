"""Mean and covariance of a stream, in float64, with the groups a jackknife needs."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from sfumato.seeds import splitmix64


@final
class Moments:
    """Count, mean and scatter of feature vectors seen so far.

    Batches are merged by the pairwise rule of Chan, Golub and LeVeque (1979),

        mean = mean_a + delta n_b / n,    M = M_a + M_b + delta deltaᵀ n_a n_b / n,
        delta = mean_b - mean_a,          M = Σ (x - mean)(x - mean)ᵀ,

    which loses no digits when the mean is large against the spread. Neither the order of the
    samples nor the way they are cut into batches matters beyond float64 rounding.

    Args:
        dim: length F of a feature vector; F² float64 numbers are kept.
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"expected dim >= 1, got {dim}")
        self.n = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @property
    def dim(self) -> int:
        """F, the length of a feature vector."""
        return self.mean.shape[0]

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance M / (n - 1), (F, F) float64. Raises ValueError for n < 2."""
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.n}")
        return self.scatter / (self.n - 1)

    def update(self, features: Tensor) -> None:
        """Adds a batch (B, F). Raises ValueError for another shape or NaN."""
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise ValueError(f"expected features (B, {self.dim}), got {tuple(features.shape)}")
        if features.shape[0] == 0:
            return
        batch = features.detach().to("cpu", torch.float64)
        if not torch.isfinite(batch).all():
            raise ValueError("features are not finite (NaN or infinity in the images?)")
        mean = batch.mean(0)
        centred = batch - mean
        self._merge(batch.shape[0], mean, centred.T @ centred)

    def merge(self, other: Moments) -> None:
        """Adds what another accumulator has seen (of another process, say)."""
        if other.dim != self.dim:
            raise ValueError(f"expected moments of dim {self.dim}, got {other.dim}")
        if other.n:
            self._merge(other.n, other.mean, other.scatter)

    def without(self, part: Moments) -> Moments:
        """The moments of the samples that are here but not in ``part``, a subset of them."""
        if part.dim != self.dim or not 0 <= part.n < self.n:
            raise ValueError(
                f"expected a proper subset of {self.n} samples of dim {self.dim}, "
                f"got {part.n} of dim {part.dim}"
            )
        rest = Moments(self.dim)
        rest.n = self.n - part.n
        rest.mean = self.mean + (self.mean - part.mean) * (part.n / rest.n)
        delta = part.mean - rest.mean
        rest.scatter = (
            self.scatter - part.scatter - torch.outer(delta, delta) * (part.n * rest.n / self.n)
        )
        return rest

    def _merge(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.n + n
        delta = mean - self.mean
        self.mean = self.mean + delta * (n / total)
        self.scatter = self.scatter + scatter + torch.outer(delta, delta) * (self.n * n / total)
        self.n = total


def parts_of(start: int, count: int, groups: int) -> Tensor:
    """The part, 0 .. groups - 1, of each of ``count`` samples from position ``start`` on.

    Every run of ``groups`` samples, counted from position 0, is dealt out in an order of its
    own. So the parts are equal in size, and nothing periodic in the stream, such as classes
    that take turns, is the same in all of a part.
    """
    first, last = start // groups, -(-(start + count) // groups)
    position = np.arange(first * groups, last * groups, dtype=np.uint64)
    order = np.argsort(splitmix64(position + np.uint64(1)).reshape(-1, groups), axis=1).reshape(-1)
    skip = start - first * groups
    return torch.from_numpy(order[skip : skip + count])


@final
class GroupedMoments:
    """Moments of a stream and of ``groups`` random parts of it, for a jackknife.

    The part of a sample follows from its position, see `parts_of`. Memory is groups · F² float64.
    """

    def __init__(self, dim: int, groups: int = 10) -> None:
        if groups < 2:
            raise ValueError(f"expected groups >= 2, got {groups}")
        self.parts = tuple(Moments(dim) for _ in range(groups))

    @property
    def n(self) -> int:
        """Samples seen so far, in all groups."""
        return sum(part.n for part in self.parts)

    def update(self, features: Tensor) -> None:
        """Adds a batch (B, F) that continues the stream."""
        mine = parts_of(self.n, len(features), len(self.parts))
        for g, part in enumerate(self.parts):
            part.update(features[mine == g])

    def merge(self, other: GroupedMoments) -> None:
        """Adds what another process's accumulator has seen."""
        if len(other.parts) != len(self.parts):
            raise ValueError(f"expected {len(self.parts)} groups, got {len(other.parts)}")
        for part, more in zip(self.parts, other.parts, strict=True):
            part.merge(more)

    def total(self) -> Moments:
        """The moments of all groups together."""
        whole = Moments(self.parts[0].dim)
        for part in self.parts:
            whole.merge(part)
        return whole
