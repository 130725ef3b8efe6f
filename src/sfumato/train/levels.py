"""The loss by noise level: where along the noise a model learns, and where it does not."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from sfumato.loss import TimeLaw
from sfumato.process import Process
from sfumato.schedule import as_time
from sfumato.seeds import generator
from sfumato.train.task import Observer


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
class Levels(Observer):
    """Sums of the loss per bin of the log signal-to-noise ratio since the last line of the log.

    The mean over bins, weighted by their counts, is the mean loss of the interval.

    Args:
        process: of the times that were drawn.
        edges: inner edges of the bins, rising.
    """

    def __init__(self, process: Process, edges: Tensor) -> None:
        self.process, self.edges = process, edges
        self.clear()

    def clear(self) -> None:
        """Start a new interval."""
        self.sums, self.counts = torch.zeros(2, len(self.edges) + 1, dtype=torch.float64)

    def add(self, losses: Tensor, drawn: Any) -> None:
        """Add one step's losses (B,) at the times ``drawn.t`` (B,)."""
        index = torch.bucketize(level(self.process, drawn.t), self.edges)
        self.sums.index_add_(0, index, losses.double())
        self.counts.index_add_(0, index, torch.ones(len(losses), dtype=torch.float64))

    def report(self) -> dict[str, Any]:
        """Mean loss per bin (None where nothing fell) and the counts; {} after nothing."""
        if not self.counts.any():
            return {}
        pairs = zip(self.sums.tolist(), self.counts.tolist(), strict=True)
        return {
            "loss_by_level": [s / n if n else None for s, n in pairs],
            "count_by_level": [int(n) for n in self.counts.tolist()],
        }

    def state(self) -> dict[str, Any]:
        """Sums and counts."""
        return {"sums": self.sums.tolist(), "counts": self.counts.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back, unless it has another number of bins."""
        if len(state.get("sums", ())) == len(self.sums):
            self.sums = torch.tensor(state["sums"], dtype=torch.float64)
            self.counts = torch.tensor(state["counts"], dtype=torch.float64)

    def where(self, drawn: Any, bad: Tensor) -> str:
        """The range of the log signal-to-noise ratio."""
        found = level(self.process, drawn.t)[bad]
        return f"at log-SNR {float(found.min()):.2f} to {float(found.max()):.2f}"
