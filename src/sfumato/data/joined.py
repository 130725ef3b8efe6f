"""Several sets of images read as one, in stated proportions, without copying any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast, final

import numpy as np

from sfumato.data.sets import DataCard, ImageSet, Lazy
from sfumato.files.words import many

_LONGEST: Final = 1000


def pattern(weights: Sequence[float]) -> np.ndarray:
    """The order in which sets take turns: numbers of sets, as evenly mixed as can be.

    As short as holds the proportions exactly, and at most 1,000 long (which holds them to a
    thousandth, a positive weight never becoming 0).

    Raises:
        ValueError: weights that are not positive and finite, or more than 500 of them.
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or not len(w) or not np.isfinite(w).all() or (w <= 0).any() or len(w) > 500:
        raise ValueError(f"weights must be 1 to 500 positive numbers, got {list(weights)}")
    share = w / w.sum()
    for length in range(len(w), _LONGEST + 1):
        counts = np.rint(share * length).astype(np.int64)
        if np.abs(share * length - counts).max() < 1e-9 * length and counts.min() > 0:
            break
    else:
        counts = np.maximum(np.floor(share * _LONGEST).astype(np.int64), 1)
        while (missing := _LONGEST - int(counts.sum())) != 0:
            gap = share * _LONGEST - counts
            gap[counts + np.sign(missing) < 1] = np.inf
            counts[gap.argmax() if missing > 0 else gap.argmin()] += np.sign(missing)
    # turn k of a set with c turns belongs at (k + 1/2) / c of the way
    at = np.concatenate([(np.arange(c) + 0.5) / c for c in counts])
    return np.repeat(np.arange(len(w)), counts)[np.argsort(at, kind="stable")]


@final
class Joined(Lazy):
    """Images of several arrays taking turns, uint8 (N, C, R, R).

    Image i depends on i alone. Every array starts again when it has been read to its end; N is
    the smallest number of whole rounds after which all have been read to their end once.

    Args:
        parts: the arrays, of one shape but for their lengths.
        weights: how often each has its turn, relative to the others.

    Raises:
        ValueError: no arrays, an empty one, different shapes, or bad weights.
    """

    def __init__(self, parts: Sequence[np.ndarray | Lazy], weights: Sequence[float]) -> None:
        shapes = [tuple(part.shape) for part in parts]
        if not parts or len(weights) != len(parts) or min(shape[0] for shape in shapes) < 1:
            raise ValueError(
                f"expected sets with images and a weight for each, got shapes {shapes} and "
                f"{len(weights)} weights"
            )
        if len({shape[1:] for shape in shapes}) != 1:
            raise ValueError(f"the images to be joined must have one shape, got {shapes}")
        self.parts = tuple(parts)
        self._turns = pattern(weights)
        self._counts = np.bincount(self._turns, minlength=len(parts))
        before = np.zeros(len(self._turns), np.int64)
        for part in range(len(parts)):
            mine = self._turns == part
            before[mine] = np.arange(mine.sum())
        self._before = before
        self._lengths = np.array([shape[0] for shape in shapes], np.int64)
        rounds = int((-(-self._lengths // self._counts)).max())
        _, channels, height, width = shapes[0]
        self._shape = (rounds * len(self._turns), channels, height, width)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """See `Lazy`."""
        return self._shape

    def origin(self, index: np.ndarray | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """For each image the number of its array and its place in that."""
        rounds, turn = np.divmod(np.asarray(index, np.int64), len(self._turns))
        part = self._turns[turn]
        return part, (rounds * self._counts[part] + self._before[turn]) % self._lengths[part]

    def take(self, index: np.ndarray) -> np.ndarray:
        """See `Lazy`."""
        part, place = self.origin(index)
        out = np.empty((len(index), *self._shape[1:]), np.uint8)
        for k, images in enumerate(self.parts):
            mine = part == k
            if mine.any():
                out[mine] = images[place[mine]]
        return out


def joined(*sets: ImageSet, weights: Sequence[float] | None = None) -> ImageSet:
    """Several sets as one unlabelled set, their images taking turns in stated proportions.

    Nothing is copied. Every set starts again when it is at its end; the whole is as long as it
    takes to read each to its end once.

    Args:
        sets: images of one resolution and number of channels.
        weights: how often each set has its turn, relative to the others; equally often if None.

    Returns:
        images uint8 (N, C, R, R), no labels.

    Raises:
        ValueError: no sets, different shapes, or not one positive weight for each set.
    """
    if not sets:
        raise ValueError("joined needs at least one set")
    chosen = [1.0] * len(sets) if weights is None else list(weights)
    images = Joined([s.images for s in sets], chosen)
    card = joined_card([s.name for s in sets], [s.card for s in sets], chosen, images)
    return ImageSet(card.name, cast(np.ndarray, images), None, (), card)


def joined_card(
    names: Sequence[str], cards: Sequence[DataCard], weights: Sequence[float], images: Joined
) -> DataCard:
    """The cards of all sets as one, with their shares; sets of one name are counted together."""
    total = sum(weights)
    shares = dict.fromkeys(names, 0.0)
    for name, weight in zip(names, weights, strict=True):
        shares[name] += 100 * weight / total
    parts = [f"{share:.3g}% {name}" for name, share in shares.items()]

    def told(of: Callable[[DataCard], str], between: str) -> str:
        return between.join(dict.fromkeys(f"{c.name}: {of(c)}" for c in cards if of(c)))

    return DataCard(
        name=" + ".join(shares),
        source=told(lambda c: c.source, "; "),
        licence=told(lambda c: c.licence, "; "),
        size=f"{many(len(images), 'image')}, {images.shape[-1]}x{images.shape[-1]}, "
        + ", ".join(parts),
        note=told(lambda c: c.note, " "),
    )
