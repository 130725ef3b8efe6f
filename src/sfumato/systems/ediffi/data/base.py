"""What a captioned set is: pictures, and for each one or more sentences that are true of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar, final, overload

import numpy as np
from rich.progress import track
from torch import Tensor

from sfumato.data.joined import Joined, joined_card
from sfumato.data.sets import DataCard, Indices, Lazy, _index, check_images, unit_range
from sfumato.seeds import Generators, generators, rand

Captions: TypeAlias = Sequence[tuple[str, ...]]
"""For each picture its sentences, at least one."""


T = TypeVar("T")
_TOGETHER = 256


@final
class LazySequence(Sequence[T]):
    """What is known of n pictures, made when it is asked for.

    Args:
        n: of so many pictures.
        of: what is known of picture i, 0 <= i < n; a function of i alone.
    """

    def __init__(self, n: int, of: Callable[[int], T]) -> None:
        self.n, self.of = n, of

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, key: int) -> T: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[T, ...]: ...
    def __getitem__(self, key: int | slice) -> T | tuple[T, ...]:
        if isinstance(key, slice):
            return tuple(self.of(i) for i in range(*key.indices(self.n)))
        i = int(key)
        if not -self.n <= i < self.n:
            raise IndexError(f"picture {i} is out of range for {self.n} pictures")
        return self.of(i % self.n)

    def __iter__(self) -> Iterator[T]:
        return map(self.of, range(self.n))


@final
@dataclass(frozen=True, eq=False)
class Captioned:
    """Pictures with sentences.

    Args:
        name: short name.
        images: uint8 (N, 3, R, R); an array, a read-only memory map, or a `Lazy` array.
        captions: N times one or more sentences; tuples of strings, or `LazySequence`.
        card: source, licence, size.
        styles: for each picture its style, such as who drew it; None if that is not known.

    Raises:
        ValueError: images of another shape or type, another number of captions or styles,
            or (unless they are made when asked for) a picture without one, or an empty one.
    """

    name: str
    images: np.ndarray | Lazy
    captions: Captions
    card: DataCard
    styles: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_images(self.images, self.name, channels=3)
        for what, given in (("groups of captions", self.captions), ("styles", self.styles)):
            if given is not None and len(given) != len(self):
                raise ValueError(
                    f"{self.name}: {len(self)} images need as many {what}, got {len(given)}"
                )
        if not isinstance(self.captions, LazySequence):
            for i, group in enumerate(self.captions):
                self._check(i, group)

    def _check(self, i: int, group: tuple[str, ...]) -> None:
        if not isinstance(group, tuple) or not group:
            raise ValueError(
                f"{self.name}: expected a tuple of one or more captions for image {i}, "
                f"got {group!r}"
            )
        if not all(isinstance(text, str) and text.strip() for text in group):
            raise ValueError(f"{self.name}: image {i} has an empty caption: {group!r}")

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def resolution(self) -> int:
        """Height and width in pixels."""
        return int(self.images.shape[-1])

    def batch(self, indices: Indices) -> tuple[Tensor, None]:
        """The pictures at `indices`, in that order; as `ImageSet.batch` of an unlabelled set.

        Returns:
            x = images / 127.5 - 1 in [-1, 1], float32 (B, 3, R, R), and None.

        Raises:
            ValueError: indices that are not integers, or out of range.
        """
        return unit_range(self.images[_index(indices, len(self), self.name)]), None

    def draw_captions(
        self, indices: Indices, generator: Generators | int = None
    ) -> tuple[str, ...]:
        """One sentence for each picture at `indices`, in that order, each equally likely.

        Args:
            indices: (B,).
            generator: an integer is a seed: the sentence of picture i then depends on it and on
                i alone, not on what else is asked for. Or one generator, or one for each
                picture, or None (torch's own); see `sfumato.seeds`.

        Returns:
            B sentences.

        Raises:
            ValueError: indices that are not integers or are out of range, another number of
                generators than of pictures, or a picture that has no sentence.
        """
        index = _index(indices, len(self), self.name).tolist()
        if isinstance(generator, int):
            generator = generators(generator, index)
        if not index:
            return ()
        groups = [self.captions[i] for i in index]
        for i, group in zip(index, groups, strict=True):
            self._check(i, group)
        drawn = rand((len(index), 1), generator)[:, 0].tolist()
        return tuple(group[int(u * len(group))] for group, u in zip(groups, drawn, strict=True))

    def subset(self, indices: Indices, *, quiet: bool = True) -> Captioned:
        """The same set holding only `indices` (pictures and sentences made and kept in memory).

        Args:
            indices: (B,).
            quiet: no progress bar.

        Raises:
            ValueError: indices that are not integers, or out of range.
        """
        index = _index(indices, len(self), self.name)
        images = np.empty((len(index), *self.images.shape[1:]), np.uint8)
        starts = range(0, len(index), _TOGETHER)
        for i in track(starts, f"{self.name}: pictures", transient=True, disable=quiet):
            images[i : i + _TOGETHER] = self.images[index[i : i + _TOGETHER]]
        captions = tuple(self.captions[i] for i in index.tolist())
        styles = None if self.styles is None else tuple(self.styles[i] for i in index.tolist())
        return replace(self, images=images, captions=captions, styles=styles)


def joined_captioned(*sets: Captioned, weights: Sequence[float] | None = None) -> Captioned:
    """Several sets as one, taking turns in stated proportions; nothing is copied.

    Args:
        sets: of one resolution.
        weights: how often each set has its turn, relative to the others; equally often if None.

    Returns:
        a set; the style of a picture of a set that knows none is the name of that set.

    Raises:
        ValueError: no sets, different resolutions, or not one positive weight for each set.
    """
    if not sets:
        raise ValueError("joined_captioned needs at least one set")
    chosen = [1.0] * len(sets) if weights is None else list(weights)
    images = Joined([s.images for s in sets], chosen)

    def captions(i: int) -> tuple[str, ...]:
        part, place = images.origin([i])
        return sets[int(part[0])].captions[int(place[0])]

    def style(i: int) -> str:
        part, place = images.origin([i])
        one = sets[int(part[0])]
        return one.name if one.styles is None else one.styles[int(place[0])]

    n = len(images)
    card = joined_card([s.name for s in sets], [s.card for s in sets], chosen, images)
    return Captioned(card.name, images, LazySequence(n, captions), card, LazySequence(n, style))
