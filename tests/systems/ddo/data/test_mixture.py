"""The mixture of Gaussian fields: its moments, weights and density, against sums done otherwise."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.seeds import fold, generators
from sfumato.systems.ddo.data.mixture import BAND, Component, Mixture, harmonics, mixture
from sfumato.systems.ddo.nn.harmonic import Domain, to_modes

LAW = Mixture()
N = 4000


@lru_cache(maxsize=1)
def drawn() -> tuple[Tensor, Tensor]:
    return LAW.draw(generators(7, range(N)), 32)


def by_hand(component: Component, n: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n²,) and covariance (n², n²) at the points of a grid, of waves up to ``top``."""
    points = np.array(list(product(range(n), repeat=2))) / n
    mean = np.zeros(n * n)
    for x, y, a, b in component.waves:
        angle = 2 * np.pi * points @ (x, y)
        mean += a * np.cos(angle) + b * np.sin(angle)
    side = range(-BAND, BAND + 1)
    bend = {
        (x, y): (1 + (2 * np.pi * component.length) ** 2 * (x * x + y * y)) ** -component.decay
        for x, y in product(side, repeat=2)
    }
    total = sum(bend.values())
    gap = points[:, None] - points
    covariance = np.zeros((n * n, n * n))
    for (x, y), value in bend.items():
        if max(abs(x), abs(y)) <= top:
            share = component.deviation**2 * value / total
            covariance += share * np.cos(2 * np.pi * (x * gap[..., 0] + y * gap[..., 1]))
    return mean, covariance


def test_harmonics_are_waves_of_cosine_and_sine() -> None:
    h = torch.zeros(5, 5, dtype=torch.float64)
    h[2 + 1, 2 - 2], h[2, 2] = 0.7, 0.2
    x = torch.arange(9, dtype=torch.float64) / 9
    angle = 2 * math.pi * (x[:, None] - 2 * x)
    assert torch.allclose(harmonics(h, 9), 0.2 + 0.7 * (angle.cos() + angle.sin()), atol=1e-14)
    assert torch.allclose(harmonics(h, 4), torch.full((4, 4), 0.2, dtype=torch.float64))


@pytest.mark.parametrize("component", [0, 1])
def test_mean_and_power_on_a_grid_are_those_of_sums_by_hand(component: int) -> None:
    for n, top in ((7, 3), (8, 3)):
        mean, covariance = by_hand(LAW.components[component], n, top)
        assert np.abs(LAW.mean(component, n).numpy().ravel() - mean).max() < 1e-13
        power = LAW.power(component, n)
        row = torch.fft.fft2(power).real.numpy().ravel()
        assert np.abs(row - covariance[0]).max() < 1e-13
    whole = LAW.power(component, 40)
    assert math.isclose(float(whole.sum()), LAW.components[component].deviation ** 2)
    assert torch.equal(whole, LAW.power(component, 64)[np.r_[0:20, 44:64]][:, np.r_[0:20, 44:64]])
    assert (
        float(whole[BAND + 1 : -BAND].abs().max()) == 0 < float(whole[BAND].min() + whole[BAND, 0])
    )


@pytest.mark.parametrize("component", [0, 1])
def test_draws_have_the_mean_the_spectrum_and_the_covariance(component: int) -> None:
    x, which = drawn()
    x = x[which == component]
    modes = to_modes(x - LAW.mean(component, 32), 2, Domain.PERIODIC)
    modes = modes[:, np.r_[0:16, 17:32]][:, :, np.r_[0:16, 17:32]].flatten(1)
    power = LAW.power(component, 32)[np.r_[0:16, 17:32]][:, np.r_[0:16, 17:32]].flatten()
    count = len(x)
    # each of 961 numbers within 5.5 of its standard errors
    assert float((modes.mean(0).abs() / power.sqrt()).max()) < 5.5 / math.sqrt(count)
    ratio = modes.abs().square().mean(0) / power
    assert float((ratio - 1).abs()[1:].max()) < 5.5 / math.sqrt(count)
    assert abs(float(ratio[0]) - 1) < 5.5 * math.sqrt(2 / count)  # real, so twice the variance
    # and between points, where the phases matter
    _, covariance = by_hand(LAW.components[component], 8, BAND)
    y = (x - LAW.mean(component, 32))[:, ::4, ::4].flatten(1).numpy()
    error = np.sqrt((covariance**2 + covariance[0, 0] ** 2) / count)
    assert (np.abs(y.T @ y / count - covariance) / error).max() < 5.5


def test_components_are_drawn_with_their_weights() -> None:
    share = float((drawn()[1] == 0).double().mean())
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / N)


def test_a_field_is_one_function_on_all_grids_and_depends_on_its_index_alone() -> None:
    coarse, fine = mixture("train", 5, 32), mixture("train", 3, 64)
    assert np.abs(fine.values[:3, :, ::2, ::2] - coarse.values[:3]).max() < 1e-5
    assert np.abs(fine.at((32, 32)).values - coarse.values[:3]).max() < 1e-5
    assert np.abs(coarse.at((64, 64)).values[:3] - fine.values).max() < 1e-5
    assert np.abs(coarse.at((12, 12)).values - mixture("train", 5, 12).values).max() < 1e-5
    assert np.array_equal(
        mixture("train", 260, 8).values[255:259], mixture("train", 300, 8).values[255:259]
    )
    alone, _ = LAW.draw(generators(fold(0, "mixture", "train"), [257]), 8)
    assert np.allclose(mixture("train", 258, 8).values[257, 0], alone[0].numpy(), atol=1e-6)
    a, b = mixture("train", 2, 8).values, mixture("test", 2, 8).values
    assert len({field.tobytes() for field in (*a, *b)}) == 4
    expected = (1.197593, 1.530812, 1.677577, 1.762288)
    assert np.allclose(coarse.values[0, 0, 0, :4], expected, atol=1e-5)  # for good
    assert coarse.grid == (32, 32) and coarse.frame.domain is Domain.PERIODIC
    assert [q.name for q in coarse.frame.quantities] == ["value"]


def test_wrong_laws_and_requests() -> None:
    with pytest.raises(ValueError, match="decay >= 3"):
        Component((), 1.0, 0.1, 2.0)
    with pytest.raises(ValueError, match="at most 15 waves"):
        Component(((16, 0, 1.0, 0.0),), 1.0, 0.1, 3.0)
    for weights in ((0.5, 0.6), (1.0,), (0.0, 1.0)):
        with pytest.raises(ValueError, match="2 positive weights that sum to 1"):
            Mixture(weights)
    with pytest.raises(ValueError, match=r"a component in 0\.\.1, got -1"):
        LAW.mean(-1, 8)
    with pytest.raises(ValueError, match="at least one generator"):
        LAW.draw([], 8)
    with pytest.raises(UsageError, match="unknown split"):
        mixture("valid", 1)  # type: ignore[arg-type]
    for n, grid in ((0, 8), (1, 3)):
        with pytest.raises(UsageError, match="n >= 1 and grid >= 4"):
            mixture("train", n, grid)
