"""The data sets by the names they have on the command line, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, final

from sfumato.errors import UsageError, unknown

if TYPE_CHECKING:
    from sfumato.data import ImageSet, PointSet

SPLITS = ("train", "test")


@final
@dataclass(frozen=True)
class Wish:
    """What part of a data set is wanted.

    Args:
        split: "train" or "test".
        n: at most so many examples; 0 for all.
        resolution: for data sets that are drawn at any; 0 for the usual one.
        seed: of point sets, which are drawn afresh.
    """

    split: str = "train"
    n: int = 0
    resolution: int = 0
    seed: int = 0


@final
@dataclass(frozen=True)
class Known:
    """A data set that has a name."""

    summary: str
    load: Callable[[Wish], ImageSet | PointSet]
    package: str = ""
    """The key of the package its files are fetched from; empty if nothing is fetched."""


def _fashion(wish: Wish) -> ImageSet:
    from sfumato.data import fashion_mnist

    return fashion_mnist("test" if wish.split == "test" else "train")


def _digits(wish: Wish) -> ImageSet:
    from sfumato.data import digits

    return digits("test" if wish.split == "test" else "train")


def _avatars(wish: Wish) -> ImageSet:
    from sfumato.data import avatars

    split = "test" if wish.split == "test" else "train"
    return avatars(split, wish.resolution or 32, wish.n or None)


def _points(name: str) -> Callable[[Wish], PointSet]:
    def load(wish: Wish) -> PointSet:
        from sfumato.data import points

        # train and test are other draws of the same law
        return points(name, wish.n or 10_000, 2 * wish.seed + (wish.split == "test"))

    return load


class DataSets(Enum):
    """Every data set with a name; any folder or zip of images may stand in its place."""

    FASHION_MNIST = Known("70,000 grey pictures of clothes, 28x28", _fashion, "fashion-mnist")
    DIGITS = Known("10,000 handwritten digits, 28x28", _digits, "digits")
    AVATARS = Known("illustrated faces with known attributes, drawn at any resolution", _avatars)
    GAUSSIANS_8 = Known("2-D points: 8 Gaussians on a circle", _points("8-gaussians"))
    GAUSSIANS_25 = Known("2-D points: 25 Gaussians on a grid", _points("25-gaussians"))
    SWISS_ROLL = Known("2-D points: a rolled-up band", _points("swiss-roll"))

    @property
    def label(self) -> str:
        """The name on the command line."""
        head, _, tail = self.name.lower().replace("_", "-").rpartition("-")
        return f"{tail}-{head}" if tail.isdigit() else self.name.lower().replace("_", "-")


def table() -> dict[str, Known]:
    """The data sets by name."""
    return {d.label: d.value for d in DataSets}


def check(name: str, wish: Wish) -> None:
    """Refuse an unknown name or split before anything is loaded.

    Raises UsageError with the nearest names.
    """
    if wish.split not in SPLITS:
        raise unknown("split", wish.split, SPLITS)
    if name not in table() and not Path(name).exists():
        raise unknown("data set", name, table())


def load(name: str, wish: Wish) -> ImageSet | PointSet:
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
        data = folder(Path(name), wish.resolution)
    if wish.n and wish.n < len(data):
        data = data.subset(range(wish.n))
    return data
