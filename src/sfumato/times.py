"""Time grids: n steps from the prior to the data are n + 1 falling times, the last one 0."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.bridge import Bridge
from sfumato.errors import UsageError
from sfumato.process import Process, Scheduled
from sfumato.schedule import Schedule


def _check(n: int) -> None:
    if n < 1:
        raise UsageError(f"expected at least 1 step, got {n}")


def _fractions(n: int) -> Tensor:
    _check(n)
    return torch.linspace(0, 1, n + 1, dtype=torch.float64)


def uniform(n: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """n equal steps from ``start`` down to ``end``."""
    return start + (end - start) * _fractions(n)


def quadratic(n: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Equal steps in √t: finer near the data (Song et al. 2021, DDIM; GENIE).

    CLD's "QS" is the same grid only where ``end`` is 0; for a later end it is `striding`.
    """
    root = start**0.5 + (end**0.5 - start**0.5) * _fractions(n)
    root[-1] = end**0.5
    return root.square()


def striding(n: int, start: float = 1.0, end: float = 0.0) -> Tensor:
    """end + (start - end) (i/n)² for i = n ... 0: CLD's quadratic striding, "QS" (2112.07068)."""
    made = end + (start - end) * _fractions(n).flip(0).square()
    made[-1] = end
    return made


def offset(n: int, start: float = 1e-3) -> Tensor:
    """i/n (1 - start) + start for i = n ... 1, then 0: few large steps (DDGAN, 2112.07804)."""
    t = start + (1 - start) * _fractions(n).flip(0)
    t[-1] = 0
    return t


def schedule_of(process: Process) -> Schedule:
    """The schedule of a scheduled or pinned process. Raises UsageError: the process has none."""
    inner = process.inner if isinstance(process, Bridge) else process
    if isinstance(inner, Scheduled):
        return inner.schedule
    raise UsageError(
        f"a grid in noise levels needs a scheduled process, got {process!r}: "
        "use uniform or quadratic"
    )


def karras(
    process: Process,
    n: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> Tensor:
    """Noise levels σ/α equally spaced in σ^(1/ρ), then 0 (Karras et al. 2022, eq. 5).

    The levels are mapped to times by the schedule, and are cut at the schedule's own largest.
    """
    _check(n)
    schedule = schedule_of(process)
    top = float((-0.5 * schedule.log_snr(1.0)).exp())
    high = min(sigma_max, top)
    if not 0 < sigma_min < high:
        raise UsageError(f"expected 0 < sigma_min < sigma_max, got {sigma_min} and {high}")
    if n == 1:
        return schedule_end(schedule, torch.tensor([high], dtype=torch.float64))
    f = _fractions(n - 1)
    levels = (high ** (1 / rho) + f * (sigma_min ** (1 / rho) - high ** (1 / rho))) ** rho
    return schedule_end(schedule, levels)


def schedule_end(schedule: Schedule, levels: Tensor) -> Tensor:
    """Times at noise levels σ/α, followed by 0."""
    t = schedule.time(-2 * levels.log()).clamp(0, 1)
    if float(levels[0]) >= float((-0.5 * schedule.log_snr(1.0)).exp()) * (1 - 1e-12):
        t[0] = 1.0
    return torch.cat([t, t.new_zeros(1)])


def log_snr(process: Process, n: int, sigma_min: float = 0.002, sigma_max: float = 80.0) -> Tensor:
    """Noise levels equally spaced in ln(σ/α), then 0: uniform in the log-SNR (Lu et al. 2022)."""
    _check(n)
    schedule = schedule_of(process)
    high = min(sigma_max, float((-0.5 * schedule.log_snr(1.0)).exp()))
    if not 0 < sigma_min < high:
        raise UsageError(f"expected 0 < sigma_min < sigma_max, got {sigma_min} and {high}")
    ends = torch.tensor([high, sigma_min], dtype=torch.float64).log()
    f = _fractions(n - 1) if n > 1 else _fractions(1)[:1]
    return schedule_end(schedule, (ends[0] + f * (ends[1] - ends[0])).exp())


def angular(process: Process, n: int, sigma_data: float = 0.5) -> Tensor:
    """n equal steps in the angle arctan(σ/(α σ_d)), from t = 1 down to 0.

    Half of the way lies above σ/α = σ_d, where the shape is decided, and half below it.
    """
    _check(n)
    return at_angle(process, _fractions(n).flip(0), sigma_data)


def at_angle(process: Process, fraction: Tensor, sigma_data: float = 0.5) -> Tensor:
    """The times at which `angle` is a fraction of what it is at t = 1; float64."""
    schedule, fraction = schedule_of(process), fraction.double()
    if not sigma_data > 0:
        raise UsageError(f"expected sigma_data > 0, got {sigma_data}")
    whole = angle(process, torch.ones((), dtype=torch.float64), sigma_data)
    inner = (fraction * whole).clamp(1e-12, float(whole) * (1 - 1e-12))
    t = schedule.time(-2 * (sigma_data * inner.tan()).log())
    t = torch.where(fraction <= 0, torch.zeros_like(t), t)
    return torch.where(fraction >= 1, torch.ones_like(t), t)


def angle(process: Process, t: Tensor, sigma_data: float = 0.5) -> Tensor:
    """arctan(σ/(α σ_d)) in radians, float64: 0 at t = 0, π/2 where nothing of the data is left."""
    schedule = schedule_of(process)
    time = t.double()
    return torch.atan2(schedule.sigma(time), sigma_data * schedule.alpha(time))
