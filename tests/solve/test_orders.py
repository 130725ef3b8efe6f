"""Measured orders of every deterministic solver on every process, in float64.

The data is a mixture of three Gaussians, whose posterior mean is exact; the reference is a
fifth-order solution in 300 steps. An observed order must be within 0.15 of the declared one.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES, SPAN, Mixture, mixture, slope
from sfumato.solve import DDIM, DEIS, DormandPrince, DPMSolverPP, Euler, Heun, UniPC

SOLVERS: dict[str, tuple[sf.Solver, list[int]]] = {
    "euler": (Euler(), [160, 320]),
    "heun": (Heun(), [80, 160]),
    "exponential-1": (DDIM(), [160, 320]),
    "exponential-2": (DPMSolverPP(), [160, 320]),
    "exponential-3": (DPMSolverPP(3), [160, 320]),
    "unipc-1": (UniPC(1), [160, 320]),
    "unipc-2": (UniPC(), [160, 320]),
    "dormand-prince": (DormandPrince(adaptive=False), [48, 96]),
}
BRIDGES = {
    "bridge-brownian": sf.Bridge(sf.Scheduled(sf.SymmetricBrownian(0.5, 2.0)), True),
    "bridge-vp": sf.Bridge(sf.Scheduled(sf.VPLinear(0.1, 2.0)), True),
}
FIFTH = DormandPrince(adaptive=False)


def exact(denoiser: sf.Denoiser, grid: Tensor, x: Tensor) -> Tensor:
    return sf.sample(denoiser, FIFTH, grid, x).x


def start(denoiser: Mixture, t: float, n: int = 12) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return denoiser.process.perturb(denoiser.draw(n, g), t, g)[0]


@functools.cache
def case(name: str) -> tuple[Mixture, Tensor, Tensor]:
    """Denoiser, state at the beginning of the span, and its exact image at the end."""
    denoiser = mixture(PROCESSES[name]())
    begin, end = SPAN[name]
    x = start(denoiser, begin)
    return denoiser, x, exact(denoiser, sf.times.uniform(300, begin, end), x)


def observed(
    denoiser: Mixture, solver: sf.Solver, grids: list[Tensor], x: Tensor, goal: Tensor
) -> float:
    errors = [float((sf.sample(denoiser, solver, t, x).x - goal).norm()) for t in grids]
    return slope(errors, [len(t) - 1 for t in grids])


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("method", SOLVERS)
def test_order_is_the_declared_one(name: str, method: str) -> None:
    (solver, steps), (begin, end) = SOLVERS[method], SPAN[name]
    if name == "cld-rising" and method in ("euler", "heun"):
        steps = [2 * n for n in steps]
    denoiser, x, end_state = case(name)
    grids = [sf.times.uniform(n, begin, end) for n in steps]
    assert observed(denoiser, solver, grids, x, end_state) == pytest.approx(solver.order, abs=0.15)


@functools.cache
def full(name: str) -> tuple[Mixture, Tensor, Tensor, float]:
    denoiser = mixture(PROCESSES[name]())
    end = {"edm": 5e-3, "ve": 0.4}.get(name, 0.05)
    x = denoiser.process.prior_sample((12, 2), torch.Generator().manual_seed(1), dtype=F64)
    grid = torch.linspace(1, math.sqrt(end), 301, dtype=F64).square()
    return denoiser, x, exact(denoiser, grid, x), end


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("method", ["exponential-1", "exponential-2", "exponential-3", "heun"])
def test_order_from_the_prior_on(name: str, method: str) -> None:
    """From t = 1 on grids that are smooth in the clock, as one samples.

    Where α(1) = 0 the clock is infinite at 1 and the first step is of order 1, so that order 3
    is not reached; there the orders are measured on uniform times.
    """
    denoiser, x, end_state, end = full(name)
    solver = SOLVERS[method][0]
    process = denoiser.process
    if name in ("cosine", "flow"):
        if method == "exponential-3":
            pytest.skip("α(1) = 0")
        grids = [sf.times.uniform(n, 1.0, end) for n in (160, 320)]
    elif process.k == 2:
        grids = [end ** torch.linspace(0, 1, n + 1, dtype=F64) for n in (160, 320)]
    else:
        level = float((-0.5 * process.schedule.log_snr(end)).exp())
        grids = [
            torch.cat([t[:-2], torch.tensor([end], dtype=F64)])
            for t in (sf.times.log_snr(process, n + 1, level, 1e9) for n in (160, 320))
        ]
    assert observed(denoiser, solver, grids, x, end_state) == pytest.approx(solver.order, abs=0.15)


def test_unipc_with_three_estimates_is_at_least_of_order_3() -> None:
    """Its first steps know fewer estimates, but their error is small: 3.9 is observed."""
    denoiser, x, end_state = case("vp")
    grids = [sf.times.uniform(n, *SPAN["vp"]) for n in (80, 160)]
    assert observed(denoiser, UniPC(3), grids, x, end_state) > 3 - 0.15
    two, three = (
        float((sf.sample(denoiser, UniPC(p), grids[0], x).x - end_state).norm()) for p in (2, 3)
    )
    assert three < 0.5 * two


NOISED = [name for name, make in PROCESSES.items() if isinstance(make(), sf.Scheduled)]


@pytest.mark.parametrize("name", NOISED)
@pytest.mark.parametrize("estimates", [1, 2, 3])
def test_deis_is_of_its_order(name: str, estimates: int) -> None:
    """Order 1 and 2; with three estimates the first steps' error of order 2 is soon the larger."""
    begin, end = SPAN[name]
    denoiser, x, end_state = case(name)
    grids = [sf.times.uniform(n, begin, end) for n in (160, 320)]
    solver = DEIS(estimates)
    got = observed(denoiser, solver, grids, x, end_state)
    assert solver.order == min(estimates, 2)
    assert got > solver.order - 0.15
    assert got < (3.15 if estimates == 3 else solver.order + 0.15)


class Bent(sf.Denoiser):
    """An estimate whose noise is a parabola in u = ln σ/α: a flow that DEIS solves exactly."""

    def __init__(self, process: sf.Scheduled) -> None:
        super().__init__()
        self.process = process

    def forward(self, x_t, t, cond=None, generator=None):
        u, h = self.process.clock(t), self.process.schedule
        return (x_t - h.sigma(t) * (0.3 - 0.8 * u + 0.5 * u.square())) / h.alpha(t)


@pytest.mark.parametrize("name", NOISED)
def test_deis_solves_a_parabola_exactly(name: str) -> None:
    """x/α changes by ∫ (0.3 - 0.8 u + 0.5 u²) e^u du = [(2.1 - 1.8 u + 0.5 u²) e^u].

    The first two steps know too few estimates; two walks that differ in nothing but how far they
    go on after the third time differ by the integral.
    """
    process = PROCESSES[name]()
    begin, end = SPAN[name]
    times = begin + (end - begin) * torch.linspace(0, 1, 7, dtype=F64) ** 1.3
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    near, far = (sf.sample(Bent(process), DEIS(3), times[:n], x).x for n in (3, 7))

    def primitive(t: Tensor) -> Tensor:
        u = process.clock(t)
        return (2.1 - 1.8 * u + 0.5 * u.square()) * u.exp()

    alpha = process.schedule.alpha
    got = far / alpha(times[6]) - near / alpha(times[2])
    want = (primitive(times[6]) - primitive(times[2])).expand_as(got)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_deis_of_one_estimate_is_ddim_to_the_data() -> None:
    denoiser = mixture(PROCESSES["cosine"]())
    x = denoiser.process.prior_sample((5, 2), torch.Generator().manual_seed(1), dtype=F64)
    grid = sf.times.uniform(6)
    one, other = (sf.sample(denoiser, s, grid, x).x for s in (DEIS(1), DDIM()))
    torch.testing.assert_close(one, other)
    assert sf.sample(denoiser, DEIS(), grid, x).x.isfinite().all()


def test_deis_where_it_does_not_fit() -> None:
    with pytest.raises(ValueError, match="expected 1, 2 or 3 estimates, got 4"):
        DEIS(4)
    damped = mixture(PROCESSES["cld"]())
    x = damped.process.prior_sample((2, 2), torch.Generator().manual_seed(1), dtype=F64)
    with pytest.raises(ValueError, match="DEIS needs a scheduled process"):
        sf.sample(damped, DEIS(), sf.times.uniform(3), x)


class Halves(sf.Denoiser):
    """E[x_0 | x_t] on a bridge from N(x_0, s²) pairs: any smooth estimate serves to test orders."""

    def __init__(self, process: sf.Process) -> None:
        super().__init__()
        self.process = process

    def forward(self, x_t, t, cond=None, generator=None):
        t = torch.as_tensor(t, dtype=F64).reshape(-1, 1)
        return torch.tanh(3 * x_t * (1 - 0.5 * t)) + 0.2 * torch.sin(5 * t)


@functools.cache
def bridged(name: str) -> tuple[Halves, Tensor, Tensor, float, float]:
    """Denoiser, state, its exact image, and the times between."""
    denoiser = Halves(BRIDGES[name])
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    begin, end = (0.45, 0.1) if "brownian" in name else (0.9, 0.2)  # β has a kink at 1/2
    return denoiser, x, exact(denoiser, sf.times.uniform(1600, begin, end), x), begin, end


@pytest.mark.parametrize("name", BRIDGES)
@pytest.mark.parametrize("method", SOLVERS)
def test_order_on_a_deterministic_bridge(name: str, method: str) -> None:
    solver, steps = SOLVERS[method]
    denoiser, x, end_state, begin, end = bridged(name)
    more = 1.0 if method == "euler" else 2.0  # the limit is reached slowly,
    if method == "dormand-prince":  # and on the short bridge rounding comes soon after
        more = 2.5 if name == "bridge-brownian" else 4.0
    grids = [sf.times.uniform(int(more * n), begin, end) for n in steps]
    assert observed(denoiser, solver, grids, x, end_state) == pytest.approx(solver.order, abs=0.15)


@pytest.mark.parametrize("name", ["vp", "cosine", "edm"])
def test_order_two_is_the_published_algorithm(name: str) -> None:
    """DPM-Solver++(2M), algorithm 2 of arXiv 2211.01095, written out on uneven times."""
    denoiser = mixture(PROCESSES[name]())
    process, (begin, end) = denoiser.process, SPAN[name]
    times = begin + (end - begin) * torch.linspace(0, 1, 9, dtype=F64) ** 1.4
    x = want = start(denoiser, begin)
    alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
    lam = (alpha / sigma).log()
    before = None
    for i in range(1, len(times)):
        h, x0 = lam[i] - lam[i - 1], denoiser(want, times[i - 1])
        held = x0
        if before is not None:
            r = (lam[i - 1] - lam[i - 2]) / h
            held = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * before
        want = sigma[i] / sigma[i - 1] * want - alpha[i] * ((-h).exp() - 1) * held
        before = x0
    got = sf.sample(denoiser, DPMSolverPP(), times, x).x
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["vp", "edm", "flow", "cld"])
@pytest.mark.parametrize("method", ["euler", "exponential-2", "heun", "exponential-3"])
def test_there_and_back(name: str, method: str) -> None:
    """Encoding and decoding on one grid: the error of the round trip falls with the order."""
    solver, steps = SOLVERS[method]
    denoiser = mixture(PROCESSES[name]())
    begin, end = SPAN[name]
    x0 = denoiser.draw(12, torch.Generator().manual_seed(0))
    errors = []
    for n in steps:
        seed = torch.Generator().manual_seed(3)
        grid = end * (begin / end) ** torch.linspace(0, 1, n + 1, dtype=F64)
        code = sf.encode(denoiser, solver, grid, x0, generator=seed)
        back = sf.sample(denoiser, solver, grid.flip(0), code.x)
        entry = denoiser.process.marginal(end).A[0, 0]
        errors.append(float((denoiser.process.to_data(back.x) / entry - x0).norm()))
        assert code.nfe > 0
    order = slope(errors, steps)
    # the leading errors of the two ways may cancel, never add up to a lower order
    assert order > solver.order - 0.15
    assert errors[-1] < 0.1 * float(x0.norm())


@pytest.mark.parametrize("name", PROCESSES)
def test_adaptive_error_follows_the_tolerance(name: str) -> None:
    denoiser, x, end_state = case(name)
    begin, end = SPAN[name]
    span = torch.tensor([begin, end])
    errors = []
    for tol in (1e-4, 1e-7):
        got = sf.sample(denoiser, DormandPrince(tol, tol), span, x).x
        errors.append(float((got - end_state).abs().max()))
    assert errors[0] < 50 * 1e-4
    assert errors[1] < 50 * 1e-7
