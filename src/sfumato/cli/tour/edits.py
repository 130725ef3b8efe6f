"""Sections on what a model can be asked beside samples: attributes, inpainting, interpolation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.files import pictures
from sfumato.guide import Inpaint


def attributes(section: Section, shown: list[Shown], seconds: float) -> None:
    """Two label axes against each other, from the same noise."""
    for s in (s for s in shown if s.images and len(s.axes) > 1):
        rows_axis, columns_axis = _two_axes(s)
        rows, columns = s.axes[rows_axis][1], s.axes[columns_axis][1]
        each = int(np.clip(seconds * s.rate / (18 * 2 * len(rows) * len(columns)), 2, 5))
        labels = np.tile(s.labels(each), (len(rows) * len(columns), 1))
        labels[:, rows_axis] = np.arange(len(rows)).repeat(len(columns) * each)
        labels[:, columns_axis] = np.tile(np.arange(len(columns)).repeat(each), len(rows))
        drawn, _ = s.draw([*range(each)] * (len(labels) // each), labels, steps=18, guidance=1.5)
        tiles = [
            pictures.sheet(drawn[i : i + each], each, gap=1, transparent=True)
            for i in range(0, len(drawn), each)
        ]
        cells = [tiles[i : i + len(columns)] for i in range(0, len(tiles), len(columns))]
        names = s.axes[rows_axis][0], s.axes[columns_axis][0].replace("_", " ")
        section.heading(f"{s.card.name}: {names[0]} and {names[1]}")
        section.grid(
            list(rows),
            [f"{names[1]}: {value}" for value in columns],
            cells,
            f"The {each} faces of every cell start from the same {each} noises and share all "
            f"other attributes; only {names[0]} (down) and {names[1]} (across) change. "
            "Guidance 1.5.",
        )


def _two_axes(s: Shown) -> tuple[int, int]:
    """Style and glasses where there are such axes, else the first two."""
    names = [name for name, _ in s.axes]
    first = names.index("style") if "style" in names else 0
    second = names.index("glasses") if "glasses" in names else int(first == 0)
    return first, second


def inpainting(section: Section, shown: list[Shown], seconds: float) -> None:
    """Part of an image is known; several ways to complete it."""
    models = [s for s in shown if s.images]
    steps, fills = 24, 5
    for s in models:
        n = int(np.clip(seconds / len(models) * s.rate / (steps * fills), 1, 5))
        x, labels, real = s.examples(16)
        chosen = list(range(0, 16, 16 // n))[:n]
        x, labels = x[chosen], labels[chosen]
        known = torch.zeros_like(x)
        for i in range(n):  # the upper half, then the left half, in turns
            half = (slice(None), slice(0, x.shape[2] // 2))
            known[i][half if i % 2 == 0 else (*half[:1], slice(None), half[1])] = 1
        model = Inpaint(
            s.denoiser, x.repeat_interleave(fills, 0), known.repeat_interleave(fills, 0)
        )
        solution = s.walk(
            range(n * fills),
            labels.repeat(fills, 0),
            steps=steps,
            solver="ancestral",
            denoiser=model,
        )
        drawn = s.denoiser.process.to_data(solution.x).reshape(n, fills, *x.shape[1:])
        seen = torch.where(known.bool(), x, torch.full_like(x, 0.55))
        rows = torch.cat([seen[:, None], drawn, x[:, None]], 1).flatten(0, 1)
        section.heading(s.card.name)
        section.picture(
            pictures.sheet(s.pixels(rows), fills + 2, transparent=True),
            f"Left: what is known of {'real images' if real else 'images'}. Then {fills} "
            "completions, each from its own noise. Right: the original. The network was not "
            "trained for this; its guess is corrected by what is known at every step.",
        )


def interpolation(section: Section, shown: list[Shown], seconds: float) -> None:
    """Encode two images along the ODE, walk between their latents, decode."""
    models = [s for s in shown if s.images]
    stops, steps = 9, 16
    for s in models:
        pairs = int(np.clip(seconds / len(models) * s.rate / ((stops + 2) * (2 * steps - 1)), 1, 4))
        x, _, real = s.examples(max(16, 2 * pairs))
        ends = torch.cat([x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2]])
        latent = s.model.encode(
            ends, steps=steps
        )  # no labels: the way from a shoe to a bag has none
        process = s.denoiser.process
        between = torch.cat(
            [slerp(latent[:pairs], latent[pairs:], f) for f in np.linspace(0, 1, stops)]
        )
        none = np.array([[len(values) for _, values in s.axes]], np.int64)
        labels = none.repeat(len(between), 0)
        walked = s.walk(range(len(between)), labels, steps=steps, solver="heun", start=between)
        drawn = process.to_data(walked.x).reshape(stops, pairs, *x.shape[1:]).transpose(0, 1)
        rows = torch.cat([ends[:pairs, None], drawn, ends[pairs:, None]], 1).flatten(0, 1)
        section.heading(s.card.name)
        section.picture(
            pictures.sheet(s.pixels(rows), stops + 2, transparent=True),
            f"First and last column: two {'real images' if real else 'samples'}. Each was led "
            f"along the ODE to its latent ({2 * steps - 1} evaluations); between them latents on "
            "the arc from one to the other, led back. The second column and the last but one are "
            "the round trip: the images themselves, up to the error of the solver. Without "
            "labels.",
        )


def slerp(a: Tensor, b: Tensor, fraction: float) -> Tensor:
    """Spherical interpolation of each pair of latents (B, ...); their norms are interpolated."""
    fa, fb = a.flatten(1), b.flatten(1)
    na, nb = fa.norm(dim=1, keepdim=True), fb.norm(dim=1, keepdim=True)
    cosine = (fa * fb).sum(1, keepdim=True) / (na * nb).clamp_min(1e-12)
    angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
    sine = angle.sin()
    way = ((1 - fraction) * angle).sin() / sine * fa / na + (
        fraction * angle
    ).sin() / sine * fb / nb
    return (way * ((1 - fraction) * na + fraction * nb)).reshape(a.shape)
