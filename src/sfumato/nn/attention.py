"""Self-attention over the pixels of a feature map."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.dispatch import explicit_attention
from sfumato.nn.norm import GroupNorm, scaled_linear

__all__ = ["Attention", "attend", "attend_explicitly"]


def attend_explicitly(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + added) v for (B, heads, T, d); the softmax sums in float32."""
    logits = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    if added is not None:
        logits = logits + added
    return logits.softmax(dim=-1).to(v.dtype) @ v


def attend(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + added) v for (B, heads, T, d), by whichever path measured faster.

    k and v (B, heads, T', d); ``added`` broadcasts to (B, heads, T, T').
    """
    if explicit_attention(q):
        return attend_explicitly(q, k, v, added)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=added)


@final
class Attention(nn.Module):
    """y = scale (x + W_o attend(W_q n, W_k n, W_v n)), n = GroupNorm(x): (B, C, H, W) -> same.

    As in ADM (Dhariwal & Nichol 2021, arXiv 2105.05233, section 3): heads of fixed width.
    W_o starts at zero. Pixels are rows of a matrix, so the 1x1 convolutions are one product each;
    in channels-last memory none of the reshapes copies.
    """

    def __init__(self, channels: int, head_channels: int, scale: float) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.scale = scale
        self.norm = GroupNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        b, c, h, w = x.shape
        n = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(n).view(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, HW, C/heads) each
        y = attend(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        y = scaled_linear(y, self.out, self.scale).view(b, h, w, c).permute(0, 3, 1, 2)
        return torch.add(y, x, alpha=self.scale)
