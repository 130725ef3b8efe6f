"""Lost colour, added noise, several degradations in a row, and your own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.data.degrade.base import (
    Degradation,
    DegradationCard,
    Degraded,
    check_range,
    need_picture,
)
from sfumato.data.degrade.jpeg import FORWARD
from sfumato.seeds import Generators, rand, randn


@final
@dataclass(frozen=True)
class Grey(Degradation):
    """Luma .299 R + .587 G + .114 B (BT.601) on all three channels."""

    def _card(self) -> DegradationCard:
        return DegradationCard("colour is lost", "I²SB's decolourisation (arXiv 2302.05872)")

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Luma on three equal channels, (B, 3, H, W)."""
        need_picture(x, channels=(3,))
        weights = torch.tensor(FORWARD[0], dtype=torch.float64).to(x)
        return torch.einsum("c,bchw->bhw", weights, x)[:, None].expand_as(x).contiguous()


@final
@dataclass(frozen=True)
class Noisy(Degradation):
    """y = x + σ z, z ~ N(0, I).

    Args:
        sigma: lowest and highest σ, for pictures in [-1, 1] (2/255 is one level); drawn uniformly
            for each picture. Equal ends draw nothing.
    """

    sigma: tuple[float, float] = (0.2, 0.2)

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma, 0.0, 10.0)

    def _card(self) -> DegradationCard:
        low, high = self.sigma
        return DegradationCard(
            f"white noise, σ = {low:g} to {high:g} in [-1, 1]", "additive Gaussian noise"
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """x + σ z, (B, C, H, W); not clamped."""
        need_picture(x)
        low, high = self.sigma
        sigma = torch.full((len(x), 1), low, dtype=torch.float64)
        if low < high:
            sigma = low + (high - low) * rand((len(x), 1), generator)
        z = randn(x.shape, generator, dtype=x.dtype, device=x.device)
        return x + sigma[:, :, None, None].to(x) * z


@final
@dataclass(frozen=True)
class Chain(Degradation):
    """Several degradations, one after the other, each on the grid of the good picture."""

    steps: tuple[Degradation, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise ValueError("expected at least one degradation in a chain, got none")

    def _card(self) -> DegradationCard:
        cards = [s.card for s in self.steps]
        return DegradationCard(
            ", then ".join(c.what for c in cards),
            "; ".join(dict.fromkeys(c.source for c in cards)),
            linear=all(c.linear for c in cards),
            differentiable=all(c.differentiable for c in cards),
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The result of the last step, (B, C, H, W)."""
        return self.degrade(x, generator).x1

    def degrade(self, x: Tensor, generator: Generators = None) -> Degraded:
        """All of them; certain is nothing unless there is one alone."""
        if len(self.steps) == 1:
            return self.steps[0].degrade(x, generator)
        for step in self.steps:
            x = step(x, generator)
        return Degraded(x)


@final
@dataclass(frozen=True)
class FromFunction(Degradation):
    """Your own: a function of pictures (B, C, H, W) in [-1, 1] and of generators.

    A model that was trained with it remembers only its name; restoring does not need more.

    Args:
        name: what it is called.
        function: returns pictures of the same shape; take what is random from the generators.
    """

    name: str
    function: Callable[[Tensor, Generators], Tensor]

    def _card(self) -> DegradationCard:
        return DegradationCard(self.name, "given by a function", linear=False, differentiable=False)

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """What the function returns.

        Raises:
            ValueError: another shape, or values that are not finite.
        """
        need_picture(x)
        y = self.function(x, generator)
        if y.shape != x.shape:
            raise ValueError(
                f"{self.name}: expected pictures {tuple(x.shape)} back, got {tuple(y.shape)}"
            )
        if not bool(y.isfinite().all()):
            raise ValueError(f"{self.name}: returned values that are not finite")
        return y


@final
@dataclass(frozen=True)
class Given(Degradation):
    """A degradation of which only the name is known here: of pairs of pictures, or of a function.

    Args:
        name: what it is called.
    """

    name: str = "pairs"

    def _card(self) -> DegradationCard:
        return DegradationCard(
            self.name, "known by its results only", linear=False, differentiable=False
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """Nothing can be degraded by a name alone. Raises ValueError: always."""
        raise ValueError(f"{self.name!r} is known by its results only: it cannot be applied")
