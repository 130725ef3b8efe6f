"""A sample depends on its seed, never on the batch that it is drawn in."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from analytic import PROCESSES
from sfumato.nn import MLP, MLPConfig, UNet, UNetConfig
from sfumato.solve import Ancestral, DormandPrince, DPMSolverPP, EulerMaruyama, Heun


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Networks start with a zero output; give every weight a value."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return network.eval()


def points(name: str) -> sf.Preconditioned:
    process = PROCESSES[name]()
    network = MLP(MLPConfig(in_features=2 * process.k, out_features=2, width=32, blocks=1))
    predicts = sf.Prediction.EDM if process.k == 1 else sf.Prediction.X0
    return sf.Preconditioned(randomised(network), process, predicts)


def pictures() -> sf.Preconditioned:
    config = UNetConfig(
        in_channels=1, out_channels=1, channels=16, multipliers=(1, 2), blocks=1,
        attention=(4,), head_channels=16, resolution=8,
    )  # fmt: skip
    return sf.Preconditioned(randomised(UNet(config)), PROCESSES["edm"]())


def draw(
    denoiser: sf.Denoiser, solver: sf.Solver, indices: list[int], shape: tuple
) -> torch.Tensor:
    process = denoiser.process
    # in phase space the flow of an untrained network runs away near the data
    times = sf.times.quadratic(6, 1.0, 0.03 if process.k == 2 else 1e-4)
    seeds = sf.generators(5, indices)
    x = process.prior_sample((len(indices), *shape), seeds)
    return process.to_data(sf.sample(denoiser, solver, times, x, generator=seeds).x)


SOLVERS = [DPMSolverPP(3), Heun(), DormandPrince(1e-3, 1e-3), Ancestral(), EulerMaruyama()]


@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
@pytest.mark.parametrize("name", ["vp", "edm", "cld"])
def test_a_point_alone_and_in_a_batch_of_64(name: str, solver: sf.Solver) -> None:
    denoiser = points(name)
    whole = draw(denoiser, solver, list(range(64)), (2,))
    scale = float(whole.abs().max())
    for i in (0, 17, 63):
        alone = draw(denoiser, solver, [i], (2,))
        assert float((alone[0] - whole[i]).abs().max()) < 1e-4 * max(1.0, scale)
    assert float((whole[0] - whole[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("solver", [Heun(), Heun(churn=0.2), DormandPrince(1e-2, 1e-2)], ids=repr)
def test_a_picture_alone_and_in_a_batch_of_64(solver: sf.Solver) -> None:
    denoiser = pictures()
    whole = draw(denoiser, solver, list(range(64)), (1, 8, 8))
    alone = draw(denoiser, solver, [41], (1, 8, 8))
    torch.testing.assert_close(alone[0], whole[41], atol=1e-4, rtol=0)
    assert float((whole[0] - whole[41]).abs().max()) > 1e-2


def test_likelihood_does_not_depend_on_the_batch() -> None:
    denoiser = points("vp")
    x0 = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    whole = sf.log_likelihood(denoiser, x0, generator=sf.generators(0, range(8)))
    alone = sf.log_likelihood(denoiser, x0[5:6], generator=sf.generators(0, [5]))
    assert float((alone[0] - whole[5]).abs()) < 1e-3
