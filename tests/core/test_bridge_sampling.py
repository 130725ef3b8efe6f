"""Bridges that are walked: simulated, between Gaussian pairs, beside a hole; all with exact x̂_0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.condition import Condition, ImageCondition
from sfumato.guide import ClassifierFree, Inpaint

F64 = torch.float64
BROWNIAN = sf.SymmetricBrownian(0.1, 1.0)
M = torch.tensor([[0.8, -0.3], [0.2, 0.5]], dtype=F64)
SHIFT = torch.tensor([0.3, -0.2], dtype=F64)
S = torch.tensor([[0.3, 0.12], [0.12, 0.2]], dtype=F64)
"""x_0 given y is N(M y + SHIFT, S); y is N(0, I)."""


class Exact(sf.Denoiser):
    """E[x_0 | x_t, x_1] of the Gaussian pairs, or E[x_0 | x_t] alone.

    x_1 = y + noise·z; the condition is y, without the noise.
    """

    def __init__(self, process: sf.Bridge, noise: float = 0.0) -> None:
        super().__init__()
        self.process, self.noise = process, noise

    def forward(self, x_t, t, cond=None, generator=None):
        q = self.process.bridge(t)
        a, b = q.A[0].tolist()
        eye = torch.eye(2, dtype=F64)
        spread = float(q.cov) + (b * self.noise) ** 2
        if cond is not None and cond.image is not None:
            y = cond.image
            prior, mean, rest, offset = S, y @ M.T + SHIFT, spread * eye, b * y
            gain = a * prior @ torch.linalg.pinv(a * a * prior + rest)
            return mean + (x_t - offset - a * mean) @ gain.T
        # jointly x_0 ~ N(SHIFT, S + M Mᵀ), x_t = a x_0 + b y + ..., Cov(x_0, y) = M
        cross = a * (S + M @ M.T) + b * M
        cov = a * a * (S + M @ M.T) + a * b * (M + M.T) + (b * b + spread) * eye
        gain = cross @ torch.linalg.inv(cov)
        return SHIFT + (x_t - a * SHIFT) @ gain.T


def walk(deterministic: bool, y: Tensor, told: bool, steps: int, noise: float = 0.0) -> Tensor:
    process = sf.Bridge(sf.Scheduled(BROWNIAN), deterministic)
    g = torch.Generator().manual_seed(1)
    x1 = y + noise * torch.randn(y.shape, generator=g, dtype=F64)
    cond = ImageCondition(y) if told else None
    return sf.sample(
        Exact(process, noise), sf.solve.Ancestral(), sf.times.uniform(steps), x1, cond=cond,
        generator=g,
    ).x  # fmt: skip


def test_the_bridge_is_what_the_pinned_sde_does() -> None:
    """Doob's transform: dx = β (x_1 - x)/σ̄² dt + √β dW from x_0; Euler-Maruyama, 40,000 paths."""
    g = torch.Generator().manual_seed(0)
    process = sf.Bridge(sf.Scheduled(BROWNIAN))
    x0, x1, n, steps = 0.7, -0.4, 40_000, 500
    total = float(BROWNIAN.sigma(1.0)) ** 2
    x = torch.full((n,), x0, dtype=F64)
    for i in range(450):
        now, then = (float(BROWNIAN.sigma(k / steps)) ** 2 for k in (i, i + 1))
        added = then - now
        x = x + added * (x1 - x) / (total - now)
        x = x + added**0.5 * torch.randn(n, generator=g, dtype=F64)
        if (i + 1) in (50, 250, 400, 450):
            q = process.bridge((i + 1) / steps)
            mean = float(q.A[0, 0] * x0 + q.A[0, 1] * x1)
            error = (float(q.cov) / n) ** 0.5
            assert float(x.mean()) == pytest.approx(mean, abs=5 * error)
            assert float(x.var()) == pytest.approx(float(q.cov), rel=5 * (2 / n) ** 0.5 + 3 / steps)


@pytest.mark.parametrize("y", [(0.0, 0.0), (1.2, -0.7)])
def test_samples_of_gaussian_pairs_are_x0_given_x1(y: tuple[float, float]) -> None:
    """Seeing x_1, the walk draws from N(M x_1 + SHIFT, S): mean and covariance, weak order 1."""
    n = 20_000
    start = torch.tensor([y], dtype=F64).expand(n, 2)
    x = walk(False, start, True, 200)
    want = start[0] @ M.T + SHIFT
    error = (S.diagonal() / n).sqrt()
    assert bool(((x.mean(0) - want).abs() < 5 * error + 0.002).all())
    torch.testing.assert_close(x.T.cov(), S, atol=5 * 0.3 * (2 / n) ** 0.5 + 0.005, rtol=0)


def test_the_error_of_the_covariance_falls_with_the_steps() -> None:
    """One step gives E[x_0 | x_1] itself, and more steps come nearer to S."""
    start = torch.zeros(20_000, 2, dtype=F64)
    gaps = [float((walk(False, start, True, k).T.cov() - S).abs().max()) for k in (1, 4, 16, 64)]
    assert gaps[0] == pytest.approx(0.3, abs=1e-12)  # no spread at all: regression
    assert gaps[0] > 1.5 * gaps[1] > 3 * gaps[2] > 3 * gaps[3]


def test_without_seeing_x1_the_marginal_of_x0_is_right() -> None:
    """E[x_0 | x_t] alone: x_0 has its law over all pairs, which is all that theory promises."""
    n = 40_000
    y = torch.randn(n, 2, generator=torch.Generator().manual_seed(3), dtype=F64)
    x = walk(False, y, False, 200)
    cov = S + M @ M.T
    error = (cov.diagonal() / n).sqrt()
    assert bool(((x.mean(0) - SHIFT).abs() < 5 * error + 0.002).all())
    torch.testing.assert_close(x.T.cov(), cov, atol=0.02, rtol=0)


def test_without_noise_on_the_way_it_is_a_regression() -> None:
    """OT-ODE that sees all of x_1: whatever the steps, the result is E[x_0 | x_1] itself."""
    y = torch.randn(50, 2, generator=torch.Generator().manual_seed(4), dtype=F64)
    for steps in (1, 3, 20):
        torch.testing.assert_close(walk(True, y, True, steps), y @ M.T + SHIFT)


def test_noise_at_the_start_makes_a_walk_without_noise_draw() -> None:
    """OT-ODE from x_1 = y + z with y alone seen: samples spread as x_0 given y."""
    n = 20_000
    start = torch.tensor([[0.5, 0.4]], dtype=F64).expand(n, 2)
    x = walk(True, start, True, 200, noise=1.0)
    torch.testing.assert_close(x.mean(0), start[0] @ M.T + SHIFT, atol=0.02, rtol=0)
    torch.testing.assert_close(x.T.cov(), S, atol=0.02, rtol=0)


def test_the_known_part_walks_on_its_own_bridge() -> None:
    """x̂_0 := x_1 where known is the published overwriting: N(x_1, v(t)) there, at every time."""
    process = sf.Bridge(sf.Scheduled(BROWNIAN))
    n = 50_000
    known = torch.tensor([[0.6, -0.9]], dtype=F64).expand(n, 2)
    mask = torch.tensor([[1.0, 0.0]], dtype=F64).expand(n, 2)
    times = sf.times.uniform(8)
    found = sf.sample(
        Inpaint(Exact(process), known, mask), sf.solve.Ancestral(), times, known,
        cond=ImageCondition(known), generator=torch.Generator().manual_seed(5), save_path=True,
    )  # fmt: skip
    for t, x in zip(times.tolist(), found.path, strict=True):
        v = float(process.bridge(t).cov)
        assert float(x[:, 0].mean()) == pytest.approx(0.6, abs=5 * (v / n) ** 0.5 + 1e-9)
        assert float(x[:, 0].var()) == pytest.approx(v, rel=5 * (2 / n) ** 0.5, abs=1e-12)
    torch.testing.assert_close(found.x[:, 0], known[:, 0])


class Seen(nn.Module):
    """Returns the first channels, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x, level, cond=None):
        self.x, self.cond = x, cond
        return x[:, :2] + x[:, 2:].sum(1, keepdim=True) + (0 if cond is None else 1)


def test_a_picture_beside_is_joined_as_it_is() -> None:
    network = Seen()
    denoiser = sf.Preconditioned(network, sf.Bridge(sf.Scheduled(BROWNIAN)), sf.Prediction.EPSILON)
    x, image = torch.randn(3, 2, 4, 4), torch.randn(1, 5, 4, 4)
    labels = torch.tensor([[1], [0], [2]])
    denoiser(x, 0.5, ImageCondition(image, labels))
    assert network.x.shape == (3, 7, 4, 4)
    torch.testing.assert_close(network.x[:, 2:], image.expand(3, 5, 4, 4))
    ratio = network.x[:, :2] / x
    torch.testing.assert_close(ratio, ratio[0, 0, 0, 0].expand_as(ratio))
    assert network.cond is labels


def test_guidance_takes_away_the_labels_and_leaves_the_picture() -> None:
    network = Seen()
    process = sf.Bridge(sf.Scheduled(BROWNIAN))
    denoiser = sf.Preconditioned(network, process, sf.Prediction.EPSILON)
    x, image = torch.randn(2, 2, 4, 4), torch.randn(2, 3, 4, 4)
    told = ImageCondition(image, torch.zeros(2, 1, dtype=torch.int64))
    bound, free = denoiser(x, 0.5, told), denoiser(x, 0.5, ImageCondition(image))
    got = ClassifierFree(denoiser, 3.0)(x, 0.5, told)
    torch.testing.assert_close(got, free + 3 * (bound - free))
    assert Condition.of(torch.zeros(2)).unlabelled().told is None
    assert not torch.allclose(bound, free)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 3, 4, 4), (2, 3, 4)])
def test_a_picture_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected a picture beside of shape \(2, C, 4, 4\)"):
        ImageCondition(torch.zeros(shape)).beside(torch.zeros(2, 2, 4, 4))


def test_a_weighted_loss_is_the_mean_of_weighted_squares() -> None:
    network = Seen()
    denoiser = sf.Preconditioned(network, sf.Bridge(sf.Scheduled(BROWNIAN)), sf.Prediction.EPSILON)
    g = torch.Generator().manual_seed(6)
    x0, x1 = torch.randn(2, 2, 2, 3, 3, generator=g).unbind(0)
    mask = (torch.rand(2, 1, 3, 3, generator=g) < 0.5).float()

    def loss(weight: Tensor | None) -> Tensor:
        return sf.denoising_loss(
            denoiser, x0, 0.4, x1=x1, generator=torch.Generator().manual_seed(7), weight=weight
        )

    one_by_one = []
    for i in range(18):
        only = torch.zeros(18)
        only[i] = 1
        one_by_one.append(loss(only.reshape(2, 3, 3)))
    whole = torch.stack(one_by_one, 1)  # (B, 18): the parts of a sum
    torch.testing.assert_close(whole.sum(1), loss(None))
    picked = (whole.reshape(2, 2, 3, 3) * mask).sum((1, 2, 3))
    torch.testing.assert_close(loss(mask), picked)
