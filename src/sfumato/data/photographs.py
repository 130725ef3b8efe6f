"""A few real photographs as random crops, and five others to test on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, final

import numpy as np

from sfumato.data.crops import MAX_SIDE, Crops, check_crops, crop_set, pyramid
from sfumato.data.decode import BrokenImage, planes, whole
from sfumato.data.download import check
from sfumato.data.packages import SCIKIT_IMAGE, WALLPAPERS_16, WALLPAPERS_20, Package
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, Split, check_split
from sfumato.errors import SfumatoError, unknown


@final
@dataclass(frozen=True)
class Photograph:
    """One photograph and its terms.

    Args:
        name: what we call it.
        package: where its file comes from.
        file: name of the file.
        author, licence: as the package's copyright file or documentation says.
        sha256: of the file, where it may also come from an installed package.
    """

    name: str
    package: Package
    file: str
    author: str
    licence: str
    sha256: str = ""


def _wallpaper(
    file: str, author: str, licence: str, package: Package = WALLPAPERS_16
) -> Photograph:
    return Photograph(file.partition("_by_")[0].lower(), package, f"{file}.jpg", author, licence)


def _sample(name: str, file: str, author: str, licence: str, sha256: str) -> Photograph:
    return Photograph(name, SCIKIT_IMAGE, file, author, licence, sha256)


TRAIN: Final = (
    _wallpaper("Bridge_by_Sander_Klootwijk", "Sander Klootwijk", "CC BY-SA 4.0"),
    _wallpaper("Dragonfly_by_Bolly", "Bolly", "CC BY-SA 4.0"),
    _wallpaper("Picture_0B_by_freespace", 'Trevor "Freespace"', "CC BY 4.0"),
    _wallpaper("Picture_1A_by_freespace", 'Trevor "Freespace"', "CC BY 4.0"),
    _wallpaper("Wine_by_Jakkub_Mede", "Jakub Mede", "CC BY 4.0"),
    _wallpaper("aitzgorri_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC BY 4.0"),
    _wallpaper("free_by_Peter_Nerlich", "Peter Nerlich", "CC BY-SA 4.0"),
    _wallpaper("friends_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC BY 4.0"),
    _wallpaper("greentock_by_Peter_Nerlich", "Peter Nerlich", "CC BY-SA 4.0"),
    _wallpaper("life_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC BY 4.0"),
    _wallpaper("picosdeeuropa_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC BY 4.0"),
    _wallpaper("seeding_by_Clements_Engelhardt", "Clemens Engelhardt", "CC0 1.0"),
    _wallpaper("sunset_by_Aitzol_Berasategi", "Aitzol Berasategi", "CC BY 4.0"),
    _wallpaper("Kleiber_by_Lukas_Baubkus", "Lukas Baubkus", "CC BY-SA 3.0", WALLPAPERS_20),
)
TEST: Final = (
    _sample("astronaut", "astronaut.png", "NASA", "public domain",
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    _sample("chelsea", "chelsea.png", "Stefan van der Walt", "CC0",
            "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    _sample("coffee", "coffee.png", "Rachel Michetti", "CC0",
            "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    _sample("motorcycle", "motorcycle_left.png",
            "Nesic, Westling, Wang, Kitajima, Krathwohl, Scharstein "
            "(Middlebury 2014 stereo benchmark)",
            "not stated", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
    _sample("rocket", "rocket.jpg", "SpaceX", "public domain",
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
)  # fmt: skip
_NOTES = {
    "train": "Fourteen photographs, so crops overlap and are alike; none is of people. "
    "Largest side reduced to 2,000 pixels.",
    "test": "Five photographs; none is among those of the train split.",
}


def photograph_card(split: Split, resolution: int, n: int) -> DataCard:
    """Source, licences and size of n crops."""
    used = TRAIN if split == "train" else TEST
    packages = list(dict.fromkeys(p.package for p in used))
    return DataCard(
        name="photographs",
        source="; ".join(
            f"{'Debian' if p is not SCIKIT_IMAGE else 'PyPI'} package {p.name} {p.version}"
            for p in packages
        ),
        licence="; ".join(f"{p.file} by {p.author}: {p.licence}" for p in used),
        size=f"{n:,} {split} crops, {resolution}x{resolution} RGB, of {len(used)} photographs at "
        "1 to 4 scales",
        note=_NOTES[split],
    )


def _installed(photo: Photograph) -> bytes | None:
    """The file's bytes from an installed scikit-image, which is not imported."""
    spec = find_spec("skimage") if photo.package is SCIKIT_IMAGE else None
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(place) / "data" / photo.file
        if file.is_file():
            data = file.read_bytes()
            if hashlib.sha256(data).hexdigest() == photo.sha256:
                return data
    return None


def _read(photo: Photograph, root: Path) -> bytes:
    if (data := _installed(photo)) is not None:
        return data
    try:
        return (root / photo.package.key / photo.file).read_bytes()
    except OSError as error:
        raise SfumatoError(
            f"the photograph {photo.file} is not in {root / photo.package.key}; run "
            "'sfumato data fetch photographs'"
        ) from error


def _check_packages(photographs: Sequence[Photograph], root: Path) -> None:
    for package in dict.fromkeys(p.package for p in photographs):
        if (root / package.key).is_dir():
            check(root / package.key)


@lru_cache(maxsize=2)
def _pyramids(split: Split, resolution: int, root: Path) -> tuple[tuple[np.ndarray, ...], ...]:
    used = TRAIN if split == "train" else TEST
    _check_packages(used, root)
    found = []
    for photo in used:
        try:
            levels = pyramid(whole(_read(photo, root), MAX_SIDE), resolution)
        except BrokenImage as error:
            raise SfumatoError(f"the photograph {photo.file} cannot be used: {error}") from error
        for level in levels:
            level.flags.writeable = False  # shared by all sets of this kind
        found.append(levels)
    return tuple(found)


def photographs(
    split: Split = "train", resolution: int = 64, n: int = 40_000, root: Path | None = None
) -> ImageSet:
    """Random crops of real photographs, cut when they are asked for.

    See `Crops` for how they are drawn. The photographs are decoded when first used (some
    seconds) and stay in memory (about 140 MB for train). Those for test are taken from an
    installed scikit-image if there is one, else from the fetched package.

    Args:
        split: "train" (14 photographs) or "test" (5 others, of scikit-image).
        resolution: height and width R, 8..1024.
        n: number of crops; the first n of an endless row, which any larger n continues.
        root: the data folder; `data_root()` when None.

    Returns:
        images uint8 (n, 3, R, R), no labels.

    Raises:
        UsageError: unknown split, or n or the resolution out of range.
        SfumatoError: a photograph is not there (the message says what to run), is damaged, or is
            smaller than R.
    """
    check_split(split)
    check_crops("photographs", resolution, n)
    held = _pyramids(split, resolution, data_root() if root is None else root)
    crops = Crops(held, resolution, n, seed=0)
    return crop_set("photographs", crops, photograph_card(split, resolution, n))


def photograph(name: str, root: Path | None = None) -> np.ndarray:
    """One whole photograph, uint8 (3, H, W).

    Args:
        name: one of "astronaut", "chelsea", "coffee", "motorcycle", "rocket", which are for test,
            or one of those for training (2,000 to 6,000 pixels wide).
        root: the data folder; `data_root()` when None.

    Raises:
        UsageError: no photograph has that name; the message lists them.
        SfumatoError: it is not there (the message says what to run) or is damaged.
    """
    for photo in (*TEST, *TRAIN):
        if photo.name == name:
            folder = data_root() if root is None else root
            _check_packages([photo], folder)
            try:
                return planes(whole(_read(photo, folder)))
            except BrokenImage as error:
                raise SfumatoError(f"{photo.file} cannot be used: {error}") from error
    raise unknown("photograph", name, [photo.name for photo in (*TEST, *TRAIN)])
