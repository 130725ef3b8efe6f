r"""Numbers of each field: moments of its values, point by point, and of phases.

Averages over a field are means over its grid points. For a band-limited field the mean of u^p is
exact, and so the same on every finer grid, as long as p times its highest wave number is below n
(for p = 2 and 4: below n/2 and n/4 waves). Beyond that, harmonics of u^p fold back onto the mean.
Put both sets on a finer grid first (`ddo.nn.harmonic.resample`) if that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.systems.ddo.metrics.fields import checked, chunks

__all__ = [
    "Statistics",
    "circular_moments",
    "joined",
    "named",
    "pointwise_moments",
]


@final
@dataclass(frozen=True, eq=False)
class Statistics:
    """Named numbers of each sample: values float64 (N, F).

    Raises:
        ValueError: another number of names than of columns, or names that are not distinct.
    """

    names: tuple[str, ...]
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(
                f"expected (N, {len(self.names)}) values, got {tuple(self.values.shape)}"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"expected distinct names, got {self.names}")

    def column(self, name: str) -> Tensor:
        """One statistic of all samples, (N,). Raises ValueError for an unknown name."""
        if name not in self.names:
            raise ValueError(f"expected one of {', '.join(self.names)}, got {name!r}")
        return self.values[:, self.names.index(name)]


def joined(parts: Sequence[Statistics]) -> Statistics:
    """All statistics of the same samples side by side."""
    names = tuple(name for part in parts for name in part.names)
    return Statistics(names, torch.cat([part.values for part in parts], 1))


def named(what: Sequence[str], channels: Sequence[str], count: int) -> tuple[str, ...]:
    """Channel by channel: "mean of height"; bare where there is one channel without a name.

    Raises:
        ValueError: another number of names than of channels.
    """
    if channels and len(channels) != count:
        raise ValueError(f"expected {count} names of channels, got {tuple(channels)}")
    if count == 1 and not channels:
        return tuple(what)
    own = list(channels) or [f"channel {i}" for i in range(count)]
    return tuple(f"{w} of {c}" for c in own for w in what)


def pointwise_moments(x: Tensor, channels: Sequence[str] = ()) -> Statistics:
    """Mean, deviation, skewness and kurtosis of each field's values, over its points.

    m = <u>, s² = <(u - m)²>, <(u - m)³> / s³, <(u - m)⁴> / s⁴ (3 for a Gaussian law, as far as a
    single field shows it). A constant field has deviation, skewness and kurtosis 0, and no other
    field has kurtosis below 1.

    Args:
        x: (N, C, *grid). channels: their names.

    Raises:
        ValueError: another shape, values not finite, or another number of names.
    """
    checked(x)
    names = named(("mean", "deviation", "skewness", "kurtosis"), channels, x.shape[1])
    made = torch.empty(*x.shape[:2], 4, dtype=torch.float64)
    for start, chunk in chunks(x):
        u = chunk.flatten(2)
        mean = u.mean(2)
        away = u - mean[..., None]
        square = away.square()
        variance = square.mean(2)
        flat = variance <= 1e-24 * u.square().mean(2)  # rounding alone
        scale = torch.where(flat, 1.0, variance)
        cube = (square * away).mean(2) / scale**1.5
        fourth = square.square().mean(2) / scale**2
        about = [variance.sqrt(), cube, fourth]
        parts = [mean, *(torch.where(flat, 0.0, part) for part in about)]
        made[start : start + len(u)] = torch.stack(parts, 2).cpu()
    return Statistics(names, made.flatten(1))


def circular_moments(x: Tensor, channels: tuple[int, int] = (0, 1)) -> Statistics:
    r"""Circular variance and skewness of each field of phases θ = atan2(sin, cos).

    With the trigonometric moments z_p = <e^{ipθ}> over a field's points,

        variance = 1 - \|z_1\|,    skewness = \|z_2\| sin(arg z_2 - 2 arg z_1) / (1 - \|z_1\|)^{3/2}

    (Fisher 1993, section 2.3), by which interferograms are judged in Rahman et al. 2022 (GANO,
    arXiv 2205.03017) and Lim et al. 2023 (DDO, arXiv 2302.07400). Only the phase counts: (cos, sin)
    need not lie on the circle. A constant phase has both 0.

    Args:
        x: (N, C, *grid). channels: which two hold cos θ and sin θ.

    Raises:
        ValueError: another shape, values not finite, or channels that are not there.
    """
    checked(x)
    if not all(0 <= c < x.shape[1] for c in channels) or channels[0] == channels[1]:
        raise ValueError(f"expected two of {x.shape[1]} channels, got {channels}")
    rows = []
    for _, u in chunks(x):
        angle = torch.atan2(u[:, channels[1]], u[:, channels[0]]).flatten(1)
        first = torch.polar(torch.ones_like(angle), angle).mean(1)
        second = torch.polar(torch.ones_like(angle), 2 * angle).mean(1)
        variance = (1 - first.abs()).clamp_min(0)
        still = variance < 1e-12
        sine = (second.angle() - 2 * first.angle()).sin()
        skewness = second.abs() * sine / torch.where(still, 1.0, variance) ** 1.5
        parts = (torch.where(still, 0.0, part) for part in (variance, skewness))
        rows.append(torch.stack(tuple(parts), 1).cpu())
    return Statistics(("circular variance", "circular skewness"), torch.cat(rows))
