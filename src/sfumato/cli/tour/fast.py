"""Section on the systems that need few evaluations, each beside the plain model of its data."""

from __future__ import annotations

import time

import numpy as np

from sfumato import zoo
from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.errors import SfumatoError
from sfumato.files import pictures
from sfumato.model.load import load
from sfumato.model.sampler import Sampler

_PLAIN = (
    ("ddim", 5),
    ("dpmpp2m", 5),
    ("dpmpp2m", 18),
)
_ABOUT = {
    "CLD": "diffusion in phase space, walked by its own splitting scheme",
    "GENIE": "second-order Taylor steps with a learned derivative",
    "DDGAN": "a generator that draws where a denoiser averages, for a few large steps",
    "DSNO": "an operator that has learned the whole path, in one evaluation of the network",
}


def fast(section: Section, shown: list[Shown], seconds: float) -> None:
    """Rows of samples of the same labels, with evaluations and time per image."""
    for s in (s for s in shown if s.images):
        others = [c for c in zoo.cards() if c.system in _ABOUT and c.data == s.card.data]
        if not others:
            continue
        columns = len(s.axes[0][1]) if len(s.axes) == 1 else 10
        n = int(np.clip(columns, 5, 12))
        labels = s.labels(n)
        rows = []
        s.draw(range(n), labels, steps=1)  # the first call of a batch size is slower
        for solver, steps in _PLAIN:
            began = time.perf_counter()
            x, nfe = s.draw(range(n), labels, steps=steps, solver=solver)
            took = 1e3 * (time.perf_counter() - began) / n
            picture = pictures.sheet(x, n, transparent=True)
            rows.append((f"{s.card.system}, {solver}: {_cost(nfe, took)}", picture))
        for card in sorted(others, key=lambda c: list(_ABOUT).index(c.system)):
            try:
                model = load(card.name, Sampler).to(s.device)
            except SfumatoError as error:
                section.note(f"The model `{card.name}` is missing here: {error}")
                continue
            about = model.description
            if about.shape != s.config.shape or about.axes != s.config.axes:
                continue
            drawer = model.prepare(seed=s.seed)
            drawer.draw(range(n), labels)
            began = time.perf_counter()
            drawn = drawer.draw(range(n), labels)
            took = 1e3 * (time.perf_counter() - began) / n
            picture = pictures.sheet(s.pixels(drawn.x), n, transparent=True)
            rows.append((f"{card.system}: {_cost(drawn.nfe, took)}", picture))
        section.heading(s.card.name)
        names = [c.system for c in others]
        section.rows(
            rows,
            "The same labels in every row. "
            + " ".join(f"{k}: {v}." for k, v in _ABOUT.items() if k in names),
        )
        section.code(
            "\n".join(f"sfumato sample {c.name} --n 64 --out {c.name}.png" for c in others)
        )


def _cost(nfe: int, milliseconds: float) -> str:
    return f"{nfe} evaluation{'s' * (nfe != 1)}, {milliseconds:.0f} ms an image"
