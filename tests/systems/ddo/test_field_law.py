"""The Gaussian law with the spectrum of given fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.systems.ddo.data.base import Axis, Frame, Quantity
from sfumato.systems.ddo.law import measured_law
from sfumato.systems.ddo.nn.harmonic import Domain as Box
from sfumato.systems.ddo.nn.harmonic import highest

LAWS = [
    sf.GaussianField(sf.Matern(0.15, 1.5), 1),
    sf.GaussianField(sf.Matern(0.15, 1.5), 2),
    sf.GaussianField(sf.Matern(0.15, 1.5), 1, Box.REFLECTING),
    sf.GaussianField(sf.Matern(0.15, 1.5), 2, Box.REFLECTING),
    sf.GaussianField(sf.Laplacian(2.5), 2),  # whose mean is 0, as vorticity's
    sf.GaussianField(sf.Laplacian(2.5), 2, Box.REFLECTING),
    sf.GaussianField(sf.Matern(2.0, 1.0), 2, extent=(20.0, 10.0)),
    sf.GaussianField(sf.Matern(0.02, 1.0), 2, Box.REFLECTING, (0.1, 0.3)),
]


@pytest.mark.parametrize("law", LAWS, ids=range(len(LAWS)))
def test_the_measured_law_is_the_one_drawn_from(law: sf.GaussianField) -> None:
    """4,000 fields of a known spectrum: the powers of all waves up to the 5th, to 10 %."""
    dims = law.dims
    side = 64 if dims == 1 else 32
    x = law.sample(torch.zeros(4000, 1, *[side] * dims), sf.generator(0))[:, 0]
    extent = law.extent or (1.0,) * dims
    axes = tuple(Axis(name, 0.0, w) for name, w in zip("xyz", extent, strict=False))
    found = measured_law(x, Frame(law.domain, axes, (Quantity("u"),)))
    at = (slice(0, 6),) * dims
    want, got = law.power([side] * dims)[at], found.power([side] * dims)[at]
    torch.testing.assert_close(got, want, rtol=0.1, atol=1e-6)
    assert (found.own_power([side] * dims).flatten()[0] > 0) == (
        law.own_power([side] * dims).flatten()[0] > 0
    )
    # the shortest waves that are measured have their own power, without what folds onto them
    top = [0] * dims
    top[int(np.argmax(extent))] = highest(side, law.domain) - 1
    share = found.own_power([side] * dims)[tuple(top)] / law.own_power([side] * dims)[tuple(top)]
    assert float(share) == pytest.approx(1, abs=0.15)
    # the filter's error is uncorrelated with what it saw, at every noise level
    process = sf.Scheduled(sf.EDM(), sf.GaussianField(sf.Matern(0.1, 0.75), dims, law.domain))
    if law.extent:
        return
    linear = sf.Wiener(None, process, found, (side,) * dims)
    x0 = x[:500, None].double()
    for sigma in (0.1, 1.0):
        eps = process.noise.sample(x0, sf.generator(1))
        x_t = x0 + sigma * eps
        left = linear(x_t, torch.tensor(sigma / 80, dtype=torch.float64)) - x0
        assert abs(float((left * x_t).mean())) < 0.03
    # carried on beyond the grid as it fell: within a factor of 2 at twice the waves
    beyond = (side + 8, *[0] * (dims - 1))
    ratio = found.power([4 * side] * dims)[beyond] / law.power([4 * side] * dims)[beyond]
    assert 0.5 < float(ratio) < 2


def test_the_law_of_constants_has_no_waves() -> None:
    """Fields whose mean varies, and nothing else: mode 0 has nearly all the power."""
    frame = Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),))
    x = torch.randn(500, 1) + 1e-3 * torch.randn(500, 32)
    power = measured_law(x, frame).power((32,))
    assert float(power[0]) > 0.99


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-2, 1.0])
def test_a_mean_that_varies_little_is_measured_in_smooth_fields(share: float) -> None:
    """From none at all to as much as the longest wave has; waves fall to 1e-12 of it."""
    count, side = 2000, 32
    g = sf.generator(0)
    x = sf.GaussianField(sf.SquaredExponential(0.15), 1).sample(torch.zeros(count, 1, side), g)[
        :, 0
    ]
    x = x - x.mean(1, keepdim=True)
    wave = float(torch.fft.fft(x.double(), norm="forward")[:, 1].abs().square().mean())
    x = x + (share * wave) ** 0.5 * torch.randn(count, 1, generator=g)
    found = measured_law(x, Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),)))
    power = found.own_power((side,))
    assert float(power[0] / power[1]) == pytest.approx(share, rel=5 * (2 / count) ** 0.5, abs=0)


def test_a_mean_that_varies_less_than_the_shortest_wave_is_measured() -> None:
    """More than what folds onto it, 4e-4 of the longest wave's power, and less than 5e-3."""
    waves = [0.5, *torch.logspace(0, 3, 100).tolist()]
    kernel, share = sf.Matern(0.1, 1.5), 2e-3
    table = kernel.density(torch.tensor(waves, dtype=torch.float64), 1).tolist()
    law = sf.GaussianField(sf.Measured(tuple(waves), tuple(table), share * table[1]), 1)
    x = law.sample(torch.zeros(8000, 1, 16), sf.generator(0))[:, 0]
    found = measured_law(x, Frame(Box.PERIODIC, (Axis("x"),), (Quantity("u"),)))
    power = found.own_power((16,))
    assert float(power[0] / power[1]) == pytest.approx(share, rel=0.15)
    assert float(power[7] / power[1]) > 2 * share
