"""Points in the plane: small distributions whose shape one can see and whose moments one knows."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from sfumato.data.point_names import PointName
from sfumato.data.sets import DataCard, LabelAxis, PointSet
from sfumato.errors import UsageError, unknown

_RING = tuple((math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)) for k in range(8))
_GRID = tuple((x / math.sqrt(2), y / math.sqrt(2)) for x in range(-2, 3) for y in range(-2, 3))
_DIAMOND = tuple(
    ((x - y) * 0.5 / math.sqrt(2), (x + y) * 0.5 / math.sqrt(2))
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
)
_MIXTURES: Final = {
    PointName.GAUSSIANS_8: (_RING, 0.1),
    PointName.GAUSSIANS_25: (_GRID, 0.05 / (2 * math.sqrt(2))),
    PointName.DIAMOND: (_DIAMOND, 0.04),
}
_ROLL_CENTRES: Final = ((0.0, 0.0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))
_ABOUT: Final = {
    PointName.GAUSSIANS_8: "8 Gaussians of standard deviation 0.1 on the unit circle",
    PointName.GAUSSIANS_25: "25 Gaussians on a 5x5 grid (Xiao, Kreis, Vahdat, arXiv 2112.07804)",
    PointName.DIAMOND: "9 Gaussians on a 3x3 grid turned by 45 degrees (arXiv 2112.07068)",
    PointName.SWISS_ROLL: "a spiral, radius 0.47 to 1.41, with noise 0.02",
    PointName.MULTI_SWISS_ROLL: "5 small spirals (Dockhorn, Vahdat, Kreis, arXiv 2112.07068)",
    PointName.CHECKERBOARD: "8 squares of a 4x4 board, uniform on [-1, 1]^2",
    PointName.TWO_MOONS: "two interlocking half circles with noise 0.05",
}


def modes(name: PointName | str) -> tuple[np.ndarray, float]:
    """Centres (K, 2) float64 and the standard deviation of an equal mixture of Gaussians.

    p(x) = 1/K sum_k N(x; c_k, s^2 I).

    Raises:
        UsageError: the set is not a mixture of Gaussians, or does not exist.
    """
    known = _known(name)
    if known not in _MIXTURES:
        raise UsageError(
            f"'{known}' is not a mixture of Gaussians; these are: {', '.join(_MIXTURES)}"
        )
    centres, deviation = _MIXTURES[known]
    return np.array(centres), deviation


_MOST = 100_000_000


def points(name: PointName | str, n: int, seed: int = 0) -> PointSet:
    """n points of a distribution in the plane; the same (name, n, seed) gives the same points.

    Args:
        name: which distribution, see `PointName`.
        n: how many, >= 1.
        seed: >= 0.

    Returns:
        points float32 (n, 2); labels (n, 1) say which Gaussian, spiral, square or moon.

    Raises:
        UsageError: an unknown name, or n or seed out of range.
    """
    known = _known(name)
    if not 1 <= n <= _MOST or seed < 0:
        raise UsageError(
            f"points: n must lie in 1..{_MOST:,} and seed be >= 0, got n={n}, seed={seed}"
        )
    random = np.random.default_rng([seed, list(PointName).index(known)])
    drawn, labels, count = _draw(known, n, random)
    card = DataCard(
        name=known.value,
        source=f"drawn: {_ABOUT[known]}",
        licence="none needed",
        size=f"{n:,} points in the plane, {count} part{'s' * (count != 1)}",
    )
    axes: tuple[LabelAxis, ...] = (LabelAxis("part", tuple(str(k) for k in range(count))),)
    return PointSet(known.value, drawn.astype(np.float32), labels[:, None], axes, card)


def _known(name: PointName | str) -> PointName:
    try:
        return PointName(name)
    except ValueError:
        raise unknown("point set", name, [known.value for known in PointName]) from None


def _spiral(n: int, random: np.random.Generator) -> np.ndarray:
    """r = theta, theta uniform in [1.5 pi, 4.5 pi], with Gaussian noise 0.2: (n, 2)."""
    theta = 1.5 * math.pi * (1 + 2 * random.random(n))
    curve = np.stack([theta * np.cos(theta), theta * np.sin(theta)], 1)
    return curve + 0.2 * random.standard_normal((n, 2))


def _draw(
    name: PointName, n: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Points, which part each belongs to, and the number of parts."""
    match name:
        case PointName.SWISS_ROLL:
            return 0.1 * _spiral(n, random), np.zeros(n, np.int64), 1
        case PointName.MULTI_SWISS_ROLL:
            part = random.integers(0, 5, n)
            return np.array(_ROLL_CENTRES)[part] + 0.01 * _spiral(n, random), part, 5
        case PointName.CHECKERBOARD:
            part = random.integers(0, 8, n)
            row = part // 2
            corner = np.stack([row, 2 * (part % 2) + row % 2], 1)
            return (corner + random.random((n, 2))) / 2 - 1, part, 8
        case PointName.TWO_MOONS:
            part = random.integers(0, 2, n)
            theta = math.pi * random.random(n)
            sign = 1 - 2 * part
            curve = np.stack([part + sign * np.cos(theta), part / 2 + sign * np.sin(theta)], 1)
            return curve - (0.5, 0.25) + 0.05 * random.standard_normal((n, 2)), part, 2
        case _:
            centres, deviation = modes(name)
            part = random.integers(0, len(centres), n)
            return (
                centres[part] + deviation * random.standard_normal((n, 2)),
                part,
                len(centres),
            )
