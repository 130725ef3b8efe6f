r"""The law of a value at one point of a field: histograms, and the distance between two laws.

Points of one field depend on each other, so every error here is over fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.metrics.points import wasserstein_1d
from sfumato.systems.ddo.metrics.fields import checked, chunks, standard_error
from sfumato.systems.ddo.metrics.moments import Statistics

__all__ = [
    "Histogram",
    "OnePoint",
    "bootstrap",
    "moment_histograms",
    "one_point_distance",
    "one_point_histogram",
]

_LEVELS = 1024  # values at which distribution functions are kept to draw fields again


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
            index = torch.searchsorted(edges[c], u.cpu().contiguous(), right=True)
            index = torch.where(u.cpu() == edges[c, -1], index - 1, index)
            index = index + torch.arange(len(u))[:, None] * (len(edges[c]) + 1)
            count = torch.bincount(index.flatten(), minlength=len(u) * (len(edges[c]) + 1))
            inside = count.reshape(len(u), -1)[:, 1:-1]
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
