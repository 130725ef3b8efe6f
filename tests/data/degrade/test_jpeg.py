"""JPEG against scipy's transform, Pillow's tables and Pillow's decoded files."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.stats import chisquare
from skimage import data as photographs
from torch import Tensor

from sfumato.data.degrade import Jpeg, JpegFile, Rounding
from sfumato.data.degrade.jpeg import (
    BACKWARD,
    CHROMA,
    FORWARD,
    LUMA,
    blocks,
    cosines,
    quality_of,
    quantised,
    tables,
    unblocked,
)
from sfumato.seeds import generators

F64 = torch.float64
QUALITIES = [5, 10, 30, 60, 95]
CAMERA = photographs.camera()[100:228, 200:328]
COLOURED = {
    "astronaut": photographs.astronaut()[:128, 150:278],
    "chelsea": photographs.chelsea()[80:208, 100:228],
}


def pillow(levels: np.ndarray, quality: int, subsampling: int = 2) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as opened:
        return np.asarray(opened).astype(float)


def saved_tables(quality: int) -> list[np.ndarray]:
    """What Pillow writes, row by row: since Pillow 8.3 it undoes the zig-zag order itself."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        both = opened.quantization  # type: ignore[attr-defined]
    return [np.array(both[k]).reshape(8, 8) for k in (0, 1)]


def test_the_floor_of_libjpeg_differs_from_the_published_arithmetic_for_34_qualities() -> None:
    annex = torch.tensor([LUMA, CHROMA], dtype=F64)
    differ, most = [], 0.0
    for q in range(1, 96):
        published = ((5000 / q if q < 50 else 200 - 2 * q) * annex + 50).div(100).floor()
        gap = (published.clamp(1, 255) - torch.stack(tables(torch.tensor([q])), 1)[0]).abs().max()
        if gap:
            differ.append(q)
            most = max(most, float(gap))
    assert (len(differ), max(differ), most) == (34, 48, 2.0)


def picture(levels: np.ndarray) -> Tensor:
    planes = levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)
    return torch.from_numpy(planes / 127.5 - 1)[None]


def levels_of(x: Tensor) -> np.ndarray:
    """Levels of one picture, clamped as a decoder does, not rounded."""
    planes = ((x[0] + 1) * 127.5).clamp(0, 255).numpy()
    return planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)


def through(plane: np.ndarray, table: np.ndarray, cubic: bool = False) -> np.ndarray:
    """Levels about 0, block by block, by scipy."""
    out = np.empty_like(plane)
    for i in range(0, plane.shape[0], 8):
        for j in range(0, plane.shape[1], 8):
            found = dctn(plane[i : i + 8, j : j + 8], norm="ortho") / table
            near = np.round(found)
            made = near + (found - near) ** 3 if cubic else near
            out[i : i + 8, j : j + 8] = idctn(made * table, norm="ortho")
    return out


@pytest.mark.parametrize("quality", [1, 5, 10, 49, 50, 51, 75, 95])
def test_tables_are_those_that_pillow_writes(quality: int) -> None:
    ours = tables(torch.tensor([float(quality), 50.0]))
    for mine, theirs in zip(ours, saved_tables(quality), strict=True):
        np.testing.assert_array_equal(mine[0].numpy(), theirs)
    assert ours[0].shape == (2, 8, 8)  # one of each for each picture


def test_tables_at_known_qualities() -> None:
    luma, chroma = tables(torch.tensor([5.0, 50.0], dtype=F64))
    assert luma[0, 0].tolist() == [160, 110, 100, 160, 240, 255, 255, 255]
    assert luma[1, 0].tolist() == [16, 11, 10, 16, 24, 40, 51, 61]  # at 50 the tables themselves
    assert luma[1, 4].tolist() == [18, 22, 37, 56, 68, 109, 103, 77]
    assert chroma[1, :, 0].tolist() == [17, 18, 24, 47, 99, 99, 99, 99]
    assert (float(luma.min()), float(luma.max())) == (10, 255)


def test_cosines_are_the_orthonormal_transform() -> None:
    d = cosines()
    torch.testing.assert_close(d @ d.T, torch.eye(8, dtype=F64), rtol=0, atol=1e-14)
    x = torch.randn(8, 8, dtype=F64)
    np.testing.assert_allclose((d @ x @ d.T).numpy(), dctn(x.numpy(), norm="ortho"), atol=1e-13)
    assert float(d[0, 0]) == pytest.approx(math.sqrt(1 / 8))
    assert float(d[3, 2]) == pytest.approx(0.5 * math.cos(5 * 3 * math.pi / 16))


def test_colours_go_there_and_back() -> None:
    """To the six digits that JFIF prints; Y of white is white, Cb and Cr of grey are nothing."""
    there, back = np.array(FORWARD), np.array(BACKWARD)
    np.testing.assert_allclose(back @ there, np.eye(3), atol=2e-6)
    np.testing.assert_allclose(there.sum(1), [1, 0, 0], atol=1e-12)
    # from the definition: Cb = (B - Y)/1.772, Cr = (R - Y)/1.402
    y = there[0]
    np.testing.assert_allclose(there[1], (np.eye(3)[2] - y) / 1.772, atol=1e-6)
    np.testing.assert_allclose(there[2], (np.eye(3)[0] - y) / 1.402, atol=1e-6)


def test_blocks_lie_where_they_say() -> None:
    plane = torch.arange(2 * 16 * 24.0).reshape(2, 16, 24)
    cut = blocks(plane)
    assert torch.equal(cut[1, 1, 2], plane[1, 8:16, 16:24])
    assert torch.equal(unblocked(cut), plane)


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_arithmetic_is_scipys(quality: int) -> None:
    """Grey, 4:4:4 and 4:2:0 by dropping, with Pillow's tables and scipy's transform, to 1e-9."""
    luma, chroma = saved_tables(quality)
    g = torch.Generator().manual_seed(quality)
    x = torch.rand(1, 3, 32, 48, generator=g, dtype=F64) * 2 - 1
    levels = (x[0].numpy() + 1) * 127.5

    grey = through(levels[0] - 128, luma) + 128
    got = (Jpeg((quality, quality))(x[:, :1])[0, 0].numpy() + 1) * 127.5
    np.testing.assert_allclose(got, grey, rtol=0, atol=1e-9)

    y, cb, cr = np.tensordot(np.array(FORWARD), levels, 1)
    for subsample, cubic in ((False, False), (True, False), (False, True), (True, True)):
        step = 2 if subsample else 1
        light = through(y - 128, luma, cubic) + 128
        b, r = (
            np.kron(through(p[::step, ::step], chroma, cubic), np.ones((step, step)))
            for p in (cb, cr)
        )
        want = np.stack([light + 1.402 * r, light - 0.344136 * b - 0.714136 * r, light + 1.772 * b])
        rounding = Rounding.CUBIC if cubic else Rounding.NEAREST
        made = Jpeg((quality, quality), subsample, rounding)(x)[0].numpy()
        np.testing.assert_allclose((made + 1) * 127.5, want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("quality", QUALITIES)
def test_grey_pictures_are_pillows_within_half_a_level(quality: int) -> None:
    """Mean below .45 levels: a decoder's rounding to bytes alone makes up to .25 of it, and
    libjpeg's integer transform rounds a few coefficients the other way."""
    for levels in (CAMERA, COLOURED["chelsea"][..., 1].copy(), CAMERA[:45, :37]):
        made = levels_of(Jpeg((quality, quality))(picture(levels)))
        error = np.abs(made - pillow(levels, quality))
        assert error.mean() < (0.45 if levels.size > 2000 else 0.8)
        assert error.max() < 25
        # coefficients that went the other way are in few blocks
        whole = error[: levels.shape[0] // 8 * 8, : levels.shape[1] // 8 * 8]
        worst = whole.reshape(whole.shape[0] // 8, 8, -1, 8).max((1, 3))
        if quality <= 10:
            assert (worst > 1.5).mean() < 0.1


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", COLOURED)
def test_whole_chroma_is_pillows_within_two_levels(name: str, quality: int) -> None:
    """4:4:4: Pillow rounds luma and chroma to bytes besides; mean below 1.2 levels."""
    levels = COLOURED[name]
    for cut in (levels, levels[:45, :37]):
        made = levels_of(Jpeg((quality, quality), subsample=False)(picture(cut)))
        assert np.abs(made - pillow(cut, quality, subsampling=0)).mean() < 1.2


@pytest.mark.parametrize("quality", QUALITIES)
def test_dropped_chroma_is_pillows_where_it_is_smooth(quality: int) -> None:
    """A photograph's luma under colours that change slowly: below 1.8 levels in the mean and 1.1
    in the median, what is between being blocks whose mean chroma is rounded the other way.

    Where colours change quickly, dropping and averaging differ, as the module's text says."""
    at = np.indices((64, 64)) / 64
    light = CAMERA[:64, :64] * 0.5 + 60
    b, r = 15 + 4 * at[0] + 2 * at[1], 3 * at[0] * at[1] - 20
    rgb = np.stack([light + 1.402 * r, light - 0.344 * b - 0.714 * r, light + 1.772 * b], -1)
    levels = rgb.round().astype(np.uint8)
    made = levels_of(Jpeg((quality, quality))(picture(levels)))
    error = np.abs(made - pillow(levels, quality))
    assert error.mean() < 1.8
    assert np.median(error) < 1.1
    sharp = COLOURED["astronaut"]
    whole = levels_of(Jpeg((quality, quality), subsample=False)(picture(sharp)))
    dropped = levels_of(Jpeg((quality, quality))(picture(sharp)))
    theirs = [pillow(sharp, quality, subsampling=s) for s in (0, 2)]
    assert np.abs(dropped - theirs[1]).mean() > 1.2 * np.abs(whole - theirs[0]).mean()


@pytest.mark.parametrize("channels", [1, 3])
def test_files_are_pillows(channels: int) -> None:
    """Every picture with its own quality, that of its own generator."""
    levels = [CAMERA, CAMERA.T.copy()] if channels == 1 else list(COLOURED.values())
    x = torch.cat([picture(p) for p in levels])
    made = JpegFile((5, 60))(x, generators(0, range(2)))
    drawn = [int(quality_of((5, 60), 1, generators(0, [i]))[0]) for i in range(2)]
    assert drawn[0] != drawn[1]
    for i, (p, q) in enumerate(zip(levels, drawn, strict=True)):
        np.testing.assert_allclose(levels_of(made[i : i + 1]), pillow(p, q), atol=1e-9)
    assert float(made.abs().max()) <= 1
    beyond = JpegFile((95, 95))(2 * x)  # what no file can hold is clamped
    torch.testing.assert_close(beyond, JpegFile((95, 95))((2 * x).clamp(-1, 1)), rtol=0, atol=0)


def test_each_picture_has_its_own_quality() -> None:
    x = torch.cat([picture(p) for p in COLOURED.values()])
    made = Jpeg((5, 60))(x, generators(0, range(2)))
    for i in range(2):
        q = int(quality_of((5, 60), 1, generators(0, [i]))[0])
        alone = Jpeg((q, q))(x[i : i + 1])
        torch.testing.assert_close(made[i : i + 1], alone, rtol=0, atol=1e-12)


def test_qualities_are_whole_each_as_likely_with_both_ends() -> None:
    q = quality_of((5, 14), 4000, torch.Generator().manual_seed(0)).numpy()
    values, counts = np.unique(q, return_counts=True)
    assert values.tolist() == list(range(5, 15))
    assert chisquare(counts).pvalue > 0.01


@pytest.mark.parametrize("subsample", [True, False])
def test_what_was_compressed_once_stays(subsample: bool) -> None:
    """No clamp and no rounding to bytes: quantised coefficients are found again, up to the
    digits of the colour matrices; so it is nearly a projection, as the real codec is not."""
    kind = Jpeg((10, 10), subsample=subsample)
    once = kind(picture(COLOURED["astronaut"]))
    torch.testing.assert_close(kind(once), once, rtol=0, atol=2e-5)
    grey = kind(picture(CAMERA))
    torch.testing.assert_close(kind(grey), grey, rtol=0, atol=1e-12)


def test_constants_are_moved_by_half_a_step_at_most() -> None:
    """The mean of a block is coefficient 0, over 8: a step of 160 levels at quality 5 is 20."""
    c = torch.linspace(-1, 1, 41, dtype=F64)[:, None, None, None].expand(-1, 1, 8, 8)
    y = Jpeg((5, 5))(c)
    assert float((y - y.mean((2, 3), keepdim=True)).abs().max()) < 1e-12
    assert 9 / 127.5 < float((y - c).abs().max()) <= 10 / 127.5 + 1e-12


def test_values_leave_the_range_as_the_card_says() -> None:
    x = (torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float() * 2 - 1
    assert float(Jpeg((5, 5))(x).abs().max()) > 1.1


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (17, 15), (16, 33), (40, 8)])
@pytest.mark.parametrize("subsample", [True, False])
def test_any_size_is_continued_by_its_edge(size: tuple[int, int], subsample: bool) -> None:
    h, w = size
    for channels in (1, 3):
        x = torch.rand(2, channels, h, w, dtype=F64) * 2 - 1
        wide = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 48 - h), (0, 48 - w)), mode="edge")
        kind = Jpeg((20, 20), subsample=subsample)
        want = kind(torch.from_numpy(wide))[:, :, :h, :w]
        torch.testing.assert_close(kind(x), want, rtol=0, atol=1e-12)


def test_cubic_rounding_has_the_derivative_of_finite_differences() -> None:
    """Rounding alone: a table of ones for a constant block of value 8 c has coefficient 8 · 8 c."""
    g = torch.Generator().manual_seed(0)
    coefficients = 6 * torch.rand(1, 8, 8, generator=g, dtype=F64) - 3
    d, ones = cosines(), torch.ones(1, 8, 8, dtype=F64)

    def rounded(c: Tensor, how: Rounding) -> Tensor:
        return d @ quantised(d.T @ c @ d, ones, how) @ d.T

    r = coefficients.round()
    torch.testing.assert_close(rounded(coefficients, Rounding.NEAREST), r, rtol=0, atol=1e-12)
    cubic = rounded(coefficients, Rounding.CUBIC)
    torch.testing.assert_close(cubic, r + (coefficients - r) ** 3, rtol=0, atol=1e-12)
    assert float((cubic - r).abs().max()) <= 0.125

    c = coefficients.clone().requires_grad_()
    (grad,) = torch.autograd.grad(rounded(c, Rounding.CUBIC).sum(), c)
    h = 1e-6
    up, down = (rounded(coefficients + s * h, Rounding.CUBIC) for s in (1, -1))
    torch.testing.assert_close((up - down) / (2 * h), grad, rtol=0, atol=1e-7)
    torch.testing.assert_close(grad, 3 * (coefficients - r) ** 2, rtol=0, atol=1e-10)
    assert not rounded(c, Rounding.NEAREST).requires_grad


def test_the_whole_with_cubic_rounding_by_finite_differences() -> None:
    """Every fifth entry of the gradient of a random functional, 4:2:0 and odd sizes included."""
    x = (0.9 * picture(COLOURED["chelsea"][:11, :13])).requires_grad_()
    y = torch.randn(1, 3, 11, 13, dtype=F64)
    kind, h = Jpeg((30, 30), rounding=Rounding.CUBIC), 1e-6
    (grad,) = torch.autograd.grad((kind(x) * y).sum(), x)
    at = range(0, x.numel(), 5)
    step = torch.zeros(len(at), x.numel(), dtype=F64)
    step[torch.arange(len(at)), torch.tensor(at)] = h
    step = step.reshape(-1, *x.shape[1:])
    with torch.no_grad():
        change = ((kind(x + step) - kind(x - step)) * y).sum((1, 2, 3)) / (2 * h)
    torch.testing.assert_close(change, grad.flatten()[at.start :: 5], rtol=1e-5, atol=1e-6)
    assert float(grad.abs().max()) > 0.01


@pytest.mark.parametrize("kind", [Jpeg, JpegFile])
@pytest.mark.parametrize("quality", [(0, 5), (5, 96), (20, 10)])
def test_qualities_that_are_none(kind: type, quality: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected 1 <= quality <= 95, rising, got \("):
        kind(quality)
