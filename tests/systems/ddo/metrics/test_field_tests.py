"""Two-sample tests and the comparison of fields, against scipy and closed forms."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf
from sfumato.metrics.kernel import discrepancy, gaussian_kernel
from sfumato.systems.ddo.metrics.compare import compare_fields, field_statistics
from sfumato.systems.ddo.metrics.statistics import Statistics
from sfumato.systems.ddo.metrics.two_sample import (
    column_tests,
    kolmogorov_smirnov,
    kolmogorov_tail,
    two_sample_test,
)
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, filtered, resample, wave_numbers

PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING
BOTH = pytest.mark.parametrize("domain", list(Domain), ids=lambda d: d.value)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def rough(seed: int, count: int, n: int, domain: Domain, channels: int = 1, slope: float = 1.5):
    """Gaussian fields on n x n points whose modes fall off as (4 + |κ|²)^-slope."""
    k = wave_numbers(n, domain)
    return filtered(
        normal(seed, count, channels, n, n) * n, (4 + k[:, None] ** 2 + k**2) ** -slope, domain, 2
    )


# Tests of numbers ---------------------------------------------------------------------------------


@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 10**6), st.booleans())
def test_statistic_of_kolmogorov_smirnov(n: int, m: int, seed: int, ties: bool) -> None:
    a, b = normal(seed, n), 1.2 * normal(seed + 1, m) + 0.3
    if ties:
        a, b = a.round(), b.round()
    truth = scipy.stats.ks_2samp(a.numpy(), b.numpy(), method="asymp")
    statistic, p = kolmogorov_smirnov(a, b)
    assert statistic == pytest.approx(truth.statistic, abs=1e-12)
    assert kolmogorov_smirnov(b, a) == pytest.approx((statistic, p))
    scale = math.sqrt(n * m / (n + m))
    assert p == pytest.approx(scipy.stats.kstwobign.sf(statistic * scale), abs=1e-10)


def test_tail_of_kolmogorov() -> None:
    x = np.linspace(0, 4, 401)
    found = np.array([kolmogorov_tail(float(v)) for v in x])
    assert np.allclose(found, scipy.special.kolmogorov(x), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("n", "m", "above"), [(50, 50, 1.2), (50, 60, 1.45), (400, 500, 1.2)])
def test_asymptotic_p_is_near_the_exact_one(n: int, m: int, above: float) -> None:
    for shift in np.linspace(0, 0.6 * math.sqrt(50 / n), 7):
        a, b = normal(3, n), normal(4, m) + shift
        exact = scipy.stats.ks_2samp(a.numpy(), b.numpy(), method="exact").pvalue
        assert 0.99 * exact <= kolmogorov_smirnov(a, b)[1] < above * exact


def test_kolmogorov_smirnov_refuses() -> None:
    for bad in (normal(0, 0), normal(0, 3, 1), normal(0, 3) / 0):
        with pytest.raises(ValueError):
            kolmogorov_smirnov(bad, normal(1, 3))


def test_columns_are_tested_one_by_one() -> None:
    a = Statistics(("same", "moved"), normal(0, 300, 2))
    b = Statistics(("same", "moved"), normal(1, 200, 2) * torch.tensor([1.0, 2.0]))
    same, moved = column_tests(a, b)
    assert (same.name, moved.name) == ("same", "moved")
    assert same.p_value > 0.01 and moved.p_value < 1e-4
    truth = scipy.stats.ks_2samp(a.column("moved").numpy(), b.column("moved").numpy())
    assert moved.statistic == pytest.approx(truth.statistic, abs=1e-12)
    constant = Statistics(("c",), torch.ones(3, 1).double())
    assert column_tests(constant, constant)[0].p_value == 1
    with pytest.raises(ValueError, match="same statistics"):
        column_tests(a, constant)
    with pytest.raises(ValueError, match="two samples"):
        column_tests(a, Statistics(a.names, a.values[:1]))


# The kernel test ----------------------------------------------------------------------------------


def test_statistic_is_the_unbiased_kernel_distance_of_standardized_features() -> None:
    a, b = normal(0, 30, 3) * torch.tensor([1.0, 5.0, 0.1]), normal(1, 41, 3)
    found = two_sample_test(a, b, seeded(0), permutations=5, bandwidth=1.4)
    pooled = torch.cat((a, b))
    scaled = (pooled - pooled.mean(0)) / pooled.std(0, correction=0)
    truth, _ = discrepancy(scaled[:30], scaled[30:], partial(gaussian_kernel, bandwidth=1.4))
    assert found.statistic == pytest.approx(truth, abs=1e-12)
    rescaled = two_sample_test(a * 1e3 + 7, b * 1e3 + 7, seeded(0), permutations=5, bandwidth=1.4)
    assert rescaled.statistic == pytest.approx(truth, abs=1e-9)
    median = float(torch.pdist(scaled).median())
    assert two_sample_test(a, b, seeded(0), permutations=5).bandwidth == pytest.approx(median)


def test_permutations_are_the_statistic_of_shuffled_samples() -> None:
    """With all of 3 + 3, the p-values are those of the twenty ways to part six samples."""
    from itertools import combinations

    x = normal(5, 6, 2)
    found = two_sample_test(x[:3], x[3:], seeded(0), permutations=4000, bandwidth=1.0)
    scaled = (x - x.mean(0)) / x.std(0, correction=0)
    gram = gaussian_kernel(scaled, scaled, 1.0).fill_diagonal_(0)
    values = []
    for inside in combinations(range(6), 3):
        out = [i for i in range(6) if i not in inside]
        within = gram[list(inside)][:, list(inside)].sum() + gram[out][:, out].sum()
        values.append(float(within / 6 - 2 * gram[list(inside)][:, out].sum() / 9))
    assert values[0] == pytest.approx(found.statistic)
    share = sum(v >= values[0] - 1e-9 for v in values) / 20
    assert found.p_value == pytest.approx(share, abs=0.03)


def test_p_is_uniform_under_the_null_and_small_for_a_shift() -> None:
    ps = [
        two_sample_test(
            normal(i, 24, 3), normal(i + 1000, 30, 3), seeded(i), permutations=99
        ).p_value
        for i in range(200)
    ]
    # mean 1/2 and deviation √(1/12): 4 standard errors of the mean of 200 are 0.082
    assert abs(np.mean(ps) - 0.505) < 0.082
    assert scipy.stats.kstest(ps, "uniform").pvalue > 0.001
    assert min(ps) >= 0.01
    shifted = [
        two_sample_test(normal(i, 40, 3) + 0.8, normal(i + 1000, 40, 3), seeded(i)).p_value
        for i in range(10)
    ]
    assert max(shifted) < 0.02
    wider = two_sample_test(1.6 * normal(0, 200, 3), normal(1, 200, 3), seeded(0))
    assert wider.p_value < 0.01


def test_kernel_test_refuses() -> None:
    a = normal(0, 10, 2)
    for b in (normal(1, 10, 3), normal(1, 1, 2), normal(1, 10)):
        with pytest.raises(ValueError, match="at least two samples"):
            two_sample_test(a, b, seeded(0))
    with pytest.raises(ValueError, match="not finite"):
        two_sample_test(a, a / 0, seeded(0))
    with pytest.raises(ValueError, match="one permutation"):
        two_sample_test(a, a, seeded(0), permutations=0)
    with pytest.raises(ValueError, match="bandwidth"):
        two_sample_test(a, a, seeded(0), bandwidth=0.0)
    with pytest.raises(ValueError, match="same statistics"):
        two_sample_test(Statistics(("a", "b"), a), Statistics(("a", "c"), a), seeded(0))
    constant = two_sample_test(torch.ones(5, 2), torch.ones(6, 2), seeded(0))
    assert constant.p_value == 1


# Statistics of fields and their comparison --------------------------------------------------------


@BOTH
def test_field_statistics_are_what_they_are_called(domain: Domain) -> None:
    x = rough(0, 5, 16, domain, channels=2)
    extent = (1.0, 0.5)
    found = field_statistics(x, domain, extent, channels=("u", "v"), waves=3.0)
    from sfumato.systems.ddo.metrics.spectra import shell_powers, structure_values

    powers = shell_powers(x, domain, extent)
    shell = 2 if domain is PERIODIC else 4
    assert torch.allclose(found.column("log power 2 of v"), powers[:, 1, shell].log())
    assert ("log power 2.5 of u" in found.names) == (domain is REFLECTING)
    values = structure_values(x, domain, extent, orders=(2, 4), separations=(0.125,))[..., 0]
    at = values[:, 0, 1]  # channel u, axis 1
    assert torch.allclose(found.column("log S2 axis 1 at 0.125 of u"), at[:, 0].log())
    flatness = (at[:, 1] / at[:, 0] ** 2).log()
    assert torch.allclose(found.column("log flatness axis 1 at 0.125 of u"), flatness)
    assert torch.allclose(found.column("mean of v"), x[:, 1].mean((1, 2)))
    each = [np.corrcoef(u.numpy(), v.numpy())[0, 1] for u, v in x.flatten(2)]
    assert np.allclose(found.column("correlation of u and v"), each)


@BOTH
def test_field_statistics_do_not_depend_on_the_grid(domain: Domain) -> None:
    few = resample(normal(0, 6, 2, 7, 7), (16, 16), domain)
    a = field_statistics(few, domain, waves=3.0)
    b = field_statistics(resample(few, (32, 32), domain), domain, waves=3.0)
    assert a.names == b.names
    assert (a.values - b.values).abs().max() < (1e-6 if domain is PERIODIC else 0.1)


def test_field_statistics_of_dull_fields_are_finite() -> None:
    for x in (torch.zeros(2, 2, 16, 16), torch.full((2, 2, 16, 16), 0.1, dtype=torch.float64)):
        found = field_statistics(x, PERIODIC)
        assert bool(torch.isfinite(found.values).all())
        assert found.column("correlation of 0 and 1").tolist() == [0, 0]
    wave = torch.sin(2 * math.pi * coordinates((16, 16), PERIODIC)[:1])[None] / 3
    found = field_statistics(wave, PERIODIC)
    assert float(found.column("log power 1")) == pytest.approx(math.log(1 / 18))
    assert float(found.column("log power 5")) == pytest.approx(math.log(1e-12 / 18))
    assert float(found.column("log S2 axis 1 at 0.25")) == pytest.approx(math.log(1e-12 / 18))
    for waves in (8.0, 0.5):
        with pytest.raises(ValueError, match="waves from 1"):
            field_statistics(x, PERIODIC, waves=waves)


def test_equal_laws_compare_as_equal() -> None:
    scores = compare_fields(
        rough(0, 120, 16, PERIODIC),
        rough(1, 150, 16, PERIODIC),
        PERIODIC,
        generator=seeded(0),
        channels=("height",),
    )
    by = {s.metric: s for s in scores}
    assert len(scores) == 7 and all(s.n == 120 for s in scores)
    worst = by["worst spectrum error"]
    assert worst.features == "values of height" and worst.setting.startswith("16x16 against 150 ")
    floor = float(worst.setting.rsplit(" ", 1)[1])
    assert worst.value < 2 * floor and 0 < worst.error < worst.value + floor
    one = by["one-point W1 over deviation"]
    assert one.value < 3 * float(one.setting.rsplit(" ", 1)[1])
    assert all(s.value > 0.01 for s in scores if " p" in s.metric)


def test_each_kind_of_fault_shows_in_its_own_figure() -> None:
    """One shell too strong; another law of values; a mean that wanders."""
    real = rough(1, 150, 16, PERIODIC)
    good = rough(0, 120, 16, PERIODIC)
    k = wave_numbers(16, PERIODIC)
    radius = (k[:, None] ** 2 + k**2).sqrt()

    def figures(x: torch.Tensor, **kept) -> dict:
        made = compare_fields(x, real, PERIODIC, generator=seeded(0), **kept)
        return {s.metric: s for s in made}

    loud = filtered(good, 1 + 0.5 * ((radius - 3).abs() < 0.5), PERIODIC, 2)
    worst = figures(loud)["worst spectrum error"]
    assert "worst at 3," in worst.setting
    assert abs(worst.value - 1.25) < 4 * worst.error  # 1.5² - 1
    quiet = figures(loud, band=(4.0, 7.0))["worst spectrum error"]
    assert "waves 4 to 7" in quiet.setting and quiet.value < 0.3
    scaled = figures(3 * good)["one-point W1 over deviation"]
    # W_1 of N(0, 9 s²) and N(0, s²) is 2 s √(2/π)
    assert abs(scaled.value - 2 * math.sqrt(2 / math.pi)) < 4 * scaled.error
    shifted = figures(good + 4 * real.mean((1, 2, 3)).std() * normal(5, 120, 1, 1, 1))
    assert shifted["KS p of mean"].value < 1e-3 < 0.01 < shifted["KS p of skewness"].value
    cubed = figures(good * (1 + 0.3 * good.square() / good.square().mean()))
    assert cubed["KS p of kurtosis"].value < 1e-3
    assert cubed["two-sample p"].value < 0.02
    assert figures(loud)["two-sample p"].value < 0.02


def test_means_that_are_next_to_nothing_count_as_equal() -> None:
    """Two channels of zero mean to rounding, one of which is given one of a hundredth."""
    field = sf.GaussianField(sf.Laplacian(2.0))
    x = field.sample(torch.zeros(120, 2, 16, 16, dtype=torch.float64), sf.generator(0))
    real = x - x.mean((2, 3), keepdim=True)
    made = real.flip(0) + 3e-4 * torch.randn(120, 2, 1, 1, generator=sf.generator(1))

    def p_of_means(made: torch.Tensor) -> list[float]:
        found = compare_fields(made, real, Domain.PERIODIC, generator=sf.generator(2))
        return [s.value for s in found if s.metric == "KS p of mean"] + [found[-1].value]

    assert p_of_means(made)[:2] == [1.0, 1.0] and p_of_means(made)[2] > 0.5
    made[:, 1] += 0.01
    one, other, both = p_of_means(made)
    assert one == 1.0 and other < 1e-6 and both < 0.01


def test_another_grid_may_be_compared() -> None:
    real = rough(1, 60, 16, REFLECTING)
    finer = resample(real, (24, 24), REFLECTING)
    scores = compare_fields(finer, real, REFLECTING, generator=seeded(0))
    by = {s.metric: s for s in scores}
    assert by["worst spectrum error"].value < 1e-10
    assert "24x24 against 60 real 16x16" in by["two-sample p"].setting
    assert by["KS p of mean"].value == pytest.approx(1)
    assert by["two-sample p"].value > 0.9
    with pytest.raises(ValueError, match="as many channels and axes"):
        compare_fields(real[:, :, 0], real, REFLECTING, generator=seeded(0))
    with pytest.raises(ValueError, match="two fields"):
        compare_fields(real[:1], real, REFLECTING, generator=seeded(0))
    with pytest.raises(ValueError, match="no shell"):
        compare_fields(real, real, REFLECTING, generator=seeded(0), band=(0.1, 0.2))
