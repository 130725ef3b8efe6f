"""Plots of what was measured on fields: spectra, structure functions, histograms of values.

Each takes a mapping from names of sets to what `sfumato.metrics` returns and gives a picture. The
reference, the first set unless named, is black and thick, so that a set that agrees with it runs
along its middle; other colours are those of Okabe and Ito, which stay apart for every kind of
colour vision. Bands are one standard error to either side. matplotlib is imported when drawing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

__all__ = [
    "HistogramLike",
    "SpectrumLike",
    "StructureLike",
    "histogram_plot",
    "report_figure",
    "spectrum_plot",
    "structure_plot",
]

_BLACK = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#808080")
_STYLES = ("-", "--", ":", "-.")
_FONT: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.8,
}
_DEEPEST = 1e-12  # of the highest value: below it a logarithmic axis shows rounding


class SpectrumLike(Protocol):
    """`ddo.metrics.fields.Spectrum`."""

    @property
    def wave_numbers(self) -> Any:
        """(K,)."""

    @property
    def power(self) -> Any:
        """(C, K)."""

    @property
    def error(self) -> Any:
        """(C, K)."""

    @property
    def complete(self) -> int:
        """Shells that the grid holds whole; those after it are not drawn."""


class StructureLike(Protocol):
    """`ddo.metrics.structure.Structure`."""

    @property
    def separations(self) -> Any:
        """(R,)."""

    @property
    def orders(self) -> tuple[float, ...]:
        """P exponents."""

    @property
    def value(self) -> Any:
        """(C, d, P, R)."""

    @property
    def error(self) -> Any:
        """(C, d, P, R)."""


class HistogramLike(Protocol):
    """`ddo.metrics.laws.Histogram`."""

    @property
    def edges(self) -> Any:
        """(C, B + 1)."""

    @property
    def density(self) -> Any:
        """(C, B)."""

    @property
    def error(self) -> Any:
        """(C, B)."""


Moments = Mapping[str, Mapping[str, HistogramLike]]


def spectrum_plot(
    spectra: Mapping[str, SpectrumLike],
    *,
    channel: int = 0,
    reference: str | None = None,
    x_label: str = "waves per unit of length",
    y_label: str = "mean square per shell",
) -> Image.Image:
    """Power over wave number, both logarithmic: complete shells of power above 0, without the mean.

    Raises:
        ValueError: no spectrum, or a reference that is none of them.
    """
    colours = _coloured(spectra, reference)

    def draw(axes: Any) -> None:
        _spectra(axes, spectra, colours, channel, (x_label, y_label))
        axes.legend(frameon=False)

    return _single(draw)


def structure_plot(
    structures: Mapping[str, StructureLike],
    *,
    channel: int = 0,
    axis: int = 0,
    reference: str | None = None,
    x_label: str = "separation r",
    y_label: str = r"mean $|u(x + r) - u(x)|^p$",
) -> Image.Image:
    """S_p(r) along one axis, both logarithmic; each order has its style of line.

    Raises:
        ValueError: nothing to draw, or a reference that is none of the sets.
    """
    colours = _coloured(structures, reference)

    def draw(axes: Any) -> None:
        _structures(axes, structures, colours, (channel, axis), (x_label, y_label))
        axes.legend(frameon=False)

    return _single(draw)


def histogram_plot(
    histograms: Mapping[str, HistogramLike],
    *,
    channel: int = 0,
    reference: str | None = None,
    x_label: str = "value",
    y_label: str = "density",
    logarithmic: bool = True,
) -> Image.Image:
    """Density over value, on a logarithmic axis that shows the tails unless told otherwise.

    Raises:
        ValueError: nothing to draw, or a reference that is none of the sets.
    """
    colours = _coloured(histograms, reference)

    def draw(axes: Any) -> None:
        _histograms(axes, histograms, colours, channel, (x_label, y_label), logarithmic)
        axes.legend(frameon=False)

    return _single(draw)


def report_figure(
    spectra: Mapping[str, SpectrumLike],
    structures: Mapping[str, StructureLike],
    histograms: Mapping[str, HistogramLike],
    moments: Moments,
    *,
    channel: int = 0,
    axis: int = 0,
    reference: str | None = None,
    label: str = "value",
    length: str = "length",
    title: str = "",
) -> Image.Image:
    """Spectrum, structure functions and law of a value beside each other, moments below.

    Args:
        moments: for each name of a statistic, a histogram over fields of each set, as
            `ddo.metrics.laws.moment_histograms` returns them; one panel each.
        reference: in every panel; its first set if None.
        label: what the fields' values are, with their unit. length: the unit of length.

    Raises:
        ValueError: nothing to draw in a panel, or a reference that is missing from one.
    """
    panels = [spectra, structures, histograms, *moments.values()]
    reference = next(iter(spectra), None) if reference is None else reference
    for panel in panels:
        _coloured(panel, reference)  # each has the reference
    colours = _coloured({name: None for panel in panels for name in panel}, reference)

    def draw(figure: Any) -> None:
        above, below = (
            figure.subfigures(2, 1, height_ratios=(1.45, 1)) if moments else (figure, None)
        )
        first, second, third = above.subplots(1, 3)
        _spectra(first, spectra, colours, channel, (f"waves per {length}", "mean square per shell"))
        where = (channel, axis)
        what = (f"separation r [{length}]", r"mean $|u(x + r) - u(x)|^p$")
        _structures(second, structures, colours, where, what)
        _histograms(third, histograms, colours, channel, (label, "density"), True)
        first.legend(frameon=False)
        marks, names = second.get_legend_handles_labels()
        # the sets are named in the first panel, so that here only the orders are
        second.legend(marks[len(structures) :], names[len(structures) :], frameon=False)
        if below is None:
            return
        row = below.subplots(1, len(moments), squeeze=False)[0]
        for axes, (name, sets) in zip(row, moments.items(), strict=True):
            _histograms(axes, sets, colours, 0, (f"{name}, one field", ""), False)
            axes.set_yticks([])
        row[0].set_ylabel("density")

    return _drawn(draw, (10.0, 5.6 if moments else 3.3), title)


def _coloured(names: Iterable[str], reference: str | None) -> dict[str, str]:
    """A colour for each set."""
    order = list(dict.fromkeys(names))
    if not order:
        raise ValueError("a plot needs at least one set")
    reference = order[0] if reference is None else reference
    if reference not in order:
        raise ValueError(f"the reference {reference!r} is none of {order}")
    others = [name for name in order if name != reference]
    return {reference: _BLACK} | {
        name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(others)
    }


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
    name: str | None = None,
) -> None:
    """A curve and its band; what is not above 0 is left out of a logarithmic axis."""
    below, above = y - error, y + error
    if axes.get_yscale() == "log":
        below = np.maximum(below, y * 1e-3)
    black = colour == _BLACK
    axes.plot(
        x, y, style, color=colour, lw=2.2 if black else 1.3, label=name, zorder=2 if black else 3,
        drawstyle="steps-mid" if step else "default",
        marker="." if len(x) <= 12 and not step else None, ms=6 if black else 4,
    )  # fmt: skip
    band = {"color": colour, "alpha": 0.25, "lw": 0, "zorder": 1.5 if black else 2.5}
    if np.isfinite(error).all():
        axes.fill_between(x, below, above, step="mid" if step else None, **band)


def _spectra(
    axes: Any,
    spectra: Mapping[str, SpectrumLike],
    colours: Mapping[str, str],
    channel: int,
    labels: tuple[str, str],
) -> None:
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    lines = []
    for name in _order(spectra, colours):
        s = spectra[name]
        x = np.asarray(s.wave_numbers)[: s.complete]
        y, error = (np.asarray(v)[channel, : s.complete] for v in (s.power, s.error))
        kept = (x > 0) & (y > 0)
        _line(axes, x[kept], y[kept], error[kept], colours[name], name=name)
        lines.append((x[kept], y[kept]))
    _finish(axes, [x for x, _ in lines], [y for _, y in lines])


def _structures(
    axes: Any,
    structures: Mapping[str, StructureLike],
    colours: Mapping[str, str],
    where: tuple[int, int],
    labels: tuple[str, str],
) -> None:
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    orders = sorted({p for s in structures.values() for p in s.orders})
    styles = {p: _STYLES[i % len(_STYLES)] for i, p in enumerate(orders)}
    lines = []
    for name in _order(structures, colours):
        s = structures[name]
        x = np.asarray(s.separations)
        order = np.argsort(x)
        for i, p in enumerate(s.orders):
            y, error = (np.asarray(v)[*where, i][order] for v in (s.value, s.error))
            kept = y > 0
            points = (x[order][kept], y[kept], error[kept])
            _line(axes, *points, colours[name], style=styles[p], name=None if i else name)
            lines.append(points[:2])
    for p in orders:  # for the legend
        axes.plot([], [], styles[p], color=_COLOURS[-1], lw=1.3, label=f"p = {p:g}")
    _finish(axes, [x for x, _ in lines], [y for _, y in lines])


def _histograms(
    axes: Any,
    histograms: Mapping[str, HistogramLike],
    colours: Mapping[str, str],
    channel: int,
    labels: tuple[str, str],
    logarithmic: bool,
) -> None:
    axes.set(yscale="log" if logarithmic else "linear", xlabel=labels[0], ylabel=labels[1])
    axes.locator_params(axis="x", nbins=4)  # few and short, so that they stay apart
    axes.ticklabel_format(axis="x", scilimits=(-2, 5))
    heights = []
    for name in _order(histograms, colours):
        h = histograms[name]
        edges, y, error = (np.asarray(v)[channel] for v in (h.edges, h.density, h.error))
        shown = np.where(y > 0, y, np.nan) if logarithmic else y
        centres = (edges[1:] + edges[:-1]) / 2
        _line(axes, centres, shown, error, colours[name], step=True, name=name)
        heights.append(y[y > 0])
    if logarithmic:
        _finish(axes, [], heights)
    else:
        axes.set_ylim(bottom=0)
        _finish(axes, [], [])


def _finish(axes: Any, xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> None:
    """Limits and marks of the logarithmic axes, and the look of all."""
    for found, scale, axis in ((xs, axes.set_xlim, axes.xaxis), (ys, axes.set_ylim, axes.yaxis)):
        values = np.concatenate([*found, np.empty(0)])
        if not values.size:
            continue
        top = float(values.max())
        low, high = max(float(values.min()), top * _DEEPEST) / 1.25, top * 1.25
        scale(low, high)
        marks = _marks(low, high)
        axis.set_ticks(marks, [f"{m:g}" for m in marks])
        axis.set_ticks([], minor=True)
    axes.grid(which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _marks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten over two decades or less; else powers of ten, seven at most."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if high < 100 * low else (1,)
    every = 1 if len(factors) > 1 else max(1, math.ceil((last - first) / 7))
    made = (m * 10.0**e for e in range(first, last + 1) for m in factors if e % every == 0)
    return [m for m in made if low <= m <= high]


def _single(draw: Any) -> Image.Image:
    return _drawn(lambda figure: draw(figure.subplots()), (4.0, 3.0), "")


def _drawn(draw: Any, size: tuple[float, float], title: str) -> Image.Image:
    """The picture of a figure, without touching the state of pyplot."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_FONT):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        if title:
            figure.suptitle(title, fontsize=9)
        canvas.draw()
        return Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
