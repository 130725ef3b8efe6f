"""Negative prompts, and guidance with a scale for each prompt encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.nn import Prompt
from sfumato.schedule import Time
from sfumato.seeds import Generators


@final
class FixedCondition(Denoiser):
    """x̂(x_t; labels) with fixed labels; those of the caller are ignored, not its image.

    In the place of the unconditional estimate of classifier-free guidance this is a negative
    prompt: ``ClassifierFree(denoiser, scale, FixedCondition(denoiser, negative))``.

    Args:
        denoiser: any.
        labels: labels, an embedding or a prompt; one row, or one for each sample.
    """

    def __init__(self, denoiser: Denoiser, labels: Tensor | Prompt) -> None:
        super().__init__()
        self.denoiser, self.labels = denoiser, labels
        self.process = denoiser.process

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0, with the shape of x_t."""
        labels = Condition.of(self.labels).rows(torch.arange(len(x_t))).told
        return self.denoiser(x_t, t, cond.telling(labels), generator)


@final
class EncoderGuidance(Denoiser):
    r"""Classifier-free guidance with a scale for each encoder of a prompt, in the model's order:

    .. math:: \hat x(\varnothing) + \sum_i w_i\, [\hat x(e_1 .. e_i) - \hat x(e_1 .. e_{i-1})].

    With all scales equal to w it is classifier-free guidance (Ho & Salimans 2022) with scale w. An
    encoder whose scale is that of the next costs no evaluation of its own.

    Args:
        denoiser: trained with each encoder dropped by itself.
        scales: w_i, one for each encoder.
        other: estimates ∅, such as `FixedCondition` with a negative prompt; the denoiser unless
            given.

    Raises:
        ValueError: no scales.
    """

    def __init__(
        self, denoiser: Denoiser, scales: Sequence[float], other: Denoiser | None = None
    ) -> None:
        super().__init__()
        if not scales:
            raise ValueError("expected a scale for each encoder, got none")
        self.denoiser, self.scales = denoiser, tuple(scales)
        self.other = other if other is not None else denoiser
        self.process = denoiser.process

    @property
    def terms(self) -> tuple[tuple[int, float], ...]:
        """(n, factor): the estimate is the sum of factor x̂(e_1 .. e_n)."""
        factors: dict[int, float] = {0: 1.0}
        for i, w in enumerate(self.scales):
            factors[i + 1] = factors.get(i + 1, 0.0) + w
            factors[i] -= w
        return tuple((n, f) for n, f in factors.items() if f != 0)

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0, with the shape of x_t.

        Raises:
            ValueError: no prompt, or one by another number of encoders.
        """
        prompt = cond.prompt
        if prompt is None or len(prompt.encoded) != len(self.scales):
            have = len(prompt.encoded) if prompt is not None else "none"
            raise ValueError(f"expected a prompt by {len(self.scales)} encoders, got {have}")
        total = torch.zeros_like(x_t[:, : x_t.shape[1] // self.process.k])
        for n, factor in self.terms:
            if n:
                kept = torch.zeros(len(prompt), len(self.scales), dtype=torch.bool)
                kept[:, :n] = True
                partial = cond.telling(prompt.keeping(kept))
                total = total + factor * self.denoiser(x_t, t, partial, generator)
            else:
                total = total + factor * self.other(x_t, t, cond.unlabelled(), generator)
        return total
