r"""The incompressible Navier-Stokes equations in two dimensions, by the modes of the vorticity.

On the periodic unit square,

    ∂w/∂t + u·∇w = ν Δw + f,   u = (∂ψ/∂y, -∂ψ/∂x),   Δψ = -w,   ∫ w = ∫ f = 0,

with w the vorticity, ψ the stream function, u the velocity (divergence 0) and f the curl of the
force, constant in time. Arrays are (..., n, n), x along the last axis but one, y along the last.
There are no units: lengths are in sides of the square.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from sfumato.errors import SfumatoError
from sfumato.systems.ddo.nn.harmonic import Domain, wave_numbers

__all__ = ["NavierStokes"]

Callback: TypeAlias = Callable[[int, int], object]
"""Called with the steps done and the number of steps."""

_LIMIT = 0.8
"""The largest CFL number of a step that is taken."""


@final
@dataclass(frozen=True)
class NavierStokes:
    """A fluid on the periodic unit square, and how finely its time is cut.

    Space: a Galerkin method on the modes |k_x|, |k_y| < n/3. Products are formed on the grid
    of n points, where by the 2/3 rule (Orszag, J. Atmos. Sci. 28, 1971) none of their harmonics
    falls back onto a mode that is kept: the advection ∇·(u w) is that of the kept modes exactly,
    and without viscosity and force it conserves energy and enstrophy.

    Time, with h = time / steps and N(w) = -∇·(u w), of second order:

        (1 + hνK²/2) w*  = (1 - hνK²/2) w + h f + h N(w)
        (1 + hνK²/2) w'  = (1 - hνK²/2) w + h f + h (N(w) + N(w*)) / 2

    Crank and Nicolson for the viscosity, so that it sets no limit on h; Heun for the advection.
    Adams and Bashforth's method of two steps needs half as many N, but its error at the same cost
    is no smaller by much, and it must be started by another method. Here each step depends on the
    state alone: solving for two halves of the time is solving for the whole.

    Advection does limit h. The CFL number is h n max(|u_x| + |u_y|), how many cells the fluid
    crosses in one step. At 1 a step can double the highest modes, and turbulent fields were seen
    to be lost near 0.97; `solve` refuses to go on above 0.8.

    Args:
        viscosity: ν >= 0.
        time: how long, > 0.
        steps: number of equal steps, >= 1.

    Raises:
        ValueError: a number out of range.
    """

    viscosity: float
    time: float
    steps: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.viscosity) and self.viscosity >= 0):
            raise ValueError(f"expected a viscosity >= 0, got {self.viscosity}")
        if not (math.isfinite(self.time) and self.time > 0):
            raise ValueError(f"expected a time > 0, got {self.time}")
        if self.steps < 1:
            raise ValueError(f"expected at least one step, got {self.steps}")

    @torch.no_grad()
    def solve(
        self, initial: Tensor, forcing: Tensor | None = None, callback: Callback | None = None
    ) -> Tensor:
        """The vorticity at the end of the time.

        Args:
            initial: vorticity at the start, (B, n, n) of mean 0, float32 or float64, n >= 4;
                modes of n/3 waves or more are dropped.
            forcing: f, the same; none when None.
            callback: called after each step with the steps done and the number of steps.

        Returns:
            (B, n, n) in the type of ``initial``, without modes of n/3 waves or more.

        Raises:
            ValueError: wrong shapes or types, values that are not finite, or a mean that is not 0.
            SfumatoError: the CFL number has come to be above 0.8, or the solution is not finite.
        """
        n = _ready(initial, "the vorticity", initial)
        top = (n - 1) // 3
        squared, bring, back = (part.to(initial.device) for part in _operators(n, top))
        squared = squared.to(initial.dtype)
        bring, back = (part.to(initial.dtype.to_complex()) for part in (bring, back))

        def modes(x: Tensor) -> Tensor:
            kept = torch.fft.rfft(x, dim=-1, norm="forward")[..., : top + 1]
            return torch.fft.fft(kept, dim=-2, norm="forward")

        def advection(state: Tensor) -> tuple[Tensor, Tensor]:
            """N(w), and u on the grid."""
            raised = torch.fft.ifft(state.unsqueeze(-3) * bring, dim=-2, norm="forward")
            grid = torch.fft.irfft(raised, n, dim=-1, norm="forward")  # u_x, u_y, w
            flow = grid[:, :2]
            return (modes(flow * grid[:, 2:]) * back).sum(-3), flow

        def cfl(flow: Tensor) -> float:
            return float(h * n * flow.abs().sum(1).amax())

        h = self.time / self.steps
        inverse = 1 / (1 + 0.5 * h * self.viscosity * squared)
        kept = (bring[2].real != 0).to(squared)
        stay, push = kept * (1 - 0.5 * h * self.viscosity * squared) * inverse, h * kept * inverse
        state = modes(initial)
        force: Tensor | float = 0.0
        if forcing is not None:
            _ready(forcing, "the forcing", initial)
            force = push * modes(forcing)
        for step in range(self.steps):
            first, flow = advection(state)
            self._check(cfl(flow), step)
            carried = stay * state + force
            second, _ = advection(carried + push * first)
            state = carried + 0.5 * push * (first + second)
            if callback is not None:
                callback(step + 1, self.steps)
        _, flow = advection(state)
        self._check(cfl(flow), self.steps)
        raised = torch.fft.ifft(state, dim=-2, norm="forward")
        return torch.fft.irfft(raised, n, dim=-1, norm="forward")

    def _check(self, cfl: float, step: int) -> None:
        if not cfl <= _LIMIT:
            raise SfumatoError(
                f"the time step {self.time / self.steps:g} is too large: after {step} of "
                f"{self.steps} steps the CFL number is {cfl:.3g}, and it must not be above "
                f"{_LIMIT}; take more steps"
            )


def _ready(x: Tensor, what: str, like: Tensor) -> int:
    """The number of points along each axis, after checking what can be known before solving."""
    n = int(x.shape[-1])
    if x.ndim != 3 or x.shape[1] != n or len(x) == 0 or n < 4:
        raise ValueError(
            f"expected {what} as (B, n, n) with B >= 1 and n >= 4, got {tuple(x.shape)}"
        )
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected {what} in float32 or float64, got {x.dtype}")
    if x.shape != like.shape or x.dtype != like.dtype:
        raise ValueError(
            f"expected {what} as the vorticity, {like.dtype} {tuple(like.shape)}, "
            f"got {x.dtype} {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{what} has values that are not finite")
    mean, size = x.mean((-2, -1)).abs(), x.square().mean((-2, -1)).sqrt()
    if bool((mean > math.sqrt(torch.finfo(x.dtype).eps) * size).any()):
        raise ValueError(f"expected {what} of mean 0, got a mean of {float(mean.max()):g}")
    return n


def _operators(n: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """On the modes (n, top + 1) of a real FFT: K², from ŵ to û_x, û_y, ŵ, and -∇·; float64.

    Outside the modes that are kept, and for the constant, the last two are zero.
    """
    k = 2 * math.pi * wave_numbers(n, Domain.PERIODIC)
    x, y = torch.meshgrid(k, k[: top + 1], indexing="ij")
    squared = x**2 + y**2
    kept = ((x.abs() <= 2 * math.pi * (top + 0.5)) & (squared > 0)).double()
    inverse = kept / squared.clamp(min=1.0)
    bring = torch.stack([1j * y * inverse, -1j * x * inverse, kept + 0j])
    back = torch.stack([-1j * x * kept, -1j * y * kept])
    return squared, bring, back
