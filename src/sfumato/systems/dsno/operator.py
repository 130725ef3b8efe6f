r"""One network evaluation for the whole way from noise to data: an operator x_1 ↦ (x(t_1), ...).

The probability flow makes x_1 into a trajectory, and a network that acts on all its frames at
once can learn that map (DSNO: Zheng et al. 2023, arXiv 2211.13449). What it puts out here is, for
each time t, the estimate of the data that one exact step from 1 to t would have needed,

.. math:: x(t) = \Phi(1, t)\, x_1 + c(1, t)\, \bar x_0(t), \qquad (\Phi, c) = transport(1, t),

a mean of E[x_0 | x] along the way. It has the scale of data at every time, whatever that of x_1
is (80 for EDM's process), x(1) = x_1 holds exactly, and x̄_0(0) is the sample itself.

At t = 1 a denoiser answers with the mean of the data, μ (of the class that is asked for),
whatever the noise. So the flow's first step, from 1 to any time s, needs no evaluation:

.. math:: x_s = \Phi(1, s)\, x_1 + c(1, s)\, \mu, \qquad
          \bar x_0(t) = c_{skip}(s)\, x_s + c_{out}(s)\, F(c_{in}(s)\, x_s,\ level(s),\ t).

With F the teacher's network, blind to t, the sample is the teacher's in two steps of DDIM,
1 → s → 0, for the price of one. Training begins there. With s = 1 it is the teacher's one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from sfumato.condition import NOTHING, Condition, Given
from sfumato.denoise import Denoiser, Preconditioned
from sfumato.errors import UsageError
from sfumato.process import Scheduled, mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators
from sfumato.times import angle


@final
class Means(nn.Module):
    """The mean of the data given labels, μ(c) = μ_0 + Σ_a μ_a[c_a], as a table of images.

    Args:
        shape: of one example.
        labels: number of classes on every axis; each has one more row, "no label".
    """

    def __init__(self, shape: Sequence[int], labels: Sequence[int] = ()) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.table = nn.Parameter(torch.zeros(1 + sum(n + 1 for n in self.labels), *shape))

    def row(self, axis: int, label: int) -> int:
        """The row of the table for a label of an axis; the last row of an axis is "no label"."""
        return 1 + sum(n + 1 for n in self.labels[:axis]) + label

    def forward(self, batch: int, cond: Tensor | None = None) -> Tensor:
        """μ(c), (B, C, ...). Raises ValueError: labels of another shape, or out of range."""
        base = self.table[:1].expand(batch, *self.table.shape[1:])
        if not self.labels:
            return base
        counts = torch.tensor(self.labels, device=self.table.device)
        if cond is None:
            cond = counts.expand(batch, -1)
        labels = cond.reshape(batch, -1)
        good = labels.shape[1] == len(counts) and not labels.is_floating_point()
        if not good or bool(((labels < 0) | (labels > counts)).any()):
            raise ValueError(
                f"expected labels ({batch}, {len(counts)}) from 0 to {self.labels}, the last for "
                f"no label; got {cond.dtype} {tuple(cond.shape)}"
            )
        starts = torch.tensor([self.row(a, 0) for a in range(len(counts))], device=counts.device)
        return base + self.table[labels + starts].sum(1)


@final
class TrajectoryOperator(Denoiser):
    """From x_1 to the trajectory at any times, in one evaluation of a network over all frames.

    As a denoiser it knows one time, t = 1, where it answers with the end of the way: so
    ``sample(operator, DDIM(), [1, 0], x_1)`` draws x_0 in one evaluation. That
    evaluation is over ``times``, and costs as much as they are many.

    Args:
        backbone: a network over frames, called as ``network(x (B, C, ...), level (B,),
            positions (T,), cond)`` and returning (B, T, C, ...), and what it predicts. A position
            is the angle arctan(σ/(α σ_d)) at a frame's time as a fraction of that at t = 1.
        times: the frames that `forward` computes, falling, the last one 0.
        start: s, the time at which the network takes up the trajectory.
        means: μ of the first step; None where ``start`` is 1 and there is none.

    Raises:
        UsageError: times or a start that do not fit, or a process without a schedule.
    """

    def __init__(
        self,
        backbone: Preconditioned,
        times: Sequence[float],
        start: float = 1.0,
        means: Means | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone.process, Scheduled):
            raise UsageError(
                f"a trajectory operator needs a scheduled process, got {backbone.process!r}"
            )
        if not 0 < start <= 1:
            raise UsageError(f"expected a start in (0, 1], got {start}")
        if start < 1 and means is None:
            raise UsageError("a start below 1 needs the means of the data")
        self.backbone = backbone
        self.process = backbone.process
        self.start = start
        self.means = means
        self.times = check_times(times)
        if float(self.times[-1]) != 0:
            raise UsageError(f"expected the last time to be 0, got {float(self.times[-1])}")

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """x_0 (B, C, ...) at the end of the way from x_1.

        Raises:
            UsageError: another time than 1.
        """
        if not bool((as_time(t) == 1).all()):
            raise UsageError(
                f"a trajectory operator answers at t = 1 alone, got t = {as_time(t).tolist()}: "
                "sample it in one step, over the times [1, 0]"
            )
        return self.estimates(x_t, self.times, cond)[:, -1]

    def path(
        self, x_1: Tensor, times: Sequence[float] | Tensor | None = None, cond: Given = None
    ) -> Tensor:
        """The states x(t), (B, T, C, ...), at ``times``, falling; ``self.times`` by default.

        Raises:
            UsageError: times that do not fall, or that leave [0, 1].
        """
        grid = self.times if times is None else check_times(times)
        phi, c = self.weights(grid, x_1)
        return phi * x_1[:, None] + c * self.estimates(x_1, grid, cond)

    def estimates(self, x_1: Tensor, times: Tensor, cond: Given = None) -> Tensor:
        """x̄_0(t), (B, T, C, ...)."""
        batch, s = len(x_1), torch.tensor(self.start, dtype=torch.float64)
        told, x_s = Condition.of(cond).told, x_1
        if self.means is not None:
            step = self.process.transport(torch.ones_like(s), s)
            x_s = mix(step, x_1, self.means(batch, told).to(x_1))
        c_in, out, _ = self.backbone.coefficients(s)
        level = self.process.noise_level(s).to(device=x_1.device, dtype=torch.float32)
        weight = next(self.backbone.parameters(), x_1)
        one = torch.ones((), dtype=torch.float64)
        sigma_data = self.backbone.sigma_data
        places = angle(self.process, times, sigma_data) / angle(self.process, one, sigma_data)
        f = self.backbone.network(
            mix(c_in, x_s).to(weight.dtype),
            level.expand(batch),
            places.to(device=x_1.device, dtype=torch.float32),
            told,
        ).to(x_1.dtype)
        skip, scale = out[0].tolist()
        return skip * x_s[:, None] + scale * f

    def targets(self, x_1: Tensor, states: Tensor, times: Tensor) -> Tensor:
        """x̄_0(t) of a known trajectory, (B, T, C, ...): where x(t) puts it."""
        phi, c = self.weights(times, x_1)
        return (states - phi * x_1[:, None]) / c

    def weights(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Φ(1, t) and c(1, t), (T, 1, ...), for states like x_1."""
        step = self.process.transport(torch.ones_like(times), times)[:, 0].to(like)
        phi, c = step.reshape(len(times), 2, *([1] * (like.ndim - 1))).unbind(1)
        return phi, c


def check_times(times: Sequence[float] | Tensor) -> Tensor:
    """Times as float64 (T,).

    Raises:
        UsageError: none, or times that do not fall or that leave [0, 1].
    """
    grid = torch.as_tensor(times, dtype=torch.float64).cpu()
    if grid.ndim != 1 or not len(grid):
        raise UsageError(f"expected times in a row, got shape {tuple(grid.shape)}")
    if not bool((grid.diff() < 0).all()):
        raise UsageError(f"expected times strictly falling towards the data, got {grid.tolist()}")
    if float(grid[-1]) < 0 or float(grid[0]) > 1:
        raise UsageError(f"expected times in [0, 1], got {float(grid[0])} to {float(grid[-1])}")
    return grid
