"""Scores of generated fields against real ones: spectra, one-point laws, moments, a joint test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sfumato.metrics.score import Score
from sfumato.systems.ddo.metrics.spectra import (
    Spectrum,
    checked,
    complete_shells,
    energy_spectrum,
    shell_powers,
    shell_width,
    spectrum_ratio,
    structure_values,
)
from sfumato.systems.ddo.metrics.statistics import (
    Statistics,
    bootstrap,
    joined,
    named,
    one_point_distance,
    pointwise_moments,
)
from sfumato.systems.ddo.metrics.two_sample import column_tests, two_sample_test
from sfumato.systems.ddo.nn.harmonic import Domain

__all__ = ["compare_fields", "field_statistics"]

_LEAST = 1e-4  # of the mean square: a shell with less is not judged unless it is asked for
_DRAWS = 200  # of the bootstrap


def field_statistics(
    x: Tensor,
    domain: Domain,
    extent: Sequence[float] = (),
    *,
    channels: Sequence[str] = (),
    waves: float = 6.0,
    separations: Sequence[float] = (),
) -> Statistics:
    """Statistics of each field that a generator is not trained on, for `two_sample_test`.

    For each channel: mean, deviation, skewness and kurtosis; the logarithm of the power in each
    shell from 1 to ``waves`` per longest side (of at least 1e-12 of the field's mean square); along
    each axis and at each separation log S_2 and the flatness log(S_4 / S_2²), of differences.
    For each pair of channels: the correlation of their values. The numbers of a band-limited field
    do not depend on the grid, to what is said of moments and structure functions.

    Args:
        x: (N, C, *grid). channels: their names.
        separations: units of length; () is 1/16, 1/8 and 1/4 of the shortest side.

    Raises:
        ValueError: as `pointwise_moments` and `structure_function`, or a grid too coarse for
            ``waves``.
    """
    lengths = checked(x, extent)
    parts = [pointwise_moments(x, channels)]
    width = shell_width(domain, lengths)
    shells = math.floor(waves / max(lengths) / width + 1e-9)
    if not 1 <= shells < complete_shells(x.shape[2:], domain, lengths):
        raise ValueError(
            f"expected waves from {width * max(lengths):g} to what a grid of "
            f"{tuple(x.shape[2:])} points resolves, got {waves:g}"
        )
    powers = shell_powers(x, domain, extent)
    least = 1e-12 * powers.sum(2, keepdim=True) + 1e-150
    names = [f"log power {s * width:g}" for s in range(1, shells + 1)]
    logs = torch.maximum(powers[:, :, 1 : shells + 1], least).log()
    parts.append(Statistics(named(names, channels, x.shape[1]), logs.flatten(1)))
    gaps = tuple(separations) or tuple(min(lengths) / k for k in (16, 8, 4))
    values = structure_values(x, domain, extent, orders=(2, 4), separations=gaps)
    second = torch.maximum(values[:, :, :, 0], least[..., None])  # (N, C, d, R)
    fourth = torch.maximum(values[:, :, :, 1], second.square())  # S_4 >= S_2² (Jensen)
    for what, value in (("S2", second.log()), ("flatness", (fourth / second.square()).log())):
        names = [f"log {what} axis {a} at {r:g}" for a in range(len(lengths)) for r in gaps]
        parts.append(Statistics(named(names, channels, x.shape[1]), value.flatten(1)))
    if x.shape[1] > 1:
        parts.append(_correlations(x, channels))
    return joined(parts)


def compare_fields(
    generated: Tensor,
    real: Tensor,
    domain: Domain,
    extent: Sequence[float] = (),
    *,
    generator: torch.Generator,
    channels: Sequence[str] = (),
    band: tuple[float, float] | None = None,
    permutations: int = 500,
    waves: float | None = None,
) -> list[Score]:
    r"""How far generated fields are from real ones that the generator did not see.

    For each channel:

    * worst spectrum error, max over shells of \|generated power / real power - 1\|, with the
      standard error of that shell's ratio;
    * one-point W1: distance between the laws of a value, over the real values' deviation, with a
      bootstrap error;
    * for mean, deviation, skewness and kurtosis of each field, the p-value of Kolmogorov and
      Smirnov, and D;

    and for all together the p-value of the kernel two-sample test of `field_statistics`. Distances
    are above 0 for the best generator too: ``floor`` in a score's setting is their mean between
    two sets of these sizes drawn, with replacement, from the real one.

    Args:
        generated: (n, C, *grid); real: (m, C, *grid'), the grids may differ.
        generator: on the CPU, for bootstrap and permutations. channels: names.
        band: wave numbers, per unit of length, in which the spectrum is judged; None is all that
            both grids resolve and that hold at least 1e-4 of the real mean square.
        waves: of `field_statistics`; 6, or what all the grids resolve, if None.

    The mean of the real values is taken off both sets first: a spectrum is judged where there is
    power, and a mean far from 0 would be nearly all of it. Where the means of fields vary, in both
    sets, by less than a thousandth of the deviation (vorticity has none), they count as equal.

    Raises:
        ValueError: shapes that do not fit, values not finite, fewer than two fields in either set,
            no shell in the band, or a grid too coarse for ``waves``.
    """
    if generated.ndim != real.ndim or generated.shape[1] != real.shape[1]:
        raise ValueError(
            f"expected sets of as many channels and axes, got {tuple(generated.shape)} "
            f"and {tuple(real.shape)}"
        )
    n, m, count = len(generated), len(real), real.shape[1]
    if min(n, m) < 2:
        raise ValueError(f"expected at least two fields in either set, got {n} and {m}")
    if waves is None:
        waves = _resolved(domain, extent, generated.shape[2:], real.shape[2:])
    middle = real.double().mean((0, *range(2, real.ndim)), keepdim=True)
    generated, real = (x.double() - middle for x in (generated, real))
    about = named(("values",), channels, count)
    on = f"{'x'.join(map(str, generated.shape[2:]))} against {m} real"
    if generated.shape[2:] != real.shape[2:]:
        on += f" {'x'.join(map(str, real.shape[2:]))}"
    scores = []

    def add(
        metric: str, value: float, error: float | None, what: str, setting: str, unit: str = ""
    ) -> None:
        scores.append(Score(metric, value, error, n, what, f"{on}, {setting}", unit=unit))

    spectra = [energy_spectrum(x, domain, extent) for x in (generated, real)]
    powers = shell_powers(real, domain, extent)
    points = one_point_distance(generated, real, generator)
    for c, name in enumerate(about):
        kept = _judged(spectra[0], spectra[1], c, band)
        ratio = spectrum_ratio(spectra[0], spectra[1], kept)
        off = (ratio.value[c] - 1).abs()
        worst = int(off.argmax())
        drawn = [bootstrap(powers[:, c, kept], size, _DRAWS, generator) for size in (n, m)]
        floor = float((drawn[0] / drawn[1] - 1).abs().amax(1).mean())
        k = ratio.wave_numbers
        where = f"waves {k[0]:g} to {k[-1]:g}, worst at {k[worst]:g}, floor {floor:.3g}"
        error = float(ratio.error[c, worst])
        add("worst spectrum error", float(off[worst]), error, name, where)
        one = float(points.deviation[c]) or 1.0
        value, error, floor = (
            float(v[c]) / one for v in (points.value, points.error, points.floor)
        )
        add("one-point W1 over deviation", value, error, name, f"floor {floor:.3g}")
        pair = [pointwise_moments(x[:, c : c + 1]) for x in (generated, real)]
        for t in column_tests(*_with_equal_means(pair, real[:, c : c + 1])):
            add(f"KS p of {t.name}", t.p_value, None, name, f"D = {t.statistic:.2g}", "p")
    features = [
        field_statistics(x, domain, extent, channels=channels, waves=waves)
        for x in (generated, real)
    ]
    a, b = _with_equal_means(features, real)
    test = two_sample_test(a, b, generator, permutations=permutations)
    setting = f"{len(a.names)} features, {permutations} permutations"
    add("two-sample p", test.p_value, None, "field statistics", setting, "p")
    return scores


def _with_equal_means(pair: Sequence[Statistics], real: Tensor) -> tuple[Statistics, Statistics]:
    """Means of fields that are next to nothing, in both sets, are made 0 in both."""
    deviations = real.std((0, *range(2, real.ndim)))
    a, b = (p.values.clone() for p in pair)
    names = pair[0].names
    places = [i for i, name in enumerate(names) if name.partition(" ")[0] == "mean"]
    for i, deviation in zip(places, deviations.tolist(), strict=True):
        if max(float(v[:, i].square().mean().sqrt()) for v in (a, b)) < 1e-3 * deviation:
            a[:, i] = b[:, i] = 0
    return Statistics(names, a), Statistics(names, b)


def _resolved(domain: Domain, extent: Sequence[float], *grids: Sequence[int]) -> float:
    """6 waves, or as many as all the grids resolve; ValueError if one resolves none."""
    lengths = tuple(extent) or (1.0,) * len(grids[0])
    width = shell_width(domain, lengths)
    least = min(complete_shells(grid, domain, lengths) for grid in grids) - 1
    if least < 1:
        sizes = " and ".join("x".join(map(str, grid)) for grid in grids)
        raise ValueError(f"grids of {sizes} points are too coarse to compare: they hold no wave")
    return min(6.0, least * width)


def _judged(a: Spectrum, b: Spectrum, channel: int, band: tuple[float, float] | None) -> list[int]:
    """The shells that both resolve and that are in the band or hold enough of b."""
    complete = min(a.complete, b.complete)
    power = b.power[channel, :complete]
    if band is None:
        chosen = power >= _LEAST * b.power[channel].sum()
    else:
        waves = b.wave_numbers[:complete]
        chosen = (waves >= band[0] - 1e-9) & (waves <= band[1] + 1e-9)
    kept: list[int] = (chosen & (power > 0)).nonzero().flatten().tolist()
    if not kept:
        raise ValueError(f"no shell of wave numbers with power to judge in the band {band}")
    return kept


def _correlations(x: Tensor, channels: Sequence[str]) -> Statistics:
    """Of the values of each pair of channels, over the points of a field; 0 if one is constant."""
    u = x.detach().cpu().double().flatten(2)
    least = 1e-12 * u.norm(dim=2, keepdim=True)  # what rounding leaves of a constant
    u = u - u.mean(2, keepdim=True)
    norm = u.norm(dim=2, keepdim=True)
    u = torch.where(norm > least, u / norm, 0.0)
    own = list(channels) or [str(c) for c in range(x.shape[1])]
    pairs = [(i, j) for j in range(len(own)) for i in range(j)]
    names = tuple(f"correlation of {own[i]} and {own[j]}" for i, j in pairs)
    both = torch.einsum("ncm,ndm->ncd", u, u)
    return Statistics(names, torch.stack([both[:, i, j] for i, j in pairs], 1))
