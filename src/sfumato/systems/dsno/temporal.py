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

from sfumato.nn.blocks import ResidualBlock
from sfumato.nn.config import UNetConfig
from sfumato.nn.embed import NoiseFeatures
from sfumato.nn.unet import EMBEDDING_WIDTH, UNet

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
        """h (B T, C, ...) with T = ``frames``, frame after frame -> the same shape and type."""
        channels = self.weight.shape[2]
        if h.shape[0] % frames or h.shape[1] != channels:
            raise ValueError(
                f"expected h of shape (B·{frames}, {channels}, ...), got {tuple(h.shape)}"
            )
        modes = min(len(self.weight), frames // 2 + 1)
        there, back = transforms(frames, modes, h.device)
        x = h.float().movedim(1, -1)  # (B T, ..., C): no copy where h is channels-last
        waves = torch.matmul(there, x.reshape(-1, frames, h[0].numel()))
        waves = waves.unflatten(2, (-1, channels))  # (B, waves, N, C)
        mixed: list[Tensor] = []
        for m, (real, imaginary) in enumerate(self.weight[:modes].float().mT):
            re = waves[:, len(mixed)]
            if unpaired(m, frames):
                mixed.append(re @ real)
            else:
                im = waves[:, len(mixed) + 1]
                mixed += [re @ real - im @ imaginary, re @ imaginary + im @ real]
        y = torch.matmul(back, torch.stack(mixed, 1).flatten(2)).reshape(x.shape)
        return h + F.leaky_relu(y, self.slope).movedim(-1, 1).to(h.dtype)


def transforms(frames: int, modes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """rfft over ``frames`` values, its lowest modes only, and irfft back, as real matrices.

    There (waves, T) gives the real part of mode 0, the real and imaginary part of mode 1, and so
    on; back (T, waves) takes a mode and its conjugate together. A mode without one has no
    imaginary part, and one wave only.
    """
    step = torch.arange(frames, dtype=torch.float64) * (2 * math.pi / frames)
    there, back = [], []
    for m in range(modes):
        alone = unpaired(m, frames)
        waves = [(m * step).cos()] if alone else [(m * step).cos(), -(m * step).sin()]
        there += waves
        back += [w * ((1 if alone else 2) / frames) for w in waves]
    return torch.stack(there).float().to(device), torch.stack(back, 1).float().to(device)


def unpaired(mode: int, frames: int) -> bool:
    """Whether a mode of the real transform has no conjugate: mode 0, and T/2 for an even T."""
    return mode == 0 or 2 * mode == frames


@final
class TemporalUNet(nn.Module):
    """A U-Net over all frames of a trajectory at once: (B, C, R, R) -> (B, T, out_channels, R, R).

    The frames begin alike, as the one image x, and differ by an embedding of their ``positions``
    (T,), numbers in [0, 1], that is added to the conditioning vector of all blocks. After each
    residual (and attention) block a `TemporalConvolution` lets them see each other. Both start at
    zero: then every frame is exactly ``unet(x, noise_level, cond)``.

    Raises ValueError for wrong shapes.
    """

    CYCLES = 0.25  # of a position, in units of the noise level that `NoiseFeatures` are made for

    def __init__(self, config: UNetConfig, modes: int = 2) -> None:
        super().__init__()
        self.unet = UNet(config)
        self.places = NoiseFeatures(config.channels)
        self.place = nn.Linear(config.channels, EMBEDDING_WIDTH * config.channels)
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        self.temporal = nn.ModuleDict(
            {
                str(i): TemporalConvolution(stage.outputs, modes)
                for i, stage in enumerate(self.unet.stages())
                if isinstance(stage, ResidualBlock)
            }
        )

    def forward(
        self, x: Tensor, noise_level: Tensor, positions: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        """x (B, in_channels, R, R), noise_level (B,), positions (T,), cond -> all frames."""
        self.unet.check(x, noise_level)
        if positions.ndim != 1 or not len(positions):
            raise ValueError(f"expected positions of shape (T,), got {tuple(positions.shape)}")
        frames = len(positions)
        place = self.place(self.places(self.CYCLES * positions).to(self.place.weight.dtype))
        e = self.unet.conditioning(noise_level, cond)[:, None] + place

        def together(stage: int, h: Tensor) -> Tensor:
            name = str(stage)
            return self.temporal[name](h, frames) if name in self.temporal else h

        h = self.unet.walk(x.repeat_interleave(frames, 0), e.flatten(0, 1), together)
        return self.unet.head(h).unflatten(0, (-1, frames)).to(x.dtype)
