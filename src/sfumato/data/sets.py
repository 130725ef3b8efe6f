"""What a data set is: a card, label axes, an array, and `batch(indices)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, cast, final

import numpy as np
import torch
from torch import Tensor

from sfumato.data.summary import ReadSummary
from sfumato.errors import UsageError, unknown

Indices: TypeAlias = Sequence[int] | np.ndarray | Tensor
Labels: TypeAlias = np.ndarray
Images: TypeAlias = np.ndarray
Key: TypeAlias = int | np.integer[Any] | slice | list[int] | np.ndarray
Split: TypeAlias = Literal["train", "test"]


def check_split(split: str) -> None:
    """Raise UsageError unless the split is "train" or "test"."""
    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))


def check_between(what: str, value: int, low: int, high: int) -> None:
    """Raise UsageError unless low <= value <= high; ``what`` begins its sentence."""
    if not low <= value <= high:
        raise UsageError(f"{what} must lie in {low}..{high}, got {value}")


def check_images(images: Images | Lazy, name: str, channels: int | None = None) -> None:
    """Raise ValueError unless images are uint8 (N, C, H, W); with ``channels`` so, and square."""
    shape = tuple(images.shape)
    good = len(shape) == 4 and (channels is None or (shape[2] == shape[3] and channels == shape[1]))
    if images.dtype != np.uint8 or not good:
        wanted = "(N, C, H, W)" if channels is None else f"(N, {channels}, H, H)"
        raise ValueError(
            f"{name}: images must be uint8 of shape {wanted}, got {images.dtype} of shape {shape}"
        )


def unit_range(images: np.ndarray) -> Tensor:
    """images / 127.5 - 1 in [-1, 1], float32."""
    return torch.from_numpy(images).float().div_(127.5).sub_(1.0)


@final
@dataclass(frozen=True)
class DataCard:
    """Where a data set comes from and under which terms.

    Args:
        name: short name, as used on the command line.
        source: where the data comes from, precise enough to get it again.
        licence: the licence of the data, one per part where they differ.
        size: human-readable count and size.
        note: what a user should know before drawing conclusions from it.
    """

    name: str
    source: str
    licence: str
    size: str
    note: str = ""


@final
@dataclass(frozen=True)
class LabelAxis:
    """One thing a label says, for instance the axis "glasses" with values ("none", "glasses").

    Labels are integers `0 <= label < len(values)`; `len(values)` itself is what the
    networks take as "no label" on this axis.
    """

    name: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) != len(self.values):
            raise ValueError(
                f"label axis '{self.name}' needs distinct values, got {list(self.values)}"
            )

    def index(self, value: str) -> int:
        """The integer label of `value`.

        Raises:
            ValueError: the axis has no such value; the message lists those it has.
        """
        if value not in self.values:
            raise ValueError(
                f"label axis '{self.name}' has no value '{value}'; choose from "
                + ", ".join(self.values)
            )
        return self.values.index(value)


def _index(indices: Indices, length: int, name: str) -> np.ndarray:
    index = np.asarray(indices)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ValueError(
            f"{name}: indices must be a flat list of integers, got shape {index.shape} "
            f"and dtype {index.dtype}"
        )
    if index.size and (index.min() < 0 or index.max() >= length):
        raise ValueError(
            f"{name}: indices must lie in 0..{length - 1}, "
            f"got {int(index.min())}..{int(index.max())}"
        )
    return index.astype(np.int64, copy=False)


def _rows(labels: Labels | None, index: np.ndarray) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels[index])


def _check_labels(
    labels: Labels | None, axes: tuple[LabelAxis, ...], length: int, name: str
) -> None:
    if labels is None:
        if axes:
            raise ValueError(f"{name}: {len(axes)} label axes but no labels")
        return
    if labels.shape != (length, len(axes)) or labels.dtype != np.int64:
        raise ValueError(
            f"{name}: labels must be int64 of shape ({length}, {len(axes)}), "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    for column, axis in zip(labels.T, axes, strict=True):
        if length and (column.min() < 0 or column.max() >= len(axis.values)):
            raise ValueError(
                f"{name}: labels of axis '{axis.name}' must lie in 0..{len(axis.values) - 1}, "
                f"got {column.min()}..{column.max()}"
            )


@final
@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with labels on any number of axes.

    Args:
        name: short name.
        images: uint8, shape (N, C, H, W); an array, a read-only memory map, or a `Lazy` array,
            whose images are made when they are asked for.
        labels: int64, shape (N, A), or None for an unlabelled set.
        axes: the A label axes.
        card: source, licence, size.
        summary: what was read, where it was a folder or zip file of pictures.

    Raises:
        ValueError: arrays of the wrong shape or type, or labels outside their axis.
    """

    name: str
    images: Images
    labels: Labels | None
    axes: tuple[LabelAxis, ...]
    card: DataCard
    summary: ReadSummary | None = None

    def __post_init__(self) -> None:
        check_images(self.images, self.name)
        _check_labels(self.labels, self.axes, len(self), self.name)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def resolution(self) -> int:
        """Height in pixels, and width where images are square."""
        return int(self.images.shape[-2])

    @property
    def image_width(self) -> int:
        """Width in pixels where images are not square, or 0."""
        width = int(self.images.shape[-1])
        return 0 if width == self.resolution else width

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.images.shape[1])

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """The images and labels at `indices`, in that order.

        Returns:
            x = images / 127.5 - 1 in [-1, 1], float32 (B, C, H, W), and int64 (B, A) labels
            or None.

        Raises:
            ValueError: indices that are not integers, or out of range.
        """
        index = _index(indices, len(self), self.name)
        return unit_range(self.images[index]), _rows(self.labels, index)

    def mirrored(self) -> ImageSet:
        """The images followed by their mirror images, with the same labels: twice as many."""
        images = cast(np.ndarray, Chosen(self.images, np.arange(len(self)), mirrored=True))
        labels = None if self.labels is None else np.concatenate([self.labels, self.labels])
        return replace(self, images=images, labels=labels)

    def subset(self, indices: Indices) -> ImageSet:
        """The same set holding only `indices` (copied into memory)."""
        index = _index(indices, len(self), self.name)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, images=self.images[index], labels=labels)


@final
@dataclass(frozen=True, eq=False)
class PointSet:
    """Points in the plane or elsewhere, with the interface of `ImageSet`.

    Args:
        name: short name.
        points: float32, shape (N, d).
        labels: int64, shape (N, A), or None.
        axes: the A label axes.
        card: source, licence, size.

    Raises:
        ValueError: arrays of the wrong shape or type, or labels outside their axis.
    """

    name: str
    points: np.ndarray
    labels: Labels | None
    axes: tuple[LabelAxis, ...]
    card: DataCard

    def __post_init__(self) -> None:
        if self.points.dtype != np.float32 or self.points.ndim != 2:
            raise ValueError(
                f"{self.name}: points must be float32 of shape (N, d), "
                f"got {self.points.dtype} of shape {self.points.shape}"
            )
        _check_labels(self.labels, self.axes, len(self), self.name)

    def __len__(self) -> int:
        return int(self.points.shape[0])

    @property
    def dimension(self) -> int:
        """d, the number of coordinates of a point."""
        return int(self.points.shape[1])

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor | None]:
        """Points float32 (B, d) and labels int64 (B, A) or None, in the order of `indices`.

        Raises:
            ValueError: indices that are not integers, or out of range.
        """
        index = _index(indices, len(self), self.name)
        return torch.from_numpy(self.points[index]), _rows(self.labels, index)

    def subset(self, indices: Indices) -> PointSet:
        """The same set holding only `indices`."""
        index = _index(indices, len(self), self.name)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, points=self.points[index], labels=labels)


class Lazy(ABC):
    """uint8 images (N, C, H, H), read like an array along the first axis.

    Image i depends on i alone, never on what it is asked for together with. `np.asarray` makes
    all of them.
    """

    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)
    ndim: ClassVar[int] = 4

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, H), without making an image."""

    @abstractmethod
    def take(self, index: np.ndarray) -> np.ndarray:
        """The images at `index`, int64 (B,) with 0 <= index < N, as a new array (B, C, H, H)."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Key) -> np.ndarray:
        n = len(self)
        if isinstance(key, slice):
            return self.take(np.arange(*key.indices(n), dtype=np.int64))
        index = np.asarray(key)
        if index.dtype == np.bool_ and index.shape == (n,):
            return self.take(np.flatnonzero(index).astype(np.int64))
        if index.ndim > 1 or (index.size and index.dtype.kind not in "iu"):
            raise IndexError(
                "images are asked for by an integer, a slice or a flat array of integers, "
                f"got {index.dtype} of shape {index.shape}"
            )
        flat = np.atleast_1d(index).astype(np.int64)
        if flat.size and (flat.min() < -n or flat.max() >= n):
            raise IndexError(
                f"index {int(flat.min())}..{int(flat.max())} is out of range for {n} images"
            )
        images = self.take(np.where(flat < 0, flat + n, flat))
        return images if index.ndim else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("these images are made when asked for, so there is no array to share")
        images = self[:]
        return images if dtype is None else images.astype(dtype, copy=False)


@final
class Chosen(Lazy):
    """Some of the images of an array, in memory only when they are asked for.

    Args:
        images: uint8 (M, C, H, H).
        index: int64 (N,) of those that are meant.
        mirrored: the N images are followed by their mirror images, 2N in all.
    """

    def __init__(self, images: Images, index: np.ndarray, mirrored: bool = False) -> None:
        self.images, self.index, self.mirrored = images, index, mirrored

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """See `Lazy`."""
        _, channels, height, width = self.images.shape
        return (len(self.index) * (1 + self.mirrored), channels, height, width)

    def take(self, index: np.ndarray) -> np.ndarray:
        """See `Lazy`."""
        n = len(self.index)
        found: np.ndarray = np.asarray(self.images[self.index[index % max(n, 1)]])
        flipped = index >= n
        found[flipped] = found[flipped, ..., ::-1]
        return found


def to_uint8(x: Tensor) -> Tensor:
    """round((x + 1) * 127.5), clamped to 0..255: the inverse of `ImageSet.batch` on images."""
    return x.detach().float().add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
