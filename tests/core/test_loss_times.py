"""Training times and sampling grids."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import sfumato as sf
from analytic import PROCESSES
from sfumato import times

F64 = torch.float64
SCHEDULED = [n for n in PROCESSES if PROCESSES[n]().k == 1]
GRIDS = {
    "uniform": lambda process, n: times.uniform(n),
    "quadratic": lambda process, n: times.quadratic(n),
    "karras": times.karras,
    "log-snr": times.log_snr,
}


@pytest.mark.parametrize("name", SCHEDULED)
@pytest.mark.parametrize("grid", GRIDS)
@given(n=st.integers(1, 200))
def test_grids_fall_from_the_prior_to_the_data(name: str, grid: str, n: int) -> None:
    t = GRIDS[grid](PROCESSES[name](), n)
    assert t.shape == (n + 1,)
    assert t.dtype == F64
    assert float(t[-1]) == 0
    assert 0.9 < float(t[0]) <= 1
    assert bool((t.diff() < 0).all())


@given(n=st.integers(1, 60), start=st.floats(0.5, 1), end=st.floats(0, 0.4))
def test_uniform_and_quadratic_formulas(n: int, start: float, end: float) -> None:
    even, roots = times.uniform(n, start, end), times.quadratic(n, start, end).sqrt()
    for i in range(n + 1):
        f = i / n
        assert float(even[i]) == pytest.approx(start + f * (end - start), abs=1e-14)
        want = math.sqrt(start) + f * (math.sqrt(end) - math.sqrt(start))
        assert float(roots[i]) == pytest.approx(want, abs=1e-14)


def test_published_quadratic_grid_of_phase_space() -> None:
    """CLD counts upwards: τ_i = ε + (1 - ε)((N - i)/N)², which is ours for ε = 0."""
    n = 10
    want = [((n - i) / n) ** 2 for i in range(n + 1)]
    assert times.quadratic(n).tolist() == pytest.approx(want, abs=1e-15)


@pytest.mark.parametrize("n", [2, 18, 40])
def test_karras_equation_5(n: int) -> None:
    got = times.karras(PROCESSES["edm"](), n) * 80
    low, high, rho = 0.002, 80.0, 7.0
    for i in range(n):
        want = high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))
        assert float(got[i]) == pytest.approx(want**rho, rel=1e-12)
    assert float(got[n]) == 0


@pytest.mark.parametrize("name", SCHEDULED)
def test_noise_levels_are_those_asked_for_on_every_process(name: str) -> None:
    process = PROCESSES[name]()
    level = lambda t: (-0.5 * process.schedule.log_snr(t)).exp()  # noqa: E731
    top = float(level(1.0))
    karras = level(times.karras(process, 9, 0.01, 40.0, 5.0)[:-1])
    high = min(40.0, top)
    f = torch.linspace(0, 1, 9, dtype=F64)
    want = (high**0.2 + f * (0.01**0.2 - high**0.2)) ** 5
    torch.testing.assert_close(karras, want, rtol=1e-9, atol=0)
    even = level(times.log_snr(process, 9, 0.01, 40.0)[:-1]).log()
    torch.testing.assert_close(even.diff(), even.diff().mean().expand(8), rtol=1e-8, atol=0)
    assert float(even[0]) == pytest.approx(math.log(high))
    assert float(even[-1]) == pytest.approx(math.log(0.01))


def test_one_step_goes_all_the_way() -> None:
    process = PROCESSES["edm"]()
    for grid in GRIDS.values():
        assert grid(process, 1).tolist() == [1.0, 0.0]


def test_grids_of_a_bridge_are_those_of_what_is_pinned() -> None:
    inner = PROCESSES["edm"]()
    torch.testing.assert_close(times.karras(sf.Bridge(inner), 5), times.karras(inner, 5))


@pytest.mark.parametrize("name", [*SCHEDULED, "bridge"])
def test_log_normal_times(name: str) -> None:
    """ln(σ/α) ~ N(-1.2, 1.2²), by a Kolmogorov-Smirnov test on what was not clipped."""
    process = sf.Bridge(PROCESSES["edm"]()) if name == "bridge" else PROCESSES[name]()
    schedule = (process.inner if isinstance(process, sf.Bridge) else process).schedule
    t = sf.LogNormal(-1.2, 1.2).draw(process, 4000, torch.Generator().manual_seed(0))
    assert t.dtype == F64
    assert 0 < float(t.min()) <= float(t.max()) <= 1
    levels = (-0.5 * schedule.log_snr(t)).numpy()
    assert stats.kstest(levels, stats.norm(-1.2, 1.2).cdf).pvalue > 0.01


def test_uniform_times() -> None:
    t = sf.Uniform(0.01).draw(PROCESSES["cld"](), 4000, torch.Generator().manual_seed(0))
    assert stats.kstest(t.numpy(), stats.uniform(0.01, 0.99).cdf).pvalue > 0.01


def test_times_uniform_in_their_root() -> None:
    """power 2: the density of the quadratic grid, 1/(2√t), from the same start."""
    law = sf.Uniform(1e-4, power=2.0)
    t = law.draw(PROCESSES["cld"](), 4000, torch.Generator().manual_seed(0))
    assert stats.kstest(t.sqrt().numpy(), stats.uniform(0.01, 0.99).cdf).pvalue > 0.01


def test_clds_striding_is_the_quadratic_grid_only_down_to_0() -> None:
    """QS: τ = (1 - ε)(1 - u²), so t = ε + (1 - ε) u²; √t in equal steps is up to .0153 lower."""
    u = torch.linspace(1, 0, 101, dtype=torch.float64)
    got = sf.times.striding(100, end=1e-3)
    torch.testing.assert_close(got, 1 - (1 - 1e-3) * (1 - u.square()))
    torch.testing.assert_close(sf.times.striding(100), sf.times.quadratic(100))
    gap = got - sf.times.quadratic(100, end=1e-3)
    assert float(gap.abs().max()) == pytest.approx(0.0153, abs=1e-4)
    assert float(got[-1]) == 1e-3 and bool((got.diff() < 0).all())
