"""Neural operators: networks that take functions to functions, on whatever grid these are given.

`FNO` works on the grid that it is given (Li et al. 2021, arXiv 2010.08895). `UNO` takes the
function to a grid of its own by its harmonics, without aliasing, and back (Rahman et al. 2023,
arXiv 2204.11127; Raonić et al. 2023, arXiv 2302.01178): what it computes is the same on every grid
that holds the function, to rounding. Both are conditioned by the noise level, and labels or a
vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.dispatch import memory_format
from sfumato.nn.embed import Conditioning
from sfumato.nn.norm import GroupNorm
from sfumato.systems.ddo.nn.border import pad_border
from sfumato.systems.ddo.nn.harmonic import coordinates, resample
from sfumato.systems.ddo.nn.spectral import SpectralConvolution
from sfumato.systems.ddo.options import Domain, FNOConfig, UNOConfig

__all__ = ["FNO", "UNO", "FNOConfig", "UNOConfig"]

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
EMBEDDING_WIDTH = 4  # width of the conditioning vector in units of channels


def _door(x: Tensor, noise_level: Tensor, channels: int, dims: int) -> None:
    if x.ndim != dims + 2 or x.shape[1] != channels:
        raise ValueError(
            f"expected x of shape (B, {channels}, and {dims} axes), got {tuple(x.shape)}"
        )
    if tuple(noise_level.shape) != (x.shape[0],):
        raise ValueError(
            f"expected noise_level of shape ({x.shape[0]},), got {tuple(noise_level.shape)}"
        )


def _places(config: FNOConfig | UNOConfig) -> int:
    """How many channels tell where a point is."""
    if not config.coordinates:
        return 0
    return config.dims * (2 if config.domain is Domain.PERIODIC else 1)


def _with_places(x: Tensor, config: FNOConfig | UNOConfig) -> Tensor:
    """√2 cos πx on each axis, joined to x (B, C, *grid); on a periodic box √2 cos and sin 2πx."""
    if not config.coordinates:
        return x
    at = math.pi * coordinates(x.shape[2:], config.domain)
    if config.domain is Domain.PERIODIC:
        at = torch.cat([(2 * at).cos(), (2 * at).sin()])
    else:
        at = at.cos()
    at = (math.sqrt(2.0) * at).to(x)
    return torch.cat([x, at.expand(len(x), *at.shape)], 1)


def _conv(
    inputs: int, outputs: int, dims: int, zero: bool = False, side: int = 1, bias: bool = True
) -> nn.Module:
    """A convolution without padding; Xavier's weights, or 0, and a bias of 0."""
    conv = _CONV[dims](inputs, outputs, side, bias=bias)
    if zero:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


@final
class FNO(nn.Module):
    """network(x, noise_level, cond): (B, in_channels, *grid) -> (B, out_channels, *grid).

        h = P x;   h <- h + W' SiLU((K h + W h) (1 + scale) + shift)  per layer;   y = Q' SiLU(Q h)

    K is a spectral convolution, the others act at each point; scale and shift are linear in the
    conditioning vector. Products at points make waves that a grid does not hold and that fold back:
    the function computed depends on the grid as far as it is not smooth. The output starts at zero.
    """

    def __init__(self, config: FNOConfig) -> None:
        super().__init__()
        self.config = config
        c, d = config.channels, config.dims
        wide = EMBEDDING_WIDTH * c
        self.conditioning = Conditioning(c, wide, config.labels, config.embedding)
        self.lift = _conv(config.in_channels + _places(config), c, d)
        modes = (config.modes,) * d
        self.spectral = nn.ModuleList(
            SpectralConvolution(c, c, modes, config.domain) for _ in range(config.layers)
        )
        self.first = nn.ModuleList(_conv(c, c, d) for _ in range(config.layers))
        self.second = nn.ModuleList(_conv(c, c, d) for _ in range(config.layers))
        self.modulation = nn.Linear(wide, 2 * c * config.layers)
        self.project = _conv(c, 2 * c, d)
        self.output = _conv(2 * c, config.out_channels, d, zero=True)

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        """x (B, in_channels, *grid), noise_level (B,), cond -> (B, out_channels, *grid)."""
        config = self.config
        _door(x, noise_level, config.in_channels, config.dims)
        e = self.modulation(self.conditioning(noise_level, cond))
        e = e.unflatten(1, (config.layers, 2, -1))
        h = self.lift(_with_places(x, config).to(self.modulation.weight.dtype))
        for i, (spectral, first, second) in enumerate(
            zip(self.spectral, self.first, self.second, strict=True)
        ):
            shift, scale = (m.reshape(*m.shape, *[1] * config.dims) for m in e[:, i].unbind(1))
            u = spectral(h) + first(h)
            h = h + second(F.silu(torch.addcmul(shift, u, 1 + scale)))
        y: Tensor = self.output(F.silu(self.project(h)))
        return y.to(x.dtype)


@final
class _Local(nn.Module):
    """Convolution with the values beyond the border that the box has there; side 1 or 3.

    In the type of autocast before values are copied, and channels-last in the plane (see
    `sfumato.nn.dispatch`): with 24 channels on 48x48 points, batch 32, forward and backward take
    9 ms of one thread (AMX), with PyTorch's circular padding 78.
    """

    def __init__(self, inputs: int, outputs: int, config: UNOConfig, zero: bool = False) -> None:
        super().__init__()
        self.domain, self.side = config.domain, config.local
        self.conv = _conv(inputs, outputs, config.dims, zero, config.local, bias=not zero)

    def forward(self, x: Tensor) -> Tensor:
        dims, kind = x.ndim - 2, x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        if self.side > 1:
            x = pad_border(x, dims, self.domain)
        if dims == 2:
            x = x.contiguous(memory_format=memory_format(x))
        made: Tensor = self.conv(x)
        return made.contiguous()


@final
class _Block(nn.Module):
    """c (W x + L' SiLU(norm(L h + K h) (1 + scale) + shift)), h = SiLU(norm(x)); L local, K not."""

    def __init__(self, inputs: int, outputs: int, modes: Sequence[int], config: UNOConfig) -> None:
        super().__init__()
        self.outputs = outputs
        self.norm0, self.norm1 = GroupNorm(inputs), GroupNorm(outputs)
        self.local0 = _Local(inputs, outputs, config)
        self.spectral = SpectralConvolution(inputs, outputs, modes, config.domain)
        self.local1 = _Local(outputs, outputs, config, zero=True)
        self.skip = _conv(inputs, outputs, config.dims) if inputs != outputs else None

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        h = self.norm0.modulate(x)
        h = self.local0(h) + self.spectral(h)
        shift, scale = modulation.chunk(2, dim=1)
        h = self.local1(self.norm1.modulate(h, scale, shift))
        x = x if self.skip is None else self.skip(x)
        return (x + h) * math.sqrt(0.5)


@final
class UNO(nn.Module):
    """network(x, noise_level, cond): (B, in_channels, *grid) -> (B, out_channels, *grid).

    x goes to the network's own grid by its harmonics (waves beyond it are cut off, which is the
    nearest function), through a U of blocks whose levels are resampled in the same way, and the
    result to the grid of x. Norms are means over the box; as they take out the size of a field, a
    mixture of the input's channels, with weights that depend on the condition, is added to what
    the last one leaves. The output starts at zero.
    """

    def __init__(self, config: UNOConfig) -> None:
        super().__init__()
        self.config = config
        d, levels = config.dims, len(config.multipliers)
        widths = [config.channels * m for m in config.multipliers]
        modes = [(max(2, config.modes >> i),) * d for i in range(levels)]
        wide = EMBEDDING_WIDTH * config.channels
        self.grids = [tuple(n >> i for n in config.grid) for i in range(levels)]
        self.conditioning = Conditioning(config.channels, wide, config.labels, config.embedding)
        self.input = _conv(config.in_channels + _places(config), widths[0], d)
        self.down, self.up, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], []
        per = config.blocks_per_level
        for level in range(levels):
            for _ in range(per[level]):
                self.down.append(_Block(width, widths[level], modes[level], config))
                width = widths[level]
                skips.append(width)
        self.middle = _Block(width, width, modes[-1], config)
        for level in reversed(range(levels)):
            same = width == widths[level]  # fewer channels before more points
            self.narrow.append(nn.Identity() if same else _conv(width, widths[level], d))
            width = widths[level]
            for _ in range(per[level]):
                self.up.append(_Block(width + skips.pop(), width, modes[level], config))
        self.norm = GroupNorm(width)
        self.output = _conv(width, config.out_channels, d, zero=True)
        self.sizes = [2 * b.outputs for b in (*self.down, self.middle, *self.up)]
        self.modulation = nn.Linear(wide, sum(self.sizes))
        for part in self.modulation.weight.split(self.sizes):
            nn.init.xavier_uniform_(part.detach())
        nn.init.zeros_(self.modulation.bias)
        self.mixture = nn.Linear(wide, config.in_channels * config.out_channels)
        nn.init.zeros_(self.mixture.weight)
        nn.init.zeros_(self.mixture.bias)

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        """x (B, in_channels, *grid), noise_level (B,), cond -> (B, out_channels, *grid)."""
        config = self.config
        _door(x, noise_level, config.in_channels, config.dims)
        condition = self.conditioning(noise_level, cond)
        e = iter(self.modulation(condition).split(self.sizes, dim=1))
        weight = self.modulation.weight
        with torch.autocast(x.device.type, enabled=False):
            own = resample(x.to(weight.dtype), config.grid, config.domain)
        h = self.input(_with_places(own, config))
        skips = []
        down, up = iter(self.down), iter(self.up)
        for level, blocks in enumerate(config.blocks_per_level):
            h = self._on(h, level)
            for _ in range(blocks):
                h = next(down)(h, next(e))
                skips.append(h)
        h = self.middle(h, next(e))
        for climbed, level in enumerate(reversed(range(len(self.grids)))):
            h = self._on(self.narrow[climbed](h), level)
            for _ in range(config.blocks_per_level[level]):
                h = next(up)(torch.cat([h, skips.pop()], 1), next(e))
        y: Tensor = self.output(self.norm.modulate(h))
        mixture = self.mixture(condition).unflatten(1, (config.out_channels, config.in_channels))
        with torch.autocast(x.device.type, enabled=False):
            y = y.to(x.dtype) + torch.einsum("boi,bi...->bo...", mixture.to(own), own).to(x.dtype)
            return resample(y, x.shape[2:], config.domain)

    def _on(self, h: Tensor, level: int) -> Tensor:
        """H on the grid of a level."""
        return resample(h, self.grids[level], self.config.domain)
