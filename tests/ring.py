"""Eight Gaussians on a circle with a cheap exact denoiser, and the classifier that goes with it."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

import sfumato as sf
from analytic import F64
from sfumato.condition import NOTHING, Condition
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators


@final
class Ring(sf.Denoiser):
    """E[x_0 | x_t] for eight components of variance v at radius 1; classes 0 and 1 alternate."""

    def __init__(self, process: sf.Process, variance: float = 0.04) -> None:
        super().__init__()
        angle = torch.arange(8, dtype=F64) * (math.pi / 4)
        self.process, self.variance = process, variance
        self.means = torch.stack([angle.cos(), angle.sin()], 1)
        self.classes = torch.arange(8) % 2

    def parts(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Log weights (B, 8) and the components' own estimates (B, 8, 2)."""
        time = as_time(t).reshape(-1, 1)
        alpha = self.process.schedule.alpha(time)
        total = alpha.square() * self.variance + self.process.schedule.sigma(time).square()
        rest = x_t[:, None] - alpha[..., None] * self.means
        gain = alpha * self.variance / total
        return -0.5 * rest.square().sum(-1) / total, self.means + gain[..., None] * rest

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        log, means = self.parts(x_t, t)
        if cond.labels is not None:
            log = log.masked_fill(self.classes != cond.labels[:, None], -1e4)
        return (log.softmax(1)[..., None] * means).sum(1)

    def log_prob(self, x_t: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """log p(class | x_t), (B,)."""
        log = self.parts(x_t, t)[0]
        assert cond.labels is not None
        mine = log.masked_fill(self.classes != cond.labels[:, None], -1e4)
        return mine.logsumexp(1) - log.logsumexp(1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n points, (n, 2)."""
        pick = torch.randint(8, (n,), generator=generator)
        z = torch.randn(n, 2, generator=generator, dtype=F64)
        return self.means[pick] + math.sqrt(self.variance) * z
