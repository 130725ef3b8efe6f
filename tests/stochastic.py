"""The processes' stochastic differential equations, written down from the papers, and solved.

Independent of the library: F(t) and G Gᵀ(t) of dx = F x dt + G dW as numpy matrices, and the
kernel from s to t by integrating the matrix and Lyapunov equations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

Matrix = np.ndarray
Coefficients = Callable[[float], tuple[Matrix, Matrix]]


def scalar(f: float, g: float) -> tuple[Matrix, Matrix]:
    return np.array([[f]]), np.array([[g]])


def linear_beta(t: float) -> tuple[Matrix, Matrix]:
    """dx = -β x/2 dt + √β dW."""
    beta = 0.1 + 19.9 * t
    return scalar(-beta / 2, beta)


def shifted_beta(t: float) -> tuple[Matrix, Matrix]:
    """λ lower by 2 ln f, so α² = 1 / (1 + f² (e^B - 1)) = exp(-∫β'): β' = β f² e^B α²."""
    f, rise = 0.5, math.exp(0.1 * t + 9.95 * t * t)
    beta = (0.1 + 19.9 * t) * f**2 * rise / (1 + f**2 * (rise - 1))
    return scalar(-beta / 2, beta)


def cosine(t: float) -> tuple[Matrix, Matrix]:
    """α = exp(-½∫β), so β = π tan(πt/2)."""
    beta = math.pi * math.tan(math.pi * t / 2)
    return scalar(-beta / 2, beta)


def exploding(t: float) -> tuple[Matrix, Matrix]:
    r = 5000.0
    return scalar(0.0, 0.01**2 * r ** (2 * t) * 2 * math.log(r))


def karras(t: float) -> tuple[Matrix, Matrix]:
    """dx = √(2σσ̇) dW with σ = 80 t."""
    return scalar(0.0, 2 * 80.0 * 80.0 * t)


def straight(t: float) -> tuple[Matrix, Matrix]:
    """x_t = (1-t) x_0 + t ε: f = -1/(1-t), g² = d(t²)/dt - 2 f t² = 2t/(1-t)."""
    return scalar(-1 / (1 - t), 2 * t / (1 - t))


def damped(t: float) -> tuple[Matrix, Matrix]:
    """M⁻¹ = 4, Γ = 1, β = 4 (Dockhorn et al. 2022, eq. 4)."""
    return 4 * np.array([[0, 4], [-1, -4.0]]), np.array([[0, 0], [0, 2 * 1 * 4.0]])


def damped_rising(t: float) -> tuple[Matrix, Matrix]:
    beta = 0.1 + 6.9 * t
    return beta * np.array([[0, 4], [-1, -4.0]]), beta * np.array([[0, 0], [0, 2.0]])


SDE: dict[str, Coefficients] = {
    "vp": linear_beta,
    "cosine": cosine,
    "shifted": shifted_beta,
    "ve": exploding,
    "edm": karras,
    "flow": straight,
    "cld": damped,
    "cld-rising": damped_rising,
}


def lyapunov(sde: Coefficients, s: float, t: float, k: int) -> tuple[Matrix, Matrix]:
    """Φ and Q of dx = F x dt + G dW from s to t, by an 8th order ODE solver."""

    def rate(time: float, y: Matrix) -> Matrix:
        f, g = sde(time)
        phi, q = y[: k * k].reshape(k, k), y[k * k :].reshape(k, k)
        return np.concatenate([(f @ phi).ravel(), (f @ q + q @ f.T + g).ravel()])

    y0 = np.concatenate([np.eye(k).ravel(), np.zeros(k * k)])
    y = solve_ivp(rate, (s, t), y0, method="DOP853", rtol=1e-13, atol=1e-16).y[:, -1]
    return y[: k * k].reshape(k, k), y[k * k :].reshape(k, k)
