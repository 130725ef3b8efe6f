"""Spectra and structure functions: single harmonics, Parseval, Gaussian fields, other grids."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.systems.ddo.metrics.spectra import (
    energy_spectrum,
    shell_powers,
    spectrum_ratio,
    structure_function,
    structure_values,
)
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, resample, to_grid

PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING
BOTH = pytest.mark.parametrize("domain", list(Domain), ids=lambda d: d.value)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(grid: tuple[int, ...], domain: Domain, amplitude: float, *waves: float) -> torch.Tensor:
    """a Π cos(2π κ_i x_i), κ whole if periodic, half-whole if reflecting: (1, 1, *grid)."""
    x = coordinates(grid, domain)
    made = amplitude * torch.ones(grid, dtype=torch.float64)
    for i, k in enumerate(waves):
        made = made * torch.cos(2 * math.pi * k * x[i])
    return made[None, None]


def smooth(n: int, count: int, dims: int, domain: Domain, kept: int, seed: int = 0):
    """Random fields with modes of at most ``kept`` - 1 indices on each axis."""
    coarse = normal(seed, count, 1, *[2 * kept - 1 if domain is PERIODIC else kept] * dims)
    return resample(coarse, [n] * dims, domain)


@BOTH
@pytest.mark.parametrize("grid", [(15,), (12, 9), (8, 7, 10)])
def test_a_harmonic_lies_in_one_shell(domain: Domain, grid: tuple[int, ...]) -> None:
    """a cos cos ..: mean square a² 2^-d, in the shell of |κ|."""
    waves = [2.0, 3.0, 2.0][: len(grid)] if domain is PERIODIC else [1.5, 2.0, 1.0][: len(grid)]
    found = energy_spectrum(wave(grid, domain, 1.7, *waves), domain)
    width = 1.0 if domain is PERIODIC else 0.5
    shell = round(math.hypot(*waves) / width)
    truth = torch.zeros_like(found.power)
    truth[0, shell] = 1.7**2 / 2 ** len(grid)
    assert torch.allclose(found.power, truth, atol=1e-12)
    assert found.wave_numbers[shell] == shell * width
    assert found.n == 1 and bool(found.error.isnan().all())


def test_the_mean_is_shell_zero_and_the_last_wave_a_whole_one() -> None:
    x = torch.full((2, 1, 8), 3.0).double()
    assert energy_spectrum(x, PERIODIC).power[0].tolist() == pytest.approx([9, 0, 0, 0, 0])
    assert energy_spectrum(x, REFLECTING).power[0].tolist() == pytest.approx([9, *[0] * 7])
    last = energy_spectrum(wave((8,), PERIODIC, 1.0, 4.0), PERIODIC)
    assert last.power[0].tolist() == pytest.approx([0, 0, 0, 0, 1])


def test_shells_follow_the_lengths_of_the_sides() -> None:
    """Three waves on a side of 0.5 are 6 per unit; lengths may have units of their own."""
    x = wave((16, 12), PERIODIC, 1.0, 0.0, 3.0)
    powers = shell_powers(x, PERIODIC, (1.0, 0.5))[0, 0]
    assert powers[6] == pytest.approx(0.5) and powers.sum() == pytest.approx(0.5)
    metres = energy_spectrum(x, PERIODIC, (4.0, 2.0))
    assert torch.allclose(metres.power[0], powers) and metres.wave_numbers[6] == 1.5
    mixed = wave((16, 12), PERIODIC, 1.0, 4.0, 3.0)  # |κ| = hypot(4, 6) = 7.2
    assert shell_powers(mixed, PERIODIC, (1.0, 0.5))[0, 0, 7] == pytest.approx(0.25)
    half = wave((16, 12), REFLECTING, 1.0, 0.5, 1.0)  # |κ| = hypot(0.5, 2) = 2.06
    assert shell_powers(half, REFLECTING, (1.0, 0.5))[0, 0, 4] == pytest.approx(0.25)
    third = wave((16, 12), PERIODIC, 1.0, 0.0, 1.0)  # 1.5 per longest side goes up, rounded or not
    assert shell_powers(third, PERIODIC, (0.3, 0.2))[0, 0, 2] == pytest.approx(0.5)


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.sampled_from(list(Domain)),
    st.sampled_from([(1.0, 1.0, 1.0), (1.0, 0.5, 0.3), (2.5, 7.0, 1.0)]),
    st.integers(0, 1000),
)
def test_parseval(grid: list[int], domain: Domain, extent: tuple[float, ...], seed: int) -> None:
    x = normal(seed, 3, 2, *grid) + 0.3
    powers = shell_powers(x, domain, extent[: len(grid)])
    assert torch.allclose(powers.sum(2), x.square().flatten(2).mean(2), rtol=1e-10)
    found = energy_spectrum(x, domain, extent[: len(grid)])
    assert torch.allclose(found.power, powers.mean(0))
    assert torch.allclose(found.error, powers.std(0) / math.sqrt(3))


@BOTH
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_spectra_do_not_depend_on_the_grid(domain: Domain, dims: int) -> None:
    fields = [smooth(n, 3, dims, domain, 5) for n in (12, 13, 24)]
    found = [energy_spectrum(x, domain) for x in fields]
    k = found[0].complete
    for other in found[1:]:
        assert torch.allclose(other.power[:, :k], found[0].power[:, :k], rtol=1e-10, atol=1e-14)
        assert torch.allclose(other.power.sum(), found[0].power.sum(), rtol=1e-10)


@BOTH
@pytest.mark.parametrize("extent", [(1.0, 1.0), (1.0, 0.4), (0.7, 1.0)])
@pytest.mark.parametrize("grid", [(9, 9), (8, 12), (16, 7)])
def test_complete_shells_are_those_that_a_finer_grid_leaves_as_they_are(
    domain: Domain, extent: tuple[float, float], grid: tuple[int, int]
) -> None:
    """Every mode of a much finer grid with power 1: complete shells hold as many on both grids."""
    found = [
        shell_powers(torch.zeros(1, 1, *n), domain, extent).shape[2]
        for n in (grid, (3 * grid[0], 3 * grid[1]))
    ]
    fine = (3 * grid[0], 3 * grid[1])
    counts = []
    for n, shells in zip((grid, fine), found, strict=True):
        held = torch.zeros(shells)
        for i in range(n[0]):
            for j in range(n[1]):
                pair = (i, j)
                if domain is PERIODIC:
                    pair = tuple((k + m // 2) % m - m // 2 for k, m in zip(pair, n, strict=True))
                    if any(2 * abs(k) == m for k, m in zip(pair, n, strict=True)):
                        continue  # half a mode
                waves = math.hypot(pair[0] / extent[0], pair[1] / extent[1])
                held[math.floor(waves * max(extent) + 0.5 + 1e-9)] += 1
        counts.append(held)
    complete = energy_spectrum(torch.zeros(1, 1, *grid), domain, extent).complete
    same = (counts[0] == counts[1][: len(counts[0])]).tolist()
    assert all(same[:complete]) and not same[complete]


def test_ratio_and_its_error() -> None:
    """Against 1.5 times as large fields: 2.25 within the error stated, which is the spread."""
    a, b = energy_spectrum(normal(1, 400, 1, 16), PERIODIC), []
    for seed in range(60):
        b.append(spectrum_ratio(energy_spectrum(1.5 * normal(2 + seed, 400, 1, 16), PERIODIC), a))
    values = torch.stack([r.value[0] for r in b])
    stated = b[0].error[0]
    alone = values.std(0)  # the numerator's share of it
    below = b[0].value[0] * a.error[0, :8] / a.power[0, :8]
    assert torch.allclose((alone.square() + below.square()).sqrt(), stated, rtol=0.3)
    assert bool(((values.mean(0) - 2.25).abs() < 4 * below).all())
    some = spectrum_ratio(a, a, [3, 1])
    assert some.wave_numbers.tolist() == [3, 1] and some.value.tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="shells from 0 to 8"):
        spectrum_ratio(a, a, [9])
    with pytest.raises(ValueError, match="same shells"):
        spectrum_ratio(a, energy_spectrum(normal(1, 4, 1, 16), REFLECTING))
    with pytest.raises(ValueError, match="same shells"):
        spectrum_ratio(a, energy_spectrum(normal(1, 4, 2, 16), PERIODIC))


def test_structure_of_a_wave() -> None:
    """a cos(2πkx) at distance r: S_2 = a² (1 - cos 2πkr), S_4 = 3/2 S_2², on the grid or off it."""
    x = wave((32, 8), PERIODIC, 1.3, 3.0, 0.0)
    gaps = (1 / 32, 0.2, 1 / 3, 0.5)
    found = structure_function(x, PERIODIC, orders=(2, 4), separations=gaps)
    truth = [1.3**2 * (1 - math.cos(2 * math.pi * 3 * r)) for r in gaps]
    assert found.value[0, 0, 0].tolist() == pytest.approx(truth, rel=1e-10)
    assert found.value[0, 0, 1].tolist() == pytest.approx([1.5 * s * s for s in truth], rel=1e-10)
    assert found.value[0, 1].abs().max() < 1e-20  # nothing changes along the other axis
    assert found.separations.tolist() == pytest.approx(list(gaps)) and found.orders == (2, 4)


def test_structure_of_a_wave_inside_the_box() -> None:
    r"""cos(2πκx) over [0, 1 - r]: 2 s² (1 - sinc-like border term), by hand; O(1/n²) on a grid.

    u(x + r) - u(x) = -2 sin(πκ r 2 / 2) sin(2πκx + πκr), so its square's mean is
    4 s² (1/2 - (sin(4πκ(1-r) + 2πκr) - sin 2πκr) / (8πκ(1-r))), s = sin πκr.
    """
    k = 1.5
    gaps = (0.25, 0.3, 0.5)

    def truth(r: float) -> float:
        s = math.sin(math.pi * k * r)
        border = math.sin(4 * math.pi * k * (1 - r) + 2 * math.pi * k * r)
        border = (border - math.sin(2 * math.pi * k * r)) / (8 * math.pi * k * (1 - r))
        return 4 * s * s * (0.5 - border)

    errors = []
    for n in (16, 32, 64):
        x = wave((n,), REFLECTING, 1.0, k)
        found = structure_function(x, REFLECTING, orders=(2,), separations=gaps).value[0, 0, 0]
        errors.append((found - torch.tensor([truth(r) for r in gaps])).abs() / truth(0.25))
    assert errors[1].max() < 0.01
    assert bool((errors[2] < errors[1] / 3.2).all()) and bool((errors[1] < errors[0] / 2.8).all())


def test_the_third_order_has_no_sign() -> None:
    x = wave((64,), PERIODIC, 1.0, 1.0)
    found = structure_function(x, PERIODIC, orders=(1, 3), separations=(0.5,)).value.flatten()
    # |2 cos|: mean 4/π; |2 cos|³: 8 · 4/(3π)
    assert found.tolist() == pytest.approx([4 / math.pi, 32 / (3 * math.pi)], rel=1e-3)


@BOTH
def test_structure_functions_do_not_depend_on_the_grid(domain: Domain) -> None:
    """The same physical separations, axes of other lengths, grids that they fit and do not fit."""
    extent, gaps = (1.0, 0.5), (1 / 16, 0.1, 0.25)
    fields = smooth(32, 6, 2, domain, 4)
    found = [
        structure_values(resample(fields, grid, domain), domain, extent, separations=gaps)
        for grid in ((32, 32), (64, 64), (50, 40))
    ]
    for other in found[1:]:
        even = (other - found[0])[:, :, :, [0, 2]] / found[0][:, :, :, [0, 2]]
        assert even.abs().max() < (1e-8 if domain is PERIODIC else 0.03)
        odd = (other - found[0])[:, :, :, 1] / found[0][:, :, :, 1]
        assert odd.abs().max() < 0.03


@BOTH
def test_lengths_scale_separations(domain: Domain) -> None:
    x = smooth(16, 4, 2, domain, 4)
    unit = structure_values(x, domain, (1.0, 0.5), separations=(0.125, 0.25))
    large = structure_values(x, domain, (8.0, 4.0), separations=(1.0, 2.0))
    assert torch.allclose(unit, large)
    turned = structure_values(x.mT, domain, (0.5, 1.0), separations=(0.125, 0.25))
    assert torch.allclose(turned.flip(2), unit)


def test_gaussian_field_with_known_covariance() -> None:
    """S_2(r) = 2 (C(0) - C(r)), S_4 = 3 S_2², spectrum: each within 4 of its own errors."""
    n, count = 32, 2000
    k = torch.fft.fftfreq(n, 1 / n).double()
    law = 1 / (1 + (k[:, None] ** 2 + k**2) / 9) ** 2  # E |û|²
    law[n // 2], law[:, n // 2] = 0, 0
    noise = torch.fft.fftn(normal(5, count, n, n), dim=(1, 2), norm="forward") * n
    x = to_grid(noise * law.sqrt(), 2, PERIODIC)[:, None]
    gaps = torch.tensor([1 / 32, 0.1, 0.25, 0.5]).double()
    along = (law[:, :, None] * torch.cos(2 * math.pi * k[:, None, None] * gaps)).sum((0, 1))
    second = 2 * (law.sum() - along)
    found = structure_function(x, PERIODIC, orders=(2, 4), separations=gaps.tolist())
    assert found.n == count and bool((found.error > 0).all())
    for axis in (0, 1):
        for i, truth in enumerate((second, 3 * second.square())):
            error = found.error[0, axis, i]
            assert bool(((found.value[0, axis, i] - truth).abs() < 4 * error).all())
            assert bool((error < 0.05 * truth).all())
    spectrum = energy_spectrum(x, PERIODIC)
    radius = (k[:, None] ** 2 + k**2).sqrt()
    for s in range(spectrum.complete):
        truth = law[(radius >= s - 0.5) & (radius < s + 0.5)].sum()
        assert abs(spectrum.power[0, s] - truth) < 4 * spectrum.error[0, s]


def test_half_precision_is_widened_and_chunks_change_nothing(monkeypatch) -> None:
    x = normal(9, 7, 2, 12, 10)
    whole = energy_spectrum(x, REFLECTING), structure_values(x, REFLECTING)
    monkeypatch.setattr("sfumato.systems.ddo.metrics.spectra._CHUNK", 500)
    assert torch.allclose(energy_spectrum(x, REFLECTING).power, whole[0].power, rtol=1e-12)
    assert torch.allclose(structure_values(x, REFLECTING), whole[1], rtol=1e-12)
    half = energy_spectrum(x.half(), REFLECTING).power
    assert torch.allclose(half, energy_spectrum(x.half().double(), REFLECTING).power, rtol=1e-12)


def test_refusals() -> None:
    x = normal(0, 2, 1, 8)
    for bad in (x[0], x.long(), x[:0], normal(0, 1, 1, 2, 2, 2, 2)):
        with pytest.raises(ValueError, match="floating-point fields"):
            energy_spectrum(bad, PERIODIC)
    with pytest.raises(ValueError, match="not finite"):
        energy_spectrum(x / 0, PERIODIC)
    for extent in ((1.0, 1.0), (0.0,), (-1.0,), (math.inf,)):
        with pytest.raises(ValueError, match="side lengths"):
            structure_function(x, PERIODIC, extent)
    for gaps in ((0.0,), (1.0,), (-0.1, 0.2)):
        with pytest.raises(ValueError, match="separations between 0 and 1"):
            structure_function(x, REFLECTING, separations=gaps)
    with pytest.raises(ValueError, match="orders > 0"):
        structure_function(x, REFLECTING, orders=(0,))
