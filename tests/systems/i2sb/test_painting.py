"""Holes larger than a tile: halves, bands, and what stays."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from loading import load
from sfumato.data.degrade import FreeForm, Problem, Task, begin, with_hole
from sfumato.seeds import generators
from sfumato.systems.i2sb.painting import BAND, MOST, halved, pyramid, refined, widest_share

tiny_restorer = load(Path(__file__).with_name("test_i2sb.py")).tiny_restorer


def problem(hole: Tensor, seed: int = 0) -> tuple[Tensor, Problem]:
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 3, *hole.shape[-2:], generator=g) * 2 - 1
    x1, known = with_hole(x, hole, generators(1, [0]))
    return x, begin(Task("inpaint", FreeForm()), x1, known, None)


def square(size: int, top: int, side: int) -> Tensor:
    hole = torch.zeros(1, 1, size, size)
    hole[..., top : top + side, top : top + side] = 1
    return hole


def test_the_widest_share_is_that_of_the_worst_window() -> None:
    hole = square(128, 16, 64)
    want = max(
        float(hole[..., y : y + 64, x : x + 64].mean())
        for y in range(0, 65, 16)
        for x in range(0, 65, 16)
    )
    assert widest_share(hole, 64, 16) == want == 1.0
    assert widest_share(square(40, 0, 20), 64, 16) == 0.25


def test_halves_are_means_of_what_is_known() -> None:
    hole = (torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(3)) < 0.5).float()
    x, fine = problem(hole)
    coarse = halved(fine, 16, generators(2, [0]))
    assert coarse.x1.shape == (1, 3, 32, 48)
    for i, j in ((0, 0), (5, 40), (31, 47), (17, 3)):
        cut = (slice(None), slice(None), slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        known = 1 - hole[cut]
        assert float(coarse.known[0, 0, i, j]) == float(known.sum() >= 2)
        if known.sum() >= 2:
            mean = (x[cut] * known).sum((2, 3)) / known.sum()
            torch.testing.assert_close(coarse.x1[:, :, i, j], mean)
        else:
            assert bool((coarse.beside[:, :, i, j] == 0).all())


def test_small_holes_need_no_halves_and_large_ones_as_many_as_it_takes() -> None:
    assert len(pyramid(problem(square(256, 100, 30))[1], 64, 16, generators(0, [0]))) == 1
    levels = pyramid(problem(square(256, 60, 120))[1], 64, 16, generators(0, [0]))
    shares = [widest_share(1 - p.known, 64, 16) for p in levels]
    assert [p.x1.shape[-1] for p in levels] == [256, 128, 64]
    assert shares[-1] <= MOST < min(shares[:-1])
    nothing = problem(torch.ones(1, 1, 256, 256))[1]  # nothing is known: halving is of no use
    assert len(pyramid(nothing, 64, 16, generators(0, [0]))) == 1


def test_a_band_is_painted_and_the_middle_stays_as_it_was_guessed() -> None:
    hole = square(128, 30, 70)
    x, fine = problem(hole)
    guess = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    band, large = refined(guess, fine, generators(0, [0]))
    torch.testing.assert_close(large[hole.expand_as(x) == 0], x[hole.expand_as(x) == 0])
    open_ = 1 - band.known
    middle = square(128, 30 + BAND, 70 - 2 * BAND)
    torch.testing.assert_close(open_, hole - middle)
    torch.testing.assert_close(band.x1 * band.known, large * band.known)
    level = (large * middle).sum() / (3 * middle.sum())
    assert abs(float(level) - float(guess[..., 20:45, 20:45].mean())) < 0.05
    noise = band.x1[(open_ > 0).expand_as(x)]
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05


def test_a_large_hole_is_painted_by_a_restorer_without_a_trace_of_what_was_there(
    tmp_path: Path,
) -> None:
    restorer = tiny_restorer(tmp_path, "inpaint", told=False)
    hole = square(128, 20, 80)[0]
    x = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    told: list[tuple[int, int]] = []

    def note(done: int, of: int) -> None:
        told.append((done, of))

    (made,) = restorer(x, "inpaint", mask=hole, steps=2, progress=note)
    (other,) = restorer(torch.where(hole > 0, -x, x), "inpaint", mask=hole, steps=2)
    torch.testing.assert_close(made, other)
    torch.testing.assert_close(made[:, hole[0] == 0], x[:, hole[0] == 0])
    assert told == [(i + 1, len(told)) for i in range(len(told))] and len(told) > 2
