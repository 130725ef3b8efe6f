"""Score matching in phase space: weights, both perturbations, and what they are minimised by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from analytic import F64, PROCESSES, mixture
from sfumato.process import mix
from sfumato.systems.cld.loss import Matching, Weighting, damped_loss

DAMPED = ["cld", "cld-rising"]
TIMES = [1e-5, 1e-3, 0.05, 0.4, 1.0]


class Fixed(nn.Module):
    """A network that returns one number everywhere."""

    def __init__(self, value: float = 0.3) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=F64))

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.value.expand(len(x), x.shape[1] // 2)


class Exact(nn.Module):
    """The velocity noise that a mixture's exact score asks for; an offset is added to it.

    A network sees the scaled state and the level only, so time and scaling are undone here.
    """

    def __init__(self, process: sf.CriticallyDamped, t: float, mixed: bool) -> None:
        super().__init__()
        self.truth, self.t, self.mixed = mixture(process), t, mixed
        self.offset = nn.Parameter(torch.zeros((), dtype=F64))
        shell = sf.Preconditioned(nn.Identity(), process, sf.Prediction.VELOCITY_NOISE)
        self.unscale = torch.linalg.inv(shell.coefficients(t)[0])

    def forward(self, x: Tensor, noise_level: Tensor, cond: Tensor | None = None) -> Tensor:
        u = mix(self.unscale, x)
        process, truth = self.truth.process, self.truth
        q = process.marginal(self.t)
        score = process.score(u, truth(u, self.t), self.t).chunk(2, 1)[1]
        if self.mixed:
            score = score + u.chunk(2, 1)[1] / q.cov[1, 1]
        return -score * q.root()[1, 1] + self.offset


def denoiser(name: str = "cld", mixed: bool = False) -> sf.Preconditioned:
    return sf.Preconditioned(Fixed(), PROCESSES[name](), sf.Prediction.VELOCITY_NOISE, mixed=mixed)


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_default_is_the_denoising_loss(mixed: bool) -> None:
    model, x0 = denoiser(mixed=mixed), torch.randn(5, 2, generator=seed(), dtype=F64)
    t = torch.tensor(TIMES, dtype=F64)
    want = sf.denoising_loss(model, x0, t, generator=seed())
    assert torch.equal(damped_loss(model, x0, t, generator=seed()), want)
    assert want.shape == (5,)


@pytest.mark.parametrize("name", DAMPED)
@pytest.mark.parametrize("matching", Matching)
def test_weights(name: str, matching: Matching) -> None:
    """1, Γβ and Γβℓ², with M⁻¹ = 4, Γ = 1 and ℓ of the perturbation that is matched."""
    model, x0 = denoiser(name), torch.randn(5, 2, generator=seed(), dtype=F64)
    t = torch.tensor(TIMES, dtype=F64)

    def loss(weighting: Weighting) -> Tensor:
        return damped_loss(
            model, x0, t, matching=matching, weighting=weighting, generator=seed()
        ).detach()

    beta = torch.full_like(t, 4.0) if name == "cld" else 0.1 + 6.9 * t
    process = model.process
    assert isinstance(process, sf.CriticallyDamped)
    hybrid = matching is Matching.HYBRID
    cov = (process.marginal(t) if hybrid else process.kernel(0.0, t)).cov
    square = cov[:, 0, 0] / torch.linalg.det(cov)  # ℓ² = Σ_xx / det Σ
    plain = loss(Weighting.REWEIGHTED_V2)
    torch.testing.assert_close(loss(Weighting.REWEIGHTED_V1), beta * plain)
    got = (loss(Weighting.LIKELIHOOD) / plain)[1:]
    torch.testing.assert_close(got, (beta * square)[1:], rtol=1e-6, atol=0.0)


def test_score_weight_of_both_perturbations_near_the_data() -> None:
    """√(3/(4Ma)) for hybrid and √(1/(Ma)) for plain, as t → 0, with a = 8t and M = 1/4."""
    process = sf.CriticallyDamped()
    t = 1e-5
    a, m = 8 * t, 0.25
    hybrid, plain = (
        1 / float(q.root()[1, 1]) for q in (process.marginal(t), process.kernel(0.0, t))
    )
    assert hybrid == pytest.approx(math.sqrt(3 / (4 * m * a)), rel=2e-3)
    assert plain == pytest.approx(math.sqrt(1 / (m * a)), rel=2e-3)


def test_the_plain_loss_by_hand() -> None:
    """α from a fixed network; u drawn from the kernel that starts at (x_0, v_0)."""
    model, x0, t = denoiser(), torch.randn(4, 2, generator=seed(), dtype=F64), 0.3
    process = model.process
    assert isinstance(process, sf.CriticallyDamped)
    got = damped_loss(model, x0, t, matching=Matching.PLAIN, generator=seed())
    g = seed()
    z, ex, ev = (torch.randn(x0.shape, generator=g, dtype=F64) for _ in range(3))
    v0 = math.sqrt(0.04 / 4) * z
    q = process.kernel(0.0, t)
    noise = mix(q.root(), torch.cat([ex, ev], 1))
    u = mix(q.A, torch.cat([x0, v0], 1)) + noise
    score = process.score(u, model(u, torch.tensor(t, dtype=F64)), t)[:, 2:]
    want = (q.root()[1, 1] * score + ev).square().mean(1)  # ‖ℓ⁻¹s + ε_v‖²
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("matching", Matching)
@pytest.mark.parametrize("t", [0.02, 0.3])
def test_both_are_minimised_by_the_exact_score(matching: Matching, mixed: bool, t: float) -> None:
    """The gradient for a constant offset vanishes at the exact score, within 4 standard errors."""
    process = PROCESSES["cld"]()
    assert isinstance(process, sf.CriticallyDamped)
    network = Exact(process, t, mixed)
    model = sf.Preconditioned(network, process, sf.Prediction.VELOCITY_NOISE, mixed=mixed)
    g = torch.Generator().manual_seed(0)
    x0 = network.truth.draw(20_000, g)
    slopes = []
    step = 1e-3
    for sign in (1, -1):
        network.offset.data.fill_(sign * step)
        with torch.no_grad():
            slopes.append(damped_loss(model, x0, t, matching=matching, generator=seed()))
    gradient = (slopes[0] - slopes[1]) / (2 * step)
    assert float(gradient.mean().abs()) < 4 * float(gradient.std()) / math.sqrt(len(x0))
    curvature = float((slopes[0] + slopes[1]).mean())
    assert curvature > 0


def test_hybrid_matching_has_less_variance() -> None:
    """The reason for it: at the exact score its loss is the smaller one near the data."""
    process = PROCESSES["cld"]()
    assert isinstance(process, sf.CriticallyDamped)
    network = Exact(process, 1e-3, False)
    model = sf.Preconditioned(network, process, sf.Prediction.VELOCITY_NOISE)
    x0 = network.truth.draw(5000, torch.Generator().manual_seed(0))
    with torch.no_grad():
        hybrid, plain = (
            damped_loss(
                model, x0, 1e-3, matching=m, weighting=Weighting.LIKELIHOOD, generator=seed()
            ).mean()
            for m in Matching
        )
    assert float(hybrid) < 0.9 * float(plain)


def test_errors_say_what_is_expected() -> None:
    x0 = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="a critically damped process, got Scheduled"):
        damped_loss(mixture(PROCESSES["vp"]()), x0, 0.5)
    with pytest.raises(ValueError, match="predicts 'velocity-noise', got Mixture"):
        damped_loss(mixture(PROCESSES["cld"]()), x0, 0.5)
    with pytest.raises(ValueError, match=r"one per sample \(3,\), got \(2,\)"):
        damped_loss(denoiser(), x0, torch.tensor([0.1, 0.2]))
