"""Velocity and quadratic integrals of a vorticity (..., n, n) on the periodic unit square."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.systems.ddo.nn.harmonic import Domain, to_modes, wave_numbers


def _squared(n: int) -> Tensor:
    """K² of each mode, K = 2π (k_x, k_y), float64 (n, n)."""
    k = 2 * math.pi * wave_numbers(n, Domain.PERIODIC)
    return k[:, None] ** 2 + k**2


def velocity(w: Tensor) -> Tensor:
    """u = (∂ψ/∂y, -∂ψ/∂x) with Δψ = -w, at the grid points: (..., n, n) to (..., 2, n, n)."""
    n = int(w.shape[-1])
    k = 2 * math.pi * wave_numbers(n, Domain.PERIODIC)
    squared = _squared(n)
    squared[0, 0] = 1.0
    turn = torch.stack([1j * k.expand(n, n) / squared, -1j * k[:, None] / squared])
    modes = to_modes(w, 2, Domain.PERIODIC)
    return torch.fft.ifft2(modes.unsqueeze(-3) * turn.to(modes), norm="forward").real


def energy(w: Tensor) -> Tensor:
    """½ ∫ |u|² = ½ Σ |ŵ|² / K²: (..., n, n) to (...)."""
    return _quadratic(w, -1)


def enstrophy(w: Tensor) -> Tensor:
    """½ ∫ w² (the mean of w taken out)."""
    return _quadratic(w, 0)


def palinstrophy(w: Tensor) -> Tensor:
    """½ ∫ |∇w|² = ½ Σ K² |ŵ|².

    dE/dt = -2ν Z + ∫ ψ f and dZ/dt = -2ν P + ∫ w f, E the energy, Z the enstrophy, P this.
    """
    return _quadratic(w, 1)


def _quadratic(w: Tensor, power: int) -> Tensor:
    """½ Σ |ŵ|² K^(2 power), without the constant mode."""
    squared = _squared(int(w.shape[-1]))
    squared[0, 0] = 1.0
    weight = squared**power
    weight[0, 0] = 0.0
    modes = to_modes(w, 2, Domain.PERIODIC)
    return 0.5 * (modes.abs() ** 2 * weight.to(w)).sum((-2, -1))
