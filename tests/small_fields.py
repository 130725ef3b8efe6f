"""Small sets of fields and models of them, which the tests of several files use."""

from __future__ import annotations

import numpy as np
import torch

import sfumato as sf
from sfumato.data import DataCard
from sfumato.systems.ddo.data.base import Axis, Domain, FieldSet, Frame, Quantity
from sfumato.systems.ddo.model import FieldModel, field_model
from sfumato.systems.ddo.nn.harmonic import Domain as Box
from sfumato.systems.ddo.nn.operator import UNOConfig
from sfumato.train import TrainConfig

SMALL = UNOConfig(1, 1, (16, 16), channels=8, multipliers=(1, 2), modes=4)


def gaussian_set(
    n: int, side: int = 16, domain: Domain = Box.PERIODIC, scale: float = 3.0, mean: float = 5.0
) -> FieldSet:
    """Gaussian fields in units: a quantity of mean 5 and deviation 3, and a parameter."""
    law = sf.GaussianField(sf.SquaredExponential(0.15), 2, domain)
    x = law.sample(torch.zeros(n, 1, side, side), sf.generators(0, range(n)))
    frame = Frame(domain, (Axis("y", 0, 2, "km"), Axis("x", 0, 2, "km")), (Quantity("T", "K"),))
    p = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    values = (scale * x + mean).numpy()
    return FieldSet(
        "gaussian", values, frame, DataCard("g", "", "", ""), p, (Quantity("depth", "m"),)
    )


LAW_OF = {"T": sf.SquaredExponential(0.15), "q": sf.Matern(0.1, 1.5)}


def weather(n: int = 200, side: int = 16) -> FieldSet:
    """Quantities and parameters with means and deviations of their own, on a box of 1 by 2 km."""
    frame = Frame(
        Box.PERIODIC,
        (Axis("y", 0, 1, "km"), Axis("x", 0, 2, "km")),
        (Quantity("h", "m"), Quantity("T", "K"), Quantity("q", "1")),
    )
    values = np.empty((n, 3, side // 2, side), np.float32)
    kernels = [sf.Matern(0.2, 1.5), *LAW_OF.values()]
    for c, (kernel, scale, mean) in enumerate(zip(kernels, (50, 3, 0.02), (300, 5, -0.1))):
        law = sf.GaussianField(kernel, 2, extent=(0.5, 1.0))
        x = law.sample(torch.zeros(n, 1, side // 2, side), sf.generators(c, range(n)))
        values[:, c] = mean + scale * x[:, 0].numpy()
    p = np.stack([np.linspace(0, 1, n), np.linspace(1990, 2020, n)], 1).astype(np.float32)
    names = (Quantity("depth", "m"), Quantity("year"))
    return FieldSet("weather", values, frame, DataCard("w", "", "", ""), p, names)


def columns(data: FieldSet, *names: str) -> torch.Tensor:
    """Quantities and constant fields of parameters by their names, in float64."""
    have = {q.name: data.values[:, c] for c, q in enumerate(data.frame.quantities)}
    assert data.parameters is not None
    for p, q in enumerate(data.parameter_names):
        have[q.name] = np.broadcast_to(data.parameters[:, p, None, None], data.values[:, 0].shape)
    return torch.from_numpy(np.stack([have[name] for name in names], 1).astype(np.float64))


def standard(x: torch.Tensor) -> torch.Tensor:
    """Each column of fields (N, C, ...) to mean 0 and deviation 1."""
    flat = x.transpose(0, 1).flatten(1)
    over = (-1, *[1] * (x.ndim - 2))
    return (x - flat.mean(1).reshape(over)) / flat.std(1).reshape(over)


def training(steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch=16, warmup=10, lr=2e-3, log_every=5, sheet_every=0, tensorboard=False,
        quiet=True, cpu=True, ema_half_life=300,
    )  # fmt: skip


def built(domain: Domain = Box.PERIODIC, **changes: object) -> tuple[sf.Denoiser, FieldModel]:
    data = gaussian_set(200, domain=domain)
    model = field_model(data, SMALL, sf.Matern(0.1, 0.75), **changes)  # type: ignore[arg-type]
    denoiser = model.build(0)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.03 * torch.randn(p.shape, generator=g))
    return denoiser.eval(), model
