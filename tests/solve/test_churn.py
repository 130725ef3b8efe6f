"""S_churn is spread over the walk, γ has its limit, and no noise is added above the prior's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64
from sfumato.solve import Heun


class Asked(sf.Denoiser):
    """Keeps the times it is asked at."""

    def __init__(self) -> None:
        super().__init__()
        self.process = sf.Scheduled(sf.EDM())
        self.times: list[float] = []

    def forward(self, x_t, t, cond=None, generator=None):  # type: ignore[no-untyped-def]
        self.times.append(float(t))
        return torch.zeros_like(x_t)


def first(solver: Heun, times: Tensor) -> float:
    denoiser = Asked()
    sf.sample(denoiser, solver, times, torch.ones(2, 2, dtype=F64), generator=sf.generator(0))
    return denoiser.times[0]


@pytest.mark.parametrize(
    ("solver", "start", "gamma"),
    [
        (Heun(churn=0.4), 0.4, 0.2),  # 0.4 over two steps
        (Heun(churn=4.0), 0.4, 2**0.5 - 1),  # the limit of EDM
        (Heun(churn=1.6, churn_limit=1.0), 0.4, 0.8),  # below DPDM's
        (Heun(churn=9.0, churn_limit=1.0), 0.4, 1.0),
        (Heun(churn=9.0, churn_limit=1.0), 0.8, 0.25),  # never above the prior's noise, t = 1
        (Heun(churn=4.0), 1.0, 0.0),
        (Heun(churn=0.4, churn_max=31.0), 0.4, 0.0),  # σ = 32 lies outside
    ],
)
def test_the_level_is_raised_by_the_factor_that_was_asked_for(
    solver: Heun, start: float, gamma: float
) -> None:
    times = torch.tensor([start, 0.1, 0.0], dtype=F64)
    assert first(solver, times) == pytest.approx(start * (1 + gamma), rel=1e-12)
