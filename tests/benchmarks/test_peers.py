"""diffusers' schedulers follow the probability flow of our denoiser to its exact end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from analytic import F64, mixture
from sfumato.errors import MissingExtra
from sfumato.solve import DDIM, DEIS, DPMSolverPP, Heun
from sfumato.times import karras, log_snr

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
peers = pytest.importorskip("peers")
diffusers = pytest.importorskip("diffusers", reason="needs the extra: pip install 'sfumato[bench]'")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers and NumPy

EDM, VP = sf.Scheduled(sf.EDM()), sf.Scheduled(sf.VPLinear())
UNCLIPPED = [p for found in peers.options().values() for p in found if "clipped" not in p.settings]
GRIDS = {peers.Spacing.KARRAS: karras, peers.Spacing.EXPONENTIAL: log_snr}


def noise(n: int = 32) -> torch.Tensor:
    """Standard normal numbers in the plane."""
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=F64)


def rms(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.fixture(scope="module")
def goal() -> torch.Tensor:
    """The end of the flow from 80 z, to 1e-6."""
    return sf.sample(mixture(EDM), DPMSolverPP(3), log_snr(EDM, 500), 80 * noise()).x


@pytest.mark.parametrize("peer", UNCLIPPED, ids=lambda p: f"{p.name}, {p.settings}")
def test_every_scheduler_reaches_the_exact_end_of_the_flow(peer: Any, goal: torch.Tensor) -> None:
    few, _ = peer.walk(mixture(EDM), 80 * noise(), 12)
    many, nfe = peer.walk(mixture(EDM), 80 * noise(), 72)
    # first order errs by 0.02 at 72 steps, the others by less than 0.003; they work in float32
    bound = 3e-2 if isinstance(peer, peers.Ddim) else 3e-3
    assert rms(many, goal) < min(bound, rms(few, goal) / 4)
    assert nfe == (143 if isinstance(peer, peers.HeunPeer) else 72)


@pytest.mark.parametrize("peer", UNCLIPPED[::3], ids=lambda p: p.name)
def test_the_process_of_the_network_makes_no_difference(peer: Any) -> None:
    """VP at σ/α = 80 and EDM at σ = 80 are one state in two scales."""
    t = karras(VP, 5)[0]
    start = float(VP.schedule.sigma(t))
    one, _ = peer.walk(mixture(EDM), 80 * noise(), 8)
    other, _ = peer.walk(mixture(VP), start * noise(), 8)
    assert rms(one, other) < 1e-5


@pytest.mark.parametrize("spacing", list(peers.Spacing))
@pytest.mark.parametrize("steps", [1, 5, 10])
def test_schedulers_are_ours_on_the_same_levels(spacing: Any, steps: int) -> None:
    x, times = 80 * noise(), GRIDS[spacing](EDM, steps)
    for peer, solver in (
        (peers.Ddim(spacing), DDIM()),
        (peers.DpmSolver(2, spacing), DPMSolverPP()),
        (peers.HeunPeer(spacing), Heun()),
    )[: 3 if steps > 1 else 1]:
        got, nfe = peer.walk(mixture(EDM), x, steps)
        ours = sf.sample(mixture(EDM), solver, times, x)
        assert rms(got, ours.x) < 1e-4 * float(ours.x.std())
        assert nfe == ours.nfe


@pytest.mark.parametrize("spacing", list(peers.Spacing))
@pytest.mark.parametrize("estimates", [2, 3])
def test_deis_is_ours_on_the_same_levels(spacing: Any, estimates: int) -> None:
    """From 15 steps on the scheduler keeps its order to the end; it ends at the last level."""
    x, times = 80 * noise(), GRIDS[spacing](EDM, 17)[:-1]
    got, _ = peers.Deis(estimates, spacing).walk(mixture(EDM), x, 16)
    ours = sf.sample(mixture(EDM), DEIS(estimates), times, x)
    assert rms(got, ours.x) < 1e-4 * float(ours.x.std())


def test_the_scheduler_that_knows_edm_agrees_with_the_one_that_is_driven() -> None:
    """EDMDPMSolverMultistepScheduler takes the raw output F of an EDM network, α = 1."""
    sd, steps, denoiser = 0.5, 8, mixture(EDM)
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(sigma_data=sd, sigma_max=80.0)
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    x = 80 * noise()
    for i, t in enumerate(scheduler.timesteps):
        sigma = float(scheduler.sigmas[i])
        x0 = denoiser(x, sigma / 80)
        skip, out = sd**2 / (sigma**2 + sd**2), sigma * sd / (sigma**2 + sd**2) ** 0.5
        x = scheduler.step((x0 - skip * x) / out, t, x).prev_sample
    driven, _ = peers.DpmSolver(2).walk(denoiser, 80 * noise(), steps)
    assert rms(x, driven) < 1e-4


def test_without_diffusers_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sfumato\[bench\]'"):
        peers.Ddim().walk(mixture(EDM), 80 * noise(), 3)
