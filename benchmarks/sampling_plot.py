"""The picture of `sampling.py`: distance over evaluations, and over seconds, a row for each model.

Colours are those of Okabe and Ito, which stay apart for every kind of colour vision; a line is
named where it ends. Solid: sfumato. Dashed: diffusers. The same colour is the same method.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

Row = dict[str, Any]

BLUE, SKY, GREEN, ORANGE = "#0072B2", "#56B4E9", "#009E73", "#E69F00"
VERMILION, PURPLE, GREY, BLACK = "#D55E00", "#CC79A7", "#808080", "#000000"
COLOURS = {
    "ancestral": GREY,
    "DDIM": SKY,
    "DPM-Solver++ 2M": BLUE,
    "exponential 3M": GREEN,
    "Heun": ORANGE,
    "DPMSolverMultistep": BLUE,
    "UniPC": VERMILION,
    "DEIS": PURPLE,
}
MARKS = {"GENIE": "o", "CLD": "s", "DDGAN": "*", "DSNO": "D"}
SAME = 0.02
"""Curves that agree within this share everywhere are named once."""


@final
@dataclass
class Curve:
    """The rows of one sampler, by evaluations."""

    name: str
    maker: str
    rows: list[Row]

    @property
    def short(self) -> str:
        """The name without its maker."""
        return self.name.removeprefix("diffusers ")

    @property
    def style(self) -> dict[str, Any]:
        """Colour, line and mark."""
        for system, mark in MARKS.items():
            if self.short.startswith(system):
                return {"color": BLACK, "marker": mark, "lw": 1.8, "ms": 8 if mark == "*" else 5}
        colour = next((c for k, c in COLOURS.items() if self.short.startswith(k)), GREY)
        line = "--" if self.maker == "diffusers" else "-"
        return {"color": colour, "marker": ".", "lw": 1.6, "ls": line, "ms": 5}

    def at(self, axis: str) -> list[tuple[float, float]]:
        """(evaluations or milliseconds, distance)."""
        scale = 1000.0 if axis == "seconds" else 1.0
        return [(scale * row[axis], row["quality"]) for row in self.rows]


def curves(rows: Sequence[Row]) -> list[Curve]:
    """One curve for each sampler."""
    found: dict[str, Curve] = {}
    for row in sorted(rows, key=lambda row: row["nfe"]):
        found.setdefault(row["sampler"], Curve(row["sampler"], row["maker"], [])).rows.append(row)
    return list(found.values())


def agree(a: Curve, b: Curve) -> bool:
    """Whether two samplers are one and the same in all that was measured."""
    one, other = ({r["nfe"]: r["quality"] for r in c.rows} for c in (a, b))
    return one.keys() == other.keys() and all(
        abs(math.log(one[n] / other[n])) < SAME for n in one if min(one[n], other[n]) > 0
    )


def labels(found: Sequence[Curve]) -> list[tuple[Curve, str]]:
    """What is written at the end of each curve; once for curves that coincide."""
    written: list[tuple[Curve, str]] = []
    for curve in found:
        twin = next((i for i, (other, _) in enumerate(written) if agree(curve, other)), None)
        if twin is None:
            suffix = ", diffusers" if curve.maker == "diffusers" else ""
            written.append((curve, curve.short + suffix))
        else:
            other, text = written[twin]
            both = text if text.endswith("both") else f"{text.split(',')[0]}, both"
            written[twin] = (other, both)
    return written


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The heights, moved apart by at least ``gap``, as little as that takes, inside the frame."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [max(low, min(high, heights[i])) for i in order]
    for _ in range(200):
        moved = False
        for j in range(1, len(placed)):
            lack = gap - (placed[j] - placed[j - 1])
            if lack > 1e-6:
                placed[j - 1] -= lack / 2
                placed[j] += lack / 2
                moved = True
        placed = [max(low, min(high, p)) for p in placed]
        if not moved:
            break
    result = [0.0] * len(heights)
    for i, p in zip(order, placed, strict=True):
        result[i] = p
    return result


def panel(axes: Any, found: list[Curve], axis: str, floor: float | None, label: str) -> None:
    """One plot with a name at the end of every curve."""
    axes.set(xscale="log", yscale="log", xlabel=label)
    best = min(row["quality"] for curve in found for row in curve.rows)
    top = sorted(row["quality"] for c in found for row in c.rows if row["nfe"] >= 9)
    high = 1.6 * max([*top, 4 * best])  # what few evaluations ruin leaves the frame
    for curve in found:
        axes.plot(*zip(*curve.at(axis), strict=True), **curve.style)
    bottom = 0.8 * min([best, *([floor] if floor else [])])
    axes.set_ylim(bottom, high)
    if floor:
        axes.axhline(floor, color=GREY, lw=0.8, ls=":")
        axes.annotate(
            "real pictures", (0.01, floor), xycoords=("axes fraction", "data"), fontsize=7,
            va="bottom", color=GREY,
        )  # fmt: skip
    for curve in (c for c in found if len(c.rows) == 1):
        axes.annotate(
            curve.short,
            curve.at(axis)[0],
            (0, -12),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    named = labels([c for c in found if len(c.rows) > 1])
    ends = [curve.at(axis)[-1] for curve, _ in named]

    def height(y: float) -> float:
        return (math.log(y) - math.log(bottom)) / (math.log(high) - math.log(bottom))

    places = spread([height(y) for _, y in ends], 0.052, 0.0, 1.0)
    for (curve, text), end, place in zip(named, ends, places, strict=True):
        axes.annotate(
            text,
            xy=end,
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=curve.style["color"],
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": curve.style["color"], "alpha": 0.6},
        )
    axes.grid(which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks(*_ticks(axes.get_xlim(), (1, 2, 4, 5, 10, 15, 20, 25, 50), axis == "nfe"))
    axes.set_yticks(*_ticks((bottom, high), (), False))
    axes.minorticks_off()
    axes.tick_params(labelsize=8)


def _ticks(
    limits: tuple[float, float], fixed: Sequence[float], exact: bool
) -> tuple[list[float], list[str]]:
    """Where marks go on a logarithmic axis, and what they say."""
    low, high = limits
    every = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5)]
    kept = [t for t in (fixed if exact else every) if low <= t <= high]
    return kept, [f"{t:g}" for t in kept]


def draw(found: dict[str, Path], out: Path) -> None:
    """Write the picture of the results in these files, by model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from PIL import Image

    read = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items()}
    read = {name: data for name, data in read.items() if data["results"]["rows"]}
    if not read:
        return
    figure, grid = plt.subplots(
        len(read), 2, figsize=(12, 4.4 * len(read)), squeeze=False, layout="constrained"
    )
    for row, (name, data) in zip(grid, read.items(), strict=True):
        lines = curves(data["results"]["rows"])
        floor = data["results"].get("floor", {}).get("value")
        n = data["results"]["rows"][0]["n"]
        panel(row[0], lines, "nfe", floor, "network evaluations for one picture")
        panel(row[1], lines, "seconds", floor, "milliseconds for one picture, one core")
        row[0].set_ylabel(f"{name}: Fréchet distance\n({data['features']}, n = {n})")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    picture.quantize(64, dither=Image.Dither.NONE).save(out, optimize=True)
    plt.close(figure)
