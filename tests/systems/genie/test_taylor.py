"""Orders of the Taylor solver, forwards, backwards and under guidance; its counts and refusals."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES, slope
from ring import Ring
from sfumato.errors import UsageError
from sfumato.guide import ClassifierFree, ClassifierGuided
from sfumato.nn import MLP, MLPConfig
from sfumato.solve import DDIM, DormandPrince, Heun
from sfumato.systems.genie.derivative import Differentiable, ExactDerivative, LearnedDerivative
from sfumato.systems.genie.guidance import MixedDerivative
from sfumato.systems.genie.head import DerivativeHead
from sfumato.systems.genie.taylor import Taylor

SPAN = {"edm": (0.05, 0.006), "ve": (0.7, 0.4)}
STEPS = [40, 80]
CLASSES = torch.arange(8) % 2


def states(denoiser: sf.Denoiser, ring: Ring, name: str, cond: Tensor | None) -> tuple:
    """(state at the beginning, its exact image, begin, end)."""
    begin, end = SPAN.get(name, (0.8, 0.1))
    seed = torch.Generator().manual_seed(0)
    x = ring.process.perturb(ring.draw(8, seed), begin, seed)[0]
    grid = sf.times.uniform(80, begin, end)
    goal = sf.sample(denoiser, DormandPrince(adaptive=False), grid, x, cond=cond).x
    return x, goal, begin, end


def order(solver: sf.Solver, denoiser: sf.Denoiser, at: tuple, cond: Tensor | None = None) -> float:
    x, goal, begin, end = at
    grids = [sf.times.uniform(n, begin, end) for n in STEPS]
    errors = [sf.sample(denoiser, solver, g, x, cond=cond).x - goal for g in grids]
    return slope([float(e.norm()) for e in errors], STEPS)


@pytest.mark.parametrize("name", ["vp", "cosine", "ve", "edm", "flow"])
def test_orders_of_ddim_and_taylor(name: str) -> None:
    ring = Ring(PROCESSES[name]())
    at = states(ring, ring, name, None)
    assert order(DDIM(), ring, at) == pytest.approx(1.0, abs=0.1)
    assert order(Taylor(), ExactDerivative(ring), at) == pytest.approx(2.0, abs=0.1)


@functools.cache
def guided(scale: float) -> tuple[sf.Denoiser, Differentiable, tuple]:
    ring = Ring(PROCESSES["vp"]())
    denoiser = ClassifierFree(ring, scale)
    mixed = MixedDerivative(ExactDerivative(ring), scale)
    return denoiser, mixed, states(denoiser, ring, "vp", CLASSES)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_order_under_classifier_free_guidance(scale: float) -> None:
    """Along the guided flow order 2; with the two derivatives mixed, 1 unless the scale is 1."""
    denoiser, mixed, at = guided(scale)
    assert order(Taylor(), ExactDerivative(denoiser), at, CLASSES) == pytest.approx(2, abs=0.15)
    assert order(Taylor(), mixed, at, CLASSES) == pytest.approx(2 if scale == 1 else 1, abs=0.3)


def test_order_under_classifier_guidance() -> None:
    ring = Ring(PROCESSES["vp"]())
    denoiser = ClassifierGuided(ring, ring.log_prob, 1.5)
    at = states(denoiser, ring, "vp", CLASSES)
    assert order(Taylor(), ExactDerivative(denoiser), at, CLASSES) == pytest.approx(2, abs=0.15)


def test_encoding_and_decoding() -> None:
    """The error of the round trip falls at least with order 2."""
    ring = Ring(PROCESSES["vp"]())
    denoiser = ExactDerivative(ring)
    x0 = ring.draw(8, torch.Generator().manual_seed(0))
    errors = []
    for n in STEPS:
        grid = 0.02 * 40 ** torch.linspace(0, 1, n + 1, dtype=F64)
        code = sf.encode(denoiser, Taylor(), grid, x0)
        back = sf.sample(denoiser, Taylor(), grid.flip(0), code.x).x
        errors.append(float((back / ring.process.schedule.alpha(0.02) - x0).norm()))
    assert slope(errors, STEPS) > 1.9
    assert errors[-1] < 1e-3


def tiny(name: str = "edm") -> LearnedDerivative:
    torch.manual_seed(0)
    network = MLP(MLPConfig(width=8, blocks=1))
    torch.nn.init.normal_(network.output.weight)
    return LearnedDerivative(
        sf.Preconditioned(network, PROCESSES[name]()), DerivativeHead(network, 8)
    )


@pytest.mark.parametrize("name", ["vp", "cosine", "edm", "flow"])
def test_a_fresh_head_makes_it_ddim(name: str) -> None:
    denoiser = tiny(name)
    times = sf.times.karras(denoiser.process, 6)
    x = denoiser.process.prior_sample((4, 2), sf.generator(0))
    got = sf.sample(denoiser, Taylor(), times, x)
    want = sf.sample(denoiser.backbone, DDIM(), times, x)
    torch.testing.assert_close(got.x, want.x)
    assert got.nfe == want.nfe == 6


def test_evaluations_are_counted() -> None:
    """Against the calls that the network itself sees; the last step is a plain evaluation."""
    denoiser = tiny()
    calls: list[int] = []
    denoiser.network.input.register_forward_hook(lambda *_: calls.append(1))
    times = sf.times.karras(denoiser.process, 5)
    x = denoiser.process.prior_sample((4, 2), sf.generator(0))

    def nfe(made: sf.Denoiser, solver: sf.Solver) -> int:
        calls.clear()
        return sf.sample(made, solver, times, x).nfe

    assert nfe(denoiser, Taylor()) == len(calls) == 5
    assert nfe(denoiser, Taylor(analytic=True)) == len(calls) == 4
    assert nfe(MixedDerivative(denoiser, 2.0), Taylor()) == len(calls) == 10
    assert nfe(MixedDerivative(denoiser, 1.0), Taylor()) == len(calls) == 5
    assert nfe(denoiser, Heun()) == len(calls) == 9  # it is an ordinary denoiser too
    # a tangent is a pass of its own, though the network is called for two of the three
    assert nfe(ExactDerivative(denoiser.backbone), Taylor()) == 4 * 3 + 1


def test_the_analytic_first_step_takes_the_state_for_noise() -> None:
    """Exact for a point mass at 0, where ε = x/σ and its derivative is 0."""
    denoiser = tiny("vp")
    process = denoiser.process
    x = process.prior_sample((4, 2), sf.generator(0), dtype=F64)
    first = torch.tensor([1.0, 0.7], dtype=F64)
    got = sf.sample(denoiser, Taylor(analytic=True), first, x)
    sigma = process.schedule.sigma(first)
    torch.testing.assert_close(got.x, x * (sigma[1] / sigma[0]))
    assert got.nfe == 0
    below = torch.tensor([0.9, 0.7], dtype=F64)
    assert sf.sample(denoiser, Taylor(analytic=True), below, x).nfe == 1


def test_a_denoiser_without_derivative_is_refused_with_advice() -> None:
    ring = Ring(PROCESSES["vp"]())
    with pytest.raises(UsageError, match="Ring does not have.*train genie.*ExactDerivative"):
        sf.sample(ring, Taylor(), sf.times.uniform(3), torch.zeros(1, 2, dtype=F64))
    hidden = ClassifierFree(tiny(), 2.0)
    with pytest.raises(UsageError, match="ClassifierFree does not have.*MixedDerivative"):
        sf.sample(hidden, Taylor(), sf.times.uniform(3), torch.zeros(1, 2))


def test_works_where_inference_mode_is_on() -> None:
    ring = Ring(PROCESSES["vp"]())
    x = torch.zeros(2, 2, dtype=F64)
    with torch.inference_mode():
        got = sf.sample(ExactDerivative(ring), Taylor(), sf.times.uniform(3, 0.9, 0.1), x + 0.3)
    want = sf.sample(ExactDerivative(ring), Taylor(), sf.times.uniform(3, 0.9, 0.1), x + 0.3)
    torch.testing.assert_close(got.x, want.x)
