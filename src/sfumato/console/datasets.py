"""The data sets by the names they have on the command line, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, final

from sfumato.errors import UsageError, unknown

if TYPE_CHECKING:
    from sfumato.data import ImageSet, PointSet

SPLITS = ("train", "test")


@final
@dataclass(frozen=True)
class DataRequest:
    """What part of a data set is wanted.

    Args:
        split: "train" or "test".
        n: at most so many examples; 0 for all.
        resolution: for data sets that are drawn at any; 0 for the usual one.
        seed: of point sets, which are drawn afresh.
        channels: of the images in a folder, 1 (grey) or 3.
        skip_broken: leave out images of a folder that cannot be read.
        progress: show a bar where loading takes long.
    """

    split: str = "train"
    n: int = 0
    resolution: int = 0
    seed: int = 0
    channels: int = 3
    skip_broken: bool = False
    progress: bool = True


@final
@dataclass(frozen=True)
class NamedData:
    """A data set that has a name."""

    name: str
    summary: str
    load: Callable[[DataRequest], ImageSet | PointSet]
    packages: tuple[str, ...] = ()
    """The keys of the packages its files are fetched from; empty if nothing is fetched."""


def _fashion(wish: DataRequest) -> ImageSet:
    from sfumato.data import fashion_mnist

    return fashion_mnist("test" if wish.split == "test" else "train")


def _digits(wish: DataRequest) -> ImageSet:
    from sfumato.data import digits

    return digits("test" if wish.split == "test" else "train")


def _avatars(wish: DataRequest) -> ImageSet:
    from sfumato.data import avatars

    return avatars(
        "test" if wish.split == "test" else "train",
        wish.resolution or 32,
        wish.n or None,
        progress=wish.progress,
    )


def _photographs(wish: DataRequest) -> ImageSet:
    from sfumato.data.photographs import photographs

    test = wish.split == "test"
    n = wish.n or (4_000 if test else 40_000)
    crops = photographs("test" if test else "train", wish.resolution or 64, n)
    return crops.subset(range(n))  # cut now: what asks for data here may read it in any way


def _emoji(wish: DataRequest) -> ImageSet:
    from sfumato.data.emoji import emoji

    split: Literal["train", "test"] = "test" if wish.split == "test" else "train"
    return emoji(split, wish.resolution or 64, progress=wish.progress)


def _stamps(wish: DataRequest) -> ImageSet:
    from sfumato.data.stamps import stamps

    split: Literal["train", "test"] = "test" if wish.split == "test" else "train"
    return stamps(split, wish.resolution or 64, progress=wish.progress)


def _plane(name: str, summary: str) -> NamedData:
    def load(wish: DataRequest) -> PointSet:
        from sfumato.data import points

        # train and test are other draws of the same law
        return points(name, wish.n or 10_000, 2 * wish.seed + (wish.split == "test"))

    return NamedData(name, f"points in the plane: {summary}", load)


class DataSets(Enum):
    """Every data set with a name; any folder or zip of images may stand in its place."""

    FASHION_MNIST = NamedData(
        "fashion-mnist", "70,000 grey pictures of clothes, 28x28", _fashion, ("fashion-mnist",)
    )
    DIGITS = NamedData("digits", "10,000 handwritten digits, 28x28", _digits, ("digits",))
    AVATARS = NamedData("avatars", "illustrated faces with known attributes, at any size", _avatars)
    PHOTOGRAPHS = NamedData(
        "photographs",
        "random crops of a few real photographs, at any size",
        _photographs,
        ("photographs-16.04", "photographs-20.04", "photographs-test"),
    )
    EMOJI = NamedData(
        "emoji",
        "1,561 things as drawn by four vendors, at any size",
        _emoji,
        ("emoji-noto", "emoji-twemoji", "emoji-openmoji", "emoji-fluent"),
    )
    STAMPS = NamedData(
        "stamps", "785 photographs and drawings of single things, at any size", _stamps, ("stamps",)
    )
    GAUSSIANS_8 = _plane("8-gaussians", "8 Gaussians on a circle")
    GAUSSIANS_25 = _plane("25-gaussians", "25 Gaussians on a grid")
    DIAMOND = _plane("diamond", "9 Gaussians on a turned grid")
    SWISS_ROLL = _plane("swiss-roll", "a spiral")
    MULTI_SWISS_ROLL = _plane("multi-swiss-roll", "5 small spirals")
    CHECKERBOARD = _plane("checkerboard", "8 squares of a board")
    TWO_MOONS = _plane("two-moons", "two interlocking half circles")


def table() -> dict[str, NamedData]:
    """The data sets by name."""
    return {d.value.name: d.value for d in DataSets}


def check(name: str, wish: DataRequest) -> None:
    """Refuse an unknown name or split before anything is loaded.

    Raises UsageError with the nearest names.
    """
    if wish.split not in SPLITS:
        raise unknown("split", wish.split, SPLITS)
    if name not in table() and not Path(name).exists():
        raise unknown("data set", name, table())


def load(name: str, wish: DataRequest) -> ImageSet | PointSet:
    """The data set of that name, or the images in that folder or zip.

    Raises UsageError for an unknown name, SfumatoError when the data is not there.
    """
    check(name, wish)
    if name in table():
        data = table()[name].load(wish)
    else:
        from sfumato.data import folder

        if not wish.resolution:
            raise UsageError(f"{name} is a folder: say the --resolution its images should have")
        channels: Literal[1, 3] = 1 if wish.channels == 1 else 3
        data = folder(Path(name), wish.resolution, channels=channels, skip_broken=wish.skip_broken)
    if wish.n and wish.n < len(data):
        data = data.subset(range(wish.n))
    return data
