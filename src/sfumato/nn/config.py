"""What networks are made of, checked at the door; nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, final

__all__ = ["ContextConfig", "EncoderWidths", "MLPConfig", "UNetConfig"]


@final
@dataclass(frozen=True)
class EncoderWidths:
    """Widths D of an encoder's tokens and P of what it says as a whole, 0 if it does not."""

    tokens: int
    pooled: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.pooled < 0:
            raise ValueError(
                f"expected tokens >= 1 and pooled >= 0, got {self.tokens} and {self.pooled}"
            )


@final
@dataclass(frozen=True)
class ContextConfig:
    """The encoders that a network listens to, and the width in which it hears all of them."""

    encoders: tuple[EncoderWidths, ...]
    channels: int = 128

    def __post_init__(self) -> None:
        if not self.encoders or self.channels < 1:
            raise ValueError(
                "expected at least one encoder and channels >= 1, got "
                f"{len(self.encoders)} and {self.channels}"
            )


@final
@dataclass(frozen=True)
class UNetConfig:
    """What a `UNet` is made of. Level i has channels * multipliers[i] channels at resolution / 2^i.

    Settings of the published networks:

    | network | skip_scale | resample_blocks | fir   | residual_input | head_channels |
    |---------|------------|-----------------|-------|----------------|---------------|
    | DDPM    | 1          | False           | False | False          | all           |
    | DDPM++  | 1/sqrt(2)  | True            | False | False          | all           |
    | NCSN++  | 1/sqrt(2)  | True            | True  | True           | all           |
    | ADM     | 1          | True            | False | False          | 64            |

    (Ho et al. 2020, arXiv 2006.11239; Song et al. 2021, arXiv 2011.13456; Dhariwal & Nichol 2021,
    arXiv 2105.05233.)

    in_channels, out_channels: of the image (in phase space in = 2 out).
    channels, multipliers, blocks: width, and residual blocks per level (one number, or one per
        level); the decoder has one block more than the encoder at each level.
    attention: resolutions at which every block attends; the middle attends unless this is empty.
    head_channels: width of an attention head; 0 = one head over all channels.
    resolution: side of the image; its height where it is not square.
    image_width: of an image that is not square; 0 for a square one.
    labels: number of classes per label axis.  embedding: width of a vector condition.
    latent: width of the random vector that a generator takes besides (see `Conditioning`).
    context: the encoders of prompts, which every block that attends also attends to; None for none.
    patch: the network sees patch x patch pixels as channels of one, and nothing runs at full
        resolution; its levels, and `attention`, count from resolution / patch.
    dropout: inside the residual blocks.  fir: [1, 3, 3, 1] filter at resampling.
    resample_blocks: resample inside residual blocks, or by plain convolutions.
    residual_input: the image itself, resampled, is added at each level of the encoder.
    narrow_upsampling: an upsampling stage has the width of the level it leads to, which makes full
        resolution much cheaper; the published networks keep the width of the level it comes from.
    skip_scale: factor on residual sums.

    Raises ValueError, with what was expected and got, if these do not fit together.
    """

    FOLLOWS: ClassVar = (
        "in_channels", "out_channels", "labels", "embedding", "context", "image_width",
    )  # fmt: skip
    LATER: ClassVar = ("image_width",)
    in_channels: int
    out_channels: int
    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int | tuple[int, ...] = 2
    attention: tuple[int, ...] = (7, 14)
    head_channels: int = 64
    resolution: int = 28
    labels: tuple[int, ...] = ()
    embedding: int = 0
    latent: int = 0
    context: ContextConfig | None = None
    patch: int = 1
    dropout: float = 0.0
    fir: bool = False
    resample_blocks: bool = True
    residual_input: bool = False
    narrow_upsampling: bool = False
    skip_scale: float = math.sqrt(0.5)
    image_width: int = 0

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention", "labels"):
            object.__setattr__(self, name, tuple(int(n) for n in getattr(self, name)))
        if not isinstance(self.blocks, int):
            object.__setattr__(self, "blocks", tuple(int(n) for n in self.blocks))
        self._check_sizes()
        self._check_levels()
        self._check_attention()

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.multipliers)

    @property
    def blocks_per_level(self) -> tuple[int, ...]:
        """Residual blocks of the encoder, one number per level."""
        return (self.blocks,) * self.levels if isinstance(self.blocks, int) else self.blocks

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels per level."""
        return tuple(self.channels * m for m in self.multipliers)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.resolution, self.image_width or self.resolution

    @property
    def step(self) -> int:
        """What divides height and width of the image: patches, halved once a level but the last."""
        return int(self.patch * 2 ** (self.levels - 1))

    @property
    def sides(self) -> tuple[int, ...]:
        """Height per level."""
        return tuple((self.resolution // self.patch) >> i for i in range(self.levels))

    def at(self, resolution: int, image_width: int = 0) -> UNetConfig:
        """This network for pictures of another side, or of another height and width.

        Unchanged where that fits. Otherwise the first level is repeated, or first levels are left
        out, until the side of the last level comes nearest to what it is here (in octaves), and as
        many levels attend, counted from the last, as do here; none of more than 32 pixels a side.

        Raises:
            ValueError: ``patch`` does not divide the resolution.
        """
        try:
            return replace(self, resolution=resolution, image_width=image_width)
        except ValueError:
            if resolution < self.patch:
                raise
        if resolution % self.patch:
            low = resolution - resolution % self.patch
            raise ValueError(
                f"expected a resolution divisible by {self.patch}, the side of a patch, got "
                f"{resolution}; take {low} or {low + self.patch}, or patch=1"
            )
        sides = [resolution // self.patch]
        while sides[-1] % 2 == 0:
            sides.append(sides[-1] // 2)
        levels = 1 + min(range(len(sides)), key=lambda i: abs(math.log2(sides[i] / self.sides[-1])))
        attending = sum(side in self.attention for side in self.sides)
        near = [side for side in sides[:levels][levels - attending :] if side <= 32]

        def stretched(values: tuple[int, ...]) -> tuple[int, ...]:
            return (values[:1] * (levels - self.levels) + values)[-levels:]

        return replace(
            self,
            resolution=resolution,
            image_width=image_width,
            multipliers=stretched(self.multipliers),
            blocks=stretched(self.blocks_per_level),
            attention=tuple(near),
        )

    def _check_sizes(self) -> None:
        for name in ("in_channels", "out_channels", "channels", "resolution", "patch"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.channels < 4 or self.channels % 2:
            raise ValueError(f"expected channels even and at least 4, got {self.channels}")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"expected multipliers >= 1, one per level, got {self.multipliers}")
        if any(n < 1 for n in self.labels):
            raise ValueError(f"expected at least one class per label axis, got {self.labels}")
        for name in ("embedding", "latent"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, got {getattr(self, name)}")
        if self.labels and self.embedding:
            raise ValueError(
                f"expected labels or an embedding, got both (labels={self.labels}, "
                f"embedding={self.embedding}); set one of them to nothing"
            )
        if self.context is not None and (self.labels or self.embedding or not self.attention):
            raise ValueError(
                "a context needs attention, and neither labels nor an embedding; got "
                f"attention={self.attention}, labels={self.labels}, embedding={self.embedding}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"expected 0 <= dropout < 1, got {self.dropout}")
        if not self.skip_scale > 0.0:
            raise ValueError(f"expected skip_scale > 0, got {self.skip_scale}")

    def _check_levels(self) -> None:
        factor = self.step
        patches = f" and patches have {self.patch} pixels a side" if self.patch > 1 else ""
        if self.resolution % factor:
            raise ValueError(
                f"expected a resolution divisible by {factor}, because {self.levels} multipliers "
                f"halve it {self.levels - 1} times{patches}, got {self.resolution}; "
                "use fewer multipliers"
            )
        if self.image_width < 0 or self.image_width % factor:
            raise ValueError(
                f"expected a width divisible by {factor} as the resolution is, got "
                f"{self.image_width}"
            )
        if len(self.blocks_per_level) != self.levels or min(self.blocks_per_level) < 1:
            raise ValueError(
                f"expected blocks >= 1, one number or one for each of {self.levels} levels, "
                f"got {self.blocks}"
            )

    def _check_attention(self) -> None:
        strange = [r for r in self.attention if r not in self.sides]
        if strange:
            raise ValueError(
                f"expected attention at resolutions of the network, which are {self.sides}, "
                f"got {tuple(strange)}"
            )
        if self.head_channels < 0:
            raise ValueError(f"expected head_channels >= 0, got {self.head_channels}")
        if not self.head_channels or not self.attention:
            return
        attending = {w for w, r in zip(self.widths, self.sides, strict=True) if r in self.attention}
        attending.add(self.widths[-1])
        for width in sorted(attending):
            if width % self.head_channels:
                raise ValueError(
                    f"expected head_channels to divide every width that attends, got "
                    f"head_channels={self.head_channels} and width {width}; "
                    f"head_channels=0 makes one head of all channels"
                )


@final
@dataclass(frozen=True)
class MLPConfig:
    """Sizes of an `MLP`: points have `in_features` coordinates (in phase space 2 x out_features).

    `latent` is the width of the random vector that a generator takes besides.

    Raises ValueError if a size is below 1 or `width` is odd or below 4.
    """

    in_features: int = 2
    out_features: int = 2
    width: int = 128
    blocks: int = 3
    labels: tuple[int, ...] = ()
    embedding: int = 0
    latent: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(int(n) for n in self.labels))
        for name in ("in_features", "out_features", "blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.width < 4 or self.width % 2:
            raise ValueError(f"expected an even width of at least 4, got {self.width}")
