"""What keeps the power of a walk: the table between its points, and what it does to an estimate."""

from __future__ import annotations

import math

import pytest
import torch

import sfumato as sf
from analytic import F64
from sfumato.systems.ddo.drift import PowerCorrection, waves_of
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates

TABLE = PowerCorrection(
    (-2.0, 0.0, 1.0),
    (((0.0, 1.0, 2.0), (10.0, 10.0, 10.0)),
     ((4.0, 5.0, 6.0), (20.0, 20.0, 20.0)),
     ((0.0, 0.0, 1.0), (0.0, 30.0, 60.0))),
)  # fmt: skip


def test_between_levels_and_waves_there_are_straight_lines() -> None:
    """By numpy's interpolation along each axis; constant beyond the levels, 0 beyond the waves."""
    import numpy as np

    levels = torch.tensor([-9.0, -2.0, -1.5, 0.0, 0.25, 1.0, 7.0], dtype=F64)
    waves = torch.tensor([[0.0, 0.5, 1.0], [1.75, 2.0, 2.25], [3.0, 4.0, 40.0]], dtype=F64)
    got = TABLE.on(levels, waves)
    assert got.shape == (7, 2, 3, 3) and got.dtype == F64
    padded = np.pad(np.array(TABLE.factors), ((0, 0), (0, 0), (0, 1)))
    for b, level in enumerate(levels.tolist()):
        for c in range(2):
            column = [np.interp(level, TABLE.levels, padded[:, c, k]) for k in range(4)]
            want = np.interp(waves.numpy(), range(4), column)
            np.testing.assert_allclose(got[b, c].numpy(), want, atol=1e-12)
    assert TABLE.most == 60 and TABLE.channels == 2
    assert PowerCorrection((0.0,), (((1.0, -3.0),),)).most == 3
    one = PowerCorrection((0.3,), TABLE.factors[:1])
    torch.testing.assert_close(
        one.on(levels, waves), TABLE.on(levels[:2], waves)[1].expand(7, 2, 3, 3)
    )


@pytest.mark.parametrize(
    ("levels", "factors"),
    [
        ((), ()),
        ((0.0,), ()),
        ((1.0, 0.0), (((1.0,),), ((1.0,),))),
        ((0.0, 0.0), (((1.0,),), ((1.0,),))),
        ((0.0, 1.0), (((1.0,),), ((1.0, 2.0),))),
        ((0.0, 1.0), (((1.0,),), ((1.0,), (2.0,)))),
        ((0.0,), (((1.0,), (1.0, 2.0)),)),
        ((0.0,), (((),),)),
        ((0.0,), ((),)),
        ((0.0, math.inf), (((1.0,),), ((1.0,),))),
        ((0.0,), (((math.nan,),),)),
    ],
)
def test_tables_that_are_none(
    levels: tuple[float, ...], factors: tuple[tuple[tuple[float, ...], ...], ...]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        PowerCorrection(levels, factors)


@pytest.mark.parametrize("domain", Domain)
def test_waves_are_counted_along_the_longest_side(domain: Domain) -> None:
    """A harmonic of three (half) waves along the longest side has number 3, on any grid."""
    field = sf.GaussianField(sf.Matern(0.2, 1.0), 2, domain, (0.5, 2.0))
    for grid in ((8, 16), (10, 32)):
        waves = waves_of(field, grid)
        assert waves.shape == grid and float(waves[0, 0]) == 0
        assert float(waves[0, 3]) == pytest.approx(3)
        assert float(waves[1, 0]) == pytest.approx(4)  # as short as a fourth of the long side
        assert float(waves[1, 3]) == pytest.approx(5)


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("schedule", [sf.EDM(), sf.VPLinear()], ids=repr)
def test_it_adds_each_wave_times_its_factor(domain: Domain, schedule: sf.Schedule) -> None:
    noise = sf.GaussianField(sf.Matern(0.1, 0.75), 1, domain)
    data = sf.GaussianField(sf.Matern(0.2, 2.0), 1, domain)
    process = sf.Scheduled(schedule, noise)
    drift = PowerCorrection((-1.0, 1.0), (((0.0, 0.0, 0.5, 0.0),), ((0.0, 0.0, 1.5, 0.0),)))
    plain, kept = (sf.Wiener(None, process, data, (24,), d) for d in (None, drift))
    turn = 2 * math.pi if domain is Domain.PERIODIC else math.pi
    at = coordinates((24,), domain)
    x = (3 * (2 * turn * at).cos() + 0.7 * (5 * turn * at).cos() + 0.1)[None]
    times = torch.tensor([0.004, 0.2, 0.9], dtype=F64)
    q = process.marginal(times)
    level = (q.cov[:, 0, 0].sqrt() / q.A[:, 0, 0]).log().clamp(-1, 1)
    for t, ln in zip(times, level, strict=True):
        added = kept(x, t) - plain(x, t)
        want = (1 + 0.5 * float(ln)) * 3 * (2 * turn * at).cos()[None]
        torch.testing.assert_close(added, want, atol=1e-9, rtol=0)
    together = kept(x.expand(3, 1, 24), times)
    alone = torch.cat([kept(x, t) for t in times])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    assert bool(kept(x, 0.0).isfinite().all())
