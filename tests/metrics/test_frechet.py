"""Fréchet distance and its moments against closed forms, scipy and repeated experiments."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.metrics.frechet import frechet_distance, gaussian_frechet, moments
from sfumato.metrics.moments import GroupedMoments, Moments, parts_of


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance(seed: int, dim: int, rank: int) -> torch.Tensor:
    a = normal(seed, dim, rank)
    return a @ a.T / rank


@pytest.mark.parametrize("rank", [24, 3])
def test_agrees_with_scipys_matrix_root(rank: int) -> None:
    dim = 12
    for seed in range(5):
        mean_a, mean_b = normal(seed, dim), normal(seed + 100, dim)
        a, b = covariance(seed + 200, dim, 24), covariance(seed + 300, dim, rank)
        root = scipy.linalg.sqrtm((a @ b).numpy()).real
        expected = float((mean_a - mean_b).square().sum() + a.trace() + b.trace())
        expected -= 2 * np.trace(root)
        assert gaussian_frechet(mean_a, a, mean_b, b) == pytest.approx(expected, abs=1e-5)
        assert gaussian_frechet(mean_b, b, mean_a, a) == pytest.approx(expected, abs=1e-5)


def test_closed_form_where_covariances_commute() -> None:
    """d² = |Δμ|² + Σ (s_i - t_i)² for standard deviations s, t along shared axes."""
    s, t = torch.tensor([1.0, 2.0, 0.5, 0.0]), torch.tensor([3.0, 2.0, 0.0, 0.25])
    rotation = torch.linalg.qr(normal(0, 4, 4)).Q
    a = rotation @ torch.diag(s.double() ** 2) @ rotation.T
    b = rotation @ torch.diag(t.double() ** 2) @ rotation.T
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    expected = float(shift.square().sum() + (s - t).square().sum())
    zero = torch.zeros(4, dtype=torch.float64)
    assert gaussian_frechet(shift, a, zero, b) == pytest.approx(expected, abs=1e-7)
    assert gaussian_frechet(zero, a, zero, a) == pytest.approx(0, abs=1e-7)


def test_shifted_sample_and_fewer_samples_than_features() -> None:
    x = normal(1, 400, 6)
    shift = torch.tensor([3.0, 0, 0, -4.0, 0, 0], dtype=torch.float64)
    assert frechet_distance(x, x + shift, features="t").value == pytest.approx(25, abs=1e-8)
    wide = normal(2, 30, 50)
    score = frechet_distance(wide, wide, features="t")
    assert score.value == pytest.approx(0, abs=1e-8)
    assert score.unbiased is None


def test_stream_equals_one_shot_far_from_the_origin() -> None:
    x = normal(3, 1000, 8) + 1e5
    whole = moments(x)
    reference = np.cov(x.numpy(), rowvar=False)
    assert np.abs(whole.covariance.numpy() - reference).max() < 1e-9
    stream, start = Moments(8), 0
    for size in (1, 2, 500, 0, 7, 490):
        stream.update(x[start : start + size])
        start += size
    assert start == stream.n == len(x)
    assert float((stream.mean - whole.mean).abs().max()) < 1e-10
    assert float((stream.covariance - whole.covariance).abs().max()) < 1e-9


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(2, 6)
)
def test_order_batches_groups_and_processes_do_not_matter(
    seed: int, sizes: list[int], groups: int
) -> None:
    n = sum(sizes) + 2 * groups
    x = normal(seed, n, 3)
    whole = moments(x)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    here, there = GroupedMoments(3, groups), GroupedMoments(3, groups)
    parts = x[order].split([*sizes, 2 * groups])
    for i, part in enumerate(parts):
        (here if i % 2 else there).update(part)
    here.merge(there)
    total = here.total()
    assert here.n == total.n == n
    assert float((total.mean - whole.mean).abs().max()) < 1e-12
    assert float((total.covariance - whole.covariance).abs().max()) < 1e-10
    rest = total.without(here.parts[0])
    others = Moments(3)
    for part in here.parts[1:]:
        others.merge(part)
    assert float((rest.mean - others.mean).abs().max()) < 1e-12
    assert float((rest.scatter - others.scatter).abs().max()) < 1e-9


def test_groups_follow_the_stream() -> None:
    x = normal(4, 23, 2)
    grouped = GroupedMoments(2, 5)
    for part in x.split(4):
        grouped.update(part)
    mine = parts_of(0, 23, 5)
    for g, part in enumerate(grouped.parts):
        assert float((part.mean - x[mine == g].mean(0)).abs().max()) < 1e-14


def test_error_and_bias_are_those_of_repeated_experiments() -> None:
    """60 samples of 300 from one law: the spread is the error, and the bias is removed."""
    dim, n = 16, 300
    scale = torch.linspace(0.9, 1.2, dim, dtype=torch.float64)
    target = Moments(dim)  # the law itself: a "real set" without sampling error
    target.n, target.mean = 10**12, torch.full((dim,), 0.1, dtype=torch.float64)
    target.scatter = torch.eye(dim, dtype=torch.float64) * (target.n - 1)
    truth = dim * 0.01 + float((scale - 1).square().sum())
    scores = [
        frechet_distance(target, normal(1000 + i, n, dim) * scale, features="t") for i in range(60)
    ]
    values = torch.tensor([s.value for s in scores])
    errors = torch.tensor([s.error for s in scores])
    unbiased = torch.tensor([s.unbiased for s in scores])
    spread = float(values.std())
    assert 0.75 < float(errors.mean()) / spread < 1.35
    bias, left = float(values.mean()) - truth, float(unbiased.mean()) - truth
    assert bias > 4 * spread / math.sqrt(60)  # there is something to remove
    assert abs(left) < 4 * float(unbiased.std()) / math.sqrt(60)


def test_prints_its_features() -> None:
    score = frechet_distance(normal(5, 200, 2), normal(6, 200, 2), features="fashion-classifier")
    assert str(score).startswith("Fréchet distance (fashion-classifier, n=200) ")
    assert "±" in str(score)


def test_says_what_is_wrong() -> None:
    x = normal(7, 50, 3)
    with pytest.raises(ValueError, match="dim 3, generated ones 2"):
        frechet_distance(x, x[:, :2], features="t")
    with pytest.raises(ValueError, match="at least 20"):
        frechet_distance(x, x[:19], features="t")
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(x, torch.full_like(x, torch.nan), features="t")
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(x[:1], x, features="t")
    with pytest.raises(ValueError, match=r"\(B, 3\)"):
        Moments(3).update(x[:, :2])
    with pytest.raises(ValueError, match="cov_g"):
        gaussian_frechet(x[0], torch.eye(3), x[0], torch.eye(2))
    with pytest.raises(ValueError, match="proper subset"):
        moments(x).without(moments(x))


def test_classes_that_take_turns_do_not_fall_into_one_part() -> None:
    """Parts are of one size, in any batches, and each has every class in its share."""
    whole = parts_of(0, 1000, 10)
    assert torch.equal(whole, torch.cat([parts_of(0, 7, 10), parts_of(7, 993, 10)]))
    for part in range(10):
        classes = torch.arange(1000)[whole == part] % 10
        assert len(classes) == 100
        assert classes.bincount(minlength=10).max() <= 30


def test_error_of_periodic_data_is_that_of_shuffled_data() -> None:
    g = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(10, 3, generator=g)
    x = centres[torch.arange(4000) % 10] + torch.randn(4000, 3, generator=g)
    real = centres[torch.arange(4000) % 10] + torch.randn(4000, 3, generator=g)
    shuffled = x[torch.randperm(4000, generator=g)]
    one = frechet_distance(real, x, features="test").error
    two = frechet_distance(real, shuffled, features="test").error
    assert one is not None and two is not None
    assert one < 3 * two


@pytest.mark.parametrize(("n", "m", "dim"), [(30, 24, 40), (25, 60, 70), (60, 25, 61)])
def test_few_samples_of_many_features_by_their_products(n: int, m: int, dim: int) -> None:
    """The singular values of products of samples give what covariance matrices give."""
    real, generated = normal(1, n, dim) * 2 + 5, normal(2, m, dim) @ normal(3, dim, dim) / 4
    grouped = GroupedMoments(dim, 10)
    grouped.update(generated)
    by_covariance = frechet_distance(moments(real), grouped, features="t")
    score = frechet_distance(real, generated, features="t")
    assert score.value == pytest.approx(by_covariance.value, rel=1e-9)
    assert score.error == pytest.approx(by_covariance.error, rel=1e-6)
    assert score.unbiased is None and score.n == m


def test_pictures_of_many_pixels_need_no_matrix_of_their_size() -> None:
    """300 pictures of 65,536 numbers each: a covariance matrix would be 34 GB."""
    real = torch.randn(300, 65_536, generator=torch.Generator().manual_seed(0))
    score = frechet_distance(real, real[:200] + 1, features="t")
    assert score.value > 65_536  # the shift alone
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(real, real[:200].clone().index_fill_(1, torch.tensor([3]), math.nan),
                         features="t")  # fmt: skip
