r"""Distances between two images that gradients flow through: what a student is trained by.

A pixel distance asks for the mean of all images that are possible, which is blurred. A perceptual
one compares what the layers of a trained network see (LPIPS: Zhang et al. 2018, arXiv 1801.03924,
eq. 1, here with equal weights),

.. math:: d(a, b) = \sum_l \frac1{H_l W_l} \sum_{h, w} \lVert \hat y^l_{hw}(a) -
          \hat y^l_{hw}(b) \rVert^2,

with the features y of layer l scaled to unit length at each pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.metrics.classifier import LabelledClassifier


class Distance(ABC):
    """A distance between images of two batches, pair by pair."""

    @abstractmethod
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, C, ...) -> (B,); gradients flow to a alone where b needs none."""


@final
class Absolute(Distance):
    """Mean of |a - b|."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, ...) -> (B,)."""
        return (a - b).abs().flatten(1).mean(1)


@final
class Squared(Distance):
    """Mean of (a - b)²."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, ...) -> (B,)."""
        return (a - b).square().flatten(1).mean(1)


@final
class Perceptual(Distance):
    """The distance of the module's text in the layers of a classifier, and ``pixels`` mean |a - b|.

    Args:
        classifier: trained on images like these; it is not trained on.
        pixels: weight of the pixels' own distance, which ties down what no layer sees.
    """

    def __init__(self, classifier: LabelledClassifier, pixels: float = 1.0) -> None:
        if not pixels >= 0:
            raise ValueError(f"expected pixels >= 0, got {pixels}")
        self.classifier = classifier
        self.network = classifier.network.eval().requires_grad_(False)
        self.pixels = pixels

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(B,). Raises UsageError for images of another shape than the classifier's."""
        self.classifier.check(a)
        self.network.to(a.device)
        mine = self.network.layers(a)
        with torch.no_grad():
            theirs = self.network.layers(b)
        return layered_distance(mine, theirs) + self.pixels * (a - b).abs().flatten(1).mean(1)


def layered_distance(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """The equation of the module's text for layers that are already there.

    Args:
        mine, theirs: what each layer l says of the two batches, (B, C_l, H_l, W_l).

    Returns:
        (B,), between 0 and 4 times the number of layers.
    """
    pairs = zip(mine, theirs, strict=True)
    gaps = [(F.normalize(p, dim=1) - F.normalize(q, dim=1)).square().sum(1) for p, q in pairs]
    return torch.stack([g.flatten(1).mean(1) for g in gaps]).sum(0)
