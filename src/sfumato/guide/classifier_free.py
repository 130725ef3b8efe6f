"""Classifier-free guidance."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.schedule import Time
from sfumato.seeds import Generators


@final
class ClassifierFree(Denoiser):
    """x̂ = x̂(∅) + w (x̂(c) - x̂(∅)) (Ho & Salimans 2022, eq. 6 with their w + 1).

    w = 1 is the plain conditional model and costs one evaluation; w = 0 is unconditional.

    Args:
        denoiser: trained with conditions dropped.
        scale: w.
        unconditional: another, weaker denoiser for ∅ (Karras et al. 2024, "autoguidance").
    """

    def __init__(
        self, denoiser: Denoiser, scale: float, unconditional: Denoiser | None = None
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.other = unconditional if unconditional is not None else denoiser
        self.process = denoiser.process
        self.scale = scale

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """Extrapolate from the unconditional estimate to the conditional one."""
        if self.scale == 1:
            return self.denoiser(x_t, t, cond, generator)
        free = self.other(x_t, t, cond.unlabelled(), generator)
        if self.scale == 0:
            return free
        return free + self.scale * (self.denoiser(x_t, t, cond, generator) - free)
