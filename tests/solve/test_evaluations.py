"""`Solution.nfe` against the calls that a network counts itself; paths and callbacks."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, Counted
from sfumato.guide import ClassifierFree, Inpaint, Projected
from sfumato.solve import (
    DDIM,
    Ancestral,
    DormandPrince,
    DPMSolverPP,
    Euler,
    EulerMaruyama,
    Heun,
    StochasticDDIM,
    UniPC,
)

PER_WALK = {
    "ancestral": (Ancestral(), lambda n: n),
    "maruyama": (EulerMaruyama(), lambda n: n),
    "euler": (Euler(), lambda n: n),
    "heun": (Heun(), lambda n: 2 * n - 1),
    "churn": (Heun(churn=0.2), lambda n: 2 * n - 1),
    "exponential-1": (DDIM(), lambda n: n),
    "exponential-eta": (StochasticDDIM(1.0), lambda n: n),
    "exponential-2": (DPMSolverPP(), lambda n: n),
    "exponential-3": (DPMSolverPP(3), lambda n: n + 1),  # the first step looks ahead once
    "unipc": (UniPC(), lambda n: n),
    "dormand-prince": (DormandPrince(adaptive=False), lambda n: 6 * (n - 1) + 1),
}


def model(name: str = "edm") -> tuple[Counted, sf.Preconditioned]:
    network = Counted()
    return network, sf.Preconditioned(network, PROCESSES[name](), sf.Prediction.EDM)


def start(denoiser: sf.Denoiser, n: int = 3) -> torch.Tensor:
    return denoiser.process.prior_sample((n, 2), torch.Generator().manual_seed(0), dtype=F64)


@pytest.mark.parametrize("method", PER_WALK)
@pytest.mark.parametrize("n", [2, 7])
def test_evaluations_of_a_walk(method: str, n: int) -> None:
    solver, formula = PER_WALK[method]
    network, denoiser = model()
    got = sf.sample(denoiser, solver, sf.times.karras(denoiser.process, n), start(denoiser))
    assert got.nfe == network.calls == formula(n)


@pytest.mark.parametrize("method", PER_WALK)
def test_one_step_costs_one_evaluation(method: str) -> None:
    """A step to t = 0 is an exact transport with the estimate held fixed."""
    network, denoiser = model()
    times = torch.tensor([1.0, 0.0])
    got = sf.sample(denoiser, PER_WALK[method][0], times, start(denoiser))
    assert got.nfe == network.calls == 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("method", ["heun", "exponential-2"])
def test_guidance_is_counted(scale: float, method: str) -> None:
    solver, formula = PER_WALK[method]
    network, denoiser = model()
    guided = ClassifierFree(denoiser, scale)
    got = sf.sample(guided, solver, sf.times.karras(denoiser.process, 5), start(denoiser))
    assert got.nfe == network.calls == formula(5) * (2 if scale == 2 else 1)


def test_wrappers_in_wrappers_are_counted_once() -> None:
    network, denoiser = model()
    wrapped = Inpaint(ClassifierFree(denoiser, 3.0), torch.zeros(2, dtype=F64), torch.zeros(2))
    wrapped = Projected(wrapped, lambda x: x.clamp(-1, 1))
    got = sf.sample(wrapped, Euler(), sf.times.karras(denoiser.process, 4), start(denoiser))
    assert got.nfe == network.calls == 8


def test_the_adaptive_solver_counts_rejected_steps_too() -> None:
    network, denoiser = model()
    times = torch.tensor([1.0, 0.01, 1e-4])
    loose = sf.sample(denoiser, DormandPrince(1e-2, 1e-2), times, start(denoiser))
    assert loose.nfe == network.calls
    tight = sf.sample(denoiser, DormandPrince(1e-8, 1e-8), times, start(denoiser))
    assert loose.nfe + tight.nfe == network.calls
    assert tight.nfe > 2 * loose.nfe


def test_a_failed_walk_leaves_no_counter_behind() -> None:
    network, denoiser = model()
    with pytest.raises(RuntimeError, match="stop"):
        sf.sample(denoiser, Euler(), sf.times.uniform(3), start(denoiser), callback=fail)
    before = network.calls
    denoiser(start(denoiser), 0.5)  # counted by nobody, and no error
    assert network.calls == before + 1
    assert sf.sample(denoiser, Euler(), sf.times.uniform(3), start(denoiser)).nfe == 3


def fail(*_: object) -> None:
    raise RuntimeError("stop")


def test_path_and_callback_see_every_state() -> None:
    _, denoiser = model()
    seen: list[tuple[int, float, torch.Tensor]] = []
    times = sf.times.karras(denoiser.process, 4)
    x = start(denoiser)
    got = sf.sample(denoiser, Heun(), times, x, callback=lambda *a: seen.append(a), save_path=True)
    assert len(got.path) == 5
    assert got.path[0] is x
    assert got.path[-1] is got.x
    assert [i for i, *_ in seen] == [0, 1, 2, 3]
    assert [t for _, t, _ in seen] == times[1:].tolist()
    assert all(torch.equal(s, p) for (*_, s), p in zip(seen, got.path[1:], strict=True))
    assert not sf.sample(denoiser, Heun(), times, x).path


def test_no_gradient_is_kept() -> None:
    process = PROCESSES["edm"]()
    denoiser = sf.Preconditioned(torch.nn.Linear(2, 2), process)
    network = denoiser.network
    denoiser.network = torch.nn.Module()
    denoiser.network.forward = lambda x, level, cond=None: network(x)  # type: ignore[assignment]
    x = sf.sample(denoiser, Euler(), sf.times.uniform(2), start(denoiser).float()).x
    assert not x.requires_grad
