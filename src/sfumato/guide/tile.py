r"""Large pictures: the estimate of a denoiser for small squares, blended from overlapping tiles.

.. math:: \hat x_0 = \sum_i w_i \odot \hat x_0^{(i)}, \qquad \sum_i w_i = 1,

where i runs over the tiles, :math:`\hat x_0^{(i)}` is the estimate from the part of the state under
tile i, and w_i is a smooth window. Bar-Tal et al. 2023 (MultiDiffusion, arXiv 2302.08113, eq. 5)
blend the *steps* of many paths by the same weighted mean. Here only the *estimate* is blended,
while the state and its noise are those of the whole picture, so any solver of the core walks the
whole picture at once and the noise has no seam.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import NamedTuple, final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser, in_parts
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


class Cuts(NamedTuple):
    """Tiles along one axis."""

    starts: tuple[int, ...]
    """Where each begins, rising; the first is 0, the last ends where the axis ends."""
    windows: Tensor
    """(tiles, size) float64: at every place of the axis those that cover it sum to one."""


@functools.lru_cache(maxsize=64)
def cuts(length: int, size: int, overlap: int, shift: int = 0) -> Cuts:
    """Tiles of ``size`` over an axis of ``length`` >= size; neighbours share >= ``overlap``.

    A window is 0 in the outer quarter of the overlap, where a network saw the least of what lies
    around, then rises as sin² over half of it, then is 1; at the ends of the axis it stays 1. So
    what depends on up to ``overlap // 4`` neighbours is blended exactly. Where more than two tiles
    meet, their windows are divided by their sum.

    Args:
        length: places along the axis.
        size: places in a tile.
        overlap: of neighbours, at most half the size.
        shift: where the second tile begins, modulo ``size - overlap``; 0 is ``size - overlap``.
    """
    last, stride = length - size, size - overlap
    inner = range(shift % stride or stride, last, stride)
    starts = tuple(sorted({0, last, *inner}))
    flat = overlap // 4
    rise = torch.arange(size, dtype=torch.float64).add(0.5).sub(flat) / max(1, overlap - 2 * flat)
    ramp = rise.clamp(0, 1).mul(math.pi / 2).sin().square() if overlap else torch.ones_like(rise)
    windows = torch.stack(
        [
            (torch.ones_like(ramp) if start == 0 else ramp)
            * (torch.ones_like(ramp) if start == last else ramp.flip(0))
            for start in starts
        ]
    )
    total = torch.zeros(length, dtype=torch.float64)
    for start, window in zip(starts, windows, strict=True):
        total[start : start + size] += window
    for start, window in zip(starts, windows, strict=True):
        window /= total[start : start + size]
    return Cuts(starts, windows)


def _padded(x: Tensor, axis: int, size: int) -> Tensor:
    """x with ``axis`` made at least ``size`` by reflection at its end.

    The reflection goes on as often as is needed, 1 2 3 2 1 2 3 ...; a single row is repeated. What
    is there stays where it is, so that the blocks of a JPEG file stay on their grid.
    """
    n = x.shape[axis]
    if n >= size:
        return x
    if n == 1:
        return x.repeat_interleave(size, axis)
    period = 2 * (n - 1)
    index = (torch.arange(size) + n - 1).remainder(period).sub(n - 1).abs()
    return x.index_select(axis, index.to(x.device))


@final
class Tiled(Denoiser):
    """x̂_0 of a picture of any size, from a denoiser that was made for ``size`` x ``size``.

    The state and the picture of a condition are cut at the same places; labels are repeated for
    each tile. Tiles at the borders stay inside the picture. A picture smaller than a tile is
    padded by reflection at its end (a single row or column by repetition), and the estimate is
    cropped.

    Args:
        denoiser: estimates a *mean* for states (B, kC, size, size).
        size: height and width of a tile, what the network was trained for.
        overlap: of neighbouring tiles, 0 to size // 2.
        batch: most tiles in one call of the denoiser; the result does not depend on it.
        shift: moves the tiles that do not touch a border, (down, right); by this a seam shows.

    Raises:
        ValueError: sizes that do not fit each other, or a denoiser whose estimate is a draw (the
            draws of two tiles differ where they overlap, and their blend is no draw).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        size: int,
        overlap: int = 16,
        batch: int = 16,
        shift: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        if size < 1 or batch < 1:
            raise ValueError(f"expected size and batch of at least 1, got {size} and {batch}")
        if not 0 <= overlap <= size // 2:
            raise ValueError(
                f"expected an overlap of 0 to {size // 2}, half of a tile of {size}, got {overlap}"
            )
        if denoiser.draws:
            raise ValueError("expected a denoiser that estimates a mean, got one that draws")
        self.denoiser = denoiser
        self.process = denoiser.process
        self.size = size
        self.overlap = overlap
        self.batch = batch
        self.shift = shift

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x̂_0 (B, C, H, W) from the state (B, kC, H, W).

        Raises:
            ValueError: a state that is no picture, or a picture beside it of another size.
        """
        if x_t.ndim != 4 or 0 in x_t.shape:
            raise ValueError(f"expected a state (B, kC, H, W), got shape {tuple(x_t.shape)}")
        count, _, height, width = x_t.shape
        image = cond.image
        if image is not None and (
            image.ndim != 4 or image.shape[2:] != x_t.shape[2:] or len(image) not in (1, count)
        ):
            raise ValueError(
                f"expected a picture beside of shape ({count}, C, {height}, {width}), "
                f"like the state, got {tuple(image.shape)}"
            )
        x_t = _padded(_padded(x_t, 2, self.size), 3, self.size)
        if image is not None:
            image = _padded(_padded(image, 2, self.size), 3, self.size)
            image = image.expand(count, *image.shape[1:])
        words, time = replace(cond, image=None), as_time(t)

        rows = cuts(x_t.shape[2], self.size, self.overlap, self.shift[0])
        columns = cuts(x_t.shape[3], self.size, self.overlap, self.shift[1])
        tiles = [
            (b, i, j)
            for i in range(len(rows.starts))
            for j in range(len(columns.starts))
            for b in range(count)
        ]
        whole: Tensor | None = None
        for first in in_parts(range(0, len(tiles), self.batch)):
            some = tiles[first : first + self.batch]
            who = torch.tensor([b for b, _, _ in some])
            corners = [(b, rows.starts[i], columns.starts[j]) for b, i, j in some]
            seen = None if image is None else self._cut(image, corners)
            told = replace(words.rows(who), image=seen)
            when = time[who.to(time.device)] if time.ndim == 1 and len(time) > 1 else time
            guess = self.denoiser(self._cut(x_t, corners), when, told, None)
            if whole is None:
                whole = guess.new_zeros(count, guess.shape[1], *x_t.shape[2:])
            for x0, (b, i, j), (_, y, x) in zip(guess, some, corners, strict=True):
                window = rows.windows[i][:, None] * columns.windows[j]
                part = whole[b, :, y : y + self.size, x : x + self.size]
                part += window.to(x0) * x0
        assert whole is not None  # noqa: S101  (there is at least one tile)
        return whole[..., :height, :width]

    def _cut(self, x: Tensor, corners: list[tuple[int, int, int]]) -> Tensor:
        return torch.stack(
            [x[b, :, y : y + self.size, x0 : x0 + self.size] for b, y, x0 in corners]
        )
