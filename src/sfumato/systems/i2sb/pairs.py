"""Pairs of a good and a bad picture, from two folders: a degradation known by examples."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from sfumato.data.crops import MAX_HELD, Crops, check_crops, crop_set
from sfumato.data.decode import BrokenImage, planes, whole
from sfumato.data.listing import FileSource, open_source, pictures
from sfumato.data.sets import DataCard, ImageSet
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.words import many

GOOD, BAD = "good", "bad"
"""The sub-folders that hold the two pictures of a pair, under one name but for its ending."""


def pairs_of(path: Path | str, resolution: int, n: int = 40_000, *, seed: int = 0) -> ImageSet:
    """Random crops of pairs: the same place of ``good/NAME`` and of ``bad/NAME``.

    Nothing is reduced, which would change what the degradation looks like. A bad picture may be
    a whole number of times smaller than the good one (its pixels are then repeated).

    Args:
        path: a folder or zip file with the sub-folders good and bad.
        resolution: height and width R of a crop of the good picture.
        n: number of crops.
        seed: of the draws, see `Crops`.

    Returns:
        images uint8 (n, 6, R, R): RGB of the good and of the bad picture; no labels.

    Raises:
        UsageError: no such folders, or pictures without a partner (they are named).
        SfumatoError: pictures are broken or do not fit each other (all are named), or they would
            fill more than 4 GB.
    """
    path = Path(path)
    check_crops("pairs_of", resolution, n)
    source = open_source(path)
    names = [entry.name for entry in pictures(source.entries())]
    halves = [_under(names, half, path) for half in (GOOD, BAD)]
    if alone := sorted(halves[0].keys() ^ halves[1].keys()):
        raise UsageError(
            f"{path}: every picture needs a partner of its name in {GOOD}/ and {BAD}/; these have "
            f"none: {', '.join(alone[:10])}" + (" ..." if len(alone) > 10 else "")
        )
    held, broken, total = [], [], 0
    for key in sorted(halves[0]):
        try:
            both = _pair(source, halves[0][key], halves[1][key], resolution)
        except (BrokenImage, OSError, RuntimeError, zipfile.BadZipFile) as error:
            broken.append(f"  {key}: {str(error) or type(error).__name__}")
            continue
        held.append((both,))
        total += both.nbytes
        if total > MAX_HELD:
            raise SfumatoError(f"the pairs in {path} fill more than {MAX_HELD / 1e9:g} GB")
    if broken:
        raise SfumatoError(
            f"{len(broken)} of {many(len(halves[0]), 'pair')} in {path} cannot be used:\n"
            + "\n".join(broken)
        )
    card = DataCard(
        name=path.stem,
        source=str(path),
        licence="not known to sfumato",
        size=f"{n:,} random crops, {resolution}x{resolution} RGB, of {many(len(held), 'pair')}",
    )
    return crop_set(path.stem, Crops(held, resolution, n, seed), card)


def _under(names: list[str], half: str, path: Path) -> dict[str, str]:
    """Names below the sub-folder, without it and without their ending, and the whole names."""
    found: dict[str, str] = {}
    for name in names:
        _, here, rest = f"/{name}".partition(f"/{half}/")
        if here:
            key = rest.rpartition(".")[0]
            if key in found:
                raise UsageError(f"{path}: two pictures are called {half}/{key}")
            found[key] = name
    if not found:
        raise UsageError(
            f"{path} has no pictures in a folder called {half}; pairs lie in {GOOD}/ and {BAD}/"
        )
    return found


def _pair(source: FileSource, good: str, bad: str, resolution: int) -> np.ndarray:
    """uint8 (6, H, W). Raises BrokenImage if the two do not fit."""
    x, y = (planes(whole(source.read(name), name=name)) for name in (good, bad))
    (h, w), (small, narrow) = x.shape[1:], y.shape[1:]
    if min(h, w) < resolution:
        raise BrokenImage(f"{w}x{h} pixels, too small for crops of {resolution}")
    factor = h // small
    if (small * factor, narrow * factor) != (h, w):
        raise BrokenImage(
            f"the good picture has {w}x{h} pixels and the bad one {narrow}x{small}, which is not "
            "the same or a whole number of times less"
        )
    return np.concatenate([x, y.repeat(factor, 1).repeat(factor, 2)])
