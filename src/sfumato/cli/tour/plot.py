"""A line plot as SVG text, in the colours of the page around it (light or dark)."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

_COLOURS = ("#c2683a", "#3b7ea1", "#4f9a6b", "#9468b4", "#b0913a", "#c0506a")
_FONT = 'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12" fill="currentColor"'

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], x_label: str, y_label: str) -> str:
    """Curves over logarithmic axes, each named at its end.

    ``series`` maps a name to points (x, y), all positive; others are left out.
    Raises ValueError when nothing is left to draw.
    """
    kept = {
        name: [(x, y) for x, y in points if x > 0 and y > 0 and math.isfinite(y)]
        for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        raise ValueError("a plot needs at least one point with positive, finite coordinates")
    width, height, left, right, top, bottom = 720, 380, 64, 128, 16, 46
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    x_low, x_high = min(xs) / 1.1, max(xs) * 1.1
    y_low, y_high = min(ys) / 1.2, max(ys) * 1.2

    def u(x: float) -> float:
        return left + (width - left - right) * math.log(x / x_low) / math.log(x_high / x_low)

    def v(y: float) -> float:
        return (
            height
            - bottom
            - (height - top - bottom) * math.log(y / y_low) / math.log(y_high / y_low)
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">']
    parts.append(f"<title>{html.escape(y_label)} over {html.escape(x_label)}</title>")
    for tick in ticks(y_low, y_high):
        y = v(tick)
        parts.append(
            f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity=".14"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" {_FONT}>{tick:g}</text>'
        )
    for tick in ticks(x_low, x_high):
        x = u(tick)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{height - bottom}" y2="{height - bottom + 5}" '
            'stroke="currentColor" stroke-opacity=".5"/>'
            f'<text x="{x:.1f}" y="{height - bottom + 19}" text-anchor="middle" {_FONT}>{tick:g}'
            "</text>"
        )
    middle = (left + width - right) / 2
    parts.append(
        f'<text x="{middle}" y="{height - 6}" text-anchor="middle" {_FONT}>'
        f"{html.escape(x_label)}</text>"
        f'<text transform="translate(14 {(top + height - bottom) / 2}) rotate(-90)" '
        f'text-anchor="middle" {_FONT}>{html.escape(y_label)}</text>'
    )
    ends: list[float] = []
    order = sorted(kept.items(), key=lambda item: -max(item[1])[1])
    for i, (name, points) in enumerate(order):
        colour = _COLOURS[i % len(_COLOURS)]
        points = sorted(points)
        path = " ".join(f"{u(x):.1f},{v(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(
            f'<circle cx="{u(x):.1f}" cy="{v(y):.1f}" r="3.2" fill="{colour}"/>' for x, y in points
        )
        place = v(points[-1][1]) + 4
        while any(abs(place - other) < 14 for other in ends):  # names must not overlap
            place += 2
        ends.append(place)
        parts.append(
            f'<text x="{u(points[-1][0]) + 10:.1f}" y="{place:.1f}" {_FONT} '
            f'style="fill:{colour}">{html.escape(name)}</text>'
        )
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Round values 1, 2, 5 times powers of ten inside [low, high]."""
    found = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        found += [m * 10.0**exponent for m in (1, 2, 5) if low <= m * 10.0**exponent <= high]
    return found
