"""At which noise levels a model of fields loses power: real fields, noised and denoised again."""

from __future__ import annotations

import math
from typing import Any

import torch
from rich.console import Console

import sfumato as sf
from sfumato.systems.ddo.metrics.spectra import energy_spectrum
from sfumato.systems.ddo.model import FieldModel

WAVES = (2, 4, 8, 14, 20)
"""Shells whose power is told."""


def denoised_again(
    denoiser: sf.Denoiser, model: FieldModel, values: torch.Tensor, seed: int
) -> list[dict[str, Any]]:
    """Real fields with noise of some level, denoised by the model: power over what it was.

    With the exact denoiser it is 1 whatever the level, so it tells at which levels it is lost.
    """
    x0, process = model.normalised(values), denoiser.process
    before = energy_spectrum(x0.double(), model.frame.domain).power[0]
    rows = []
    for level in (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0):
        lows = torch.linspace(level, -7.0, 6 + 2 * int(level + 5), dtype=torch.float64)
        walk = sf.times.schedule_of(process).time(-2 * lows)
        times = torch.cat([walk, walk.new_zeros(1)])
        x, _ = process.perturb(x0, float(walk[0]), sf.generators(seed, range(len(x0))))
        with torch.no_grad():
            made = sf.sample(denoiser, sf.solve.Heun(), times, x).x
        after = energy_spectrum(made.double(), model.frame.domain).power[0]
        row = {"level": math.exp(level)}
        row |= {f"waves {k}": float(after[k] / before[k]) for k in WAVES}
        rows.append(row)
        Console().print(row)
    return rows


def decided(model: FieldModel, length: float) -> dict[str, Any]:
    """The noise level σ at which a wave is half known, for Matérn noise of this length."""
    noise = sf.GaussianField(sf.Matern(length, 0.75), model.frame.dims, model.frame.domain)
    ratio = (model.spectra[0].power(model.grid) / noise.power(model.grid)).sqrt()
    along = ratio[(0,) * (model.frame.dims - 1)]
    return {"length": length} | {f"waves {k}": float(along[k]) for k in (1, *WAVES)}
