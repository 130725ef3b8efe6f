"""Inpainting: part of the data is known."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.schedule import Time
from sfumato.seeds import Generators


@final
class Inpaint(Denoiser):
    """x̂ := m x_known + (1 - m) x̂, in every evaluation.

    Replacing the *estimate* rather than the state (Song et al. 2021, appendix I.2, replaces the
    state) keeps the walk exact for any solver, and the known part comes out exactly. Stochastic
    solvers with enough steps blend the seam best.

    Args:
        denoiser: what is guided.
        known: data (C, ...) or (B, C, ...).
        mask: 1 where known; anything that broadcasts to the data.

    Raises:
        ValueError: a mask that does not broadcast, or with values outside [0, 1].
    """

    known: Tensor
    mask: Tensor

    def __init__(self, denoiser: Denoiser, known: Tensor, mask: Tensor) -> None:
        super().__init__()
        mask = mask.to(known.dtype)
        try:
            torch.broadcast_shapes(known.shape, mask.shape)
        except RuntimeError:
            raise ValueError(
                f"expected a mask that broadcasts to {tuple(known.shape)}, got {tuple(mask.shape)}"
            ) from None
        if bool(((mask < 0) | (mask > 1)).any()):
            raise ValueError("expected a mask in [0, 1], 1 where the data is known")
        self.denoiser = denoiser
        self.process = denoiser.process
        self.register_buffer("known", known, persistent=False)
        self.register_buffer("mask", mask, persistent=False)

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """The estimate with the known part put in."""
        return torch.lerp(self.denoiser(x_t, t, cond, generator), self.known, self.mask)
