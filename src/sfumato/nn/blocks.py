"""The residual block of ADM / DDPM++ / NCSN++, and plain resampling layers."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.attention import Attention
from sfumato.nn.context import Context, CrossAttention
from sfumato.nn.norm import GroupNorm, scaled_conv
from sfumato.nn.resample import downsample, upsample, upsample_convolve

__all__ = ["Resample", "ResidualBlock", "convolution"]

Direction = Literal["same", "down", "up"]


def convolution(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, zero: bool = False
) -> nn.Conv2d:
    """A convolution of odd `size` with bias 0 and weights Xavier-uniform, or zero."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _resample(x: Tensor, direction: Direction, fir: bool) -> Tensor:
    if direction == "down":
        return downsample(x, fir)
    return upsample(x, fir) if direction == "up" else x


def _resample_convolve(x: Tensor, direction: Direction, fir: bool, conv: nn.Conv2d) -> Tensor:
    if direction == "up" and not fir:
        return upsample_convolve(x, conv)
    return conv(_resample(x, direction, fir))


@final
class ResidualBlock(nn.Module):
    """Residual block with scale-shift group norm and optional resampling and attention.

        h = conv0(R(SiLU(norm0(x))))
        h = conv1(dropout(SiLU(norm1(h) (1 + scale) + shift)))
        y = c (h + W R(x)),  then attention if asked for, to itself and to a context

    R is the identity, a halving or a doubling of the resolution; W a 1x1 convolution where the
    number of channels changes, the identity elsewhere; c is 1 (ADM: Dhariwal & Nichol 2021,
    arXiv 2105.05233, appendix A) or 1/sqrt(2) (DDPM++, NCSN++: Song et al. 2021, arXiv 2011.13456,
    appendix H). conv1 starts at zero. (B, inputs, H, W), (B, 2 outputs) -> (B, outputs, H', W').
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        direction: Direction = "same",
        head_channels: int | None = None,
        context: int = 0,
        dropout: float = 0.0,
        fir: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.direction: Direction = direction
        self.dropout = dropout
        self.fir = fir
        self.scale = scale
        self.norm0 = GroupNorm(inputs)
        self.conv0 = convolution(inputs, outputs)
        self.norm1 = GroupNorm(outputs)
        self.conv1 = convolution(outputs, outputs, zero=True)
        self.skip = convolution(inputs, outputs, 1) if inputs != outputs else None
        self.attention = (
            Attention(outputs, head_channels, scale) if head_channels is not None else None
        )
        self.cross = (
            CrossAttention(outputs, head_channels, context, scale)
            if head_channels is not None and context
            else None
        )

    def forward(self, x: Tensor, modulation: Tensor, context: Context | None = None) -> Tensor:
        """x (B, inputs, H, W), modulation (B, 2 outputs) = (shift, scale) -> y.

        ``context`` is for a block that attends to one.
        """
        h = _resample_convolve(self.norm0.modulate(x), self.direction, self.fir, self.conv0)
        shift, scale = modulation.chunk(2, dim=1)
        h = self.norm1.modulate(h, scale, shift)
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        h = scaled_conv(h, self.conv1, self.scale)
        if self.skip is None:
            h = torch.add(h, _resample(x, self.direction, self.fir), alpha=self.scale)
        elif self.direction == "up" and not self.fir:  # they commute: do the cheaper first
            h = h + upsample(scaled_conv(x, self.skip, self.scale))
        else:
            h = h + scaled_conv(_resample(x, self.direction, self.fir), self.skip, self.scale)
        if self.attention is not None:
            h = self.attention(h)
        return h if self.cross is None or context is None else self.cross(h, context)


@final
class Resample(nn.Module):
    """Plain resampling, as in DDPM (Ho et al. 2020, arXiv 2006.11239, appendix B).

    down: a 3x3 convolution of stride 2 (or FIR, then 3x3); up: nearest (or FIR), then 3x3.
    """

    def __init__(
        self, inputs: int, outputs: int, direction: Literal["down", "up"], fir: bool = False
    ) -> None:
        super().__init__()
        self.direction: Literal["down", "up"] = direction
        self.fir = fir
        strided = direction == "down" and not fir
        self.conv = convolution(inputs, outputs, stride=2 if strided else 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/2, W/2) or (B, outputs, 2H, 2W)."""
        if self.direction == "down" and not self.fir:
            return self.conv(x)
        return _resample_convolve(x, self.direction, self.fir, self.conv)
