"""The section that measures: Frechet distance over network evaluations, solver by solver."""

from __future__ import annotations

import numpy as np

from sfumato.cli import judging
from sfumato.cli.tour.page import Section
from sfumato.cli.tour.plot import lines
from sfumato.cli.tour.shown import Shown
from sfumato.metrics import ClassifierFeatures, frechet_distance
from sfumato.metrics.score import plus_minus
from sfumato.system import solvers

_SOLVERS = {
    "ddim": "DDIM",
    "dpmpp2m": "DPM++ 2M",
    "heun": "Heun",
    "ancestral": "ancestral",
}
_BUDGETS = (5, 9, 17)
_FEWEST, _MOST = 100, 500


def quality(section: Section, shown: list[Shown], seconds: float) -> None:
    """A curve per solver, on a few hundred samples, said so."""
    for s in (s for s in shown if s.images and s.axes):
        reader = judging.classifier_for(s.config.data)
        if reader is None:
            continue
        affordable = seconds * s.rate / sum(_BUDGETS)  # samples by one solver at all budgets
        count = int(np.clip(affordable / _FEWEST, 0, len(_SOLVERS)))
        if count < 2:
            section.note(
                "There was no time to compare solvers on this machine: it needs "
                f"{2 * _FEWEST * sum(_BUDGETS):,} network evaluations. Give `sfumato tour` more "
                "`--seconds`."
            )
            return
        n = int(min(affordable / count, _MOST))
        real = s.real(1000)
        if real is None:
            section.note(
                f"The quality of `{s.card.name}` needs real images of {s.config.data}: "
                f"`sfumato data fetch {s.config.data}`, then run the tour again."
            )
            continue
        features = ClassifierFeatures(reader)
        base = features(real[0])
        half = len(base) // 2
        floor = frechet_distance(base[half:], base[:half][:n], features=features.name)
        labels = s.labels(n)
        series, rows = {}, []
        for solver, name in list(_SOLVERS.items())[:count]:
            points, cells = [], [name]
            for budget in _BUDGETS:
                x, nfe = s.draw(
                    range(n), labels, steps=solvers()[solver].steps_within(budget), solver=solver
                )
                score = frechet_distance(base, features(x), features=features.name)
                points.append((float(nfe), score.value))
                cells.append(f"{plus_minus(score.value, score.error)} at {nfe}")
            series[name] = points
            rows.append(cells)
        section.heading(s.card.name)
        section.drawing(
            lines(series, "network evaluations per sample", "Fréchet distance"),
            f"Fréchet distance in the features of {features.name}, {n} samples per point against "
            f"{len(base)} real test images. So few samples make every figure too large by about "
            f"as much as real images score against real ones ({floor.n} against "
            f"{len(base) - half}): {plus_minus(floor.value, floor.error)}. Compare the curves, "
            "not the figures with those of papers.",
        )
        section.table(("solver", *(f"about {b} evaluations" for b in _BUDGETS)), rows)
        return  # one model is enough to show it; the others' figures are on their cards
