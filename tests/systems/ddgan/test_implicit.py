"""Denoising diffusion GANs: the coefficients, what draws keep and means lose, and the game."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sfumato as sf
from analytic import F64, Linear, Mixture, Scripted, mixture, propagate
from sfumato.nn import MLP, MLPConfig
from sfumato.solve import Ancestral
from sfumato.systems.ddgan.critic import Critic, CriticConfig
from sfumato.systems.ddgan.implicit import (
    Bound,
    discriminator_loss,
    energy_score,
    generator_loss,
    real_pair,
)

VP = sf.Scheduled(sf.VPLinear())


def test_four_times() -> None:
    """t_i = i/4 (1 - 1e-3) + 1e-3, and data at 0."""
    want = [1.0, 0.75025, 0.5005, 0.25075, 0.0]
    assert sf.times.offset(4).tolist() == pytest.approx(want, abs=1e-15)
    assert sf.times.offset(1).tolist() == [1, 0]


def test_published_coefficients_of_four_steps() -> None:
    """β and the posterior as DDGAN's repository has them, whose data lies at t = 1e-3."""
    t = sf.times.offset(4).flip(0)
    bar = VP.schedule.alpha(torch.cat([t[:1] + 1e-3, t[1:]])).square()
    beta = 1 - bar[1:] / bar[:-1]
    assert beta.tolist() == pytest.approx([0.47826, 0.84921, 0.95642, 0.98740], abs=1e-5)
    now = (1 - beta).cumprod(0)
    then = torch.cat([now.new_ones(1), now[:-1]])
    data = then.sqrt() * beta / (1 - now)
    state = (1 - beta).sqrt() * (1 - then) / (1 - now)
    var = beta * (1 - then) / (1 - now)
    assert data.tolist() == pytest.approx([1, 0.6658, 0.2692, 0.0578], abs=1e-4)
    assert state.tolist() == pytest.approx([0, 0.2016, 0.1930, 0.1119], abs=1e-4)
    assert var.tolist() == pytest.approx([0, 0.4408, 0.8842, 0.9841], abs=1e-4)
    # ours counts ᾱ from t = 0: it is smaller by the factor exp(-B(1e-3)) everywhere
    ours = VP.schedule.alpha(t[1:]).square()
    torch.testing.assert_close(ours / now, torch.full_like(now, math.exp(-1.0995e-4)))
    for i, (s, u) in enumerate(zip(t, t[1:], strict=False)):
        q = VP.posterior(s, u)
        row = torch.stack([q.A[0, 1], q.A[0, 0], q.cov[0, 0]])
        torch.testing.assert_close(row, torch.stack([data, state, var])[:, i], rtol=0, atol=1.5e-4)


def test_four_steps_recover_the_variance_only_by_draws() -> None:
    """The unimodality argument of denoising diffusion GANs, as numbers: .25 against .044."""
    start = torch.zeros(1, dtype=F64), torch.ones(1, 1, dtype=F64)
    process = sf.Scheduled(sf.VPLinear(), Scripted())
    data = torch.zeros(1, dtype=F64), torch.tensor([[0.25]], dtype=F64)
    times = sf.times.offset(4)
    draws = Linear(process, *data, draws=True)
    _, drawn = propagate(draws, Ancestral(), times, start)
    _, mean = propagate(Linear(process, *data), Ancestral(), times, start)
    assert float(drawn) == pytest.approx(0.25, abs=1e-4)  # the prior's gap is 4e-5
    assert float(mean) == pytest.approx(0.044, abs=1e-3)
    _, exact = propagate(draws, Ancestral(), times, draws.state(1.0))
    assert float(exact) == pytest.approx(0.25, abs=1e-9)
    for n in (1, 2, 8):
        _, drawn = propagate(draws, Ancestral(), sf.times.offset(n), draws.state(1.0))
        assert float(drawn) == pytest.approx(0.25, abs=1e-9)


class Drawn(sf.Denoiser):
    """A draw of x_0 | x_t for a mixture: a component by its responsibility, then a normal."""

    def __init__(self, exact: Mixture) -> None:
        super().__init__()
        self.process, self.exact = exact.process, exact

    def forward(self, x_t, t, cond=None, generator=None):
        log, means = self.exact.responsibility(x_t, t)
        pick = log.softmax(1).multinomial(1, generator=generator)[:, 0]
        q = self.process.marginal(t)
        v = self.exact.variances[pick]
        left = 1 / (1 / v + q.A[0, 0] ** 2 / q.cov[0, 0])
        z = torch.randn(x_t.shape, generator=generator, dtype=F64)
        return means[torch.arange(len(pick)), pick] + left.sqrt()[:, None] * z


def test_draws_keep_a_mixture_and_means_shrink_it() -> None:
    """100,000 samples of each: standard error of a variance 0.45 %."""
    exact = mixture(VP)
    n, g = 100_000, sf.generator(0)
    x1, _ = VP.perturb(exact.draw(n, g), 1.0, g)
    times = sf.times.offset(4)
    for denoiser, keeps in ((Drawn(exact), True), (exact, False)):
        x = sf.sample(denoiser, Ancestral(), times, x1, generator=g).x
        mean, cov = exact.moments()
        assert (x.mean(0) - mean).abs().max() < 0.01
        ratio = (x.T.cov() / cov).diagonal()
        if keeps:
            assert (ratio - 1).abs().max() < 0.02
            third = ((x - x.mean(0)) ** 3).mean(0)
            truth = exact.draw(n, g)
            want = ((truth - truth.mean(0)) ** 3).mean(0)
            assert (third - want).abs().max() < 0.02
        else:
            assert ratio.max() < 0.75


def network(latent: int = 3, labels: tuple[int, ...] = ()) -> MLP:
    """Networks start with a zero output; give every weight a value."""
    made = MLP(MLPConfig(2, 2, width=16, blocks=1, labels=labels, latent=latent))
    g = sf.generator(0)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g))
    return made.eval()


def implicit(steps: int = 4, latent: int = 3, **settings: object) -> sf.ImplicitDenoiser:
    return sf.ImplicitDenoiser(network(latent), VP, steps, latent, **settings)  # type: ignore[arg-type]


def test_a_sample_alone_and_in_a_batch() -> None:
    denoiser = implicit()

    def draw(indices: list[int]) -> Tensor:
        seeds = sf.generators(5, indices)
        x = VP.prior_sample((len(indices), 2), seeds)
        return sf.sample(denoiser, Ancestral(), denoiser.times, x, generator=seeds).x

    whole = draw(list(range(20)))
    for i in (0, 7, 19):
        torch.testing.assert_close(draw([i])[0], whole[i], rtol=0, atol=1e-6)
    assert whole.abs().max() <= 1  # tanh, and the last step adds no noise


def test_z_makes_another_draw_and_without_z_there_is_one() -> None:
    x = torch.randn(5, 2, generator=sf.generator(1))
    denoiser = implicit()
    one, two = (denoiser(x, 1.0, generator=sf.generator(i)) for i in (0, 1))
    assert (one - two).abs().min() > 1e-4
    z = denoiser.draw(x, sf.generator(0))
    assert z is not None
    torch.testing.assert_close(denoiser.generate(x, 1.0, z), one)
    longer = denoiser.generate(x, 1.0, 7 * z)  # only the direction of z counts
    torch.testing.assert_close(longer, one, rtol=1e-4, atol=1e-5)
    flat = implicit(latent=0)
    assert flat.draw(x) is None
    torch.testing.assert_close(flat(x, 1.0), flat(x, 1.0))


def test_only_its_own_times() -> None:
    denoiser = implicit()
    t = denoiser.times
    assert denoiser.before(t[:-1]).tolist() == t[1:].tolist()
    assert float(denoiser.before(1.0)) == float(t[1])
    with pytest.raises(
        ValueError, match=r"steps from t = 1, 0.7502, 0.5005, 0.2507 alone, got 0.6"
    ):
        denoiser.before(0.6)


@pytest.mark.parametrize("bound", Bound)
def test_scaling_of_a_trained_denoiser(bound: Bound) -> None:
    """With the same weights and a z without a say, the draw is the denoiser's own estimate."""
    inner = network(0)
    trained = sf.Preconditioned(inner, sf.Scheduled(sf.EDM()), sf.Prediction.EDM, 0.3)
    mine = network(3)
    mine.load_state_dict(inner.state_dict(), strict=False)
    nn.init.zeros_(mine.conditioning.mapping.output.weight)
    nn.init.zeros_(mine.conditioning.mapping.output.bias)
    denoiser = sf.ImplicitDenoiser(mine, VP, 4, 3, sf.Prediction.EDM, 0.3, bound)
    x0 = 0.3 * torch.randn(50, 2, generator=sf.generator(2))
    for t in denoiser.times[1:-1]:
        x_t, _ = VP.perturb(x0, t, sf.generator(3))
        alpha, sigma = VP.schedule.alpha(t), VP.schedule.sigma(t)
        same = float(sigma / alpha) / 80  # the time of EDM with the same ratio of noise to signal
        want = bound(trained((x_t / alpha).float(), same))
        torch.testing.assert_close(denoiser(x_t, t), want, rtol=1e-4, atol=1e-4)


def test_real_pairs_have_the_joint_law() -> None:
    """Covariance of (x_s, x_t) for x_0 of variance .25, 200,000 pairs (standard error .3 %)."""
    n, g = 200_000, sf.generator(0)
    s, t = 0.25075, 0.5005
    x_s, x_t = real_pair(VP, 0.5 * torch.randn(n, 1, generator=g, dtype=F64), s, t, g)
    a, b = float(VP.schedule.alpha(s)), float(VP.schedule.alpha(t))
    within = 0.25 * a**2 + 1 - a**2
    want = torch.tensor([[within, b / a * within], [0, 0.25 * b**2 + 1 - b**2]], dtype=F64)
    got = torch.cat([x_s, x_t], 1).T.cov()
    assert (got.triu() - want).abs().max() < 0.01


class Exact(nn.Module):
    """x_0 ~ q(x_0 | x_t) of data N(0, 0.25) at one time: c x_t / c_in + sqrt(v) z."""

    def __init__(self, t: float) -> None:
        super().__init__()
        q = VP.marginal(t)
        a, var = float(q.A), float(q.cov)
        self.width = (0.25 * a**2 + var) ** 0.5  # 1 / c_in of sigma_data 0.5
        self.gain = 0.25 * a / self.width**2
        self.left = (0.25 * var / self.width**2) ** 0.5

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None, z: Tensor) -> Tensor:
        return self.gain * self.width * x + self.left * z


@pytest.mark.parametrize("nearest", [0.0, 3e-3, 0.1])
def test_pairs_of_the_last_step_agree_at_any_nearest_time(nearest: float) -> None:
    """Real and fake (x_s, x_t) have one covariance if the draws are exact (standard error .3 %)."""
    times, n = sf.times.offset(4), 200_000
    t = float(times[3])
    denoiser = sf.ImplicitDenoiser(Exact(t), VP, 4, latent=1, bound=Bound.NONE)
    assert float(denoiser.before(t, nearest)) == nearest
    assert torch.equal(denoiser.before(times[:3], nearest), times[1:4])
    with pytest.raises(ValueError, match=r"expected 0 <= nearest < 0.2507, .* got 0.3"):
        denoiser.before(times[:3], 0.3)
    g = sf.generator(0)
    x_s, x_t = real_pair(VP, 0.5 * torch.randn(n, 1, generator=g, dtype=F64), nearest, t, g)
    made = denoiser.step(x_t, t, generator=g, nearest=nearest)
    real, fake = (torch.cat([x, x_t], 1).T.cov() for x in (x_s, made))
    assert (real - fake).abs().max() < 0.005
    a = float(VP.schedule.alpha(nearest))
    assert float(fake[0, 0]) == pytest.approx(1 - 0.75 * a**2, abs=0.005)


class Quadratic(nn.Module):
    """D = x_s' A x_s / 2 + b' x_t: its gradient in x_s is A x_s."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[1.0, 0.3], [0.3, -0.5]]))
        self.b = nn.Parameter(torch.tensor([0.7, 0.2]))

    def forward(
        self, x_s: Tensor, x_t: Tensor, noise_level: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        return 0.5 * torch.einsum("bi,ij,bj->b", x_s, self.a, x_s) + x_t @ self.b


def test_losses_and_the_penalty_by_hand() -> None:
    denoiser, judge = implicit(), Quadratic()
    x0 = torch.randn(6, 2, generator=sf.generator(1))
    t = denoiser.times[torch.tensor([0, 1, 2, 3, 3, 0])]

    def pairs() -> tuple[Tensor, Tensor, Tensor]:
        seeds = sf.generators(3, range(6))
        x_s, x_t = real_pair(VP, x0, denoiser.before(t), t, seeds)
        return x_s, x_t, denoiser.step(x_t, t, generator=seeds).detach()

    x_s, x_t, fake = pairs()
    level = torch.zeros(6)
    plain = F.softplus(-judge(x_s, x_t, level)) + F.softplus(judge(fake, x_t, level))
    seeds = sf.generators(3, range(6))
    got = discriminator_loss(denoiser, judge, x0, t, generator=seeds)
    torch.testing.assert_close(got, plain)
    seeds = sf.generators(3, range(6))
    got = discriminator_loss(denoiser, judge, x0, t, penalty=0.8, generator=seeds)
    # 0.4 |A x_s|²: in the first argument alone, and d/dA = 0.8 A x_s x_s'
    torch.testing.assert_close(got, plain + 0.4 * (x_s @ judge.a).square().sum(1))
    (slope,) = torch.autograd.grad((got - plain).sum(), judge.a)
    sym = torch.einsum("bi,bj->ij", x_s @ judge.a, x_s)
    torch.testing.assert_close(slope + slope.T, 0.8 * (sym + sym.T))
    assert all(p.grad is None for p in denoiser.parameters())

    seeds = sf.generators(4, range(6))
    x_t, _ = VP.perturb(x0, t, seeds)
    want = F.softplus(-judge(denoiser.step(x_t, t, generator=seeds), x_t, level))
    got = generator_loss(denoiser, judge, x0, t, generator=sf.generators(4, range(6)))
    torch.testing.assert_close(got, want)
    got.sum().backward()
    assert all(p.grad is not None for p in denoiser.parameters())


def test_the_energy_score_is_least_for_the_true_law() -> None:
    """In one dimension, of N(0, 1) against N(0, s²): √(2/π) (√(1 + s²) - s/√2), least at s = 1."""
    n, g = 400_000, sf.generator(0)
    x0, a, b = torch.randn(3, n, 1, generator=g)
    for s in (0.5, 1.0, 2.0):
        want = math.sqrt(2 / math.pi) * (math.sqrt(1 + s * s) - s / math.sqrt(2))
        got = energy_score(x0, s * a, s * b).mean()
        assert float(got) == pytest.approx(want, abs=0.004)  # standard error 0.001
    shifted = energy_score(x0, a + 0.5, b + 0.5).mean()
    assert float(shifted) > float(energy_score(x0, a, b).mean()) + 0.05


def test_the_energy_score_by_hand_and_in_the_loss() -> None:
    """|(3, 4)| = 5 and so on, over √2; in the loss of two draws with the same x_t."""
    x0, a, b = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 4.0]]])
    want = 0.5 * (5 + 4 - 3) / math.sqrt(2)
    assert float(energy_score(x0, a, b)) == pytest.approx(want, rel=1e-6)
    denoiser, judge = implicit(), Quadratic()
    x0 = torch.randn(6, 2, generator=sf.generator(1))
    t = denoiser.times[torch.tensor([0, 1, 2, 3, 3, 0])]

    def loss(energy: float) -> Tensor:
        seeds = sf.generators(4, range(6))
        return generator_loss(denoiser, judge, x0, t, energy=energy, generator=seeds)

    seeds = sf.generators(4, range(6))
    x_t, _ = VP.perturb(x0, t, seeds)
    first = denoiser(x_t, t, generator=seeds)
    denoiser.back(x_t, first, t, seeds)
    second = denoiser(x_t, t, generator=seeds)
    assert (first - second).abs().min() > 0
    torch.testing.assert_close(loss(0.7) - loss(0), 0.7 * energy_score(x0, first, second))


def test_relativistic_losses_by_hand() -> None:
    """Each fake against the real answer to the same x_t; both are penalised."""
    denoiser, judge = implicit(), Quadratic()
    x0 = torch.randn(6, 2, generator=sf.generator(1))
    t = denoiser.times[torch.tensor([0, 1, 2, 3, 3, 0])]
    seeds, level = sf.generators(3, range(6)), torch.zeros(6)
    x_s, x_t = real_pair(VP, x0, denoiser.before(t), t, seeds)
    fake = denoiser.step(x_t, t, generator=seeds).detach()
    gap = judge(x_s, x_t, level) - judge(fake, x_t, level)

    def loss(kind: Callable[..., Tensor], **more: float) -> Tensor:
        seeds = sf.generators(3, range(6))
        return kind(denoiser, judge, x0, t, relativistic=True, generator=seeds, **more)

    torch.testing.assert_close(loss(discriminator_loss), F.softplus(-gap))
    both = (x_s @ judge.a).square().sum(1) + (fake @ judge.a).square().sum(1)
    want = F.softplus(-gap) + 0.4 * both
    torch.testing.assert_close(loss(discriminator_loss, penalty=0.8), want)
    assert all(p.grad is None for p in denoiser.parameters())
    torch.testing.assert_close(loss(generator_loss), F.softplus(gap))
    loss(generator_loss).sum().backward()
    assert all(p.grad is not None for p in denoiser.parameters())


def test_the_penalty_is_the_slope_by_finite_differences() -> None:
    """R1 of a perceptron against a Jacobian by finite differences, in float64."""
    judge = Critic(CriticConfig(2, 16, 2)).double()
    denoiser = implicit()
    x0 = torch.randn(4, 2, generator=sf.generator(1), dtype=F64)
    t = denoiser.times[torch.tensor([1, 2, 2, 0])]
    losses = [
        discriminator_loss(
            denoiser, judge, x0, t, penalty=p, generator=sf.generators(3, range(4))
        ).detach()
        for p in (0.0, 2.0)
    ]
    x_s, x_t = real_pair(VP, x0, denoiser.before(t), t, sf.generators(3, range(4)))
    level = denoiser.level(t, x_t)
    h, slopes = 1e-6, []
    for e in torch.eye(2, dtype=F64) * h:
        slopes.append((judge(x_s + e, x_t, level) - judge(x_s - e, x_t, level)) / (2 * h))
    want = torch.stack(slopes).square().sum(0)
    torch.testing.assert_close(losses[1] - losses[0], want, rtol=1e-5, atol=1e-9)


def test_editing_keeps_what_is_coarser_than_the_noise() -> None:
    """Exact draws of two far clouds: an edit from t_1 stays in its cloud, one from 1 may leave."""
    exact = Mixture(
        VP,
        torch.tensor([[-2.0, 0.0], [2.0, 0.0]], dtype=F64),
        torch.tensor([0.01, 0.01], dtype=F64),
        torch.tensor([0.5, 0.5], dtype=F64),
    )
    denoiser = Drawn(exact)
    g = sf.generator(0)
    x0 = exact.means[:1] + 0.1 * torch.randn(2000, 2, generator=g, dtype=F64)
    times = sf.times.offset(4)
    near = sf.edit(denoiser, Ancestral(), times[3:], x0, generator=g)
    far = sf.edit(denoiser, Ancestral(), times, x0, generator=g)
    assert near.nfe == 1 and far.nfe == 4
    assert (near.x[:, 0] < 0).double().mean() > 0.95
    assert abs((far.x[:, 0] < 0).double().mean() - 0.5) < 0.05
    spread = near.x[near.x[:, 0] < 0].std(0)
    assert (spread - 0.1).abs().max() < 0.01
    assert (near.x - x0).abs().mean() > 0.05  # made anew
    with pytest.raises(ValueError, match="falling"):
        sf.edit(denoiser, Ancestral(), times.flip(0), x0)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected a scheduled process"):
        sf.ImplicitDenoiser(network(), sf.CriticallyDamped())
    with pytest.raises(ValueError, match="expected latent >= 0, got -1"):
        sf.ImplicitDenoiser(network(), VP, latent=-1)
    with pytest.raises(ValueError, match=r"takes a latent vector, got none"):
        network()(torch.zeros(1, 2), torch.zeros(1))
    with pytest.raises(ValueError, match=r"z of shape \(B, 3\), got \(1, 4\)"):
        network()(torch.zeros(1, 2), torch.zeros(1), None, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"expected times in \(0, 1\]"):
        sf.OneOf((0.0, 1.0))
    law = sf.OneOf((0.25, 1.0))
    t = law.draw(VP, 4000, sf.generator(0))
    assert set(t.tolist()) == {0.25, 1.0} and abs(float((t == 1).double().mean()) - 0.5) < 0.04
