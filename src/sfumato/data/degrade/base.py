"""What a degradation is: a frozen dataclass that makes a bad picture of a good one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from sfumato.seeds import Generators


@final
@dataclass(frozen=True)
class DegradationCard:
    """What there is to know about a degradation.

    Args:
        what: one phrase.
        source: where its definition is from.
        linear: whether y = A x + b, with A and b of the draws alone (most have b = 0).
        differentiable: whether a gradient of use flows from y to x.
        note: what a user should know besides.
    """

    what: str
    source: str
    linear: bool = True
    differentiable: bool = True
    note: str = ""


class Degraded(NamedTuple):
    """A degraded picture on the grid of the good one, and what of it is certain."""

    x1: Tensor
    """(B, C, H, W): where a bridge begins."""
    known: Tensor | None = None
    """(B, 1, H, W): 1 where x1 is the good picture itself; None where that is so nowhere."""


class Degradation(ABC):
    """y = A(x; z) for pictures x (B, C, H, W) in [-1, 1]; a frozen dataclass of one kind.

    What is random in it is drawn from ``generator``: with one generator per sample, the picture
    of sample i depends on that generator alone. Gradients flow where the card says so.
    """

    @property
    def scale(self) -> int:
        """How many times smaller than x the observation is, along each side."""
        return 1

    @property
    def card(self) -> DegradationCard:
        """What it does, the source of its definition, whether it is linear and differentiable."""
        return self._card()

    @abstractmethod
    def _card(self) -> DegradationCard: ...

    @abstractmethod
    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The observation y, such as a file would hold it, (B, C, H/scale, W/scale).

        Raises:
            ValueError: a shape that it cannot be applied to.
        """

    def lift(self, y: Tensor) -> Tensor:
        """The observation on the grid of x."""
        return y

    def degrade(self, x: Tensor, generator: Generators = None) -> Degraded:
        """The observation, lifted, and what of it is certain."""
        return Degraded(self.lift(self.observe(x, generator)))

    def __call__(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The observation on the grid of x: ``degrade`` without its mask."""
        return self.degrade(x, generator).x1


def need_picture(x: Tensor, channels: tuple[int, ...] = (), multiple: int = 1) -> None:
    """Refuse what is no batch of pictures of these channel counts and multiples of a size.

    Raises:
        ValueError: with what was expected and what came.
    """
    good = x.ndim == 4 and x.is_floating_point()
    if not good or (channels and x.shape[1] not in channels):
        want = " or ".join(map(str, channels)) or "C"
        raise ValueError(
            f"expected float pictures (B, {want}, H, W) in [-1, 1], got {x.dtype} {tuple(x.shape)}"
        )
    if not x.numel():
        raise ValueError(f"expected pictures with at least one pixel, got {tuple(x.shape)}")
    if x.shape[2] % multiple or x.shape[3] % multiple:
        raise ValueError(
            f"expected a height and width that {multiple} divides, got {tuple(x.shape[2:])}: "
            "crop or pad the picture"
        )


def mirrored(x: Tensor, before: int, after: int, dim: int) -> Tensor:
    """x continued beyond both ends of an axis as in a mirror that repeats the edge: b a | a b c."""
    n = x.shape[dim]
    at = torch.arange(-before, n + after, device=x.device) % (2 * n)
    return x.index_select(dim, torch.where(at < n, at, 2 * n - 1 - at))


def check_range(what: str, ends: tuple[float, float], low: float, high: float) -> None:
    """Refuse a pair that is not low <= first <= second <= high.

    Raises:
        ValueError: with what was expected and what came.
    """
    if not low <= ends[0] <= ends[1] <= high:
        raise ValueError(f"expected {low} <= {what} <= {high}, rising, got {ends}")
