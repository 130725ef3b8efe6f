"""Textured grounds drawn from noise and gradients, the same ones at every resolution.

All shapes are functions of the place in the unit square, sampled on a grid at least 128 wide and
then averaged over squares of it: so a ground at 32 pixels is the one at 64 pixels reduced, and
nothing aliases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, final

import numpy as np
from PIL import Image

Rng: TypeAlias = np.random.Generator
Colour: TypeAlias = tuple[float, float, float]

_FINE: Final = 128


@final
@dataclass(frozen=True)
class Ground:
    """One kind of ground.

    Args:
        name: such as "grass".
        phrase: how a sentence says that something is on it, such as "on grass".
        draw: from random numbers and a size F to float32 (F, F, 3), about 0..1.
    """

    name: str
    phrase: str
    draw: Callable[[Rng, int], np.ndarray]


@lru_cache(maxsize=8)
def _axis(size: int) -> np.ndarray:
    return ((np.arange(size, dtype=np.float32) + 0.5) / size).astype(np.float32)


def _noise(rng: Rng, rows: int, columns: int, size: int) -> np.ndarray:
    """Smooth noise, float32 (F, F), of mean 0: so many independent rows and columns."""
    lattice = Image.fromarray(rng.random((rows + 2, columns + 2), np.float32) * 2 - 1)
    box = (1.0, 1.0, columns + 1.0, rows + 1.0)
    return np.asarray(lattice.resize((size, size), Image.Resampling.BICUBIC, box))


def _step(x: np.ndarray, at: float, width: float) -> np.ndarray:
    """0 below, 1 above, rising smoothly over the width."""
    t = np.clip((x - at) / width + 0.5, 0, 1)
    smooth: np.ndarray = t * t * (3 - 2 * t)
    return smooth


def _mix(below: Colour | np.ndarray, above: Colour, share: np.ndarray) -> np.ndarray:
    low, high = np.asarray(below, np.float32), np.asarray(above, np.float32)
    mixed: np.ndarray = low + (high - low) * share[..., None]
    return mixed


def _tint(rng: Rng, spread: float) -> np.ndarray:
    """One colour to be added to a whole ground."""
    u = rng.random(4).astype(np.float32) * 2 - 1
    return spread * (0.7 * u[0] + 0.5 * u[1:])


def _grass(rng: Rng, size: int) -> np.ndarray:
    patches = _noise(rng, 4, 4, size)
    blades = _noise(rng, 14, 60, size) + 0.6 * _noise(rng, 24, 90, size)
    made = _mix((0.24, 0.47, 0.13), (0.46, 0.66, 0.24), 0.5 + 0.55 * blades)
    return made + _mix((0, 0, 0), (0.07, 0.05, 0.0), patches) + _tint(rng, 0.03)


def _sand(rng: Rng, size: int) -> np.ndarray:
    y, warp = _axis(size)[:, None], _noise(rng, 3, 3, size)
    ripples = np.sin(2 * np.pi * (7 * y + 0.9 * warp + rng.random()))
    grain = _noise(rng, 100, 100, size)
    shade = 0.5 + 0.28 * ripples + 0.3 * grain + 0.2 * _noise(rng, 5, 5, size)
    return _mix((0.78, 0.65, 0.42), (0.93, 0.82, 0.60), shade) + _tint(rng, 0.02)


def _water(rng: Rng, size: int) -> np.ndarray:
    swell = _noise(rng, 12, 4, size)
    crests = 1 - np.abs(_noise(rng, 16, 5, size) + 0.4 * _noise(rng, 28, 9, size)) / 0.22
    made = _mix((0.06, 0.36, 0.58), (0.13, 0.50, 0.72), 0.5 + 0.6 * swell)
    made = _mix(made, (0.62, 0.85, 0.93), 0.75 * np.clip(crests, 0, 1))
    return made + _tint(rng, 0.02)


def _bricks(rng: Rng, size: int) -> np.ndarray:
    rows, columns, joint = 6, 3, 0.17
    y = _axis(size) * rows + rng.random()
    x = _axis(size) * columns + rng.random()
    row = np.floor(y).astype(np.int64)
    across = x[None, :] + 0.5 * (row % 2)[:, None]
    column = np.floor(across).astype(np.int64)
    kind = rng.random((rows + 1, columns + 2), np.float32)[row[:, None], column]
    to_row = np.abs(y - np.rint(y))[:, None]  # in heights of a brick
    to_column = np.abs(across - np.rint(across)) * (rows / columns)
    edge = np.minimum(to_row, to_column)
    made = _mix((0.55, 0.20, 0.14), (0.72, 0.36, 0.26), 0.1 + 0.8 * kind)
    made = made + (0.06 * _noise(rng, 70, 70, size))[..., None]
    mortar = 1 - _step(edge, joint / 2, 0.1)
    return _mix(made, (0.80, 0.76, 0.70), mortar) + _tint(rng, 0.02)


def _sky(rng: Rng, size: int) -> np.ndarray:
    y = np.broadcast_to(_axis(size)[:, None], (size, size))
    made = _mix((0.33, 0.60, 0.93), (0.66, 0.84, 0.98), y)
    puffs = (
        _noise(rng, 5, 3, size) + 0.55 * _noise(rng, 10, 7, size) + 0.3 * _noise(rng, 22, 16, size)
    )
    return _mix(made, (0.97, 0.98, 1.0), 0.85 * _step(puffs, 0.48, 0.5)) + _tint(rng, 0.015)


def _night(rng: Rng, size: int) -> np.ndarray:
    y = np.broadcast_to(_axis(size)[:, None], (size, size))
    made = _mix((0.03, 0.04, 0.14), (0.12, 0.13, 0.31), y + 0.25 * _noise(rng, 3, 3, size))
    n = 34
    places, light = rng.random((2, n, 1), np.float32), rng.random(n, np.float32)
    width = 0.007 + 0.006 * light[:, None]
    down, along = np.exp(-(((_axis(size)[None] - places) / width) ** 2) / 2)
    stars = (down * (0.35 + 0.65 * light)[:, None]).T @ along
    return _mix(made, (1.0, 0.97, 0.86), np.clip(stars, 0, 1)) + _tint(rng, 0.015)


def _wood(rng: Rng, size: int) -> np.ndarray:
    planks = 4
    y = _axis(size) * planks + rng.random()
    plank = np.floor(y).astype(np.int64)
    tone = rng.random(planks + 1, np.float32)[plank][:, None]
    grain = _noise(rng, 64, 5, size) + 0.5 * _noise(rng, 110, 9, size)
    made = _mix((0.50, 0.31, 0.15), (0.74, 0.52, 0.30), 0.2 + 0.5 * tone + 0.24 * grain)
    seam = 1 - _step(np.abs(y - np.rint(y)), 0.05, 0.06)
    seams = np.broadcast_to(0.8 * seam[:, None], (size, size))
    return _mix(made, (0.25, 0.14, 0.06), seams) + _tint(rng, 0.02)


def _snow(rng: Rng, size: int) -> np.ndarray:
    y, warp = _axis(size)[:, None], _noise(rng, 3, 2, size)
    drifts = np.sin(2 * np.pi * (3 * y + 1.1 * warp + rng.random())) + _noise(rng, 9, 5, size)
    made = _mix((0.84, 0.88, 0.94), (0.97, 0.98, 1.0), _step(drifts, -0.5, 2.6))
    return made + (0.03 * _noise(rng, 110, 110, size))[..., None] + _tint(rng, 0.01)


def _asphalt(rng: Rng, size: int) -> np.ndarray:
    stones = _noise(rng, 60, 60, size) + 0.7 * _noise(rng, 110, 110, size)
    made = _mix((0.27, 0.28, 0.30), (0.45, 0.45, 0.47), 0.5 + 0.5 * stones)
    return made + (0.03 * _noise(rng, 3, 3, size))[..., None] + _tint(rng, 0.02)


def _tiles(rng: Rng, size: int) -> np.ndarray:
    count, joint = 4, 0.07
    phase = rng.random(2)
    y, x = _axis(size) * count + phase[0], _axis(size) * count + phase[1]
    row, column = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    odd = ((row[:, None] + column[None]) % 2).astype(np.float32)
    made = _mix((0.92, 0.90, 0.84), (0.63, 0.80, 0.76), odd)
    tone = rng.random((count + 1, count + 1), np.float32)[row[:, None], column[None]]
    made = made + (0.05 * (tone - 0.5) + 0.015 * _noise(rng, 40, 40, size))[..., None]
    edge = np.minimum(np.abs(y - np.rint(y))[:, None], np.abs(x - np.rint(x))[None])
    return _mix(made, (0.62, 0.61, 0.58), 1 - _step(edge, joint / 2, 0.05)) + _tint(rng, 0.015)


GROUNDS: Final = (
    Ground("grass", "on grass", _grass),
    Ground("sand", "on sand", _sand),
    Ground("water", "on water", _water),
    Ground("bricks", "on a brick wall", _bricks),
    Ground("sky", "in a blue sky", _sky),
    Ground("night", "in a night sky", _night),
    Ground("wood", "on a wooden floor", _wood),
    Ground("snow", "on snow", _snow),
    Ground("asphalt", "on asphalt", _asphalt),
    Ground("tiles", "on a tiled floor", _tiles),
)


def draw_ground(ground: Ground, seed: int, resolution: int) -> np.ndarray:
    """A ground without anything on it.

    Args:
        ground: its kind.
        seed: everything about it depends on the kind and this.
        resolution: R.

    Returns:
        float32 (R, R, 3) in 0..1. At 2R the same picture, finer.
    """
    finer = max(2, -(-_FINE // resolution))
    made = ground.draw(np.random.default_rng(seed), resolution * finer)
    made = np.clip(made, 0, 1).astype(np.float32, copy=False)
    blocks = made.reshape(resolution, finer, resolution, finer * 3)
    rows = blocks.sum(1).reshape(resolution, resolution, finer, 3)
    reduced: np.ndarray = rows.sum(2) / (finer * finer)
    return reduced
