"""Trajectories of Gaussian data, whose every point is known; and a script that kills their making.

``python toy_trajectories.py OUT KILLS SEED``   fork the generator, SIGKILL it, until it is done
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.condition import NOTHING, Condition
from sfumato.seeds import Generators
from sfumato.systems.dsno.data import Description, in_words, scales
from sfumato.systems.dsno.operator import Means, TrajectoryOperator
from sfumato.systems.dsno.temporal import TemporalConvolution
from sfumato.systems.dsno.trajectories import generate, through
from sfumato.train.checkpoint import digest


@final
class Gaussian(sf.Denoiser):
    """E[x_0 | x_t] for data from N(mean, spread²), coordinate by coordinate; labels move the mean.

    Its weights are the mean and the spread, so that it has a digest.
    """

    sigma_data = 0.8

    def __init__(self, process: sf.Process, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.process = process
        self.mean, self.spread = nn.Parameter(mean), nn.Parameter(spread)

    def centre(self, like: Tensor, cond: Tensor | None) -> Tensor:
        """The mean for labels c: the mean plus c/2."""
        shift = 0.0 if cond is None else 0.5 * cond[:, :1].to(like)
        return self.mean.to(like) + shift + torch.zeros_like(like)

    def forward(
        self,
        x_t: Tensor,
        t: float | Tensor,
        cond: Condition = NOTHING,
        generator: Generators = None,
    ) -> Tensor:
        q = self.process.marginal(t)
        a, var = q.A.reshape(-1, 1).to(x_t), q.cov.reshape(-1, 1).to(x_t)
        centre, power = self.centre(x_t, cond.labels), self.spread.to(x_t).square()
        return centre + a * power / (a.square() * power + var) * (x_t - a * centre)

    @torch.no_grad()
    def flow(self, x_1: Tensor, times: Tensor, cond: Tensor | None = None) -> Tensor:
        """The flow in closed form: (x - α μ)/S is constant, S² = α² s² + σ²; (B, T, d)."""
        centre = self.centre(x_1, cond)

        def parts(t: Tensor) -> tuple[Tensor, Tensor]:
            q = self.process.marginal(t)
            a = q.A.reshape(-1, 1).to(x_1)
            return a, (
                a.square() * self.spread.to(x_1).square() + q.cov.reshape(-1, 1).to(x_1)
            ).sqrt()

        a1, s1 = parts(torch.ones(1, dtype=torch.float64))
        a, s = parts(times)
        return a * centre[:, None] + s / s1 * (x_1 - a1 * centre)[:, None]


def toy(process: sf.Process | None = None) -> Gaussian:
    """Two unequal, shifted coordinates."""
    process = sf.Scheduled(sf.EDM(10.0)) if process is None else process
    return Gaussian(process, torch.tensor([0.5, -0.4]), torch.tensor([0.9, 0.3]))


def description(
    denoiser: Gaussian, n: int = 40, steps: int = 12, times: int = 4, dtype: str = "float32"
) -> Description:
    """A small set in shards of 7."""
    process = denoiser.process
    kept_times = sf.times.angular(process, times, denoiser.sigma_data)
    grid, kept = through(process, sf.times.karras(process, steps), kept_times)
    return Description(
        model="toy",
        weights=digest(denoiser),
        process=in_words(process),
        solver="DPMSolverPP(3)",
        grid=tuple(grid.tolist()),
        kept=kept,
        shape=(2,),
        labels=(3,),
        sigma_data=denoiser.sigma_data,
        n=n,
        seed=3,
        shard=7,
        batch=4,
        dtype=dtype,
    )


def make(out: Path, about: Description, denoiser: Gaussian) -> Path:
    return generate(denoiser, sf.solve.DPMSolverPP(3), about, out)


class Points(nn.Module):
    """A perceptron over frames, for points: two temporal convolutions between its layers."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Linear(2, width)
        self.place = nn.Linear(6, width)
        self.last = nn.Linear(width, 2)
        self.middle = nn.Linear(width, width)
        self.temporal = nn.ModuleList(TemporalConvolution(width) for _ in range(2))

    def forward(
        self, x: Tensor, level: Tensor, positions: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        waves = positions[:, None] * torch.arange(1, 4) * 1.5
        place = self.place(torch.cat([waves.cos(), waves.sin()], 1))
        h = (self.first(x)[:, None] * (1 + place) + place).flatten(0, 1)
        h = self.temporal[0](h, len(positions))
        h = h + self.middle(nn.functional.silu(h))
        h = self.temporal[1](h, len(positions))
        return self.last(h).unflatten(0, (len(x), -1))


def learn(
    exact: Gaussian, start: float = 1.0, steps: int = 250, frames: int = 4, seed: int = 0
) -> TrajectoryOperator:
    """An operator trained on exact trajectories, each seen once."""
    process, spread = exact.process, exact.sigma_data
    times = sf.times.angular(process, frames, spread)[1:]
    torch.manual_seed(seed)
    backbone = sf.Preconditioned(Points(), process, sf.Prediction.X0, sigma_data=spread)
    operator = TrajectoryOperator(backbone, times, start, Means((2,)) if start < 1 else None)
    optimizer = torch.optim.Adam(operator.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = process.prior_sample((64, 2))
        target = operator.targets(x, exact.flow(x, times), times)
        loss = (operator.estimates(x, times) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return operator


@torch.no_grad()
def error(operator: TrajectoryOperator, exact: Gaussian, frames: int) -> float:
    """Root mean square error of the states at so many times, in units of their scale s(t)."""
    process = exact.process
    grid = sf.times.angular(process, frames, exact.sigma_data)[1:]
    x = process.prior_sample((2000, 2), torch.Generator().manual_seed(1))
    scale = scales(process, grid.tolist(), exact.sigma_data).float()[:, None]
    gap = (operator.path(x, grid) - exact.flow(x, grid)) / scale
    return float(gap.square().mean().sqrt())


def kill_and_restart(out: Path, kills: int, seed: int) -> None:
    """Make the set in processes that are killed at random moments, until one is not."""
    denoiser = toy()
    about = description(denoiser, n=84)
    rng = random.Random(seed)
    made = make(out / "whole", about, denoiser)
    began = time.monotonic()
    make(out / "again", about, denoiser)
    whole = time.monotonic() - began
    done = 0
    while True:
        pid = os.fork()
        if not pid:
            try:
                make(out / "killed", about, denoiser)
                os._exit(0)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
        if done < kills:
            time.sleep(rng.uniform(0, 1.5 * whole / kills))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("a restarted generator failed")
            break
        done += 1
    print(f"kills {done} of {made.name}, {about.shards} shards")


if __name__ == "__main__":
    torch.set_num_threads(1)
    kill_and_restart(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
