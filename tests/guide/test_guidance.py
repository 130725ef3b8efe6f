"""Guidance against Bayes' rule on mixtures and correlated Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES, Counted, Linear, Scripted, mixture, propagate
from sfumato.condition import Condition
from sfumato.denoise import counted
from sfumato.guide import ClassifierFree, ClassifierGuided, Inpaint, Projected
from sfumato.solve import Ancestral, DormandPrince, DPMSolverPP

SCHEDULED = [n for n in PROCESSES if PROCESSES[n]().k == 1]
LABELS = torch.tensor([0, 1, 1, 0])


def states(process: sf.Process, t: float | Tensor = 0.3) -> Tensor:
    g = torch.Generator().manual_seed(0)
    x0 = torch.randn(4, 2, generator=g, dtype=F64)
    return process.perturb(x0, t, g)[0]


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_classifier_free_formula(name: str, scale: float) -> None:
    denoiser = mixture(PROCESSES[name]())
    x = states(denoiser.process)
    free, bound = denoiser(x, 0.3), denoiser(x, 0.3, LABELS)
    assert float((free - bound).abs().max()) > 1e-3
    got = ClassifierFree(denoiser, scale)(x, 0.3, LABELS)
    torch.testing.assert_close(got, (1 - scale) * free + scale * bound)


def test_scales_of_zero_and_one_cost_one_evaluation() -> None:
    network = Counted()
    denoiser = sf.Preconditioned(network, PROCESSES["edm"]())
    x = states(denoiser.process)
    for scale, calls in ((0.0, 1), (1.0, 1), (2.0, 2)):
        guided = ClassifierFree(denoiser, scale)
        network.calls = 0
        with counted() as spent:
            guided(x, 0.3, LABELS)
        assert network.calls == spent.evaluations == calls


def test_another_denoiser_may_be_the_weak_one() -> None:
    process = PROCESSES["edm"]()
    strong, weak = (sf.Preconditioned(Counted(g), process) for g in (0.3, 0.7))
    x = states(process)
    guided = ClassifierFree(strong, 2.0, unconditional=weak)
    torch.testing.assert_close(guided(x, 0.3), 2 * strong(x, 0.3) - weak(x, 0.3))
    assert ClassifierFree(strong, 0.0, unconditional=weak)(x, 0.3).equal(weak(x, 0.3))


def classifier(denoiser: sf.Denoiser) -> ClassifierGuided:
    """log p(class | x_t) of the mixture, exactly."""

    def log_prob(x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        assert t.shape == (len(x),)
        log = denoiser.responsibility(x, t)[0]
        mine = log.masked_fill(denoiser.labels[None] != cond.labels[:, None], -math.inf)
        return mine.logsumexp(1) - log.logsumexp(1)

    return ClassifierGuided(denoiser, log_prob, 1.0)


@pytest.mark.parametrize("name", SCHEDULED)
@pytest.mark.parametrize("t", [0.01, 0.4, 0.95])
def test_classifier_guidance_is_bayes_rule(name: str, t: float) -> None:
    """At scale 1 with the exact classifier, the guided estimate is the conditional one."""
    denoiser = mixture(PROCESSES[name]())
    x = states(denoiser.process, t)
    got = classifier(denoiser)(x, t, LABELS)
    torch.testing.assert_close(got, denoiser(x, t, LABELS), rtol=1e-7, atol=1e-8)


def test_classifier_takes_one_time_per_sample() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    t = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=F64)
    x = states(denoiser.process, t)
    got = classifier(denoiser)(x, t, LABELS)
    torch.testing.assert_close(got, denoiser(x, t, LABELS), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["cosine", "flow"])
def test_nothing_to_classify_where_no_signal_is_left(name: str) -> None:
    denoiser = mixture(PROCESSES[name]())
    x = denoiser.process.prior_sample((4, 2), torch.Generator().manual_seed(0), dtype=F64)
    torch.testing.assert_close(classifier(denoiser)(x, 1.0, LABELS), denoiser(x, 1.0))


def test_guided_samples_have_the_class() -> None:
    """A walk under classifier guidance equals the walk of the conditional mixture."""
    denoiser = mixture(PROCESSES["edm"]())
    x = denoiser.process.prior_sample((4, 2), torch.Generator().manual_seed(0), dtype=F64)
    times = sf.times.karras(denoiser.process, 20)
    guided = sf.sample(classifier(denoiser), DPMSolverPP(), times, x, cond=LABELS).x
    want = sf.sample(denoiser, DPMSolverPP(), times, x, cond=LABELS).x
    torch.testing.assert_close(guided, want, rtol=1e-6, atol=1e-6)


COV = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64)
KNOWN, MASK = torch.tensor([1.2, 0.0], dtype=F64), torch.tensor([1.0, 0.0])


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("solver", [DPMSolverPP(), Ancestral(), DormandPrince()], ids=repr)
def test_known_part_comes_out_exactly(name: str, solver: sf.Solver) -> None:
    process = PROCESSES[name]()
    denoiser = Linear(process, torch.zeros(2, dtype=F64), COV)
    g = torch.Generator().manual_seed(0)
    times = sf.times.quadratic(12) if process.k == 2 else sf.times.log_snr(process, 12, 0.01)
    x = process.prior_sample((3, 2), g, dtype=F64)
    end = process.to_data(
        sf.sample(Inpaint(denoiser, KNOWN, MASK), solver, times, x, generator=g).x
    )
    torch.testing.assert_close(end[:, 0], torch.full((3,), 1.2, dtype=F64), rtol=0, atol=1e-9)


def test_inpainting_is_the_flow_with_the_estimate_replaced() -> None:
    """Mean of the free part against its own ODE, solved by scipy: dx/dσ = (x - x̂)/σ."""
    process = sf.Scheduled(sf.EDM(sigma_max=20.0), Scripted())
    denoiser = Linear(process, torch.zeros(2, dtype=F64), COV)
    inpaint = Inpaint(denoiser, KNOWN, MASK)
    times = sf.times.log_snr(process, 400, 1e-3, 20.0)
    x = torch.zeros(1, 2, dtype=F64)
    got = sf.sample(inpaint, DPMSolverPP(), times, x).x[0]

    def rate(log: float, y: np.ndarray) -> np.ndarray:
        total = COV.numpy() + math.exp(2 * log) * np.eye(2)
        guess = COV.numpy() @ np.linalg.solve(total, y)
        guess[0] = 1.2
        return y - guess

    span = math.log(20), math.log(1e-3)
    y = solve_ivp(rate, span, [0.0, 0.0], method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    assert float(got[1]) == pytest.approx(y[1], abs=2e-3)
    # the two are correlated by 0.8: what is known pulls the free part its way, if not all of it
    assert 0.4 < float(got[1]) < 0.8 * 1.2


def test_soft_masks_blend() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    x = states(denoiser.process)
    mask = torch.tensor([0.25, 0.0])
    got = Inpaint(denoiser, KNOWN, mask)(x, 0.3)
    plain = denoiser(x, 0.3)
    torch.testing.assert_close(got[:, 0], 0.25 * 1.2 + 0.75 * plain[:, 0])
    torch.testing.assert_close(got[:, 1], plain[:, 1])


def test_projection_onto_a_line_moves_the_mean_there() -> None:
    """P(x) = x - n (n·x - c): data on the line, and the mean is that of the projected Gaussian."""
    process = sf.Scheduled(sf.VPLinear(), Scripted())
    mean = torch.tensor([1.0, -0.5], dtype=F64)
    plain = Linear(process, mean, 0.25 * torch.eye(2, dtype=F64))
    normal = torch.tensor([0.6, 0.8], dtype=F64)
    put = lambda x: x - (x @ normal - 0.3)[:, None] * normal  # noqa: E731
    denoiser = Projected(plain, put)
    denoiser.mean, denoiser.field = plain.mean, plain.field
    times = sf.times.log_snr(process, 200, 1e-3)
    got, cov = propagate(denoiser, DPMSolverPP(), times, plain.state(float(times[0])))  # type: ignore[arg-type]
    torch.testing.assert_close(got, put(mean[None])[0], rtol=0, atol=1e-4)
    along = torch.tensor([-0.8, 0.6], dtype=F64)
    assert float(normal @ cov @ normal) < 1e-20
    assert float(along @ cov @ along) == pytest.approx(0.25, abs=1e-3)


def test_projection_only_inside_its_window() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    guided = Projected(denoiser, torch.zeros_like, 0.2, 0.6)
    for t, zero in ((0.1, False), (0.2, True), (0.4, True), (0.6, True), (0.61, False)):
        x0 = guided(states(denoiser.process, t), t)
        assert bool((x0 == 0).all()) == zero
    t = torch.tensor([0.1, 0.3, 0.5, 0.9], dtype=F64)
    x = states(denoiser.process, t)
    got, plain = guided(x, t), denoiser(x, t)
    torch.testing.assert_close(got[[0, 3]], plain[[0, 3]])
    assert not got[[1, 2]].any()


def test_projection_does_not_run_outside_its_window() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    guided = Projected(denoiser, pytest.fail, 0.2, 0.6)
    guided(states(denoiser.process, 0.9), 0.9)
