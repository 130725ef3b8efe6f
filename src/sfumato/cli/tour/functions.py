"""A section on functions: one seed seen on three grids, and a field made to meet observations."""

from __future__ import annotations

import time

import torch

from sfumato import zoo
from sfumato.cli.tour.page import Section
from sfumato.cli.tour.shown import Shown
from sfumato.console.options import DeviceName, torch_device
from sfumato.model.load import load
from sfumato.systems.ddo import pictures as field_pictures
from sfumato.systems.ddo.data.observations import Observations
from sfumato.systems.ddo.model import FieldModel
from sfumato.systems.ddo.sampling import FieldSampler, draw_fields, observed
from sfumato.systems.ddo.wiener import Wiener

_COLUMNS, _STEPS = 5, 12


def functions(section: Section, shown: list[Shown], seconds: float) -> None:
    """A sheet for each shipped model of fields in the plane, as far as there is time."""
    cards = [card for card in zoo.cards() if card.kind == "field model"]
    device = shown[0].device if shown else torch_device(DeviceName.AUTO)
    began, drawn = time.perf_counter(), list[str]()
    for card in cards:
        opened = load(card.name, FieldSampler)
        model = opened.description
        if model.frame.dims != 2 or model.given:
            continue
        spent = time.perf_counter() - began
        if drawn and spent * (len(drawn) + 1) / len(drawn) > seconds:
            break
        if not drawn:
            section.text(
                "Data may be functions: noise is one continuous random field, seen on whatever "
                "grid is asked for, and the network takes functions to functions. So a model "
                "that was trained on one grid is sampled on any, and one seed is one field on "
                "all of them (DDO)."
            )
        denoiser = opened.to(device).denoiser
        walk = opened.walk("deis", _STEPS)
        sides = [max(16, model.grid[0] // 2), model.grid[0], 2 * model.grid[0]]
        with torch.inference_mode():
            rows = [
                draw_fields(denoiser, model, (n, n), 0, range(_COLUMNS), walk).x.numpy()
                for n in sides
            ]
            labels = [f"{n} x {n}" for n in sides]
            if isinstance(denoiser, Wiener):
                seen = three_points(model)
                guided = observed(denoiser, model, seen)
                n = model.grid[0]
                made = draw_fields(guided, model, (n, n), 0, range(_COLUMNS), walk).x.numpy()
                rows.append(made)
                labels.append("observed")
        sheet = field_pictures.field_sheet(
            rows, label=model.frame.quantities[0].label, row_labels=labels
        )
        section.picture(
            sheet,
            f"{card.name}, trained on {model.grid[0]} x {model.grid[0]} points, on three grids; "
            "below, made to meet three values: high at a quarter of the height and width, low in "
            "the middle, high at three quarters.",
            smooth=True,
        )
        drawn.append(card.name)
    if drawn:
        section.code(f"sfumato fields sample {drawn[0]} --resolution 256 --out fields.nc")


def three_points(model: FieldModel) -> Observations:
    """Two deviations above the mean, below, and above again, along the diagonal."""
    scale = model.scales[0]
    values = [scale.mean + sign * 2 * scale.deviation for sign in (1, -1, 1)]
    points = torch.tensor([[0.25, 0.25], [0.5, 0.5], [0.75, 0.75]], dtype=torch.float64)
    return Observations(
        points.numpy(),
        torch.tensor(values, dtype=torch.float64).numpy(),
        model.frame.quantities[0].name,
    )
