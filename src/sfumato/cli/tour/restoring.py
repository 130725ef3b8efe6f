"""A section on restoration: photographs made bad, and made good again by the shipped models."""

from __future__ import annotations

import time
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.console.options import DeviceName, torch_device
from sfumato.data import to_uint8
from sfumato.data.degrade import TASKS, Blur, BlurKernel, FreeForm, Jpeg, Noisy, Task, posed
from sfumato.files.cards import folders
from sfumato.seeds import generators
from sfumato.systems.i2sb.commands.restorers import MIXTURE, SHIPPED, load_restorer

_STEPS = 6
_ROWS = (
    ("denoise", "astronaut", "noise, σ = 0.3", Noisy((0.3, 0.3))),
    ("deblur", "coffee", "blur, σ = 2 pixels", Blur(BlurKernel.GAUSSIAN, 13, (2.0, 2.0))),
    ("jpeg", "chelsea", "JPEG, quality 8", Jpeg((8, 8))),
    ("sr4x", "astronaut", "4x fewer pixels", TASKS["sr4x"].degradation),
    ("inpaint", "chelsea", "a fifth is lost", FreeForm(0.15, 0.25)),
    ("colourise", "coffee", "no colour", TASKS["colourise"].degradation),
)
"""Task, photograph, what was done to it, and by what."""


def restoration(section: Section, shown: list[Shown], seconds: float) -> None:
    """One row a task: bad, restored, as it was."""
    there = folders()
    rows = [r for r in _ROWS if SHIPPED.get(r[0], MIXTURE) in there]
    if not rows:
        return
    device = shown[0].device if shown else torch_device(DeviceName.AUTO)
    began, labels, cells = time.perf_counter(), [], []
    for i, (task, name, what, degradation) in enumerate(rows):
        if i and (time.perf_counter() - began) * (i + 1) / i > seconds:
            break
        truth = photograph(name)
        problem = posed(Task(task, degradation), truth[None], generators(0, [i]))
        bad, known = problem.beside[0].clamp(-1, 1), problem.known
        restorer = load_restorer("", task=task, device=device)
        scale = restorer.scale(task)
        given = bad[:, scale // 2 :: scale, scale // 2 :: scale]
        mask = (1 - known[0]) if restorer.masks(task) else None
        with torch.inference_mode():
            made = restorer(given, task, mask=mask, seeds=(0,), steps=_STEPS)[0]
        labels.append(what)
        cells.append([as_picture(x) for x in (bad, made, truth)])
    section.text(
        "A Schrödinger bridge (I²SB) begins at the bad picture instead of at noise. One small "
        "network undoes five kinds of damage, told which; a second one paints what is missing. "
        "They learned on squares of 64 pixels, and none of these photographs was among them; "
        "larger pictures go through in overlapping tiles."
    )
    section.grid(
        labels,
        ["before", f"after, {_STEPS} evaluations", "as it was"],
        cells,
        "Photographs of scikit-image: Chelsea by Stéfan van der Walt (CC0), coffee by Rachel "
        "Michetti (CC0), Eileen Collins by NASA (public domain).",
    )
    section.code("sfumato restore photo.jpg better.png --task jpeg --compare")


def photograph(name: str) -> Tensor:
    """One of the page's own photographs, (3, 192, 256) in [-1, 1]."""
    place = files("sfumato.cli.tour").joinpath("photographs", f"{name}.webp")
    with place.open("rb") as file:
        pixels = np.asarray(Image.open(file).convert("RGB"))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 127.5 - 1


def as_picture(x: Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] as a picture."""
    return Image.fromarray(to_uint8(x).permute(1, 2, 0).contiguous().numpy())
