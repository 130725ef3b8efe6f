r"""What a network reads besides the state: sequences of vectors, by one or several encoders.

A prompt is a tuple of `Encoded` things (of a T5-like text encoder, a CLIP-like one, a picture's
embedding), each of which may be absent for any sample. `ContextEmbedding` projects them to one
width, one after another, for cross-attention, and adds what they say as a whole to the vector that
modulates the network (eDiff-I: Balaji et al. 2022, arXiv 2211.01324, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.attention import attend
from sfumato.nn.config import ContextConfig, EncoderWidths
from sfumato.nn.norm import GroupNorm, scaled_linear

__all__ = [
    "Context",
    "ContextConfig",
    "ContextEmbedding",
    "CrossAttention",
    "Encoded",
    "EncoderWidths",
    "Prompt",
]


@final
@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encoder says of B samples.

    Args:
        tokens: (B, L, D).
        mask: bool (B, L), which tokens there are; none at all where the encoder is silent.
        pooled: (B, P), the whole in one vector; P may be 0.

    Raises:
        ValueError: shapes that do not fit.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def __post_init__(self) -> None:
        t, m, p = self.tokens, self.mask, self.pooled
        if t.ndim != 3 or m.shape != t.shape[:2] or p.ndim != 2 or len(p) != len(t):
            raise ValueError(
                "expected tokens (B, L, D), a mask (B, L) and a pooled (B, P), got "
                f"{tuple(t.shape)}, {tuple(m.shape)} and {tuple(p.shape)}"
            )
        if m.dtype != torch.bool:
            raise ValueError(f"expected a mask of bool, got {m.dtype}")

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def present(self) -> Tensor:
        """Whether the encoder says anything, bool (B,)."""
        return self.mask.any(1)


@final
@dataclass(frozen=True, eq=False)
class Prompt:
    """What all encoders say of B samples, in the order of the network's `ContextConfig`.

    Args:
        encoded: one for each encoder.
        bias: (B, ΣL, H, W), added to the attention of pixels to tokens in units of the greatest
            product of query and key (see `CrossAttention`); None for nothing.

    Raises:
        ValueError: nothing at all, or different numbers of samples.
    """

    encoded: tuple[Encoded, ...]
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.encoded or len({len(e) for e in self.encoded}) != 1:
            raise ValueError(
                "expected the encodings of as many samples by each of one or more encoders, got "
                f"{[len(e) for e in self.encoded]}"
            )
        tokens = sum(e.tokens.shape[1] for e in self.encoded)
        bias = self.bias
        if bias is not None and (bias.ndim != 4 or bias.shape[:2] != (len(self), tokens)):
            raise ValueError(
                f"expected a bias of shape ({len(self)}, {tokens}, H, W), got {tuple(bias.shape)}"
            )

    def __len__(self) -> int:
        return len(self.encoded[0])

    def __getitem__(self, rows: Tensor | slice) -> Prompt:
        """Some of the samples."""
        found = tuple(Encoded(e.tokens[rows], e.mask[rows], e.pooled[rows]) for e in self.encoded)
        return Prompt(found, None if self.bias is None else self.bias[rows])

    def to(self, device: torch.device | str) -> Prompt:
        """On a device."""
        found = tuple(
            Encoded(e.tokens.to(device), e.mask.to(device), e.pooled.to(device))
            for e in self.encoded
        )
        return Prompt(found, None if self.bias is None else self.bias.to(device))

    def keeping(self, kept: Tensor) -> Prompt:
        """With encoder i silent for sample b where ``kept`` (B, encoders) is False.

        Raises:
            ValueError: another shape.
        """
        if tuple(kept.shape) != (len(self), len(self.encoded)):
            raise ValueError(
                f"expected kept of shape ({len(self)}, {len(self.encoded)}), "
                f"got {tuple(kept.shape)}"
            )
        found = tuple(
            replace(e, mask=e.mask & kept[:, i, None].to(e.mask.device))
            for i, e in enumerate(self.encoded)
        )
        return Prompt(found, self.bias)

    def silent(self) -> Prompt:
        """Nothing said by anyone, nothing painted: what guidance goes away from."""
        found = tuple(replace(e, mask=torch.zeros_like(e.mask)) for e in self.encoded)
        return Prompt(found)

    def biased(self, bias: Tensor | None) -> Prompt:
        """With this bias (B, ΣL, H, W) on the attention to its tokens, or with none."""
        return Prompt(self.encoded, bias)


@final
@dataclass(frozen=True, eq=False)
class Context:
    """A prompt as the network's own: tokens (B, 1 + ΣL, C), the first of which says nothing.

    mask: bool (B, 1 + ΣL).  bias: (B, ΣL, H, W) or None.
    """

    tokens: Tensor
    mask: Tensor
    bias: Tensor | None = None


@final
class ContextEmbedding(nn.Module):
    """Prompt -> (Context, vector (B, width) to be added to the conditioning).

    Each encoder has its own linear map for tokens and one for what it says as a whole, for which,
    where it is silent, there is a learned vector. One more token, learned and always there, is
    what attention goes to where nothing is said. Encodings are normalised (LayerNorm) first, as
    encoders differ in scale.
    """

    def __init__(self, config: ContextConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.norms = nn.ModuleList(nn.LayerNorm(e.tokens) for e in config.encoders)
        self.tokens = nn.ModuleList(nn.Linear(e.tokens, config.channels) for e in config.encoders)
        spoken = [e.pooled for e in config.encoders]
        self.pooled = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(p), nn.Linear(p, width)) if p else nn.Identity()
            for p in spoken
        )
        self.absent = nn.Parameter(torch.zeros(len(spoken), width))
        self.nothing = nn.Parameter(torch.randn(config.channels))

    def forward(self, prompt: Prompt | None, batch: int) -> tuple[Context, Tensor]:
        """None is a prompt that says nothing.

        Raises:
            ValueError: a prompt by other encoders, or of another number of samples.
        """
        kind = self.nothing.dtype
        first = self.nothing.expand(batch, 1, -1)
        there = torch.ones(batch, 1, dtype=torch.bool, device=first.device)
        if prompt is None:
            speaking = [i for i, e in enumerate(self.config.encoders) if e.pooled]
            return Context(first, there), self.absent[speaking].sum(0).expand(batch, -1)
        self._check(prompt, batch)
        tokens, masks, vector = [first], [there], torch.zeros_like(self.absent[:1])
        for i, e in enumerate(prompt.encoded):
            tokens.append(self.tokens[i](self.norms[i](e.tokens.to(kind))))
            masks.append(e.mask)
            if e.pooled.shape[1]:
                said = self.pooled[i](e.pooled.to(kind))
                vector = vector + torch.where(e.present[:, None], said, self.absent[i])
        return Context(torch.cat(tokens, 1), torch.cat(masks, 1), prompt.bias), vector

    def _check(self, prompt: Prompt, batch: int) -> None:
        want = [(e.tokens, e.pooled) for e in self.config.encoders]
        have = [(e.tokens.shape[2], e.pooled.shape[1]) for e in prompt.encoded]
        if want != have:
            raise ValueError(
                f"expected encodings of widths (tokens, pooled) {want}, one for each encoder, "
                f"got {have}"
            )
        if len(prompt) != batch:
            raise ValueError(f"expected a prompt of {batch} samples, got {len(prompt)}")


@final
class CrossAttention(nn.Module):
    r"""y = scale (x + W_o softmax((Q Kᵀ + w A)/√d) V), Q of GroupNorm(x), K and V of the context.

    A is the context's bias at the resolution of x (the mean over the area of each pixel), the same
    for all heads, and w the greatest product of a query and a key that is there, of each sample
    for itself (eDiff-I: Balaji et al. 2022, section 5, whose w is w' log(1 + σ) max(Q Kᵀ): the
    first two factors are in A). W_o starts at zero. (B, C, H, W) -> the same.
    """

    def __init__(self, channels: int, head_channels: int, context: int, scale: float) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.scale = scale
        self.norm = GroupNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(context, 2 * channels)
        self.out = nn.Linear(channels, channels)
        for linear in (self.query, self.key_value):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """x (B, C, H, W) and what it listens to."""
        b, c, h, w = x.shape
        n = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        q = self.query(n).view(b, h * w, self.heads, -1).transpose(1, 2)
        kv = self.key_value(context.tokens).view(b, -1, 2, self.heads, c // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        y = attend(q, k, v, self._logits(q, k, context, (h, w)))
        y = y.transpose(1, 2).reshape(b, h * w, c)
        y = scaled_linear(y, self.out, self.scale).view(b, h, w, c).permute(0, 3, 1, 2)
        return torch.add(y, x, alpha=self.scale)

    @staticmethod
    def _logits(q: Tensor, k: Tensor, context: Context, size: tuple[int, int]) -> Tensor:
        """What is added to Q Kᵀ/√d: -∞ for tokens that are not there, and w A/√d."""
        there = context.mask[:, None, None]
        added = torch.zeros(there.shape, dtype=q.dtype, device=q.device)
        added = added.masked_fill(~there, -torch.inf)
        if context.bias is None:
            return added
        products = (q @ k.transpose(-1, -2)).masked_fill(~there, -torch.inf)
        greatest = products.amax((1, 2, 3)).clamp_min(0)[:, None, None]
        a = F.adaptive_avg_pool2d(context.bias.to(q.dtype), size).flatten(2).transpose(1, 2)
        a = F.pad(a, (1, 0)) * (greatest / q.shape[-1] ** 0.5)
        return added + a[:, None]
