"""The denoising loss, and the laws from which training draws its times."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sfumato.bridge import Bridge
from sfumato.condition import Condition, Given
from sfumato.denoise import Denoiser
from sfumato.process import Process, Scheduled
from sfumato.schedule import Time
from sfumato.seeds import Generators


def denoising_loss(
    denoiser: Denoiser,
    x0: Tensor,
    t: Time,
    *,
    x1: Tensor | None = None,
    cond: Given = None,
    generator: Generators = None,
    weight: Tensor | None = None,
    whiten: bool = False,
) -> Tensor:
    """Denoising score matching: mean square over dimensions of ``denoiser.residual``, (B,).

    x_t is drawn from q(x_t | x_0) (Vincent 2011; Ho et al. 2020, eq. 14), or from the bridge
    q(x_t | x_0, x_1) for a pinned process. Never reduced over the batch: importance weights,
    per-level logs and per-sample gradients need the values apart.

    Args:
        denoiser: what is trained.
        x0: data, (B, C, ...).
        t: time in (0, 1], () or (B,).
        x1: the other end, for a pinned process only, shaped like x0.
        cond: passed on to the denoiser.
        generator: one, or one per sample.
        weight: of every number's square before the mean, anything that broadcasts to x0: a mask,
            for data of which a part is known (I²SB's inpainting).
        whiten: measure the error in the Cameron-Martin norm of the process's noise N(0, K),
            |K^{-1/2} error|² (Lim et al. 2023, arXiv 2302.07400). Under refinement of the grid it
            stays finite for targets as smooth as the data, not for ε itself.

    Raises:
        ValueError: x1 is missing or superfluous, or t is not one value or one per sample.
    """
    if isinstance(t, Tensor) and t.ndim and t.shape != (x0.shape[0],):
        raise ValueError(
            f"expected one time or one per sample ({x0.shape[0]},), got {tuple(t.shape)}"
        )
    x_t, eps = denoiser.process.perturb(x0, t, generator, x1)
    error = denoiser.residual(x_t, t, x0, eps, Condition.of(cond))
    square = (denoiser.process.noise.whiten(error) if whiten else error).square()
    if weight is not None:
        square = square * weight
    return square.flatten(1).mean(1)


class TimeLaw(ABC):
    """A distribution of training times."""

    @abstractmethod
    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n independent times in (0, 1], float64, (n,)."""


def _times(process: Process, log_ratio: Tensor) -> Tensor:
    """Where ln(σ/α) has these values, clipped to (0, 1]."""
    inner = process.inner if isinstance(process, Bridge) else process
    if not isinstance(inner, Scheduled):
        raise ValueError(f"LogNormal times need a scheduled process, got {process!r}")
    return inner.schedule.time(-2 * log_ratio).clamp(1e-7, 1.0)


@final
@dataclass(frozen=True)
class LogNormal(TimeLaw):
    """ln(σ/α) ~ N(mean, std²) (Karras et al. 2022, table 1), through the schedule's inverse."""

    mean: float = -1.2
    std: float = 1.2

    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Times at which ln(σ/α) is normally distributed, clipped to (0, 1].

        Raises:
            ValueError: the process has no σ/α, as in phase space.
        """
        z = torch.randn(n, generator=generator, dtype=torch.float64)
        return _times(process, self.mean + self.std * z)

    def quantile(self, share: Tensor) -> Tensor:
        """The σ/α below which a share in [0, 1] of the law lies; 0 and infinity at the ends."""
        return (self.mean + self.std * torch.special.ndtri(share.double())).exp()


@final
@dataclass(frozen=True)
class Between(TimeLaw):
    """A log-normal law between some of its quantiles: by the inverse, no draw is thrown away.

    Args:
        law: the whole.
        ranges: (low, high) in [0, 1], apart from each other; drawn as often as they are long.

    Raises:
        ValueError: ranges that are empty, or overlap.
    """

    law: LogNormal
    ranges: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        ends = [0.0, *(end for pair in sorted(self.ranges) for end in pair), 1.0]
        if (
            not self.ranges
            or any(a > b for a, b in zip(ends, ends[1:]))
            or (any(low == high for low, high in self.ranges))
        ):
            raise ValueError(f"expected ranges apart in [0, 1], each low < high, got {self.ranges}")

    @property
    def share(self) -> float:
        """How much of the law this is."""
        return sum(high - low for low, high in self.ranges)

    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Times of the law, given that they lie in the ranges; clipped to (0, 1]."""
        u = torch.rand(n, generator=generator, dtype=torch.float64) * self.share
        share = torch.zeros_like(u)
        passed = 0.0
        for low, high in self.ranges:
            here = (u >= passed) & (u < passed + high - low)
            share = torch.where(here, low + u - passed, share)
            passed += high - low
        share = share.clamp(1e-12, 1 - 1e-12)
        return _times(process, self.law.quantile(share).log())


@final
@dataclass(frozen=True)
class Uniform(TimeLaw):
    """t^(1/power) ~ U, from ``start``, which keeps clear of the singular end, to ``end``.

    Power 1 is uniform in t; 2 is uniform in √t, the density of the quadratic grid.
    """

    start: float = 1e-5
    power: float = 1.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"expected 0 <= start < end <= 1, got {self.start} and {self.end}")
        if not self.power > 0:
            raise ValueError(f"expected power > 0, got {self.power}")

    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Times whose power is uniform."""
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        low, high = (x ** (1 / self.power) for x in (self.start, self.end))
        return (low + (high - low) * u) ** self.power


@final
@dataclass(frozen=True)
class OneOf(TimeLaw):
    """t uniform over finitely many times, for a model that knows only these."""

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times or not all(0 < t <= 1 for t in self.times):
            raise ValueError(f"expected times in (0, 1], got {self.times}")

    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n of the times, each as likely."""
        index = torch.randint(len(self.times), (n,), generator=generator)
        return torch.tensor(self.times, dtype=torch.float64)[index]


@final
@dataclass(frozen=True)
class Either(TimeLaw):
    """``first`` with the probability ``share``, else ``second``."""

    first: TimeLaw
    second: TimeLaw
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"expected 0 <= share <= 1, got {self.share}")

    def draw(self, process: Process, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n times, each of the one law or the other."""
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        first, second = (law.draw(process, n, generator) for law in (self.first, self.second))
        return torch.where(u < self.share, first, second)


def edm_times(sigma_data: float, mean: float = -1.2) -> LogNormal:
    """EDM's law of the noise levels (Karras et al. 2022), moved to data of another σ_d.

    ln(σ/σ_d) is normal with mean ``mean`` + ln 2 and deviation 1.2; ``mean`` is that of ln σ for
    the paper's σ_d = 1/2.
    """
    return LogNormal(mean + math.log(2 * sigma_data), 1.2)
