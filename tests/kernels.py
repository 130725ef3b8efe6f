"""Correlations of kernels in closed form, for tests."""

from __future__ import annotations

import torch
from scipy.special import gamma, kv
from torch import Tensor

import sfumato as sf

KERNELS: dict[str, sf.Covariance] = {
    "matern-1/2": sf.Matern(0.1, 0.5),
    "matern-3/2": sf.Matern(0.1, 1.5),
    "matern-5/2": sf.Matern(0.08, 2.5),
    "matern-1.2": sf.Matern(0.1, 1.2),
    "squared-exponential": sf.SquaredExponential(0.12),
    "laplacian": sf.Laplacian(3.0, 10.0),
}


def closed_form(kernel: sf.Covariance, r: Tensor, dims: int) -> Tensor:
    """The correlation at distance r in all of space."""
    match kernel:
        case sf.SquaredExponential(length):
            return (-0.5 * (r / length).square()).exp()
        case sf.Matern(length, nu):
            pass
        case sf.Laplacian(power, shift):
            length, nu = 1 / shift, power - dims / 2
        case _:
            raise NotImplementedError
    u = (r / length).clamp_min(1e-9).numpy()
    return torch.from_numpy(2 ** (1 - nu) / gamma(nu) * u**nu * kv(nu, u))
