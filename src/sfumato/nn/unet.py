"""One U-Net for all: DDPM, DDPM++, NCSN++ and ADM are settings of its `UNetConfig`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.blocks import Resample, ResidualBlock, convolution
from sfumato.nn.config import UNetConfig
from sfumato.nn.context import Context, ContextEmbedding, Prompt
from sfumato.nn.dispatch import memory_format
from sfumato.nn.embed import Conditioning
from sfumato.nn.norm import GroupNorm
from sfumato.nn.resample import downsample

__all__ = ["UNet"]

EMBEDDING_WIDTH = 4  # width of the conditioning vector in units of config.channels

After = Callable[[int, Tensor], Tensor]
"""Given the number of a stage and what it put out; returns what goes on in its place."""


def unchanged(stage: int, h: Tensor) -> Tensor:
    """``h`` unchanged: the hook that does nothing."""
    return h


@final
class UNet(nn.Module):
    """network(x, noise_level, cond): (B, in_channels, R, R), (B,), cond -> (B, out_channels, R, R).

    Encoder, middle and decoder of residual blocks with scale-shift conditioning and skip
    connections, as in ADM (Dhariwal & Nichol 2021, arXiv 2105.05233, section 3). The modulations
    of all blocks are one matrix product of the conditioning vector. The output starts at zero.

    noise_level: one float per sample on a log-like scale (see `NoiseFeatures`).
    cond: int (B,) or (B, A) labels, a float (B, D) vector (see `Conditioning`), a `Prompt` for a
    network with a context, or None = no condition.
    latent: the random vector z (B, latent) of a generator.

    The memory format is chosen inside by measured rules; parameters stay contiguous.
    `torch.compile(unet)` works without graph breaks. Raises ValueError for wrong shapes.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, sides, levels = config.widths, config.sides, config.levels
        self.conditioning = Conditioning(
            config.channels,
            EMBEDDING_WIDTH * config.channels,
            config.labels,
            config.embedding,
            config.latent,
        )
        self.context = (
            ContextEmbedding(config.context, EMBEDDING_WIDTH * config.channels)
            if config.context is not None
            else None
        )
        area = config.patch**2
        self.input = convolution(config.in_channels * area, widths[0])
        self.encoder = nn.ModuleList()
        self.images = nn.ModuleList()
        skips, width, image_width = [widths[0]], widths[0], config.in_channels * area
        for level in range(levels):
            if level:
                self.encoder.append(self._change(width, width, "down"))
                if config.residual_input:
                    self.images.append(convolution(image_width, width))
                    image_width = width
                skips.append(width)
            for _ in range(config.blocks_per_level[level]):
                self.encoder.append(self._block(width, widths[level], sides[level]))
                width = widths[level]
                skips.append(width)
        heads = self._heads(width) if config.attention else None
        self.middle = nn.ModuleList(
            [self._residual(width, width, heads), self._residual(width, width, None)]
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(levels)):
            for _ in range(config.blocks_per_level[level] + 1):
                self.decoder.append(self._block(width + skips.pop(), widths[level], sides[level]))
                width = widths[level]
            if level:
                outputs = widths[level - 1] if config.narrow_upsampling else width
                self.decoder.append(self._change(width, outputs, "up"))
                width = outputs
        self.norm = GroupNorm(width)
        self.output = convolution(width, config.out_channels * area, zero=True)
        self._modulate()

    def _modulate(self) -> None:
        """The linear map from the conditioning vector to the modulations of all stages."""
        self.sizes = [
            2 * block.outputs for block in self.stages() if isinstance(block, ResidualBlock)
        ]
        self.modulation = nn.Linear(EMBEDDING_WIDTH * self.config.channels, sum(self.sizes))
        for part in self.modulation.weight.split(self.sizes):
            nn.init.xavier_uniform_(part.detach())
        nn.init.zeros_(self.modulation.bias)

    def drop_decoder(self) -> None:
        """Keep encoder and middle alone, with fresh modulations: `walk` then ends at the middle.

        `head`, and so `forward`, is gone with the decoder.
        """
        self.decoder = nn.ModuleList()
        del self.norm, self.output
        self._modulate()

    def stages(self) -> list[nn.Module]:
        """Encoder, middle and decoder, in the order in which they run."""
        return [*self.encoder, *self.middle, *self.decoder]

    def _heads(self, width: int) -> int:
        return self.config.head_channels or width

    def _residual(self, inputs: int, outputs: int, heads: int | None) -> ResidualBlock:
        c = self.config
        context = 0 if c.context is None else c.context.channels
        return ResidualBlock(
            inputs,
            outputs,
            head_channels=heads,
            context=context,
            dropout=c.dropout,
            scale=c.skip_scale,
        )

    def _block(self, inputs: int, outputs: int, side: int) -> ResidualBlock:
        attends = side in self.config.attention
        return self._residual(inputs, outputs, self._heads(outputs) if attends else None)

    def _change(self, inputs: int, outputs: int, direction: Literal["down", "up"]) -> nn.Module:
        c = self.config
        if not c.resample_blocks:
            return Resample(inputs, outputs, direction, c.fir)
        return ResidualBlock(
            inputs,
            outputs,
            direction=direction,
            dropout=c.dropout,
            fir=c.fir,
            scale=c.skip_scale,
        )

    def check(self, x: Tensor, noise_level: Tensor) -> None:
        """Refuse wrong shapes. Raises ValueError."""
        c = self.config
        want = (c.in_channels, *c.size)
        if tuple(x.shape[1:]) != want:
            raise ValueError(
                f"expected x of shape (B, {want[0]}, {want[1]}, {want[2]}), got {tuple(x.shape)}"
            )
        if tuple(noise_level.shape) != (x.shape[0],):
            raise ValueError(
                f"expected noise_level of shape ({x.shape[0]},), got {tuple(noise_level.shape)}"
            )

    def features(
        self,
        x: Tensor,
        noise_level: Tensor,
        cond: Tensor | Prompt | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """The last features, before the final norm: (B, channels', R/patch, R/patch)."""
        self.check(x, noise_level)
        if self.context is None:
            if isinstance(cond, Prompt):
                raise ValueError("this network takes no prompt, got one; give it labels, or None")
            return self.walk(x, self.conditioning(noise_level, cond, latent))
        if isinstance(cond, Tensor):
            raise ValueError(f"this network takes a prompt, got a tensor {tuple(cond.shape)}")
        context, said = self.context(cond, len(x))
        e = self.conditioning(noise_level, None, latent, said)
        return self.walk(x, e, context=context)

    def walk(
        self, x: Tensor, e: Tensor, after: After = unchanged, context: Context | None = None
    ) -> Tensor:
        """`features` of x (B, in_channels, R, R) for conditioning vectors e (B, width).

        ``after(i, h)`` follows the i-th of all stages (encoder, middle, decoder). ``context`` is
        what blocks with cross-attention attend to; without one they do not.
        """
        x = x if self.config.patch == 1 else F.pixel_unshuffle(x, self.config.patch)
        x = x.to(self.input.weight.dtype).contiguous(memory_format=memory_format(x))
        modulations = iter(self.modulation(e).split(self.sizes, dim=1))
        number = iter(range(len(self.stages())))

        def run(stage: nn.Module, h: Tensor) -> Tensor:
            if isinstance(stage, ResidualBlock):
                h = stage(h, next(modulations), context)
            else:
                h = stage(h)
            return after(next(number), h)

        h, image, levels = self.input(x), x, iter(self.images)
        skips = [h]
        for stage in self.encoder:
            side = h.shape[-1]
            h = run(stage, h)
            if self.config.residual_input and h.shape[-1] != side:
                image = next(levels)(downsample(image, self.config.fir))
                h = image = (h + image) * self.config.skip_scale
            skips.append(h)
        for stage in self.middle:
            h = run(stage, h)
        for stage in self.decoder:
            if self._joins(stage):
                h = torch.cat([h, skips.pop()], dim=1)
            h = run(stage, h)
        return h

    def pyramid(self, x: Tensor, e: Tensor) -> list[Tensor]:
        """The decoder's last features at every resolution, coarse to fine; the last is `walk`'s."""
        first = len(self.encoder) + len(self.middle)
        found: list[Tensor] = []

        def keep(stage: int, h: Tensor) -> Tensor:
            if stage >= first:
                if found and found[-1].shape[-1] == h.shape[-1]:
                    found.pop()
                found.append(h)
            return h

        self.walk(x, e, keep)
        return found

    @staticmethod
    def _joins(stage: nn.Module) -> bool:
        return isinstance(stage, ResidualBlock) and stage.direction == "same"

    def head(self, features: Tensor) -> Tensor:
        """Features -> output: conv(SiLU(norm(features)))."""
        y = cast(Tensor, self.output(self.norm.modulate(features)))
        return y if self.config.patch == 1 else F.pixel_shuffle(y, self.config.patch)

    def forward(
        self,
        x: Tensor,
        noise_level: Tensor,
        cond: Tensor | Prompt | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """x (B, in_channels, R, R), noise_level (B,), cond, z -> (B, out_channels, R, R)."""
        return self.head(self.features(x, noise_level, cond, latent)).to(x.dtype)
