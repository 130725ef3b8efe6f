"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import ClassVar, Literal, final

from sfumato.errors import UsageError
from sfumato.systems.ddo.kernel import Matern
from sfumato.train import TrainConfig

ENDINGS = (".npz", ".h5", ".hdf5", ".nc", ".nc4", ".zarr")
"""Of files of fields, which are read and written."""


class Domain(Enum):
    """Boundary of the box: periodic, or reflecting (even extension, zero normal slope)."""

    PERIODIC = "periodic"
    REFLECTING = "reflecting"


@final
@dataclass(frozen=True)
class FNOConfig:
    """What an `FNO` is made of.

    in_channels, out_channels: of the functions.  dims: axes of space.
    channels, layers: width, and number of Fourier layers.
    modes: waves that the spectral convolutions keep on each axis.
    domain: what is beyond the border.
    coordinates: give the network the lowest harmonics, so that it knows where it is.
    labels: classes per label axis.  embedding: width of a vector condition.

    Raises ValueError for values outside their range.
    """

    FOLLOWS: ClassVar = ("in_channels", "out_channels", "dims", "domain", "labels", "embedding")
    in_channels: int
    out_channels: int
    dims: int = 2
    channels: int = 32
    layers: int = 4
    modes: int = 12
    domain: Domain = Domain.PERIODIC
    coordinates: bool = False
    labels: tuple[int, ...] = ()
    embedding: int = 0

    def __post_init__(self) -> None:
        _check(self, ("in_channels", "out_channels", "layers", "modes"))


@final
@dataclass(frozen=True)
class UNOConfig:
    """What a `UNO` is made of. Level i has channels * multipliers[i] channels on grid / 2^i.

    in_channels, out_channels: of the functions.
    grid: points along each axis of the network's own grid; shorter waves do not reach it.
    channels, multipliers: width.
    blocks: per level (one number, or one per level), on the way down and on the way up.
    modes: waves that the first level's spectral convolutions keep; halved with each level.
    local: side of the stencil of local convolutions, which are integral operators on the network's
        own grid; 1 leaves only products at each point.
    domain, coordinates, labels, embedding: as of `FNOConfig`.

    Raises ValueError for values outside their range.
    """

    FOLLOWS: ClassVar = ("in_channels", "out_channels", "dims", "domain", "labels", "embedding")
    in_channels: int
    out_channels: int
    grid: tuple[int, ...] = (32, 32)
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int | tuple[int, ...] = 1
    modes: int = 8
    local: int = 3
    domain: Domain = Domain.PERIODIC
    coordinates: bool = False
    labels: tuple[int, ...] = ()
    embedding: int = 0

    def __post_init__(self) -> None:
        _check(self, ("in_channels", "out_channels", "modes"))
        if not isinstance(self.blocks, int):
            object.__setattr__(self, "blocks", tuple(int(n) for n in self.blocks))
        per = self.blocks_per_level
        if len(per) != len(self.multipliers) or min(per, default=0) < 1:
            raise ValueError(
                f"expected blocks >= 1, one number or one for each of {len(self.multipliers)} "
                f"levels, got {self.blocks}"
            )
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"expected multipliers >= 1, one per level, got {self.multipliers}")
        if self.local not in (1, 3):
            raise ValueError(f"expected local = 1 or 3, got {self.local}")
        least = 4 * 2 ** (len(self.multipliers) - 1)
        if min(self.grid) < least:
            raise ValueError(
                f"expected a grid of at least {least} points along each axis for "
                f"{len(self.multipliers)} levels, got {self.grid}"
            )

    @property
    def dims(self) -> int:
        """Axes of space."""
        return len(self.grid)

    @property
    def blocks_per_level(self) -> tuple[int, ...]:
        """On the way down, and as many on the way up."""
        b = self.blocks
        return (b,) * len(self.multipliers) if isinstance(b, int) else b


def _check(config: FNOConfig | UNOConfig, counts: Sequence[str]) -> None:
    for name in counts:
        if getattr(config, name) < 1:
            raise ValueError(f"expected {name} >= 1, got {getattr(config, name)}")
    if config.dims not in (1, 2, 3):
        raise ValueError(f"expected 1, 2 or 3 axes of space, got {config.dims}")
    if config.channels < 4 or config.channels % 2:
        raise ValueError(f"expected channels even and at least 4, got {config.channels}")


class Norm(Enum):
    """In which norm the estimate's error is measured."""

    USUAL = "usual"
    L2 = "l2"
    CAMERON_MARTIN = "cameron-martin"


@final
@dataclass(frozen=True)
class Config:
    """A generative model of functions, to be sampled at any resolution.

    Args:
        out: the run folder.
        data: a known set of fields (see sfumato fields --help), or a file: npz, HDF5, NetCDF, zarr;
            several as a folder, a pattern in quotes, or with commas between them.
        variables: of a file; all when empty.
        domain: of a file: what is beyond the border; "" takes what the file says, or mirrors.
        fill: of a file: put the mean, or a harmonic function, where values are missing; "" refuses.
        sample_dim: of a file: the name of the axis that counts samples; several with commas between
            them; none where it holds one field; "" looks for usual ones.
        missing: of a file: values that stand for missing ones where it does not say so.
        group: of a file: path or name of a group in HDF5, NetCDF or zarr.
        regrid: of a file: interpolate to uniform coordinates where they are not.
        given: quantities or parameters that are told to the network instead of drawn.
        grid: points along each axis that are trained on; the data's own when empty.
        n: fields to train on; 0 for all.
        operator: on a grid of its own, without aliasing (uno), or on the grid of the data (fno).
        uno, fno: sizes; channels in and out, axes and border follow from the data.
        noise: the Matérn field that is added; it must be rougher than the data.
        white: add white noise instead, which is not one field on all grids: for comparison.
        estimate: what the network is for: the rest of the Wiener filter, or a prediction as in
            diffusion of pictures (edm, v, x0, epsilon).
        blur: also blur on the way, by so much at t = 1 (about 0.25; mirrors, and v, x0 or edm).
        time_mean, time_std: of ln σ in training.
        norm: of the error: the usual one is the Cameron-Martin norm of the noise behind the
            Wiener filter, in which a wave counts once it begins to be decided, and L² of what is
            predicted otherwise; or one of the two (in L² behind the filter long waves are nearly
            all that counts).
        translate: move each example by a random vector (periodic data without preferred places);
            the network is then not told where it is.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/fields")
    data: str = "mixture"
    variables: tuple[str, ...] = ()
    domain: Literal["", "periodic", "reflecting"] = ""
    fill: Literal["", "mean", "harmonic"] = ""
    sample_dim: str = ""
    missing: tuple[float, ...] = ()
    group: str = ""
    regrid: bool = False
    given: tuple[str, ...] = ()
    grid: tuple[int, ...] = ()
    n: int = 0
    operator: Literal["uno", "fno"] = "uno"
    uno: UNOConfig = field(default_factory=lambda: UNOConfig(1, 1, channels=24, coordinates=True))
    fno: FNOConfig = field(default_factory=lambda: FNOConfig(1, 1, coordinates=True))
    noise: Matern = Matern(0.1, 0.75)
    white: bool = False
    estimate: Literal["wiener", "edm", "v", "x0", "epsilon"] = "wiener"
    blur: float = 0.0
    time_mean: float = -0.5
    time_std: float = 2.0
    norm: Norm = Norm.USUAL
    translate: bool = False
    train: TrainConfig = TrainConfig(steps=8_000, batch=32, lr=1e-3, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if self.n < 0:
            raise UsageError(f"--n: expected 0 (all) or more fields, got {self.n}")
        if self.grid and min(self.grid) < 4:
            raise UsageError(f"--grid: expected 4 or more points an axis, got {self.grid}")
        if not math.isfinite(self.time_mean):
            raise UsageError(f"--time-mean: expected a number, such as -1, got {self.time_mean}")
        if not 0 < self.time_std < math.inf:
            raise UsageError(f"--time-std: expected more than 0, such as 1.6, got {self.time_std}")
        if not 0 <= self.blur < math.inf:
            raise UsageError(f"--blur: expected 0 (none) or about 0.25, got {self.blur}")
        if self.white and self.estimate == "wiener":
            raise UsageError("white noise has no Wiener filter here: add --estimate edm")
        if self.blur and self.estimate in ("wiener", "epsilon"):
            raise UsageError("a blurring process needs --estimate v, x0 or edm")
        if self.blur and self.white:
            raise UsageError("a blurring process needs a field as noise: leave out --white")
