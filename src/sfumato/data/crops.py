"""Random squares cut from whole photographs, at several scales, when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, cast, final

import numpy as np
from PIL import Image
from rich.progress import track

from sfumato.data.decode import BrokenImage, planes, whole
from sfumato.data.listing import Entry, complain, open_source, pictures, usable
from sfumato.data.sets import DataCard, ImageSet, Lazy, check_between
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.words import many
from sfumato.seeds import fold, splitmix64

Pyramid: TypeAlias = Sequence[np.ndarray]
"""One photograph at 1, 1/2, 1/4, ...: uint8 (3, H, W) each."""

FACTORS: Final = (1, 2, 4, 8)
MAX_SIDE: Final = 2000
MAX_HELD: Final = 4_000_000_000
_DRAWS = 4


def pyramid(picture: Image.Image, resolution: int) -> tuple[np.ndarray, ...]:
    """The picture reduced by 1, 2, 4 and 8, as far as its shorter side stays at least 2R.

    Reduced by a Lanczos filter as wide as the reduction asks for, so without aliasing. The
    unreduced picture is always among them.

    Raises:
        BrokenImage: the picture is smaller than R in one direction.
    """
    width, height = picture.size
    if min(width, height) < resolution:
        raise BrokenImage(f"{width}x{height} pixels, too small for crops of {resolution}")
    levels = [planes(picture)]
    for factor in FACTORS[1:]:
        size = (width // factor, height // factor)
        if min(size) < 2 * resolution:
            break
        box = (0, 0, size[0] * factor, size[1] * factor)
        levels.append(planes(picture.resize(size, Image.Resampling.LANCZOS, box)))
    return tuple(levels)


def uniforms(seed: int, index: np.ndarray, draws: int) -> np.ndarray:
    """Numbers in [0, 1), float64 (B, draws); row b depends on the seed and index[b] alone.

    Element `draws * i + k` of the stream of the generator SplitMix64 (Steele, Lea, Flood 2014),
    which can be computed without those before it.
    """
    start = np.uint64(fold(seed, "crops"))
    place = index.astype(np.uint64)[:, None] * np.uint64(draws) + np.arange(
        1, draws + 1, dtype=np.uint64
    )
    drawn: np.ndarray = (splitmix64(place, start) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


@final
@dataclass(frozen=True)
class Places:
    """Where crops come from: five arrays of one length.

    Args:
        photograph: its number.
        level: 0 for the photograph as it is, l for it reduced by 2 ** l.
        top, left: of the square, in pixels of that level.
        flipped: whether left and right change places after cutting.
    """

    photograph: np.ndarray
    level: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flipped: np.ndarray


@final
class Crops(Lazy):
    """N squares from photographs, uint8 (N, C, R, R), each cut when it is asked for.

    Crop i is a function of (seed, i): a scale, in proportion to the number of photographs that
    are large enough for it; a photograph, in proportion to its area at that scale; a position,
    every one equally likely; and a flip, every second time. The photographs stay in memory.

    Args:
        photographs: each as the levels of its `pyramid`, of C channels: 3, or 6 of pairs.
        resolution: R.
        n: N.
        seed: of the draws.

    Raises:
        ValueError: no photographs, one that is too small or of another type, or n < 1.
    """

    def __init__(
        self, photographs: Sequence[Pyramid], resolution: int, n: int, seed: int = 0
    ) -> None:
        if not photographs or n < 1 or resolution < 1:
            raise ValueError(
                "crops need at least one photograph, n >= 1 and resolution >= 1, got "
                f"{len(photographs)}, {n} and {resolution}"
            )
        self.photographs = tuple(tuple(levels) for levels in photographs)
        self.resolution, self.n, self.seed = resolution, n, seed
        self.channels = len(self.photographs[0][0])
        cells = [(p, k) for p, levels in enumerate(self.photographs) for k in range(len(levels))]
        for p, k in cells:
            level = self.photographs[p][k]
            if level.dtype != np.uint8 or level.ndim != 3 or level.shape[0] != self.channels:
                raise ValueError(
                    f"photograph {p} must be uint8 ({self.channels}, H, W), got {level.dtype} "
                    f"{level.shape}"
                )
            if min(level.shape[1:]) < resolution:
                raise ValueError(f"photograph {p}: {level.shape} is smaller than {resolution}")
        self._cells = np.array(cells, np.int64)
        self._sizes = np.array([self.photographs[p][k].shape[1:] for p, k in cells], np.int64)
        areas = self._sizes.prod(1).astype(np.float64)
        of_level = np.bincount(self._cells[:, 1], areas)[self._cells[:, 1]]
        in_level = np.bincount(self._cells[:, 1])[self._cells[:, 1]]
        self.chances = areas / of_level * in_level / len(cells)
        self._until = np.cumsum(self.chances)[:-1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """See `Lazy`."""
        return self.n, self.channels, self.resolution, self.resolution

    def _draw(self, index: np.ndarray) -> tuple[np.ndarray, Places]:
        u = uniforms(self.seed, index, _DRAWS)
        cell = np.searchsorted(self._until, u[:, 0], side="right")
        room = self._sizes[cell] - self.resolution + 1
        corner = (u[:, 1:3] * room).astype(np.int64)
        photograph, level = self._cells[cell].T
        return cell, Places(photograph, level, corner[:, 0], corner[:, 1], u[:, 3] < 0.5)

    def places(self, index: np.ndarray | Sequence[int]) -> Places:
        """Where the crops at these indices come from."""
        return self._draw(np.asarray(index, np.int64))[1]

    def take(self, index: np.ndarray) -> np.ndarray:
        """See `Lazy`."""
        side, at = self.resolution, self.places(index)
        out = np.empty((len(index), self.channels, side, side), np.uint8)
        rows = zip(
            at.photograph.tolist(), at.level.tolist(), at.top.tolist(), at.left.tolist(),
            at.flipped.tolist(),
        )  # fmt: skip
        for k, (photograph, level, top, left, flipped) in enumerate(rows):
            cut = self.photographs[photograph][level][:, top : top + side, left : left + side]
            out[k] = cut[:, :, ::-1] if flipped else cut
        return out


def crop_set(name: str, crops: Crops, card: DataCard) -> ImageSet:
    """The crops as an unlabelled `ImageSet`."""
    return ImageSet(name, cast(np.ndarray, crops), None, (), card)


def check_crops(what: str, resolution: int, n: int) -> None:
    """Raise UsageError for a resolution outside 8..1024, or no crops."""
    check_between(f"{what}: the resolution", resolution, 8, 1024)
    if n < 1:
        raise UsageError(f"{what}: n must be at least 1, got {n}")


def crops_of(
    path: Path | str,
    resolution: int,
    n: int = 40_000,
    *,
    seed: int = 0,
    max_side: int = MAX_SIDE,
    skip_broken: bool = False,
    progress: bool = True,
) -> ImageSet:
    """Random crops of the pictures in a folder (and those below it) or a .zip file.

    Every picture is decoded now and stays in memory with its reductions (4 bytes a pixel); the
    crops are cut when they are asked for. See `Crops` for how they are drawn.

    Args:
        path: the folder or zip file; its pictures may have any size from R up.
        resolution: height and width R of a crop, 8..1024.
        n: number of crops.
        seed: of the draws.
        max_side: larger pictures are reduced to this before anything else.
        skip_broken: leave out pictures that cannot be used, with a warning that lists them.
        progress: show a progress bar while decoding.

    Returns:
        images uint8 (n, 3, R, R), no labels.

    Raises:
        UsageError: no such place, no pictures in it, or a number out of range.
        SfumatoError: pictures are broken or smaller than R (all are named) and `skip_broken` is
            False, or none is left, or they would fill more than 4 GB.
    """
    path = Path(path)
    check_crops("crops_of", resolution, n)
    if max_side < resolution:
        raise UsageError(f"crops_of: max_side must be at least {resolution}, got {max_side}")
    source = open_source(path)
    wanted = pictures(source.entries(), path)
    held: list[Pyramid] = []
    broken: list[tuple[str, str]] = []
    total = 0
    shown: Iterable[Entry] = track(
        wanted, f"decoding {many(len(wanted), 'picture')}", disable=not progress, transient=True
    )

    def levels_of(entry: Entry) -> Pyramid | str:
        def use(data: bytes) -> Pyramid:
            return pyramid(whole(data, max_side, entry.name), resolution)

        return usable(source, entry, use)

    for entry in shown:
        levels = levels_of(entry)
        if isinstance(levels, str):
            broken.append((entry.name, levels))
            continue
        held.append(levels)
        total += sum(level.nbytes for level in levels)
        if total > MAX_HELD:
            raise SfumatoError(
                f"the pictures in {path} fill more than {MAX_HELD / 1e9:g} GB of memory after "
                f"{len(held):,} of {len(wanted):,}; give a smaller max_side than {max_side}"
            )
    complain(path, len(held), broken, skip_broken)
    card = DataCard(
        name=path.stem,
        source=str(path),
        licence="not known to sfumato",
        size=f"{n:,} random crops, {resolution}x{resolution} RGB, of {many(len(held), 'picture')}",
        note="Crops overlap, and crops of one picture are alike.",
    )
    return crop_set(path.stem, Crops(held, resolution, n, seed), card)
