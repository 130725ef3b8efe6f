"""Arrays of images that are made when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np

Key: TypeAlias = int | np.integer[Any] | slice | list[int] | np.ndarray


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
        """(N, C, H, H)."""

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
