r"""The noise N(0, K) that drives a process: white here, a random field in `ddo.field`.

A process multiplies one covariance operator K by scalars (or k x k blocks), so all that a
solver needs of K is to draw from it. The score enters every drift as K times score, which
cancels K⁻¹ (Song et al. 2021; Lim et al. 2023, arXiv 2302.07400). Only likelihoods need
``log_prob``, and the Cameron-Martin norm |K^{-1/2} x| needs ``whiten``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sfumato.seeds import Generators, randn


class Noise(ABC):
    """A centred Gaussian N(0, K) over one block of the state."""

    @abstractmethod
    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        """Draw a batch with the shape, type and device of ``like``, (B, ...)."""

    @abstractmethod
    def whiten(self, x: Tensor) -> Tensor:
        """K^{-1/2} x, whose numbers are independent for x ~ N(0, K); shaped like x."""

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

    def whiten(self, x: Tensor) -> Tensor:
        """x: its numbers are independent already."""
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """-(|x|² + d log 2π) / 2, per sample, in nats."""
        flat = x.flatten(1).double()
        return -0.5 * (flat.square().sum(1) + flat.shape[1] * math.log(2 * math.pi))
