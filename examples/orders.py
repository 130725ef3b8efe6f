"""Measure the order of convergence of the deterministic solvers, and print the slopes.

The data is a mixture of two Gaussians on a line, whose denoiser is known exactly, so that the error
of a solver is seen alone. In float64, between t = 0.9 and 0.1 of a variance-preserving process.

    python examples/orders.py
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import sfumato as sf
from sfumato.condition import NOTHING, Condition
from sfumato.seeds import Generators

MEANS = torch.tensor([-1.0, 0.6], dtype=torch.float64)
WEIGHTS = torch.tensor([0.4, 0.6], dtype=torch.float64)
SPREAD = 0.3


class Mixture(sf.Denoiser):
    """E[x_0 | x_t] for a mixture of Gaussians of equal width."""

    def __init__(self, process: sf.Process) -> None:
        super().__init__()
        self.process = process

    def forward(
        self,
        x_t: Tensor,
        t: float | Tensor,
        cond: Condition = NOTHING,
        generator: Generators = None,
    ) -> Tensor:
        """A mean over the components, weighted by how likely each is, given x_t (B, 1)."""
        q = self.process.marginal(t)
        alpha, variance = q.A[..., 0], q.cov[..., 0]  # (B?, 1)
        total = alpha.square() * SPREAD**2 + variance
        gap = x_t - alpha * MEANS  # (B, components)
        share = (WEIGHTS.log() - gap.square() / (2 * total)).softmax(-1)
        means = MEANS + alpha * SPREAD**2 / total * gap
        return (share * means).sum(-1, keepdim=True)


def main() -> None:
    """Halve the steps a few times and print the slopes."""
    denoiser = Mixture(sf.Scheduled(sf.VPLinear()))
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    fine = sf.times.uniform(20, 0.9, 0.1)
    truth = sf.sample(denoiser, sf.solve.DormandPrince(1e-11, 1e-11), fine, start).x
    print(f"{'solver':<34}{'declared':>9}{'measured':>9}")
    solvers: dict[str, sf.Solver] = {
        "Euler": sf.solve.Euler(),
        "DDIM (exponential, order 1)": sf.solve.DDIM(),
        "Heun": sf.solve.Heun(),
        "exponential, order 2": sf.solve.DPMSolverPP(),
        "exponential, order 3": sf.solve.DPMSolverPP(3),
    }
    for name, solver in solvers.items():
        errors = []
        for n in (200, 400):
            grid = sf.times.uniform(n, 0.9, 0.1)
            end = sf.sample(denoiser, solver, grid, start).x
            errors.append(float((end - truth).abs().max()))
        slope = math.log2(errors[0] / errors[1])
        print(f"{name:<34}{solver.order:>9}{slope:>9.2f}")


if __name__ == "__main__":
    main()
