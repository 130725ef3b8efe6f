"""Fitted time steps: nearer to the exact flow, on noise that the search never saw as well."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES
from ring import Ring
from sfumato.solve import DDIM, Ancestral, DormandPrince, DPMSolverPP
from sfumato.systems.genie.refine import refine


def walked(ring: Ring, solver: sf.Solver, times: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """(Start, end) of 64 walks."""
    x = ring.process.prior_sample((64, 2), sf.generator(seed), dtype=F64)
    return x, sf.sample(ring, solver, times, x).x


@pytest.mark.parametrize("name", ["edm", "flow"])
def test_fitted_steps_carry_over_to_other_noise(name: str) -> None:
    ring = Ring(PROCESSES[name]())
    fine = sf.times.karras(ring.process, 60)
    coarse = sf.times.karras(ring.process, 5)
    fifth = DormandPrince(adaptive=False)
    x, goal = walked(ring, fifth, fine, 0)
    seen: list[float] = []
    times = refine(
        ring, DPMSolverPP(), coarse, x, goal, progress=lambda i, error: seen.append(error)
    )
    assert times[0] == coarse[0]
    assert times[-1] == coarse[-1] == 0
    assert bool((times.diff() < 0).all())
    assert seen == sorted(seen, reverse=True)
    other = walked(ring, fifth, fine, 1)[1]
    before, after = (
        float((walked(ring, DPMSolverPP(), t, 1)[1] - other).norm()) for t in (coarse, times)
    )
    assert after < 0.7 * before


def test_what_cannot_be_fitted() -> None:
    ring = Ring(PROCESSES["edm"]())
    x = torch.zeros(1, 2, dtype=F64)
    with pytest.raises(ValueError, match="Ancestral draws noise"):
        refine(ring, Ancestral(), sf.times.uniform(3), x, x)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        refine(ring, DDIM(), sf.times.uniform(1), x, x)
    with pytest.raises(ValueError, match="share in"):
        refine(ring, DDIM(), sf.times.uniform(3), x, x, share=1.0)
