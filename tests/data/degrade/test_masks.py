"""Holes: their shares over many draws, exact squares, noise by its moments, what is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from sfumato.data.degrade import CentreMask, FreeForm, with_hole
from sfumato.seeds import generators

F64 = torch.float64


def noise(*shape: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return 2 * torch.rand(shape, generator=g, dtype=F64) - 1


@pytest.mark.parametrize(("h", "w"), [(16, 16), (8, 20), (64, 32), (4, 4)])
def test_the_centre_is_from_a_quarter_to_three_quarters(h: int, w: int) -> None:
    x = noise(2, 3, h, w)
    x1, known = CentreMask().degrade(x)
    assert known is not None
    for i in range(h):
        for j in range(w):
            lost = h / 4 <= i < 3 * h / 4 and w / 4 <= j < 3 * w / 4
            assert known[:, 0, i, j].tolist() == [0.0 if lost else 1.0] * 2
            assert torch.equal(x1[:, :, i, j], x[:, :, i, j]) != lost
    assert float(1 - known.mean()) == 0.25
    assert torch.equal(CentreMask().hole(x), 1 - known[:1])


@pytest.mark.parametrize(("h", "w"), [(5, 7), (9, 6), (13, 13), (65, 30), (30, 30)])
def test_the_centre_of_other_sizes_is_half_of_each_side_rounded_down(h: int, w: int) -> None:
    hole = CentreMask().hole(noise(1, 1, h, w))[0, 0]
    rows, columns = hole.amax(1).nonzero()[:, 0].tolist(), hole.amax(0).nonzero()[:, 0].tolist()
    assert rows == list(range(h // 4, h // 4 + h // 2))
    assert columns == list(range(w // 4, w // 4 + w // 2))
    assert float(hole.sum()) == (h // 2) * (w // 2)


def test_the_hole_is_standard_normal_whatever_was_there() -> None:
    x = torch.full((64, 3, 32, 32), 9.0, dtype=F64)
    x1, known = CentreMask().degrade(x, generators(0, range(64)))
    assert known is not None
    there = known.expand_as(x) > 0
    assert bool((x1[there] == 9).all())
    z = x1[~there]
    assert len(z) == 64 * 3 * 256
    assert abs(float(z.mean())) < 4 / len(z) ** 0.5
    assert abs(float(z.var()) - 1) < 4 * (2 / len(z)) ** 0.5
    assert kstest(z.numpy(), "norm").pvalue > 0.01
    other = CentreMask()(0 * x, generators(0, range(64)))
    assert torch.equal(other[~there], z)  # of the generators alone
    lines = x1[:, :, 8:24, 8:24].reshape(192, -1)
    assert float(torch.corrcoef(lines)[0, 1:].abs().max()) < 5 / 256**0.5  # each picture its own


@pytest.mark.parametrize(
    ("low", "high", "size", "draws"),
    [
        (0.1, 0.4, (32, 32), 1000),
        (0.1, 0.2, (64, 64), 250),
        (0.2, 0.3, (64, 64), 250),
        (0.3, 0.32, (40, 31), 60),
        (0.6, 0.9, (24, 36), 60),
    ],
)
def test_free_form_covers_the_stated_share(
    low: float, high: float, size: tuple[int, int], draws: int
) -> None:
    """Every one within the range; shares spread over it, and holes over the picture."""
    x = torch.zeros(1, 1, *size).expand(draws, -1, -1, -1)
    known = FreeForm(low, high).degrade(x, generators(0, range(draws))).known
    assert known is not None
    assert set(known.unique().tolist()) == {0.0, 1.0}
    share = 1 - known.double().mean((1, 2, 3))
    assert low - 1e-9 <= float(share.min())
    assert float(share.max()) <= high + 1e-9
    if draws >= 250:
        wide = high - low
        assert float(share.mean()) == pytest.approx((low + high) / 2, abs=0.12 * wide)
        assert float(share.std()) == pytest.approx(wide / 12**0.5, rel=0.15)
        assert float(share.min()) < low + 0.1 * wide
        assert float(share.max()) > high - 0.1 * wide
    if draws >= 1000:
        where = 1 - known.mean((0, 1))
        assert float(where.min()) > 0.3 * float(where.mean())  # no corner is spared
        assert float(where.max()) < 2 * float(where.mean())
        halves = [where[:16].mean(), where[16:].mean(), where[:, :16].mean(), where[:, 16:].mean()]
        assert [float(v) for v in halves] == pytest.approx([float(where.mean())] * 4, abs=0.02)
        assert len({m.numpy().tobytes() for m in known}) == draws  # drawn anew for each picture


def test_free_form_holes_are_strokes_not_dust() -> None:
    """Nearly every lost pixel of a large picture has a lost neighbour on at least two sides."""
    hole = FreeForm(0.1, 0.3).hole((64, 64), np.random.default_rng(0))
    assert hole.dtype == bool
    wide = np.pad(hole, 1)
    near = sum(np.roll(wide, s, a)[1:-1, 1:-1].astype(int) for s in (1, -1) for a in (0, 1))
    assert (near[hole] >= 2).mean() > 0.97


def test_free_form_keeps_what_is_known_and_fills_the_rest_with_noise() -> None:
    x = noise(40, 3, 32, 32) + 20
    x1, known = FreeForm().degrade(x, generators(1, range(40)))
    assert known is not None
    there = known.expand_as(x) > 0
    assert torch.equal(x1[there], x[there])
    z = x1[~there]
    assert kstest(z.numpy(), "norm").pvalue > 0.01
    assert torch.equal(FreeForm().observe(x, generators(1, range(40))), x1)


def test_a_hole_of_ones_own() -> None:
    x = noise(2, 3, 6, 8)
    hole = torch.zeros(1, 1, 6, 8)
    hole[..., 2:4, 1:7] = 1
    x1, known = with_hole(x, hole, generators(0, range(2)))
    assert known is not None
    assert torch.equal(known, (1 - hole).to(F64).expand(2, -1, -1, -1))
    assert torch.equal((x1 == x).all(1, keepdim=True), known > 0)
    two = torch.cat([hole, 1 - hole])
    x1, known = with_hole(x, two.bool(), generators(0, range(2)))
    assert known is not None
    assert torch.equal(known, (1 - two).to(F64))
    assert torch.equal((x1 == x).all(1, keepdim=True), known > 0)
    spoilt = torch.where(two > 0, torch.nan, x)  # what is lost may be anything
    assert torch.equal(with_hole(spoilt, two, generators(0, range(2))).x1, x1)
    assert torch.equal(with_hole(x, torch.zeros(1, 1, 6, 8)).x1, x)


def test_holes_that_do_not_fit() -> None:
    x = noise(2, 3, 6, 8)
    for shape in ((1, 1, 6, 7), (1, 3, 6, 8), (1, 6, 8), (3, 1, 6, 8)):
        with pytest.raises(ValueError, match=r"expected a hole \(2 or 1, 1, 6, 8\), got \("):
            with_hole(x, torch.zeros(shape))
    with pytest.raises(ValueError, match="zeros and ones, 1 where the picture is lost"):
        with_hole(x, torch.full((1, 1, 6, 8), 0.5))
    with pytest.raises(ValueError, match="zeros and ones"):
        with_hole(x, torch.full((1, 1, 6, 8), torch.nan))
    for bad in (x[0], (100 * x).long()):
        with pytest.raises(ValueError, match="expected float pictures"):
            with_hole(bad, torch.zeros(1, 1, 6, 8))


def test_shares_that_are_none() -> None:
    for low, high in ((0.0, 0.2), (0.5, 0.99), (0.3, 0.1)):
        with pytest.raises(ValueError, match="0.01 <= share <= 0.95, rising"):
            FreeForm(low, high)
    with pytest.raises(ValueError, match="shares .02 apart or more, got 0.1 and 0.11"):
        FreeForm(0.1, 0.11)
    for low in (0.1, 0.3, 0.57):  # .12 - .1 is less than .02 in binary
        FreeForm(low, low + 0.02)
        FreeForm(low, round(low + 0.02, 2))
    with pytest.raises(ValueError, match="no mask of 10% to 12% was found for 2 x 2 pixels"):
        FreeForm(0.1, 0.12)(noise(1, 1, 2, 2))
