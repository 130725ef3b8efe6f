r"""Statistics of each field, histograms of values, and the distance between two laws of a value.

Averages over a field are means over its grid points. For a band-limited field the mean of u^p is
exact, and so the same on every finer grid, as long as p times its highest wave number is below n
(for p = 2 and 4: below n/2 and n/4 waves). Beyond that, harmonics of u^p fold back onto the mean:
put both sets on a finer grid first (`ddo.nn.harmonic.resample`) if that matters. Points of one
field depend on each other, so every standard error here is over fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from sfumato.metrics.points import wasserstein_1d
from sfumato.systems.ddo.metrics.spectra import checked, chunks, standard_error

__all__ = [
    "Histogram",
    "OnePoint",
    "Statistics",
    "bootstrap",
    "circular_moments",
    "joined",
    "moment_histograms",
    "named",
    "one_point_distance",
    "one_point_histogram",
    "pointwise_moments",
]

_LEVELS = 1024  # values at which distribution functions are kept for the bootstrap


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


@final
@dataclass(frozen=True, eq=False)
class Histogram:
    """Density of values, per unit of the channel.

    Attributes:
        edges: (C, B + 1), increasing.
        density: (C, B); times the widths, its sum is the share of values inside the edges.
        error: (C, B) standard error over the samples (fields); NaN for a single one.
        n: number of samples.
    """

    edges: Tensor
    density: Tensor
    error: Tensor
    n: int


def one_point_histogram(x: Tensor, bins: int | Tensor = 64) -> Histogram:
    """How often each value occurs at a point, channel by channel.

    Args:
        x: (N, C, *grid).
        bins: number of equal bins from the lowest to the highest value of a channel; or edges
            (B + 1,) or (C, B + 1), to compare sets. Bins are closed below, the last one also above;
            values outside are left out.

    Raises:
        ValueError: another shape, values not finite, no bin, or edges that do not increase.
    """
    checked(x)
    flat = x.detach().flatten(2)
    edges = _edges(flat.transpose(0, 1).flatten(1), bins)
    widths = edges.diff()
    density = torch.empty(*x.shape[:2], widths.shape[1], dtype=torch.float64)
    for c in range(x.shape[1]):
        for start, u in chunks(flat[:, c]):
            values, bounds = u.cpu().numpy(), edges[c].numpy()
            count = np.stack([np.histogram(row, bounds)[0] for row in values])
            inside = torch.from_numpy(count)
            density[start : start + len(u), c] = inside / (flat.shape[2] * widths[c])
    return Histogram(edges, density.mean(0), standard_error(density), len(x))


def moment_histograms(
    sets: Mapping[str, Statistics], bins: int = 24
) -> dict[str, dict[str, Histogram]]:
    """For each statistic, a histogram over samples of each set, with the same edges for all.

    Raises:
        ValueError: sets of other statistics than the first, or no set.
    """
    names = {part.names for part in sets.values()}
    if len(names) != 1:
        raise ValueError(f"expected sets of the same statistics, got {sorted(names)}")
    made: dict[str, dict[str, Histogram]] = {}
    for name in names.pop():
        columns = {label: part.column(name)[:, None, None] for label, part in sets.items()}
        edges = _edges(torch.cat([c.flatten() for c in columns.values()])[None], bins)
        made[name] = {label: one_point_histogram(c, edges) for label, c in columns.items()}
    return made


@final
@dataclass(frozen=True, eq=False)
class OnePoint:
    """W_1 between the laws of one value in two sets of fields; each (C,), in the channel's units.

    Attributes:
        value: the distance.
        error: its standard error: bootstrap over the fields of both sets.
        floor: what it would be on average between two sets of these sizes with the law of the
            second: bootstrap over its fields.
        deviation: of the second set's values about their mean.
        n: number of fields in the first set.
    """

    value: Tensor
    error: Tensor
    floor: Tensor
    deviation: Tensor
    n: int


def one_point_distance(
    a: Tensor, b: Tensor, generator: torch.Generator, *, repeats: int = 100, points: int = 2**22
) -> OnePoint:
    r"""1-Wasserstein distance ∫ \|F_a(v) - F_b(v)\| dv between the values of two sets of fields.

    Exact for the values taken (`wasserstein_1d`); error and floor come from distribution functions
    kept at 1024 values. The grids may differ.

    Args:
        a, b: (N, C, *grid); b is the reference. generator: on the CPU, for the bootstrap.
        repeats: bootstrap draws, at least 2.
        points: of larger sets, about so many values of each channel are used, at places drawn once
            for all fields.

    Raises:
        ValueError: other shapes, values not finite, numbers of channels that differ, or fewer than
            2 fields in either set.
    """
    checked(a), checked(b)
    if a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2 or repeats < 2:
        raise ValueError(
            f"expected sets of at least 2 fields, as many channels and repeats >= 2, "
            f"got {tuple(a.shape)}, {tuple(b.shape)} and {repeats}"
        )
    u, v = _thinned(a, points, generator), _thinned(b, points, generator)  # (N, C, M)
    rows = []
    for c in range(a.shape[1]):
        x, y = u[:, c], v[:, c]
        value = float(wasserstein_1d(x.reshape(-1, 1), y.reshape(-1, 1), 1.0))
        low, high = min(float(x.min()), float(y.min())), max(float(x.max()), float(y.max()))
        levels = torch.linspace(low, high, _LEVELS, dtype=torch.float64)
        f, g = _distribution(x, levels), _distribution(y, levels)
        step = (high - low) / (_LEVELS - 1)

        def drawn(one: Tensor, other: Tensor, sizes: tuple[int, int], step: float) -> Tensor:
            apart = bootstrap(one, sizes[0], repeats, generator)
            apart = apart - bootstrap(other, sizes[1], repeats, generator)
            return apart.abs().sum(1) * step

        sizes = (len(a), len(b))
        error = float(drawn(f, g, sizes, step).std())
        floor = float(drawn(g, g, sizes, step).mean())
        rows.append((value, error, floor, float(y.std(correction=0))))
    columns = [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]
    return OnePoint(columns[0], columns[1], columns[2], columns[3], len(a))


def bootstrap(rows: Tensor, size: int, repeats: int, generator: torch.Generator) -> Tensor:
    """Means of ``size`` rows (N, F) drawn with replacement, ``repeats`` times: (repeats, F)."""
    chosen = torch.randint(len(rows), (repeats, size), generator=generator)
    weight = torch.zeros(repeats, len(rows), dtype=rows.dtype)
    weight.scatter_add_(1, chosen, torch.full(chosen.shape, 1 / size, dtype=rows.dtype))
    return weight @ rows


def _distribution(x: Tensor, levels: Tensor) -> Tensor:
    """Share of each row's values (N, M) that are at most each level: (N, levels)."""
    ordered = x.sort(1).values
    count = torch.searchsorted(ordered, levels.expand(len(x), -1).contiguous(), right=True)
    return count.double() / x.shape[1]


def _thinned(x: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """(N, C, M) float64, M no more than points / N or so."""
    flat = x.detach().flatten(2)
    kept = max(1, points // len(x))
    if flat.shape[2] > kept:
        chosen = torch.randperm(flat.shape[2], generator=generator)[:kept]
        flat = flat[:, :, chosen.to(flat.device)]
    return flat.cpu().double()


def _edges(values: Tensor, bins: int | Tensor) -> Tensor:
    """Edges (C, B + 1) of bins over values (C, n), or those given, checked."""
    if isinstance(bins, Tensor):
        edges = bins.detach().cpu().double()
        if edges.ndim == 1:
            edges = edges.expand(len(values), -1).contiguous()
        wide = edges.ndim == 2 and edges.shape[0] == len(values) and edges.shape[1] > 1
        if not wide or not bool((edges.diff() > 0).all()):
            raise ValueError(f"expected increasing edges (B + 1,) or (C, B + 1), got {bins}")
        return edges
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    low, high = values.double().amin(1).cpu(), values.double().amax(1).cpu()
    gap = torch.where(high > low, 0.0, 0.5 * torch.maximum(low.abs(), torch.ones_like(low)))
    share = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    made = torch.lerp((low - gap)[:, None], (high + gap)[:, None], share)
    made[:, -1] = high + gap
    return made
