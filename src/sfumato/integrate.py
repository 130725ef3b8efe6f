"""Dormand-Prince 5(4): an adaptive Runge-Kutta step that treats every sample by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import SfumatoError

Field = Callable[[Tensor, Tensor], Tensor]
"""dx/dt at (x (B, ...), t (B,))."""

# Dormand & Prince 1980, table 2: nodes, stages, and fifth minus fourth order weights
_C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _each(v: Tensor, x: Tensor) -> Tensor:
    return v.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _stages(
    field: Field, x: Tensor, t: Tensor, h: Tensor, k1: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """The fifth-order end of a step, and its six slopes."""
    slopes = [k1]
    y = x
    for c, row in zip(_C[1:], _A[1:], strict=True):
        push = sum((a * k for a, k in zip(row, slopes, strict=True) if a), torch.zeros_like(x))
        y = x + _each(h, x) * push
        if len(slopes) < 6:
            slopes.append(field(y, t + c * h))
    return y, slopes


def fixed_step(field: Field, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """One fifth-order step from t to s, without error control; t and s are (B,)."""
    return _stages(field, x, t, s - t, field(x, t))[0]


def integrate(
    field: Field,
    x: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    rtol: float,
    atol: float,
    first: Tensor | None = None,
    max_steps: int = 10_000,
) -> tuple[Tensor, Tensor]:
    """Integrate from t to s (0-d) with step sizes chosen for each sample apart.

    A step is accepted where the root mean square of error/(atol + rtol max(|x|, |y|)) over the
    sample's dimensions is at most 1. Samples never influence each other's steps.

    Returns:
        The state at s, and each sample's last step size (B,), for a next call's ``first``.

    Raises:
        SfumatoError: more than ``max_steps`` steps, or a state that is not finite.
    """
    batch = x.shape[0]
    now = torch.full((batch,), float(t), dtype=torch.float64, device=x.device)
    end = float(s)
    span = abs(end - float(t))
    sign = 1.0 if end > float(t) else -1.0
    size = torch.full_like(now, span / 16) if first is None else first.clone()
    k1 = field(x, now)
    for _ in range(max_steps):
        left = (end - now).abs()
        active = left > 0
        if not bool(active.any()):
            return x, size
        last = active & (size >= left * (1 - 1e-12))
        h = torch.where(active, torch.minimum(size, left), torch.zeros_like(size)) * sign
        y, slopes = _stages(field, x, now, h, k1)
        slopes.append(field(y, now + h))  # the next step's first, and the error's last
        gap = _each(h, x) * sum(
            (e * k for e, k in zip(_E, slopes, strict=True) if e), torch.zeros_like(x)
        )
        scale = atol + rtol * torch.maximum(x.abs(), y.abs())
        error = (gap / scale).double().square().flatten(1).mean(1).sqrt()
        wild = active & ~error.isfinite()  # a step that was much too long may overflow: shorten it
        error = torch.where(wild, torch.full_like(error, 1e9), error)
        stuck = active & ~k1.flatten(1).isfinite().all(1) | wild & (h.abs() < 1e-12 * span)
        if bool(stuck.any()):
            raise SfumatoError(
                f"the flow is not finite near t = {float(now[stuck][0]):.3g}: the model may have "
                "diverged, or the grid reaches a singular end"
            )
        accept = active & (error <= 1)
        keep = _each(accept.to(x.dtype), x).bool()
        x = torch.where(keep, y, x)
        k1 = torch.where(keep, slopes[-1], k1)
        now = torch.where(accept, torch.where(last, torch.full_like(now, end), now + h), now)
        grow = (0.9 * error.clamp_min(1e-10).pow(-0.2)).clamp(0.2, 5.0)
        # a step cut short by the end says little about the next one's size
        size = torch.where(active & ~(accept & last), h.abs() * grow, size)
    raise SfumatoError(
        f"no end after {max_steps} steps between t = {float(t):g} and {end:g}: "
        "loosen rtol and atol, or end the grid further from 0"
    )
