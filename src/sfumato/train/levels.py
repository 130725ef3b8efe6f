"""The loss by noise level: where along the noise a model learns, and where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from sfumato.loss import TimeLaw
from sfumato.process import Process
from sfumato.schedule import as_time
from sfumato.seeds import generator


def level(process: Process, t: Tensor) -> Tensor:
    r"""Log signal-to-noise ratio of the data's block, float64 (B,): :math:`\ln(A^2/\Sigma)`.

    Where each place of the state has its own (a blurring process), the highest of them.
    """
    gaussian = process.marginal(as_time(t.double()))
    made = 2 * gaussian.A[..., 0, 0].abs().log() - gaussian.cov[..., 0, 0].log()
    return made if made.ndim <= t.ndim else made.flatten(1).amax(1)


def level_edges(process: Process, law: TimeLaw, bins: int) -> Tensor:
    """The ``bins - 1`` inner edges of equally likely bins of the log signal-to-noise ratio."""
    t = law.draw(process, 4096, generator(0, "levels"))
    q = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    return torch.quantile(level(process, t), q)


@final
@dataclass
class Levels:
    """Sums of the loss per bin since the last line of the log.

    The mean over bins, weighted by their counts, is the mean loss of the interval.
    """

    edges: Tensor
    sums: Tensor = field(init=False)
    counts: Tensor = field(init=False)
    total: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start a new interval."""
        bins = len(self.edges) + 1
        self.sums = torch.zeros(bins, dtype=torch.float64)
        self.counts = torch.zeros(bins, dtype=torch.float64)
        self.total, self.steps = 0.0, 0

    def add(self, losses: Tensor, log_snr: Tensor) -> None:
        """Add one step's losses (B,) at these log signal-to-noise ratios (B,)."""
        index = torch.bucketize(log_snr, self.edges)
        losses = losses.double()
        self.sums.index_add_(0, index, losses)
        self.counts.index_add_(0, index, torch.ones_like(losses))
        self.total += float(losses.mean())
        self.steps += 1

    def report(self) -> dict[str, Any]:
        """Mean loss, mean loss per bin (None where nothing fell) and the counts; {} after none."""
        if not self.steps:
            return {}
        pairs = zip(self.sums.tolist(), self.counts.tolist(), strict=True)
        return {
            "loss": self.total / self.steps,
            "loss_by_level": [s / n if n else None for s, n in pairs],
            "count_by_level": [int(n) for n in self.counts.tolist()],
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that the line after it is the same after a resume."""
        return {
            "sums": self.sums.tolist(),
            "counts": self.counts.tolist(),
            "total": self.total,
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.sums = torch.tensor(state["sums"], dtype=torch.float64)
        self.counts = torch.tensor(state["counts"], dtype=torch.float64)
        self.total, self.steps = state["total"], state["steps"]
