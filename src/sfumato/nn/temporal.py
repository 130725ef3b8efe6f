r"""Temporal spectral convolution: frames of one trajectory see each other, in few frequencies.

DSNO (Zheng et al. 2023, arXiv 2211.13449, section 3.2) puts after each block of a U-Net, which
otherwise treats every frame by itself,

.. math:: h \leftarrow h + \mathrm{LeakyReLU}(\mathcal F_T^{-1}(R \cdot \mathcal F_T h)),

a Fourier transform over the T frames alone, at each pixel, with one complex matrix R_m (C x C)
for each of the lowest few modes m and zero for all others (Li et al. 2021, arXiv 2010.08895).
The kernel is a function of continuous, periodic time, so T may change between training and use.
"""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ResidualBlock
from .config import UNetConfig
from .embed import NoiseFeatures
from .unet import EMBEDDING_WIDTH, UNet

__all__ = ["TemporalConvolution", "TemporalUNet"]


@final
class TemporalConvolution(nn.Module):
    """h + LeakyReLU(irfft_T(R rfft_T h)) over the frames of h (B T, C, ...), frame after frame.

    As few modes are kept, both transforms are small matrix products (equal to ``torch.fft``'s, the
    even T's Nyquist mode included) and are taken in float32 whatever the type of h. ``weight`` is
    (modes, 2, C, C): real and imaginary part of R_m, [to, from]. It starts at zero, where each
    frame is treated by itself; a LeakyReLU has a slope there, so it learns at once.

    Raises ValueError unless channels and modes are at least 1.
    """

    def __init__(self, channels: int, modes: int = 2, slope: float = 0.01) -> None:
        super().__init__()
        if channels < 1 or modes < 1:
            raise ValueError(f"expected channels and modes >= 1, got {channels} and {modes}")
        self.slope = slope
        self.weight = nn.Parameter(torch.zeros(modes, 2, channels, channels))

    def forward(self, h: Tensor, frames: int) -> Tensor:
        """h (B T, C, ...) with T = ``frames`` -> the same shape and type."""
        modes, _, channels, _ = self.weight.shape
        if h.shape[0] % frames or h.shape[1] != channels:
            raise ValueError(
                f"expected h of shape (B·{frames}, {channels}, ...), got {tuple(h.shape)}"
            )
        there, back = transforms(frames, min(modes, frames // 2 + 1), h.device)
        x = h.float().reshape(-1, frames, channels * h[0, 0].numel())
        spectrum = torch.einsum("pt,btn->pbn", there, x)  # real parts, then imaginary parts
        spectrum = spectrum.reshape(2 * (len(there) // 2), len(x), channels, -1)
        m = len(there) // 2
        re, im = spectrum[:m], spectrum[m:]
        a, b = self.weight[:m, 0].float(), self.weight[:m, 1].float()
        out_re = torch.einsum("moc,mbcn->mbon", a, re) - torch.einsum("moc,mbcn->mbon", b, im)
        out_im = torch.einsum("moc,mbcn->mbon", b, re) + torch.einsum("moc,mbcn->mbon", a, im)
        y = torch.einsum("tp,pbn->btn", back, torch.cat([out_re, out_im]).flatten(2))
        return h + F.leaky_relu(y, self.slope).reshape(h.shape).to(h.dtype)
