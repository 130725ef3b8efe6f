"""Plots of what was measured on fields: lines, bands and steps, in pixels."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sfumato.systems.ddo.data.base import Axis, Frame, Quantity
from sfumato.systems.ddo.metrics.statistics import (
    one_point_histogram,
)
from sfumato.systems.ddo.nn.harmonic import Domain
from sfumato.systems.ddo.plots import (
    plot_histograms,
    plot_spectra,
    plot_structures,
    report_figure,
)

INK_BLUE, BLACK, WHITE = (0, 114, 178), (0, 0, 0), (255, 255, 255)


@dataclass
class Lines:
    """A panel as it was drawn."""

    axes: object
    pixels: np.ndarray

    def at(self, x: float, y: float) -> np.ndarray:
        """The colour at a place in data."""
        u, v = self.axes.transData.transform((x, y))
        return self.pixels[int(self.pixels.shape[0] - v), int(u)].astype(int)

    def like(self, x: float, y: float, colour: tuple[int, int, int]) -> bool:
        return bool(np.abs(self.at(x, y) - colour).max() < 40)


def panel(draw) -> Lines:
    figure = Figure((6, 5), dpi=150)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    axes.grid(False)
    canvas.draw()
    return Lines(axes, np.asarray(canvas.buffer_rgba())[..., :3])


@dataclass(frozen=True)
class Made:
    """A power law with errors of 20 %."""

    wave_numbers: np.ndarray
    power: np.ndarray
    error: np.ndarray
    complete: int


def law(scale: float) -> Made:
    waves = np.arange(40.0)
    power = scale * np.concatenate([[5.0], waves[1:] ** -2.0])[None]
    return Made(waves, np.concatenate([power * 7, power]), 0.2 * np.concatenate([power] * 2), 30)


COLOURS = {"real": "#000000", "ours": "#0072B2"}


def test_spectra_are_lines_through_their_points_with_bands() -> None:
    sets = {"ours": law(3.0), "real": law(1.0)}
    drawn = panel(lambda a: plot_spectra(a, sets, COLOURS, 1))
    for k in (2.0, 5.0, 11.0, 2.5, 20.0):  # 2.5 lies between points, on a straight line
        assert drawn.like(k, k**-2, BLACK)
        assert drawn.like(k, 3 * k**-2, INK_BLUE)
        assert drawn.like(k, 1.7 * k**-2, WHITE)
        for share in (0.87, 1.15):  # inside the bands: neither white nor the line
            assert 40 < drawn.at(k, share * k**-2).max() < 235
            tint = drawn.at(k, 3 * share * k**-2)
            assert tint[0] < 235 and tint[2] - tint[0] > 20
        assert drawn.like(k, 0.74 * k**-2, WHITE)
    low, high = drawn.axes.get_xlim()
    assert 0 < low < 1 and 29 < high < 39  # neither the mean nor shells that are not complete
    nan = {"real": replace(law(1.0), error=np.full((2, 40), np.nan))}
    bare = panel(lambda a: plot_spectra(a, nan, COLOURS, 1))
    assert bare.like(5.0, 0.04, BLACK) and bare.like(5.0, 0.04 * 1.15, WHITE)


def test_rounding_does_not_stretch_the_axis() -> None:
    s = law(1.0)
    s.power[1, 20] = 1e-33
    drawn = panel(lambda a: plot_spectra(a, {"real": s}, COLOURS, 1))
    low, high = drawn.axes.get_ylim()
    assert low == pytest.approx(1e-12 / 1.25, abs=0) and high == pytest.approx(1.25)


def test_structure_functions_by_axis_and_order() -> None:
    @dataclass(frozen=True)
    class Some:
        separations: np.ndarray
        orders: tuple[float, ...]
        value: np.ndarray
        error: np.ndarray

    r = np.array([0.5, 0.1, 0.2, 0.05])  # in any order
    value = np.stack([np.stack([9 * r, 9 * r]), np.stack([r**0.5, 4 * r**2])])[None]
    sets = {"real": Some(r, (2, 4), value, 0.01 * value)}
    drawn = panel(lambda a: plot_structures(a, sets, COLOURS, 0, 1))
    for at in (0.05, 0.07, 0.1, 0.15, 0.4):
        assert drawn.like(at, at**0.5, BLACK)
        assert drawn.like(at, 9 * at, WHITE) or abs(9 * at / at**0.5 - 1) < 0.3
    assert all(drawn.like(float(at), 4 * float(at) ** 2, BLACK) for at in r)  # marks on the dashes
    dashes = [drawn.like(at, 4 * at**2, BLACK) for at in np.geomspace(0.21, 0.48, 60)]
    assert any(dashes) and not all(dashes)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_histograms_are_steps(logarithmic: bool) -> None:
    x = torch.tensor([0.5] * 2 + [1.5] * 6 + [2.5] * 2)[None, None].expand(2, 1, 10)
    sets = {"real": one_point_histogram(x, torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]))}
    drawn = panel(lambda a: plot_histograms(a, sets, COLOURS, 0, logarithmic))
    for at, density in ((0.6, 0.2), (1.1, 0.6), (1.9, 0.6), (2.2, 0.2), (2.8, 0.2)):
        assert drawn.like(at, density, BLACK)
        assert drawn.like(at, 0.4, WHITE)
    assert drawn.like(1.0, 0.4, BLACK) and drawn.like(2.0, 0.4, BLACK)  # the risers
    rough = {"real": replace(sets["real"], error=0.3 * sets["real"].density)}
    drawn = panel(lambda a: plot_histograms(a, rough, COLOURS, 0, logarithmic))
    for at, density in ((1.1, 0.6), (1.9, 0.6)):  # bands are steps too
        assert all(60 < drawn.at(at, density * share)[0] < 235 for share in (0.8, 1.2))
        assert drawn.like(at, density * 0.62, WHITE)
    if not logarithmic:
        assert drawn.axes.get_ylim()[0] == 0 and drawn.axes.get_xlim()[0] < 0.5


@pytest.mark.parametrize(("mean", "scale"), [(2e-4, 3e-6), (0, 2e-9), (101325, 20), (0.1, 0.03)])
def test_labels_of_small_and_of_long_numbers_stay_apart(mean: float, scale: float) -> None:
    x = mean + scale * torch.randn(60, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    figure = Figure((2.4, 2), dpi=150, layout="constrained")  # as narrow as a report's panels
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    sets = {"real": one_point_histogram(x, 24)}
    plot_histograms(axes, sets, COLOURS, 0, False)
    axes.set_xlabel("mean, one field")
    canvas.draw()
    low, high = axes.get_xlim()
    shown = [t for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
    boxes = [t.get_window_extent() for t in shown]
    assert len(boxes) >= 2
    assert all(a.x1 + 4 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False))


def shares(picture) -> dict[str, float]:
    """How much of a picture is black ink of lines, blue and vermilion."""
    pixels = np.asarray(picture).astype(int).reshape(-1, 3)
    inks = {"black": BLACK, "blue": INK_BLUE, "vermilion": (213, 94, 0)}
    return {k: float((np.abs(pixels - v).max(1) < 12).mean()) for k, v in inks.items()}


@pytest.mark.parametrize(("low", "high", "marks"), [(0.9, 12, 4), (1e-4, 2, 5), (1e-12, 1, 7)])
def test_marks_are_few_and_inside(low: float, high: float, marks: int) -> None:
    """1, 2, 5 times powers of ten over two decades or less, powers of ten over more."""
    axes = Figure((3, 2)).subplots()
    s = law(1.0)
    s.power[1, 1:30] = np.geomspace(1.25 * low, high / 1.25, 29)
    plot_spectra(axes, {"real": s}, COLOURS, 1)
    found = [y for y in axes.get_yticks() if low <= y <= high]
    assert abs(len(found) - marks) <= 1
    digits = {f"{y:.0e}"[0] for y in found}
    assert digits == ({"1", "2", "5"} if high < 100 * low else {"1"})


def test_the_report_has_every_panel_and_each_set_in_it() -> None:
    generator = torch.Generator().manual_seed(0)
    fields = {
        name: scale * torch.randn(40, 1, 24, 24, generator=generator).cumsum(-1)
        for name, scale in (("real", 1.0), ("ours", 1.3), ("other", 0.8))
    }
    frame = Frame(Domain.REFLECTING, (Axis("y"), Axis("x")), (Quantity("height", "m"),))
    picture = report_figure(fields, frame)
    wide, tall = picture.size
    cut = round(tall * 1.45 / 2.45)
    boxes = [(i * wide // 3, 40, (i + 1) * wide // 3, cut) for i in range(3)]
    boxes += [(i * wide // 4, cut, (i + 1) * wide // 4, tall) for i in range(4)]
    for box in boxes:
        found = shares(picture.crop(box))
        assert all(share > 2e-4 for share in found.values()), (box, found)
    other = report_figure(dict(reversed(fields.items())), frame)
    assert np.abs(np.asarray(other).astype(int) - np.asarray(picture)).max() > 100
    with pytest.raises(ValueError, match="at least one set"):
        report_figure({}, frame)
