"""Classifier-free guidance of a denoiser that knows its derivative: the published mixture."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.guide import ClassifierFree
from sfumato.schedule import Time
from sfumato.seeds import Generators
from sfumato.systems.genie.derivative import Differentiable


def guided(denoiser: Denoiser, scale: float) -> Denoiser:
    """`MixedDerivative` of a denoiser that knows its derivative, `ClassifierFree` of another."""
    if isinstance(denoiser, Differentiable):
        return MixedDerivative(denoiser, scale)
    return ClassifierFree(denoiser, scale)


@final
class MixedDerivative(Differentiable):
    """x̂ and d_γ ε̂ extrapolated alike, a(∅) + w (a(c) - a(∅)) (GENIE, section 4 and appendix).

    The estimate is that of `ClassifierFree`. The derivative is an approximation: each of the two
    is the total derivative along the flow of its *own* estimate, whereas the walk follows the
    guided one, along which it is ∂_x ε̂ · dx/dγ + ∂_t ε̂ · dt/dγ with the guided dx/dγ. So a Taylor
    step is of order 1 unless w is 0 or 1 (docs/genie.md has measured slopes), usually with a
    smaller error than DDIM's. ``ExactDerivative(ClassifierFree(...))`` keeps order 2.

    Args:
        denoiser: trained with conditions dropped.
        scale: w.
    """

    def __init__(self, denoiser: Differentiable, scale: float) -> None:
        super().__init__(denoiser.process)
        self.denoiser = denoiser
        self.scale = scale

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """Extrapolate from the unconditional estimate to the conditional one."""
        if self.scale == 1:
            return self.denoiser(x_t, t, cond, generator)
        free = self.denoiser(x_t, t, cond.unlabelled(), generator)
        if self.scale == 0:
            return free
        return torch.lerp(free, self.denoiser(x_t, t, cond, generator), self.scale)

    def differentiate(
        self, x_t: Tensor, t: Time, cond: Condition, generator: Generators
    ) -> tuple[Tensor, Tensor]:
        """x̂_0 and its derivative, each extrapolated from unconditional to conditional."""
        ask = self.denoiser.with_derivative
        if self.scale == 1:
            return ask(x_t, t, cond, generator)
        free, free_slope = ask(x_t, t, cond.unlabelled(), generator)
        if self.scale == 0:
            return free, free_slope
        bound, bound_slope = ask(x_t, t, cond, generator)
        w = self.scale
        return torch.lerp(free, bound, w), torch.lerp(free_slope, bound_slope, w)
