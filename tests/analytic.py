"""Data whose denoiser, score and likelihood are known exactly, and exact moments of a sampler.

Everything is float64 and written against the forward process alone (mean map M_t and covariance
Σ_t of x_t given x_0), with plain linear algebra instead of the library's closed forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.condition import NOTHING, Condition
from sfumato.noise import Noise
from sfumato.schedule import Time
from sfumato.seeds import Generators

F64 = torch.float64


def blocks(process: sf.Process, t: Time, batch: int) -> tuple[Tensor, Tensor]:
    """M_t (B, k) and Σ_t (B, k, k), one per sample whatever t is."""
    q = process.marginal(t)
    m, cov = q.A[..., 0].to(F64), q.cov.to(F64)
    return m.expand(batch, process.k), cov.expand(batch, process.k, process.k)


@final
class Mixture(sf.Denoiser):
    """E[x_0 | x_t] of a mixture of isotropic Gaussians, for any process with white noise.

    Args:
        process: any process.
        means (m, d), variances (m,), weights (m,): the mixture.
    """

    def __init__(
        self, process: sf.Process, means: Tensor, variances: Tensor, weights: Tensor
    ) -> None:
        super().__init__()
        self.process = process
        self.means, self.variances, self.weights = means, variances, weights / weights.sum()

    def responsibility(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """log N(x_t; component) + log weight (B, m), and the component means (B, m, d)."""
        m, cov = blocks(self.process, t, len(x_t))
        d = self.means.shape[1]
        x = x_t.reshape(len(x_t), self.process.k, d)
        outer = m[:, None, :, None] * m[:, None, None, :]
        total = self.variances[None, :, None, None] * outer + cov[:, None]
        rest = x[:, None] - m[:, None, :, None] * self.means[None, :, None, :]
        inverse = torch.linalg.inv(total)
        pull = torch.einsum("bmkl,bmld->bmkd", inverse, rest)
        log = self.weights.log() - 0.5 * (
            (rest * pull).sum((-1, -2))
            + d * (torch.logdet(total) + self.process.k * math.log(2 * math.pi))
        )
        gain = torch.einsum("bk,bmkd->bmd", m, pull)
        return log, self.means + self.variances[:, None] * gain

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        log, means = self.responsibility(x_t, t)
        if cond.labels is not None:  # the components' labels: only those of the class asked for
            log = log.masked_fill(self.labels[None] != cond.labels[:, None], -math.inf)
        return (log.softmax(1)[..., None] * means).sum(1).to(x_t.dtype)

    labels = torch.tensor([0, 1, 1])
    """Class of each component, for guidance."""

    def log_density(self, x_t: Tensor, t: Time) -> Tensor:
        """log p_t(x_t), (B,)."""
        return self.responsibility(x_t, t)[0].logsumexp(1)

    def log_prob(self, x0: Tensor) -> Tensor:
        """log p(x_0), (B,), in nats."""
        square = (x0[:, None] - self.means).square().sum(-1) / self.variances
        volume = self.means.shape[1] * (2 * math.pi * self.variances).log()
        return torch.logsumexp(self.weights.log() - 0.5 * (square + volume), 1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n points of the data, (n, d)."""
        pick = self.weights.multinomial(n, True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=F64)
        return self.means[pick] + self.variances[pick].sqrt()[:, None] * z

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of the data."""
        mean = self.weights @ self.means
        rest = self.means - mean
        within = (self.weights @ self.variances) * torch.eye(len(mean), dtype=F64)
        return mean, within + torch.einsum("m,mi,mj->ij", self.weights, rest, rest)


def mixture(process: sf.Process) -> Mixture:
    """Three components in the plane, of unequal weight and width."""
    return Mixture(
        process,
        torch.tensor([[0.6, 0.2], [-0.5, 0.4], [0.1, -0.7]], dtype=F64),
        torch.tensor([0.1, 0.15, 0.07], dtype=F64),
        torch.tensor([0.5, 0.3, 0.2], dtype=F64),
    )


@final
class Linear(sf.Denoiser):
    """E[x_0 | x_t], or a draw of x_0 | x_t, for Gaussian data N(mean, cov) of d numbers.

    Args:
        process: any process.
        mean (d,), cov (d, d): the data.
        field (d, d): covariance K of the process's noise; the identity if it is white.
        draws: return mean + root z with z from the process's noise, instead of the mean.
    """

    def __init__(
        self,
        process: sf.Process,
        mean: Tensor,
        cov: Tensor,
        field: Tensor | None = None,
        draws: bool = False,
    ) -> None:
        super().__init__()
        self.process, self.mean, self.cov = process, mean, cov
        self.field = torch.eye(len(mean), dtype=F64) if field is None else field
        self.draws = draws

    def state(self, t: Time) -> tuple[Tensor, Tensor]:
        """Mean (k d,) and covariance (k d, k d) of x_t."""
        m, cov = blocks(self.process, t, 1)
        total = torch.kron(torch.outer(m[0], m[0]), self.cov) + torch.kron(cov[0], self.field)
        return torch.kron(m[0], self.mean), total

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        if isinstance(t, Tensor) and t.ndim:  # an adaptive solver's own time for each sample
            return torch.cat([self.forward(x[None], s) for x, s in zip(x_t, t, strict=True)])
        m = blocks(self.process, t, 1)[0][0]
        centre, total = self.state(t)
        gain = torch.kron(m[None], self.cov) @ torch.linalg.pinv(total, hermitian=True)
        x0 = self.mean + (x_t.to(F64) - centre) @ gain.T
        if self.draws:
            left = self.cov - gain @ torch.kron(m[:, None], self.cov)
            root = torch.linalg.cholesky(left + 1e-18 * torch.eye(len(left), dtype=F64))
            x0 = x0 + self.process.noise.sample(x0, generator) @ root.T
        return x0.to(x_t.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        """log p(x_0), (B,), in nats."""
        return torch.distributions.MultivariateNormal(self.mean, self.cov).log_prob(x0)


@final
class Scripted(Noise):
    """Noise that is told what to draw: the i-th call returns the i-th of ``lines`` (zeros after).

    A solver's step is affine in the state and in the noise it draws, so a script of unit vectors
    reads its matrices off, and moments follow without any sampling error.
    """

    def __init__(self) -> None:
        self.lines: list[Tensor] = []
        self.calls = 0

    def play(self, *lines: Tensor) -> None:
        """Set the script and start it again."""
        self.lines, self.calls = list(lines), 0

    def sample(self, like: Tensor, generator: Generators = None) -> Tensor:
        self.calls += 1
        if self.calls > len(self.lines):
            return torch.zeros_like(like)
        return self.lines[self.calls - 1].to(like.dtype).reshape(like.shape)

    def whiten(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError


Moments = tuple[Tensor, Tensor]


def affine(
    run: Callable[[Tensor], Tensor], noise: Scripted, wide: int, block: int, calls: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Offset (w,), matrix (w, w) and one noise matrix (w, block) per draw of an affine map.

    One batch holds everything: a row of zeros, the unit states, and the unit draws of each call.

    Args:
        run: states (B, w) to states (B, w), drawing from ``noise`` on the way.
        noise: the process's scripted noise.
        wide: w, size of a state.
        block: numbers in one draw.
        calls: draws that are expected; the map is run again if there are others.
    """
    rows = 1 + wide + calls * block
    x = torch.zeros(rows, wide, dtype=F64)
    x[1 : 1 + wide] = torch.eye(wide, dtype=F64)
    lines = torch.zeros(calls, rows, block, dtype=F64)
    for i, line in enumerate(lines):
        line[1 + wide + i * block : 1 + wide + (i + 1) * block] = torch.eye(block, dtype=F64)
    noise.play(*lines)
    y = run(x)
    if noise.calls != calls:
        return affine(run, noise, wide, block, noise.calls)
    moved = (y[1:] - y[0]).T
    return y[0], moved[:, :wide], list(moved[:, wide:].split(block, dim=1)) if calls else []


def propagate(denoiser: Linear, solver: sf.Solver, times: Tensor, start: Moments) -> Moments:
    """Exact mean and covariance at the end of a walk over Gaussian data.

    The denoiser must be linear and its process must hold `Scripted` noise. A solver that draws no
    noise may remember its steps, so its whole walk is read off at once; one that draws is read off
    step by step, which keeps the number of columns small.
    """
    noise = denoiser.process.noise
    assert isinstance(noise, Scripted)
    mean, cov = start
    spans = [times] if solver.deterministic else [times[i : i + 2] for i in range(len(times) - 1)]
    calls = 0
    for span in spans:

        def run(x: Tensor, span: Tensor = span) -> Tensor:
            return sf.sample(denoiser, solver, span, x).x

        offset, matrix, columns = affine(run, noise, len(mean), len(denoiser.mean), calls)
        calls = len(columns)
        mean = matrix @ mean + offset
        cov = matrix @ cov @ matrix.T
        for c in columns:
            cov = cov + c @ denoiser.field @ c.T
    return mean, cov


@final
class Counted(nn.Module):
    """A network that counts its own calls; returns a fixed multiple of its input's first block."""

    def __init__(self, gain: float = 0.3, blocks: int = 1) -> None:
        super().__init__()
        self.gain, self.blocks = gain, blocks
        self.calls = 0

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        return self.gain * x.chunk(self.blocks, dim=1)[0]


WHITE = sf.White()
PROCESSES: dict[str, Callable[..., sf.Process]] = {
    "vp": lambda noise=WHITE: sf.Scheduled(sf.VPLinear(), noise),
    "cosine": lambda noise=WHITE: sf.Scheduled(sf.VPCosine(), noise),
    "shifted": lambda noise=WHITE: sf.Scheduled(sf.Shifted(sf.VPLinear(), 0.5), noise),
    "ve": lambda noise=WHITE: sf.Scheduled(sf.VE(), noise),
    "edm": lambda noise=WHITE: sf.Scheduled(sf.EDM(), noise),
    "flow": lambda noise=WHITE: sf.Scheduled(sf.RectifiedFlow(), noise),
    "cld": lambda noise=WHITE: sf.CriticallyDamped(noise=noise),
    "cld-rising": lambda noise=WHITE: sf.CriticallyDamped(0.1, 6.9, noise=noise),
}
"""Every process that can be sampled without a partner x_1."""

SPAN = dict.fromkeys(PROCESSES, (0.8, 0.2)) | {"edm": (0.05, 0.004), "ve": (0.7, 0.4)}
"""Times between which the mixture's flow bends, and orders are measured."""


def slope(errors: list[float], steps: list[int]) -> float:
    """Observed order: fall of log error over rise of log steps, from the last two."""
    return math.log(errors[-2] / errors[-1]) / math.log(steps[-1] / steps[-2])
