"""Sections on sampling: sheets of samples, solvers against steps, strengths of guidance."""

from __future__ import annotations

import numpy as np

from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.files import pictures
from sfumato.system import solvers as solver_table


def samples(section: Section, shown: list[Shown], seconds: float) -> None:
    """A sheet of samples of every image model."""
    models = [s for s in shown if s.images]
    for s in models:
        columns = len(s.axes[0][1]) if len(s.axes) == 1 and len(s.axes[0][1]) <= 12 else 12
        rows = int(np.clip(seconds / len(models) * s.rate / 18 / columns, 2, 6))
        labels = s.labels(rows * columns)
        x, nfe = s.draw(range(rows * columns), labels, steps=18)
        what = ""
        if len(s.axes) == 1:
            what = f" Columns, left to right: {', '.join(s.axes[0][1][:columns])}."
        elif s.axes:
            what = " Each is asked for by attributes drawn at random: " + ", ".join(
                name.replace("_", " ") for name, _ in s.axes
            )
            what += "."
        section.heading(f"{s.card.name}: {s.card.system} on {s.card.data}")
        section.picture(
            pictures.sheet(x, columns, transparent=True),
            f"{len(x)} samples, {nfe} network evaluations each (DPM-Solver++ 2M).{what} "
            f"Not selected: the first {len(x)} of seed {s.seed}.",
        )
    if models:
        section.parts.insert(
            0,
            "<p>Every sample starts from noise of its own seed, so sample 7 is the same whether "
            "it is drawn alone, in a batch of 64 or by another process.</p>",
        )


_SOLVERS = ("euler", "ddim", "dpmpp2m", "heun", "ancestral")


def solvers(section: Section, shown: list[Shown], seconds: float) -> None:
    """The same starting noise by several solvers at several budgets of evaluations."""
    models = [s for s in shown if s.images]
    budgets = (4, 8, 16, 32)
    for s in models:
        n = int(np.clip(seconds / len(models) * s.rate / (len(_SOLVERS) * sum(budgets)), 2, 4))
        labels = s.labels(n)
        cells = []
        for solver in _SOLVERS:
            row = []
            for budget in budgets:
                x, _ = s.draw(
                    range(n),
                    labels,
                    steps=solver_table()[solver].steps_within(budget),
                    solver=solver,
                )
                row.append(pictures.sheet(x, n, gap=1, transparent=True))
            cells.append(row)
        section.heading(s.card.name)
        section.grid(
            [solver_table()[name].title for name in _SOLVERS],
            [f"{budget} evaluations" for budget in budgets],
            cells,
            "The same starting noise in every cell. Deterministic solvers agree as the budget "
            "grows, because they follow one and the same curve; higher orders get there sooner. "
            "Ancestral sampling adds noise on the way and lands elsewhere. Heun pays two "
            "evaluations for a step, so its budget buys half as many steps.",
        )


def guidance(section: Section, shown: list[Shown], seconds: float) -> None:
    """Classifier-free guidance at several strengths."""
    models = [s for s in shown if s.images and s.axes]
    weights = (0.0, 1.0, 1.5, 2.5, 4.0)
    steps = 16
    for s in models:
        n = int(np.clip(seconds / len(models) * s.rate / (len(weights) * 2 * steps), 4, 12))
        labels = s.labels(n)
        rows = []
        for w in weights:
            x, _ = s.draw(range(n), labels, steps=steps, guidance=w)
            rows.append((f"w = {w:g}", pictures.sheet(x, n, transparent=True)))
        section.heading(s.card.name)
        section.rows(
            rows,
            "The same noise and labels at rising strength of classifier-free guidance. w = 0 "
            "ignores the labels, w = 1 is the plain conditional model, above it the estimate is "
            "pushed away from the unconditional one: clearer classes, less variety.",
        )
