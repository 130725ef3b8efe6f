"""The visit itself: load the models, draw section after section, write the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from sfumato import __version__, zoo
from sfumato.cli.tour import TourConfig
from sfumato.cli.tour.edits import attributes, inpainting, interpolation
from sfumato.cli.tour.fast import fast
from sfumato.cli.tour.functions import functions
from sfumato.cli.tour.haze import haze
from sfumato.cli.tour.page import Section, page
from sfumato.cli.tour.points import points
from sfumato.cli.tour.prompts import prompts
from sfumato.cli.tour.quality import quality
from sfumato.cli.tour.restoring import restoration
from sfumato.cli.tour.samples import guidance, samples, solvers
from sfumato.cli.tour.shown import Shown
from sfumato.console.options import torch_device
from sfumato.errors import SfumatoError
from sfumato.files.atomic import write
from sfumato.files.words import many
from sfumato.model.load import load as load_model
from sfumato.model.sampler import Sampler

_LEAD = (
    "To let a form come out of haze by imperceptible degrees. A process turns data into noise, "
    "a denoiser guesses the data behind the noise, a solver walks back from noise to data. "
    "Every picture below was drawn from the shipped weights while this page was written."
)


@final
@dataclass(frozen=True)
class TourSection:
    """A section of the page, and the share of the time that it may take."""

    title: str
    draw: Callable[[Section, list[Shown], float], None]
    share: float


SCENES = (
    TourSection("Samples", samples, 0.08),
    TourSection("Out of the haze", haze, 0.03),
    TourSection("Solvers and steps", solvers, 0.1),
    TourSection("Fewer evaluations", fast, 0.05),
    TourSection("Guidance", guidance, 0.1),
    TourSection("Attributes", attributes, 0.08),
    TourSection("Inpainting", inpainting, 0.08),
    TourSection("Restoration", restoration, 0.22),
    TourSection("Functions", functions, 0.1),
    TourSection("Words", prompts, 0.12),
    TourSection("Interpolation", interpolation, 0.11),
    TourSection("Quality over evaluations", quality, 0.22),
    TourSection("Points in the plane", points, 0.05),
)


def visit(config: TourConfig) -> Path:
    """Write ``index.html`` in the folder asked for; returns its path."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    began = time.perf_counter()
    if config.threads:
        torch.set_num_threads(config.threads)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading", total=len(SCENES) + 1)
        shown, skipped = load(config)
        progress.advance(task)
        sections, start = [], time.perf_counter()
        for i, scene in enumerate(SCENES):
            progress.update(task, description=scene.title.lower())
            section = Section(scene.title)
            left = max(config.seconds - (time.perf_counter() - start), 0.1 * config.seconds)
            seconds = left * scene.share / sum(later.share for later in SCENES[i:])
            try:
                scene.draw(section, shown, seconds)
            except SfumatoError as error:
                section.note(f"This section is not complete: {error}")
            except KeyboardInterrupt as stop:
                if section.parts:
                    section.note("This section is not complete: the command was interrupted here.")
                    sections.append(section)
                if sections:
                    path = _write(config, sections, shown, began, finished=False)
                    stop.add_note(f"what was drawn is in {path}; the same command begins again")
                raise
            if section.parts:
                sections.append(section)
            progress.advance(task)
        sections.append(about(shown, skipped))
    return _write(config, sections, shown, began)


def _write(
    config: TourConfig,
    sections: list[Section],
    shown: list[Shown],
    began: float,
    finished: bool = True,
) -> Path:
    """Write the page; one that is not finished does not replace another."""
    spent = time.perf_counter() - began
    footer = (
        f"Drawn by sfumato {__version__} in {spent:.0f} seconds with seed {config.seed} on "
        f"{shown[0].device.type if shown else 'no device'}, "
        f"{many(torch.get_num_threads(), 'thread')}. "
        "This page is one file and asks nothing of the network."
    )
    path = config.out / "index.html"
    if not finished and path.exists():
        path = config.out / "unfinished.html"
    write(path, page("sfumato", _LEAD, sections, footer))
    if finished:
        print(f"wrote {path.resolve()} in {spent:.0f} s; open it in a browser")
    return path


def load(config: TourConfig) -> tuple[list[Shown], list[str]]:
    """The generative models of the zoo, images first, and why others could not be loaded."""
    device = torch_device(config.device)
    shown, skipped = [], []
    for card in zoo.cards():
        if card.kind != "denoiser" or card.system != "EDM":
            continue
        try:
            model = load_model(card.name, Sampler)
        except SfumatoError as error:
            skipped.append(f"The model `{card.name}` is missing here: {error}")
            continue
        one = Shown(model.to(device), card, config.seed)
        one.time()
        shown.append(one)
    return sorted(shown, key=lambda s: (not s.images, len(s.axes), s.card.name)), skipped


def about(shown: list[Shown], skipped: list[str]) -> Section:
    """The models on this page, their scores, and the commands that lead further."""
    section = Section("The models")
    if not shown:
        section.note(
            "No weights were found, so there is nothing to draw. Train a model with "
            "`sfumato train`, or point SFUMATO_ZOO to a folder of models."
        )
    rows = [
        (
            f"`{s.card.name}`",
            s.card.system,
            s.card.data,
            f"{sum(p.numel() for p in s.denoiser.parameters()):,}",
            f"{s.rate:,.0f}",
        )
        for s in shown
    ]
    if rows:
        head = ("name", "system", "data", "parameters", "evaluations/s here")
        section.table(head, rows)
    for s in shown:
        if s.card.scores:
            section.heading(f"{s.card.name}: what was measured when it was shipped")
            section.table(
                ("score", "value"), [(str(k), _figure(v)) for k, v in s.card.scores.items()]
            )
        if s.card.command:
            section.text(
                f"`{s.card.name}` was trained by `{s.card.command}`. {s.card.time}".strip()
            )
        if s.card.licence:
            section.text(f"Licence of `{s.card.name}`: {s.card.licence}.")
    for line in skipped:
        section.note(line)
    if shown:
        name = shown[0].card.name
        section.heading("Go on")
        section.code(
            f"sfumato sample {name} --n 64 --steps 18 --out sheet.png\n"
            f"sfumato sample {name} --n 1000 --solver heun --out samples.npz\n"
            f"sfumato models {name}\n"
            "sfumato train --help"
        )
    return section


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
