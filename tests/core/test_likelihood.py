"""Log-likelihood of a known mixture, on every process; encoding; entering the flow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, Linear, Mixture, mixture
from sfumato.likelihood import Trace, prior_log_prob
from sfumato.sampling import enter

START = dict.fromkeys(PROCESSES, 1e-4) | {"edm": 1e-6}
SCHEDULED = [n for n in PROCESSES if PROCESSES[n]().k == 1]


@pytest.mark.parametrize("name", PROCESSES)
def test_exact_trace_on_a_mixture(name: str) -> None:
    """Within 0.02 nats, for every sample by itself."""
    denoiser = mixture(PROCESSES[name]())
    g = torch.Generator().manual_seed(0)
    x0 = denoiser.draw(16, g)
    got = sf.log_likelihood(denoiser, x0, trace=Trace.EXACT, start=START[name], generator=g)
    assert float((got - denoiser.log_prob(x0)).abs().max()) < 0.02


@pytest.mark.parametrize("name", ["vp", "edm", "cld"])
def test_hutchinsons_estimate_is_unbiased(name: str) -> None:
    """Mean over samples and probes within 4 of its standard errors."""
    denoiser = mixture(PROCESSES[name]())
    g = torch.Generator().manual_seed(0)
    x0 = denoiser.draw(1, g).expand(200, 2)
    got = sf.log_likelihood(denoiser, x0, start=START[name], rtol=1e-4, atol=1e-4, generator=g)
    error = got - denoiser.log_prob(x0)
    assert float(error.std()) > 0  # it is an estimate
    assert abs(float(error.mean())) < 4 * float(error.std()) / math.sqrt(200) + 0.005


def test_more_probes_spread_less() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    g = torch.Generator().manual_seed(0)
    x0 = denoiser.draw(1, g).expand(100, 2)
    one, many = (
        sf.log_likelihood(denoiser, x0, probes=p, rtol=1e-3, atol=1e-3, generator=g).std()
        for p in (1, 16)
    )
    assert float(many) < 0.5 * float(one)


@pytest.mark.parametrize("name", ["vp", "cld"])
def test_gaussian_field_as_noise(name: str) -> None:
    """White data of variance 1/4 under a process whose noise is correlated."""
    noise = sf.GaussianField(sf.Matern(0.1, 1.5), 1)
    process = PROCESSES[name](noise)
    row = torch.fft.fft(noise.power((4,))).real
    field = torch.stack([row.roll(i) for i in range(4)])
    denoiser = Linear(
        process, torch.linspace(-0.5, 0.5, 4, dtype=F64), 0.25 * torch.eye(4, dtype=F64), field
    )
    g = torch.Generator().manual_seed(0)
    x0 = denoiser.mean + 0.5 * torch.randn(3, 4, generator=g, dtype=F64)
    got = sf.log_likelihood(denoiser, x0, trace=Trace.EXACT, generator=g)
    assert float((got - denoiser.log_prob(x0)).abs().max()) < 0.02


@pytest.mark.parametrize("name", PROCESSES)
def test_prior_is_that_of_start(name: str) -> None:
    process = PROCESSES[name]()
    x = process.prior_sample((5, 3), torch.Generator().manual_seed(0), dtype=F64)
    cov = torch.kron(process.marginal(1.0).cov, torch.eye(3, dtype=F64))
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(cov), dtype=F64), cov)
    torch.testing.assert_close(prior_log_prob(process, x), normal.log_prob(x))


def test_guided_likelihood_is_that_of_the_guided_flow() -> None:
    """Classifier guidance changes the divergence too: compare with the conditional mixture."""
    process = PROCESSES["vp"]()
    plain = mixture(process)

    def log_class(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
        log = plain.responsibility(x, t)[0]
        mine = log.masked_fill(plain.labels[None] != cond.labels[:, None], -math.inf)
        return mine.logsumexp(1) - log.logsumexp(1)

    guided = sf.guide.ClassifierGuided(plain, log_class, 1.0)
    label = torch.ones(6, dtype=torch.int64)
    x0 = plain.draw(40, torch.Generator().manual_seed(0))[:6]
    keep = plain.labels == 1
    weights = plain.weights[keep] / plain.weights[keep].sum()
    want = type(plain)(process, plain.means[keep], plain.variances[keep], weights).log_prob(x0)
    got = sf.log_likelihood(guided, x0, cond=label, trace=Trace.EXACT)
    assert float((got - want).abs().max()) < 0.02


@pytest.mark.parametrize("name", SCHEDULED)
def test_data_enters_at_its_mean(name: str) -> None:
    process = PROCESSES[name]()
    x0 = torch.randn(3, 2, dtype=F64)
    t = torch.tensor(0.01, dtype=F64)
    torch.testing.assert_close(enter(mixture(process), x0, t), process.schedule.alpha(t) * x0)


def test_velocity_enters_by_its_law() -> None:
    process = PROCESSES["cld"]()
    x0 = torch.full((20000, 1), 0.5, dtype=F64)
    t = torch.tensor(0.01, dtype=F64)
    x = enter(mixture(process), x0, t, torch.Generator().manual_seed(0))
    q = process.marginal(t)
    torch.testing.assert_close(x[:, :1], q.A[0, 0] * x0)
    v = x[:, 1] - q.A[1, 0] * 0.5
    assert float(v.mean()) == pytest.approx(0, abs=4 * float((q.cov[1, 1] / 20000).sqrt()))
    assert float(v.var()) == pytest.approx(float(q.cov[1, 1]), rel=4 * (2 / 20000) ** 0.5)


def test_bits_per_dimension() -> None:
    """A uniform density over [-1, 1]^d is 8 bits, less what 255 and 256 levels differ by."""
    log_density = torch.tensor([-3072 * math.log(2.0)])
    bits = sf.bits_per_dim(log_density, 3072)
    assert float(bits) == pytest.approx(math.log2(2 * 127.5), rel=1e-6)


def cross_entropy(denoiser: Mixture, log_prob: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """-E log_prob over the mixture, by 5 x 5 Gauss-Hermite nodes around each component."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    z = torch.tensor(list(itertools.product(nodes, nodes)), dtype=F64)
    w = torch.tensor([a * b for a, b in itertools.product(weights, weights)], dtype=F64)
    w = w / w.sum()
    spread = denoiser.variances.sqrt()[:, None, None]
    x = (denoiser.means[:, None] + spread * z).flatten(0, 1)
    return -float((denoiser.weights[:, None] * w).flatten() @ log_prob(x))


@pytest.mark.parametrize("name", ["cld", "cld-rising"])
def test_likelihood_of_a_mixture_is_its_entropy(name: str) -> None:
    """Within 0.02 nats, in phase space, with the exact trace."""
    denoiser = mixture(PROCESSES[name]())

    def model(x: torch.Tensor) -> torch.Tensor:
        g = torch.Generator().manual_seed(0)
        return sf.log_likelihood(denoiser, x, trace=Trace.EXACT, generator=g)

    entropy = cross_entropy(denoiser, denoiser.log_prob)
    assert cross_entropy(denoiser, model) == pytest.approx(entropy, abs=0.02)


def test_the_bound_is_below_and_tight_for_the_exact_score() -> None:
    """E_v log p(x, v) + H(v): the likelihood within 4 standard errors of 40 draws."""
    denoiser = mixture(PROCESSES["cld"]())
    x0 = denoiser.draw(1, torch.Generator().manual_seed(1)).expand(40, 2)
    g = torch.Generator().manual_seed(0)
    bound = sf.likelihood_bound(denoiser, x0, trace=Trace.EXACT, generator=g)
    error = float(bound.std()) / math.sqrt(40)
    want = float(denoiser.log_prob(x0)[0])
    assert float(bound.mean()) == pytest.approx(want, abs=4 * error + 0.02)
    # one velocity's log-density spreads by √(d/2): that is what the likelihood leaves out
    assert float(bound.std()) == pytest.approx(1.0, rel=0.4)
    g = torch.Generator().manual_seed(0)
    joint = sf.log_likelihood(denoiser, x0, trace=Trace.EXACT, generator=g)
    assert float(joint.std()) < 0.02


def test_the_entropy_counts_the_noises_covariance() -> None:
    """With correlated velocities H(v) has log det K; the bound still meets the likelihood."""
    noise = sf.GaussianField(sf.Matern(0.1, 1.5), 1)
    process = PROCESSES["cld"](noise)
    row = torch.fft.fft(noise.power((4,))).real
    field = torch.stack([row.roll(i) for i in range(4)])
    denoiser = Linear(process, torch.zeros(4, dtype=F64), 0.25 * torch.eye(4, dtype=F64), field)
    x0 = torch.full((12, 4), 0.3, dtype=F64)
    g = torch.Generator().manual_seed(0)
    bound = sf.likelihood_bound(denoiser, x0, trace=Trace.EXACT, rtol=1e-3, atol=1e-3, generator=g)
    error = float(bound.std()) / math.sqrt(12)
    assert float(bound.mean()) == pytest.approx(
        float(denoiser.log_prob(x0)[0]), abs=4 * error + 0.02
    )


def test_a_bound_needs_velocities() -> None:
    denoiser = mixture(PROCESSES["vp"]())
    with pytest.raises(ValueError, match="position and velocity, got Scheduled"):
        sf.likelihood_bound(denoiser, torch.zeros(1, 2))
    with pytest.raises(ValueError, match="velocities >= 1, got 0"):
        sf.likelihood_bound(mixture(PROCESSES["cld"]()), torch.zeros(1, 2), velocities=0)
