r"""Painting with words: phrases of a prompt are drawn where their masks are.

.. math:: \mathrm{softmax}\!\left(\frac{Q K^\top + w A}{\sqrt d}\right) V,
          \qquad w = w' \log(1 + \sigma/\alpha)\, \max(Q K^\top)

(eDiff-I: Balaji et al. 2022, arXiv 2211.01324, section 5). A has a column for each token of the
prompt: the painted weights, at the resolution of the attention, for the tokens of a painted phrase,
0 for the others. The weight is large at high noise, where the layout is decided, and goes to 0 with
the noise. The maximum is of each sample for itself (see `sfumato.nn.context.CrossAttention`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


@final
@dataclass(frozen=True, eq=False)
class Stroke:
    """A painted phrase.

    Args:
        where: (H, W) or (B, H, W), weights in [0, 1]: how much of each pixel is painted.
        tokens: numbers of the phrase's tokens in the prompt, counted over all encoders.
        weight: of this stroke beside others.

    Raises:
        ValueError: weights outside [0, 1], or no tokens.
    """

    where: Tensor
    tokens: tuple[int, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        w = self.where
        if w.ndim not in (2, 3) or not bool(((w >= 0) & (w <= 1)).all()):
            raise ValueError(
                f"expected a mask (H, W) or (B, H, W) in [0, 1], got {tuple(w.shape)} in "
                f"[{float(w.min()):g}, {float(w.max()):g}]"
            )
        if not self.tokens or min(self.tokens) < 0 or not self.weight >= 0:
            raise ValueError(
                f"expected numbers of tokens and a weight >= 0, got {self.tokens} and {self.weight}"
            )


def attention_map(strokes: Sequence[Stroke], tokens: int, batch: int) -> Tensor:
    """A of all strokes, (B, tokens, H, W); where strokes of one token overlap, the largest counts.

    Raises:
        ValueError: masks of different sizes, for another batch, or a token that there is not.
    """
    sizes = {tuple(s.where.shape[-2:]) for s in strokes}
    if len(sizes) != 1:
        raise ValueError(f"expected masks of one size, got {sorted(sizes)}")
    (size,) = sizes
    made = torch.zeros(batch, tokens, *size, device=strokes[0].where.device)
    for s in strokes:
        if s.where.ndim == 3 and len(s.where) not in (1, batch):
            raise ValueError(f"expected masks for {batch} samples, got {len(s.where)}")
        if max(s.tokens) >= tokens:
            raise ValueError(f"expected tokens below {tokens}, got {s.tokens}")
        where = s.weight * s.where.float().expand(batch, *size)
        for i in s.tokens:
            made[:, i] = torch.maximum(made[:, i], where)
    return made


@final
class PaintWithWords(Denoiser):
    """Painting with words; without a prompt nothing changes.

    So the unconditional estimate of guidance is as before:
    ``ClassifierFree(PaintWithWords(...), scale)``.

    Args:
        denoiser: its network attends to prompts.
        strokes: what is painted where.
        strength: w'; at 0 nothing is changed, bit for bit.

    Raises:
        ValueError: no strokes, or a strength below 0.
    """

    def __init__(self, denoiser: Denoiser, strokes: Sequence[Stroke], strength: float) -> None:
        super().__init__()
        if not strokes or not strength >= 0:
            raise ValueError(
                f"expected strokes and a strength >= 0, got {len(strokes)} and {strength}"
            )
        self.denoiser, self.strokes, self.strength = denoiser, tuple(strokes), strength
        self.process = denoiser.process

    def weight(self, t: Time) -> Tensor:
        """w' log(1 + σ/α) at times t: () or (B,)."""
        q = self.process.marginal(as_time(t))
        return self.strength * (q.cov[..., 0, 0].sqrt() / q.A[..., 0, 0]).log1p()

    def _painted(self, cond: Condition, t: Time) -> Condition:
        prompt = cond.prompt
        if prompt is None or self.strength == 0:
            return cond
        tokens = sum(e.tokens.shape[1] for e in prompt.encoded)
        a = attention_map(self.strokes, tokens, len(prompt))
        factor = self.weight(t).reshape(-1, 1, 1, 1).to(a)
        bias = (factor * a).to(prompt.encoded[0].tokens.device)
        return cond.telling(prompt.biased(bias))

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0, with the shape of x_t. Raises ValueError: strokes that do not fit the prompt."""
        return self.denoiser(x_t, t, self._painted(cond, t), generator)
