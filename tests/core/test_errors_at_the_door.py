"""Every mistake at the door gets a ValueError that says what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, Counted, mixture
from sfumato.errors import SfumatoError
from sfumato.guide import ClassifierGuided, Inpaint, Projected
from sfumato.process import mix
from sfumato.seeds import randn
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
from sfumato.systems.cld.sscs import SSCS

EDM, CLD = PROCESSES["edm"](), PROCESSES["cld"]()
BRIDGE = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()))
STILL = sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()), deterministic=True)
P = sf.Prediction
X = torch.zeros(3, 2, dtype=F64)


def model(process: sf.Process = EDM) -> sf.Preconditioned:
    predicts = P.X0 if process.k == 2 else P.EDM
    return sf.Preconditioned(Counted(blocks=process.k), process, predicts)


def walk(
    solver: sf.Solver | None = None, times: object = None, process: sf.Process = EDM
) -> Callable[[], object]:
    grid = sf.times.uniform(3) if times is None else times
    state = torch.zeros(3, 2 * process.k, dtype=F64)
    return lambda: sf.sample(model(process), solver or Euler(), grid, state)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "vp betas": (lambda: sf.VPLinear(2, 1), "beta_min <= beta_max, got 2 and 1"),
    "ve sigmas": (lambda: sf.VE(0, 1), "sigma_min < sigma_max, got 0 and 1"),
    "edm sigma": (lambda: sf.EDM(0), "sigma_max > 0, got 0"),
    "brownian betas": (lambda: sf.SymmetricBrownian(0, 1), "beta_min <= beta_max, got 0 and 1"),
    "cld gamma": (lambda: sf.CriticallyDamped(gamma=0), "gamma > 0, got 4.0, 0.0, 4.0, 0"),
    "integer time": (lambda: EDM.marginal(torch.tensor(1)), "floating-point time, got torch.int64"),
    "field length": (lambda: sf.Matern(0), "length > 0 .* got length=0"),
    "field dims": (lambda: sf.GaussianField(dims=4), "dims 1, 2 or 3 .* got dims=4"),
    "field shape": (lambda: sf.GaussianField().sample(X), r"2 spatial axes, got shape \(3, 2\)"),
    "blocks": (lambda: CLD.to_data(torch.zeros(1, 3)), r"2 blocks on axis 1, got shape \(1, 3\)"),
    "mix width": (
        lambda: mix(torch.zeros(2, 3), torch.zeros(1, 4), torch.zeros(1, 1)),
        "3 equal blocks on axis 1",
    ),
    "mix blocks": (
        lambda: mix(torch.zeros(1, 2), torch.zeros(1, 3), torch.zeros(1, 1)),
        "expected 2 blocks of 2 channels",
    ),
    "mix batch": (lambda: EDM.perturb(X, torch.rand(2)), r"one per sample \(3\), got 2"),
    "superfluous x1": (lambda: EDM.perturb(X, 0.5, x1=X), "no bridge: use Bridge"),
    "missing x1": (lambda: BRIDGE.perturb(X, 0.5), "pass x1"),
    "x1 of another shape": (
        lambda: BRIDGE.perturb(X, 0.5, x1=torch.zeros(3, 4, dtype=F64)),
        r"shaped like x0, \(3, 2\), got \(3, 4\)",
    ),
    "bridge start": (lambda: BRIDGE.prior_sample((1, 2)), "pass x1 to sample"),
    "bridge of phase space": (lambda: sf.Bridge(CLD), "expected a scheduled process to pin"),
    "bridge flow": (walk(Euler(), process=BRIDGE), "use Ancestral or EulerMaruyama"),
    "bridge transport": (walk(DDIM(), process=BRIDGE), "use Ancestral or EulerMaruyama"),
    "bridge eta": (walk(StochasticDDIM(0.5), process=BRIDGE), "scheduled process"),
    "bridge without noise": (walk(EulerMaruyama(), process=STILL), "no reverse SDE without noise"),
    "seeds": (
        lambda: randn((3, 2), sf.generators(0, [1]), dtype=F64, device=torch.device("cpu")),
        "one generator per sample, 3 of them, got 1",
    ),
    "prediction for phase space": (
        lambda: sf.Preconditioned(Counted(), CLD, P.EPSILON), "'epsilon' does not fit",
    ),
    "prediction for one block": (
        lambda: sf.Preconditioned(Counted(), EDM, P.VELOCITY_NOISE), "'velocity-noise' does not",
    ),
    "sigma_data": (lambda: sf.Preconditioned(Counted(), EDM, sigma_data=0), "> 0, got 0"),
    "mixed": (
        lambda: sf.Preconditioned(Counted(), CLD, P.X0, mixed=True), "velocity-noise, got 'x0'",
    ),
    "ε where no signal is left": (
        lambda: sf.Preconditioned(Counted(), PROCESSES["flow"](), P.EPSILON)(X, 1.0),
        "α = 0 .* predict v, flow, edm or x0",
    ),
    "loss times": (
        lambda: sf.denoising_loss(model(), X, torch.rand(2)), r"one per sample \(3,\), got \(2,\)",
    ),
    "log-normal in phase space": (
        lambda: sf.LogNormal().draw(CLD, 3), "need a scheduled process, got CriticallyDamped",
    ),
    "uniform start": (lambda: sf.Uniform(1.5), r"0 <= start < end <= 1, got 1.5"),
    "uniform power": (lambda: sf.Uniform(power=0), "expected power > 0, got 0"),
    "no steps": (lambda: sf.times.uniform(0), "at least 1 step, got 0"),
    "no karras steps": (lambda: sf.times.karras(EDM, 0), "at least 1 step, got 0"),
    "no log-snr steps": (lambda: sf.times.log_snr(EDM, 0), "at least 1 step, got 0"),
    "karras levels": (lambda: sf.times.karras(EDM, 5, 3, 2), "sigma_min < sigma_max, got 3 and 2"),
    "log-snr levels": (lambda: sf.times.log_snr(EDM, 5, 0), "0 < sigma_min"),
    "karras in phase space": (lambda: sf.times.karras(CLD, 5), "use uniform or quadratic"),
    "one time": (walk(times=torch.tensor([1.0])), r"at least 2 times in a row, got shape \(1,\)"),
    "rising times": (walk(times=torch.tensor([0.0, 1.0])), "falling from the prior"),
    "times above 1": (walk(times=torch.tensor([2.0, 0.0])), r"times in \[0, 1\], got 0.0 to 2.0"),
    "times below 0": (walk(times=torch.tensor([1.0, -1.0])), r"in \[0, 1\], got -1.0 to 1.0"),
    "falling times to encode": (
        lambda: sf.encode(model(), Euler(), sf.times.uniform(3), X), "rising from the data",
    ),
    "encode from 0": (
        lambda: sf.encode(model(), Euler(), torch.tensor([0.0, 1.0]), X), "above 0",
    ),
    "encode with noise": (
        lambda: sf.encode(model(), Ancestral(), torch.tensor([0.1, 1.0]), X),
        "follows an ODE: Ancestral draws noise",
    ),
    "encode with η": (
        lambda: sf.encode(model(), StochasticDDIM(1), torch.tensor([0.1, 1.0]), X),
        "follows an ODE: DDIM draws noise",
    ),
    "encode with churn": (
        lambda: sf.encode(model(), Heun(churn=1), torch.tensor([0.1, 1.0]), X), "draws noise",
    ),
    "multistep order": (lambda: DPMSolverPP(4), "order 2 or 3 .* got 4"),
    "eta range": (lambda: StochasticDDIM(2), r"eta in \[0, 1\].* got 2"),
    "estimates": (lambda: UniPC(4), "1, 2 or 3 estimates, got 4"),
    "eta in phase space": (walk(StochasticDDIM(1.0), process=CLD), "scheduled process"),
    "churn": (lambda: Heun(churn=-1), "churn parameters >= 0"),
    "churn in phase space": (walk(Heun(churn=0.3), process=CLD), "scheduled process"),
    "splitting without a velocity": (walk(SSCS()), "is for critically damped Langevin"),
    "tolerance": (lambda: DormandPrince(rtol=0), "positive tolerances, got 0"),
    "infinite drift": (
        walk(EulerMaruyama(), process=PROCESSES["flow"]()), "infinite at t = 1 .* use Ancestral",
    ),
    "probes": (lambda: sf.log_likelihood(model(), X, probes=0), "probes >= 1 .* got 0"),
    "likelihood start": (
        lambda: sf.log_likelihood(model(), X, start=1), "0 < start < 1, got 1 and 1",
    ),
    "likelihood of a bridge": (
        lambda: sf.log_likelihood(model(BRIDGE), X), "likelihood .* bridge",
    ),
    "mask shape": (
        lambda: Inpaint(model(), torch.zeros(2), torch.zeros(3)), r"to \(2,\), got \(3,\)",
    ),
    "mask values": (
        lambda: Inpaint(model(), torch.zeros(2), torch.full((2,), 2.0)), r"in \[0, 1\]",
    ),
    "classifier in phase space": (
        lambda: ClassifierGuided(model(CLD), lambda x, t, c: x, 1.0), "one block, got 2",
    ),
    "projection window": (
        lambda: Projected(model(), lambda x: x, 0.5, 0.2), "start <= end, got 0.5 and 0.2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistake_is_explained(what: str) -> None:
    call, message = MISTAKES[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_diverging_model_is_named_by_the_adaptive_solver() -> None:
    class Broken(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, level: torch.Tensor, cond: torch.Tensor | None = None
        ) -> torch.Tensor:
            return x * float("nan")

    denoiser = sf.Preconditioned(Broken(), EDM)
    with pytest.raises(SfumatoError, match="not finite near t = 1"):
        sf.sample(denoiser, DormandPrince(), torch.tensor([1.0, 0.1]), X)


def test_too_many_steps_end_with_advice() -> None:
    from sfumato.integrate import integrate

    with pytest.raises(SfumatoError, match="no end after 3 steps .* loosen rtol"):
        ends = torch.tensor(0.0), torch.tensor(1.0)
        integrate(
            lambda x, t: torch.sin(1e4 * x), torch.ones(1, 1), *ends, rtol=1e-9, atol=1e-9,
            max_steps=3,
        )  # fmt: skip


def test_no_error_for_what_is_right() -> None:
    """The control: the same calls with sound arguments."""
    walk()()
    walk(Ancestral(), process=BRIDGE)()
    walk(Euler(), process=STILL)()
    Inpaint(model(), torch.zeros(3, 2), torch.zeros(2))
    Projected(mixture(EDM), lambda x: x, 0.2, 0.2)
