"""Figures of what was measured on fields: spectra, structure functions, histograms of values.

The reference is black and thick, so that a set that agrees with it runs along its middle; other
sets have the colours of Okabe and Ito, which differ for every kind of colour vision. Bands are
one standard error to either side. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from sfumato.systems.ddo.data.base import Frame
from sfumato.systems.ddo.metrics.spectra import (
    Spectrum,
    Structure,
    energy_spectrum,
    structure_function,
)
from sfumato.systems.ddo.metrics.statistics import (
    Histogram,
    moment_histograms,
    one_point_histogram,
    pointwise_moments,
)
from sfumato.systems.ddo.pictures import rendered

__all__ = ["plot_histograms", "plot_spectra", "plot_structures", "report_figure"]

_BLACK = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
_STYLES = ("-", "--", ":", "-.")
_LOWEST = 1e-12  # of the highest value: a logarithmic axis ends there


def report_figure(sets: Mapping[str, Tensor], frame: Frame) -> Image.Image:
    """Spectrum, structure functions and histogram of values beside each other, moments below.

    Args:
        sets: fields (N, C, *grid) by name, the reference first; the first quantity is shown. Grids
            may differ.
        frame: their axes and quantities. Structure functions are along its first axis.

    Raises:
        ValueError: no set, or fields that are not of this frame.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not sets:
        raise ValueError("a report needs at least one set of fields")
    first, *others = sets
    colours = {first: _BLACK}
    colours |= {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(others)}
    fields, box = {name: x[:, :1] for name, x in sets.items()}, (frame.domain, frame.extent)
    edges = one_point_histogram(fields[first]).edges[0]
    moments = moment_histograms({name: pointwise_moments(x) for name, x in fields.items()})
    style: Any = {"font.size": 8, "axes.labelsize": 8, "axes.linewidth": 0.8}
    style |= {f"{part}.labelsize": 7.5 for part in ("xtick", "ytick")} | {"legend.fontsize": 7.5}
    with matplotlib.rc_context(style):
        figure: Any = Figure((10.0, 5.6), dpi=150, layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1.45, 1))
        left, middle, right = above.subplots(1, 3)
        plot_spectra(left, {k: energy_spectrum(x, *box) for k, x in fields.items()}, colours)
        left.set(xlabel="waves per length", ylabel="mean square per shell")
        left.legend(frameon=False)
        found = {k: structure_function(x, *box) for k, x in fields.items()}
        plot_structures(middle, found, colours)
        middle.set(xlabel="separation r [length]", ylabel=r"mean $|u(x + r) - u(x)|^p$")
        laws = {k: one_point_histogram(x, edges) for k, x in fields.items()}
        plot_histograms(right, laws, colours)
        right.set(xlabel=frame.quantities[0].label, ylabel="density")
        row = below.subplots(1, len(moments))
        for panel, (name, histograms) in zip(row, moments.items(), strict=True):
            plot_histograms(panel, histograms, colours, logarithmic=False)
            panel.set(xlabel=f"{name}, one field", yticks=[])
        row[0].set_ylabel("density")
        return rendered(figure)


def plot_spectra(
    axes: Any, spectra: Mapping[str, Spectrum], colours: Mapping[str, str], channel: int = 0
) -> None:
    """Power over wave number, log-log: complete shells of power above 0, without the mean.

    Args:
        axes: of matplotlib.
        colours: for each set, "#000000" for the reference.
    """
    axes.set(xscale="log", yscale="log")
    for name in _order(spectra, colours):
        s = spectra[name]
        x = np.asarray(s.wave_numbers)[: s.complete]
        y, error = (np.asarray(v)[channel, : s.complete] for v in (s.power, s.error))
        kept = (x > 0) & (y > 0)
        _line(axes, x[kept], y[kept], error[kept], colours[name], label=name)
    _finish(axes)


def plot_structures(
    axes: Any,
    structures: Mapping[str, Structure],
    colours: Mapping[str, str],
    channel: int = 0,
    axis: int = 0,
) -> None:
    """S_p(r) along one axis, log-log; each order p has its style of line, named in a legend."""
    axes.set(xscale="log", yscale="log")
    orders = sorted({p for s in structures.values() for p in s.orders})
    styles = {p: _STYLES[i % len(_STYLES)] for i, p in enumerate(orders)}
    for name in _order(structures, colours):
        s = structures[name]
        x = np.asarray(s.separations)
        order = np.argsort(x)
        for i, p in enumerate(s.orders):
            y, error = (np.asarray(v)[channel, axis, i][order] for v in (s.value, s.error))
            kept = y > 0
            _line(axes, x[order][kept], y[kept], error[kept], colours[name], style=styles[p])
    marks = [axes.plot([], [], styles[p], color=_COLOURS[-1], lw=1.3)[0] for p in orders]
    axes.legend(marks, [f"p = {p:g}" for p in orders], frameon=False)
    _finish(axes)


def plot_histograms(
    axes: Any,
    histograms: Mapping[str, Histogram],
    colours: Mapping[str, str],
    channel: int = 0,
    logarithmic: bool = True,
) -> None:
    """Density over value as steps; the logarithmic axis shows the tails."""
    axes.set(yscale="log" if logarithmic else "linear")
    axes.locator_params(axis="x", nbins=4)  # few and short labels, which stay apart
    axes.ticklabel_format(axis="x", scilimits=(-2, 5))
    for name in _order(histograms, colours):
        h = histograms[name]
        edges, y, error = (np.asarray(v)[channel] for v in (h.edges, h.density, h.error))
        shown = np.where(y > 0, y, np.nan) if logarithmic else y
        _line(axes, (edges[1:] + edges[:-1]) / 2, shown, error, colours[name], step=True)
    if not logarithmic:
        axes.set_ylim(bottom=0)
    _finish(axes)


def _order(names: Iterable[str], colours: Mapping[str, str]) -> list[str]:
    """The reference first, so that it lies below."""
    return sorted(names, key=list(colours).index)


def _line(
    axes: Any,
    x: np.ndarray,
    y: np.ndarray,
    error: np.ndarray,
    colour: str,
    *,
    step: bool = False,
    style: str = "-",
    label: str | None = None,
) -> None:
    """A curve and its band."""
    black = colour == _BLACK
    axes.plot(
        x, y, style, color=colour, lw=2.2 if black else 1.3, label=label, zorder=2 if black else 3,
        drawstyle="steps-mid" if step else "default",
        marker="." if len(x) <= 12 and not step else None, ms=6 if black else 4,
    )  # fmt: skip
    if np.isfinite(error).all():
        below = y - error
        if axes.get_yscale() == "log":
            below = np.maximum(below, y * 1e-3)
        axes.fill_between(
            x, below, y + error, step="mid" if step else None, color=colour, alpha=0.25, lw=0,
            zorder=1.5 if black else 2.5,
        )  # fmt: skip


def _finish(axes: Any) -> None:
    """Limits and marks of the logarithmic axes, from the curves without their bands; the grid."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for i, (axis, limit) in enumerate(((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim))):
        found = np.concatenate([np.asarray(line.get_data()[i], float) for line in axes.get_lines()])
        found = found[found > 0]
        if axis.get_scale() != "log" or not found.size:
            continue
        low, high = max(found.min(), found.max() * _LOWEST) / 1.25, found.max() * 1.25
        limit(low, high)
        subs = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
