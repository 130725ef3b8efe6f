"""The section on models of points: a cloud of noise finding its shape."""

from __future__ import annotations

import numpy as np

from sfumato.cli.tour.haze import visible
from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.files import pictures


def points(section: Section, shown: list[Shown], seconds: float) -> None:
    """A few moments of the walk of a thousand points, and the real ones beside them."""
    for s in (s for s in shown if s.config.shape == (2,)):
        n, steps = 1000, 24
        solution = s.walk(range(n), s.labels(n), steps=steps, save_path=True)
        real = s.real(2000)
        behind = None if real is None else real[0].numpy()
        moments = [0, steps // 2, steps - 6, steps]
        frames = []
        for i in moments:
            cloud = visible(s, solution.path[i], solution.times[i]).cpu().numpy()
            limit = float(np.abs(behind).max() if behind is not None else 1.5) * 1.3
            picture = pictures.scatter(cloud, behind=behind, limit=limit, size=220)
            frames.append((picture, f"after {i} of {steps} steps"))
        section.heading(f"{s.card.name}: {s.card.system} on {s.card.data}")
        section.side(frames, smooth=True)
