"""The section that the name is about: an image dissolving into noise, a sample coming out of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.files import pictures
from sfumato.model.plan import make_times
from sfumato.seeds import generator


def haze(section: Section, shown: list[Shown], seconds: float) -> None:
    """One image noised, the estimate at every level, and the path of a sample."""
    for s in (s for s in shown if s.images):
        process, steps = s.denoiser.process, 11
        times = make_times("auto", process, steps)
        x0, labels, real = s.examples(1)
        states, guesses = [], []
        with torch.inference_mode():
            for t in times.flip(0)[1:]:
                x_t, _ = process.perturb(x0, t, generator(s.seed, "tour", "haze"))
                states.append(visible(s, x_t, t))
                guesses.append(s.denoiser(x_t, t, s.cond(labels)))
            path = s.walk([3], s.labels(4)[3:], steps=steps, save_path=True).path
            coming = [visible(s, x, t) for x, t in zip(path, times, strict=True)]
        kind = "A real image" if real else "An image"
        section.heading(s.card.name)
        section.rows(
            [
                ("noised", _strip(s, [x0, *states])),
                ("guessed", _strip(s, [x0, *guesses])),
            ],
            f"{kind} at rising noise, rescaled to the image's range, and below it what the "
            "network guesses from that noise alone: the mean of all images that could be behind "
            "it, sharp at first, then blurred, in the end the mean of its class.",
        )
        section.rows(
            [("a sample", _strip(s, coming))],
            f"The other way round: the states of one sample in {steps} steps from noise to data.",
        )


def visible(s: Shown, x_t: Tensor, t: Tensor) -> Tensor:
    """The first block of a state, scaled so that its range is about that of data."""
    process = s.denoiser.process
    q = process.marginal(t)
    spread = s.config.sigma_data
    alpha, var = float(q.A[..., 0, 0]), float(q.cov[..., 0, 0])
    scale = np.hypot(spread, 0) / max(np.hypot(alpha * spread, np.sqrt(var)), 1e-12)
    return process.to_data(x_t) * min(float(scale), 1 / max(alpha, 1e-12))


def _strip(s: Shown, images: list[Tensor]) -> pictures.Image.Image:
    return pictures.sheet(s.pixels(torch.cat([x[:1] for x in images])), len(images),
                          transparent=True)  # fmt: skip
