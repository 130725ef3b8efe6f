"""`benchmarks/ddo_mixture.py`: densities and weights of the mixture, against dense Gaussians."""

from __future__ import annotations

import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from sfumato.seeds import generators
from sfumato.systems.ddo.data.mixture import BAND, Component, Mixture
from sfumato.systems.ddo.nn.harmonic import Domain, resample

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from ddo_mixture import log_joint, responsibility

LAW = Mixture()
N = 4000


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


def test_weights_by_responsibility() -> None:
    x, which = LAW.draw(generators(7, range(N)), 32)
    for top in (1, 3, BAND):
        r = responsibility(LAW, x, top)
        assert torch.allclose(r.sum(1), torch.ones(N, dtype=torch.float64))
        assert abs(float(r[:, 0].mean()) - float((which == 0).double().mean())) < 0.002
    r = responsibility(LAW, x)
    assert float((r.argmax(1) != which).double().mean()) < 1e-3  # clearly apart
    other = Mixture((0.9, 0.1))
    y, _ = other.draw(generators(3, range(400)), 32)
    assert abs(float(responsibility(other, y)[:, 0].mean()) - 0.9) < 4 * 0.015


def test_the_density_is_that_of_the_dense_gaussians() -> None:
    x, _ = LAW.draw(generators(1, range(6)), 7)  # 49 points, and 49 modes of up to 3 waves
    middle = 0.5 * (LAW.mean(0, 7) + LAW.mean(1, 7))
    x = torch.cat([x, middle[None], middle + 0.1 * (x - middle)])
    got = log_joint(LAW, x, 3)
    dense = np.stack(
        [
            math.log(w) + multivariate_normal(*by_hand(c, 7, 3)).logpdf(x.flatten(1).numpy())
            for w, c in zip(LAW.weights, LAW.components)
        ],
        1,
    )
    shift = got.numpy() - dense
    assert np.abs(shift - shift[0, 0]).max() < 1e-8  # one constant for all
    assert np.ptp(dense[:, 0] - dense[:, 1]) > 10
    finer = resample(x, (20, 20), Domain.PERIODIC)
    assert torch.allclose(log_joint(LAW, finer, 3), got, rtol=1e-9)
    odds = torch.softmax(torch.from_numpy(dense), 1)
    assert torch.allclose(responsibility(LAW, x.float(), 3), odds, atol=1e-4)


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"fields \(B, n, n\)"):
        responsibility(LAW, torch.zeros(1, 1, 8, 8))
    for top, n in ((4, 8), (16, 64), (-1, 8)):
        with pytest.raises(ValueError, match="more than 2 top points"):
            responsibility(LAW, torch.zeros(1, n, n), top)
