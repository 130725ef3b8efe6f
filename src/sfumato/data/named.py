"""The library's data sets as its table names them: each takes a `DataRequest`."""

from __future__ import annotations

from typing import Literal

from sfumato.data.emoji import emoji
from sfumato.data.faces import avatars
from sfumato.data.mnist import digits, fashion_mnist
from sfumato.data.photographs import photographs
from sfumato.data.plane import points
from sfumato.data.sets import ImageSet, PointSet
from sfumato.data.stamps import stamps
from sfumato.system import DataRequest


def _split(wish: DataRequest) -> Literal["train", "test"]:
    return "test" if wish.split == "test" else "train"


def fashion(wish: DataRequest) -> ImageSet:
    """Fashion-MNIST."""
    return fashion_mnist(_split(wish), wish.root)


def handwritten(wish: DataRequest) -> ImageSet:
    """Handwritten digits."""
    return digits(_split(wish), wish.root)


def faces(wish: DataRequest) -> ImageSet:
    """Avatars at 32 pixels unless told otherwise; ``n`` of them are drawn, or all."""
    return avatars(
        _split(wish), wish.resolution or 32, wish.n or None, root=wish.root, workers=wish.workers,
        progress=wish.progress,
    )  # fmt: skip


def crops(wish: DataRequest) -> ImageSet:
    """Crops of photographs at 64 pixels unless told otherwise: 40,000, or 4,000 to test."""
    n = wish.n or (4_000 if wish.split == "test" else 40_000)
    made = photographs(_split(wish), wish.resolution or 64, n)
    return made.subset(range(n))  # cut now: what asks for data here may read it in any way


def drawn_emoji(wish: DataRequest) -> ImageSet:
    """Emoji at 64 pixels unless told otherwise."""
    return emoji(_split(wish), wish.resolution or 64, progress=wish.progress)


def drawn_stamps(wish: DataRequest) -> ImageSet:
    """Stamps at 64 pixels unless told otherwise."""
    return stamps(_split(wish), wish.resolution or 64, progress=wish.progress)


def plane(wish: DataRequest, name: str) -> PointSet:
    """Points in the plane, 10,000 unless told otherwise; train and test are other draws."""
    return points(name, wish.n or 10_000, 2 * wish.seed + (wish.split == "test"))
