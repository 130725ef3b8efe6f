"""Along the probability-flow ODE: data to its latent at t = 1, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.console.drawing import Drawer, precision
from sfumato.data import to_uint8
from sfumato.errors import UsageError
from sfumato.sampling import encode as walk_up
from sfumato.sampling import sample as walk_down
from sfumato.seeds import generators


def to_data(x: NDArray[Any], drawer: Drawer) -> Tensor:
    """Images uint8 (N, C, H, W) as float32 in [-1, 1]; points float32 (N, d) as they are.

    Raises UsageError if they do not have the model's shape.
    """
    if tuple(x.shape[1:]) != drawer.config.shape:
        raise UsageError(
            f"this model takes data of shape {drawer.config.shape}, got {tuple(x.shape[1:])}"
        )
    data = torch.from_numpy(np.ascontiguousarray(x)).float()
    return data / 127.5 - 1 if x.ndim == 4 else data


def to_samples(x: Tensor) -> NDArray[Any]:
    """The inverse of :func:`to_data`."""
    return (to_uint8(x) if x.ndim == 4 else x.float()).cpu().numpy()


def state_shape(drawer: Drawer) -> tuple[int, ...]:
    """The shape of one latent: that of the data, with k times as many channels."""
    first, *rest = drawer.config.shape
    return (drawer.denoiser.process.k * first, *rest)


def encode(
    drawer: Drawer, data: Tensor, labels: NDArray[np.int64], indices: Sequence[int]
) -> Tensor:
    """The states at t = 1 that the ODE leads to ``data`` (B, C, ...), on the CPU."""
    with torch.inference_mode(), precision(drawer.device, drawer.how.dtype):
        solution = walk_up(
            drawer.denoiser,
            drawer.plan.solver,
            drawer.plan.times[:-1].flip(0),
            data.to(drawer.device),
            cond=drawer.cond(labels),
            generator=generators(drawer.seed, indices),
        )
    return solution.x.float().cpu()


def decode(drawer: Drawer, latents: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """Data (B, C, ...) from states at t = 1, on the CPU."""
    process = drawer.denoiser.process
    with torch.inference_mode(), precision(drawer.device, drawer.how.dtype):
        solution = walk_down(
            drawer.denoiser,
            drawer.plan.solver,
            drawer.plan.times,
            latents.to(drawer.device),
            cond=drawer.cond(labels),
        )
    return process.to_data(solution.x).float().cpu()
