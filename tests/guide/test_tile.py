"""Tiles: exact for what sees little, without seams, and covering every pixel."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES
from sfumato.condition import NOTHING, Condition, ImageCondition
from sfumato.guide import Inpaint, Tiled
from sfumato.guide.tile import cuts
from sfumato.schedule import Time
from sfumato.seeds import Generators
from sfumato.solve import Ancestral, DPMSolverPP
from sfumato.systems.ddgan.implicit import ImplicitDenoiser

SIZES = [(1, 1), (1, 200), (200, 1), (2, 3), (15, 17), (63, 65), (64, 64), (65, 129), (200, 131)]


class Pointwise(sf.Denoiser):
    """An affine function of each pixel, of what lies beside it, of the label and of the time."""

    def __init__(self, process: sf.Process, size: int | None = None) -> None:
        super().__init__()
        self.process = process
        self.size = size
        self.calls: list[int] = []

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        if self.size is not None:  # a tile: a mean needs no generator
            assert generator is None
            assert x_t.shape[2:] == (self.size, self.size)
        self.calls.append(len(x_t))
        alpha = self.process.marginal(t).A[..., 0, 0].to(x_t)
        x0 = self.process.to_data(x_t)
        x0 = 0.3 * x0 + 0.1 + alpha.reshape(-1, 1, 1, 1)
        labels = cond.labels
        if cond.image is not None:
            assert cond.image.shape == (len(x_t), cond.image.shape[1], *x_t.shape[2:])
            x0 = x0 - 0.5 * cond.image[:, :1].to(x0)
        if labels is not None:
            assert len(labels) == len(x_t)
            x0 = x0 + labels.reshape(-1, 1, 1, 1).to(x0)
        return x0


class Local(Pointwise):
    """A convolution of a few pixels, with zeros beyond the border as a network has."""

    def __init__(self, process: sf.Process, radius: int) -> None:
        super().__init__(process)
        side = 2 * radius + 1
        g = torch.Generator().manual_seed(1)
        self.kernel = torch.randn(2, 2, side, side, generator=g, dtype=F64) / side
        self.radius = radius

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        return F.conv2d(x_t, self.kernel.to(x_t), padding=self.radius).tanh()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def far(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().amax((0, 1))


@pytest.mark.parametrize("overlap", [0, 1, 2, 3, 16, 31, 32])
@pytest.mark.parametrize("shift", [0, 1, 17, 47, 100])
def test_windows_are_a_partition_of_unity_and_cover_everything(overlap: int, shift: int) -> None:
    for length in (64, 65, 66, 80, 95, 96, 97, 112, 113, 200, 517):
        starts, windows = cuts(length, 64, overlap, shift)
        total = torch.zeros(length, dtype=F64)
        for start, window in zip(starts, windows, strict=True):
            assert 0 <= start <= length - 64
            assert bool((window >= 0).all())
            total[start : start + 64] += window
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
        assert starts[0] == 0
        assert starts[-1] == length - 64
        assert all(0 < b - a <= 64 - overlap for a, b in itertools.pairwise(starts))


def test_windows_are_raised_cosines_inside_the_overlap() -> None:
    """Two tiles that share 16: four pixels of each count for nothing, then sin² + cos² = 1."""
    _, (first, second) = cuts(112, 64, 16)
    assert bool((first[:52] == 1).all()) and bool((first[60:] == 0).all())
    i = torch.arange(8, dtype=F64)
    rise = torch.sin((i + 0.5) / 8 * torch.pi / 2).square()
    torch.testing.assert_close(second[4:12], rise)
    torch.testing.assert_close(first[52:60], 1 - rise)
    assert bool((first.diff() <= 0).all())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", ["edm", "cld"])
def test_a_pointwise_denoiser_is_the_same_tiled(
    size: tuple[int, int], beside: bool, name: str
) -> None:
    """Any size, one time per sample, labels and a picture beside: cut at the same places."""
    process = PROCESSES[name]()
    plain = Pointwise(process)
    tiled = Tiled(Pointwise(process, 64), 64, 16)
    x = draw(2, 3 * process.k, *size)
    labels = torch.tensor([1, 5])
    t = torch.tensor([0.2, 0.9], dtype=F64)
    cond = ImageCondition(draw(2, 4, *size, seed=1), labels) if beside else labels
    got = tiled(x, t, cond)
    assert got.shape == (2, 3, *size)
    torch.testing.assert_close(got, plain(x, t, cond), rtol=0, atol=1e-12)
    single = x.float()
    torch.testing.assert_close(tiled(single, 0.5), plain(single, 0.5), rtol=0, atol=1e-6)


def test_one_picture_beside_serves_all_samples() -> None:
    process = PROCESSES["vp"]()
    x, image = draw(3, 1, 70, 40), draw(1, 1, 70, 40, seed=1)
    got = Tiled(Pointwise(process, 32), 32, 8)(x, 0.3, ImageCondition(image))
    want = Pointwise(process)(x, 0.3, ImageCondition(image.expand(3, -1, -1, -1)))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_the_result_does_not_depend_on_the_batch_which_bounds_the_calls() -> None:
    process = PROCESSES["vp"]()
    x = draw(3, 2, 100, 90)
    results = []
    for batch in (1, 5, 16, 1000):
        inner = Pointwise(process, 32)
        results.append(Tiled(inner, 32, 8, batch)(x, 0.3))
        tiles = 3 * len(cuts(100, 32, 8).starts) * len(cuts(90, 32, 8).starts)
        assert sum(inner.calls) == tiles
        assert max(inner.calls) == min(batch, tiles)
    assert all(r.equal(results[0]) for r in results)


@pytest.mark.parametrize("shift", [(0, 0), (5, 11), (47, 1)], ids=str)
def test_shifting_the_tiles_changes_nothing_for_a_pointwise_denoiser(
    shift: tuple[int, int],
) -> None:
    process = PROCESSES["vp"]()
    x = draw(1, 2, 150, 130)
    got = Tiled(Pointwise(process, 64), 64, 16, shift=shift)(x, 0.3)
    torch.testing.assert_close(got, Pointwise(process)(x, 0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("radius", [1, 3, 4])
@pytest.mark.parametrize("shift", [(0, 0), (5, 11)], ids=str)
def test_a_local_denoiser_is_exact_everywhere(radius: int, shift: tuple[int, int]) -> None:
    """Up to a quarter of the overlap; the borders too, whose tiles have them as their own."""
    inner = Local(PROCESSES["vp"](), radius)
    for size in ((64, 64), (150, 131), (65, 200)):
        x = draw(1, 2, *size)
        got = Tiled(inner, 64, 16, shift=shift)(x, 0.3)
        torch.testing.assert_close(got, inner(x, 0.3), rtol=0, atol=1e-12)


def test_a_wider_denoiser_is_exact_inside_the_tiles() -> None:
    """Radius 7, under half of 16: wrong at most where the windows change, and not by much."""
    inner = Local(PROCESSES["vp"](), 7)
    x = draw(1, 2, 112, 64)  # tiles of rows 0..63 and 48..111
    wrong = far(Tiled(inner, 64, 16)(x, 0.3), inner(x, 0.3))
    assert float(torch.cat([wrong[:52], wrong[60:]]).max()) < 1e-12
    assert float(wrong[52:60].max()) > 1e-6
    # what zeros beyond the tile's border make of it, unblended, is much worse
    cut = far(torch.cat([inner(x[:, :, :56], 0.3), inner(x[:, :, 56:], 0.3)], 2), inner(x, 0.3))
    assert float(wrong.mean()) < 0.2 * float(cut.mean())


@pytest.mark.parametrize("solver", [Ancestral(), DPMSolverPP()], ids=repr)
def test_the_whole_walk_is_that_without_tiles(solver: sf.Solver) -> None:
    process = PROCESSES["edm"]()
    plain, tiled = Pointwise(process), Tiled(Pointwise(process, 32), 32, 8)
    x = process.prior_sample((2, 3, 75, 50), sf.generators(3, range(2)))
    times = sf.times.karras(process, 6)
    image = ImageCondition(draw(2, 1, 75, 50).float())
    want = sf.sample(plain, solver, times, x, cond=image, generator=sf.generators(0, range(2)))
    got = sf.sample(tiled, solver, times, x, cond=image, generator=sf.generators(0, range(2)))
    torch.testing.assert_close(got.x, want.x, rtol=0, atol=1e-5)
    assert got.nfe == want.nfe == 6  # evaluations of the picture, however many tiles


def test_a_known_part_around_tiles_comes_out_exactly() -> None:
    process = PROCESSES["edm"]()
    known, mask = draw(1, 40, 50), torch.zeros(1, 40, 50)
    mask[:, :20] = 1
    denoiser = Inpaint(Tiled(Pointwise(process, 32), 32, 8), known, mask)
    x = process.prior_sample((1, 1, 40, 50), torch.Generator().manual_seed(0), dtype=F64)
    end = sf.sample(denoiser, Ancestral(), sf.times.karras(process, 8), x).x
    torch.testing.assert_close(end[0, :, :20], known[:, :20], rtol=0, atol=1e-9)


def test_small_pictures_are_mirrored_as_often_as_it_takes() -> None:
    seen = []

    class Watch(Pointwise):
        def forward(
            self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
        ) -> Tensor:
            seen.append(x_t)
            return x_t

    x = torch.tensor([[1.0, 2.0, 3.0]])[None, None]
    assert Tiled(Watch(PROCESSES["edm"]()), 8, 2)(x, 0.3).equal(x)
    want = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0])
    assert seen[0].equal(want.expand(1, 1, 8, 8))


def test_gradients_pass() -> None:
    x = draw(1, 1, 50, 40).requires_grad_()
    Tiled(Pointwise(PROCESSES["edm"](), 32), 32, 8)(x, 0.3).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.3))


def test_what_makes_no_sense_is_refused() -> None:
    inner = Pointwise(PROCESSES["edm"]())
    with pytest.raises(ValueError, match="overlap of 0 to 16, half of a tile of 32, got 17"):
        Tiled(inner, 32, 17)
    with pytest.raises(ValueError, match="overlap"):
        Tiled(inner, 32, -1)
    with pytest.raises(ValueError, match="size and batch of at least 1, got 0 and 16"):
        Tiled(inner, 0, 0)
    with pytest.raises(ValueError, match="got 8 and 0"):
        Tiled(inner, 8, 2, batch=0)
    with pytest.raises(ValueError, match=r"state \(B, kC, H, W\), got shape \(2, 2\)"):
        Tiled(inner, 8, 2)(torch.zeros(2, 2), 0.3)
    x = torch.zeros(2, 1, 8, 9)
    for shape in ((2, 1, 9, 8), (3, 1, 8, 9), (2, 1, 8)):
        with pytest.raises(ValueError, match=r"beside of shape \(2, C, 8, 9\)"):
            Tiled(inner, 8, 2)(x, 0.3, ImageCondition(torch.zeros(shape)))
    drawing = ImplicitDenoiser(torch.nn.Identity(), PROCESSES["vp"](), steps=4)
    with pytest.raises(ValueError, match="got one that draws"):
        Tiled(drawing, 8, 2)
