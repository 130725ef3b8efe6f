"""Points in the plane: moments against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sfumato.data import PointName, modes, points
from sfumato.errors import UsageError

N = 200_000


def spiral_moments(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of scale * (theta (cos, sin) theta + 0.2 noise), theta uniform."""
    a, b = 1.5 * math.pi, 4.5 * math.pi
    theta = np.linspace(a, b, 2_000_001)
    curve = np.stack([theta * np.cos(theta), theta * np.sin(theta)])
    weights = np.full(len(theta), 1.0)
    weights[[0, -1]] = 0.5
    weights /= weights.sum()
    mean = curve @ weights
    return scale * mean, scale**2 * ((curve * weights) @ curve.T - np.outer(mean, mean)
                                     + 0.04 * np.eye(2))  # fmt: skip


def exact_moments(name: PointName) -> tuple[np.ndarray, np.ndarray]:
    match name:
        case PointName.GAUSSIANS_8:  # on the unit circle: E cos^2 = 1/2
            return np.zeros(2), (0.5 + 0.01) * np.eye(2)
        case PointName.GAUSSIANS_25:  # E of (0, 1, 4)/2 over the five columns is 1
            return np.zeros(2), (1 + 0.05**2 / 8) * np.eye(2)
        case PointName.DIAMOND:  # a turned grid of variance 2/3 * 0.25
            return np.zeros(2), (1 / 6 + 0.04**2) * np.eye(2)
        case PointName.CHECKERBOARD:  # uniform in both coordinates, correlated through the squares
            return np.zeros(2), np.array([[1 / 3, 1 / 16], [1 / 16, 1 / 3]])
        case PointName.SWISS_ROLL:
            return spiral_moments(0.1)
        case PointName.MULTI_SWISS_ROLL:
            mean, covariance = spiral_moments(0.01)
            return mean, covariance + 0.8 * 0.64 * np.eye(2)
        case PointName.TWO_MOONS:
            # upper: (cos t, sin t), lower: (1 - cos t, 1/2 - sin t), both minus (1/2, 1/4)
            upper = np.array([-0.5, 2 / math.pi - 0.25])
            within = np.diag([0.5, 0.5 - 4 / math.pi**2])
            return np.zeros(2), within + np.outer(upper, upper) + 0.05**2 * np.eye(2)


@pytest.mark.parametrize("name", list(PointName))
def test_moments_equal_the_closed_form(name: PointName) -> None:
    drawn = points(name, N, seed=3).points.astype(np.float64)
    mean, covariance = exact_moments(name)
    centred = drawn - mean
    products = centred[:, :, None] * centred[:, None, :]
    error = 5 / math.sqrt(N)
    assert np.all(np.abs(drawn.mean(0) - mean) < error * np.sqrt(np.diag(covariance)))
    assert np.all(np.abs(products.mean(0) - covariance) < error * products.std(0) + 1e-9)


@pytest.mark.parametrize("name", list(PointName))
def test_the_same_seed_gives_the_same_points_and_another_gives_others(name: PointName) -> None:
    a, b, c = points(name, 50, 1), points(name.value, 50, 1), points(name, 50, 2)
    assert np.array_equal(a.points, b.points)
    assert np.array_equal(a.labels, b.labels)
    assert not np.isclose(a.points, c.points).any(1).any()


@pytest.mark.parametrize(
    ("name", "count"),
    [(PointName.GAUSSIANS_8, 8), (PointName.GAUSSIANS_25, 25), (PointName.DIAMOND, 9)],
)
def test_every_mode_is_hit_and_labelled_with_its_centre(name: PointName, count: int) -> None:
    data = points(name, 20_000, 0)
    centres, deviation = modes(name)
    assert centres.shape == (count, 2)
    assert data.labels is not None
    part = data.labels[:, 0]
    offsets = (data.points - centres[part]) / deviation
    assert np.abs(np.bincount(part) - 20_000 / count).max() < 6 * math.sqrt(20_000 / count)
    assert abs(offsets.std() - 1) < 0.02
    nearest = np.square(data.points[:, None] - centres).sum(-1).argmin(1)
    assert (nearest == part).mean() > 0.999


def test_the_25_gaussians_form_the_published_grid() -> None:
    centres, deviation = modes(PointName.GAUSSIANS_25)
    steps = np.unique(centres[:, 0].round(9))
    np.testing.assert_allclose(np.diff(steps) / deviation, 2 / 0.05)
    assert len(steps) == 5


def test_checkerboard_fills_the_dark_squares_only() -> None:
    data = points(PointName.CHECKERBOARD, 10_000)
    square = np.floor((data.points + 1) * 2).astype(int)
    assert set(square.ravel()) == {0, 1, 2, 3}
    assert not (square.sum(1) % 2).any()


def test_spirals_sit_on_five_centres() -> None:
    data = points(PointName.MULTI_SWISS_ROLL, 5_000)
    assert data.labels is not None
    centres = np.array([(0, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8)])
    radius = np.linalg.norm(data.points - centres[data.labels[:, 0]], axis=1)
    assert radius.min() > 0.01 * (1.5 * math.pi - 1.2)
    assert radius.max() < 0.01 * (4.5 * math.pi + 1.2)


def test_unknown_names_and_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="swiss-roll"):
        points("swiss-rol", 10)
    with pytest.raises(UsageError, match="n must lie in 1"):
        points(PointName.DIAMOND, 0)
    with pytest.raises(UsageError, match="not a mixture"):
        modes(PointName.TWO_MOONS)
