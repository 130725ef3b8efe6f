"""Made-up rainfall with units and axes, and tiny models of it, for tests of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

import sfumato as sf
from sfumato.data import DataCard
from sfumato.files.store import write_folder
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.files import write_fields
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain
from sfumato.systems.ddo.nn.operator import UNOConfig
from sfumato.train.checkpoint import pack_json, pack_tensors

SMALL = UNOConfig(1, 1, (16, 16), channels=8, multipliers=(1, 2), modes=4)


def rain(n: int = 60, side: int = 16) -> FieldSet:
    law = sf.GaussianField(sf.SquaredExponential(0.15), 2, Domain.REFLECTING)
    x = 10 + 2 * law.sample(torch.zeros(n, 1, side, side), sf.generators(0, range(n)))
    axes = (Axis("lat", 40, 50, "degrees_north"), Axis("lon", 0, 10, "degrees_east"))
    frame = Frame(Domain.REFLECTING, axes, (Quantity("rain", "mm"),))
    height = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    card = DataCard("rain", "made up", "CC0", f"{n}")
    return FieldSet("rain", x.numpy(), frame, card, height, (Quantity("height", "m"),))


def write_model(root: Path, name: str, model: FieldModel) -> None:
    """A folder of the zoo with weights that are not zero."""
    denoiser, g = model.build(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=g))
    card = {"name": name, "system": "DDO", "data": model.data, "kind": "field model"}
    files = {
        "model.safetensors": pack_tensors(denoiser.state_dict()),
        "model.json": pack_json({"model": model.to_json()}),
        "card.json": json.dumps(card).encode(),
    }
    write_folder(root / name, files)


def fill(root: Path) -> Path:
    """A file of fields, and two models of them, one of which is told the height."""
    write_fields(root / "rain.npz", rain())
    noise = sf.Matern(0.1, 0.75)
    write_model(root, "tiny-rain", field_model(rain(), SMALL, noise))
    write_model(root, "tiny-told", field_model(rain(), SMALL, noise, ["height"]))
    return root
