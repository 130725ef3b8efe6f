"""Blur against scipy's convolution and loops; the published operators built again in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d
from scipy.stats import kstest
from skimage import data as photographs
from torch import Tensor

from sfumato.data.degrade import Blur, BlurKernel, PublishedBlur
from sfumato.data.degrade.blur import gaussian_taps
from sfumato.seeds import generators

F64 = torch.float64
UNIFORM, GAUSSIAN = BlurKernel.UNIFORM, BlurKernel.GAUSSIAN
BLURS = {
    "uniform-9": (Blur(UNIFORM, 9), [1 / 9] * 9),
    "gauss-5": (Blur(), [math.exp(-(j**2) / 200) for j in range(-2, 3)]),
    "gauss-13": (
        Blur(GAUSSIAN, 13, (1.7, 1.7)),
        [math.exp(-(j**2) / (2 * 1.7**2)) for j in range(-6, 7)],
    ),
}
blurs = pytest.mark.parametrize(
    ("kind", "taps"), [(k, np.array(t) / sum(t)) for k, t in BLURS.values()], ids=BLURS
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=g, dtype=F64) - 1


@blurs
@pytest.mark.parametrize("size", [(20, 17), (5, 31), (3, 2), (1, 1)])
def test_blur_is_the_convolution_of_scipy(
    kind: Blur, taps: np.ndarray, size: tuple[int, int]
) -> None:
    x = noise(2, 3, *size)
    want = convolve1d(convolve1d(x.numpy(), taps, axis=2, mode="reflect"), taps, axis=3,
                      mode="reflect")  # fmt: skip
    np.testing.assert_allclose(kind(x).numpy(), want, rtol=0, atol=1e-14)


@blurs
def test_blur_is_an_explicit_loop(kind: Blur, taps: np.ndarray) -> None:
    x = noise(1, 1, 9, 7)[0, 0].numpy()
    half = len(taps) // 2
    wide = np.pad(x, half, mode="symmetric")
    want = np.zeros_like(x)
    for i in range(9):
        for j in range(7):
            for p, a in enumerate(taps):
                for q, b in enumerate(taps):
                    want[i, j] += a * b * wide[i + 2 * half - p, j + 2 * half - q]
    got = kind(torch.from_numpy(x)[None, None])[0, 0]
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-14)


@blurs
def test_blur_keeps_constants_and_means_and_turns_with_the_picture(
    kind: Blur, taps: np.ndarray
) -> None:
    flat = torch.full((2, 3, 11, 6), -0.7, dtype=F64)
    torch.testing.assert_close(kind(flat), flat, rtol=0, atol=1e-12)
    x = noise(2, 3, 11, 6)
    y = kind(x)
    # a symmetric kernel on a mirrored picture moves light about, and loses none
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=1e-12)
    for turn in (lambda v: v.flip(2), lambda v: v.flip(3), lambda v: v.mT):
        torch.testing.assert_close(kind(turn(x)), turn(y), rtol=0, atol=1e-13)
    assert float(y.abs().max()) <= float(x.abs().max())


@settings(max_examples=20)
@given(st.integers(1, 10).map(lambda k: 2 * k + 1), st.floats(0.05, 50))
def test_gaussian_taps(size: int, sigma: float) -> None:
    raw = [math.exp(-((j - size // 2) ** 2) / (2 * sigma**2)) for j in range(size)]
    taps = gaussian_taps(size, torch.tensor([sigma], dtype=F64))[0]
    assert taps.tolist() == pytest.approx([r / sum(raw) for r in raw], abs=1e-14)
    fixed = Blur(GAUSSIAN, size, (sigma, sigma)).taps(3)
    assert torch.equal(fixed, taps.expand(3, -1))  # the deviation is not rounded on its way
    drawn = gaussian_taps(size, torch.tensor([sigma, 2 * sigma], dtype=F64))
    assert torch.equal(drawn[0], taps)


def test_deviations_are_log_uniform_and_each_picture_gets_its_own() -> None:
    """σ is read back from the ratio of neighbouring taps: k_1/k_0 = exp(-1/(2 σ²))."""
    kind = Blur(GAUSSIAN, 13, (0.8, 2.5))
    taps = kind.taps(4000, torch.Generator().manual_seed(0)).numpy()
    sigma = np.sqrt(-0.5 / np.log(taps[:, 7] / taps[:, 6]))
    u = np.log(sigma / 0.8) / np.log(2.5 / 0.8)
    assert kstest(u, "uniform").pvalue > 0.01
    x = noise(1, 3, 16, 16).expand(4, -1, -1, -1)
    y = kind(x, generators(0, range(4)))
    for i in range(4):  # every channel of picture i with the taps of generator i
        own = kind.taps(1, generators(0, [i]))[0].numpy()
        want = convolve1d(convolve1d(x[i].numpy(), own, axis=1), own, axis=2)
        np.testing.assert_allclose(y[i].numpy(), want, rtol=0, atol=1e-13)


def test_two_gaussians_are_one_of_the_summed_variance() -> None:
    x = noise(1, 1, 40, 40)
    one, two, both = (Blur(GAUSSIAN, 41, (s, s)) for s in (1.5, 2.0, 2.5))
    torch.testing.assert_close(two(one(x)), both(x), rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((GAUSSIAN, 4), "an odd number of taps of at least 3, got 4"),
        ((UNIFORM, 1), "an odd number of taps of at least 3, got 1"),
        ((GAUSSIAN, 5, (2.0, 1.0)), r"0.001 <= sigma <= 1000000.0, rising, got \(2.0, 1.0\)"),
        ((GAUSSIAN, 5, (0.0, 1.0)), "<= sigma <="),
        ((GAUSSIAN, 5, (float("nan"), 1.0)), "<= sigma <="),
    ],
)
def test_kernels_that_are_none(arguments: tuple, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Blur(*arguments)


def test_the_card_says_how_wide() -> None:
    assert "σ = 0.8 to 2.5 pixels" in Blur(GAUSSIAN, 13, (0.8, 2.5)).card.what
    assert "σ" not in Blur(UNIFORM, 9).card.what


# the published operators, from their description


def one_sided(kernel: BlurKernel, n: int) -> np.ndarray:
    """K (n, n): K_ij = k_{j - i}, without the last tap, zero beyond the border."""
    raw = [1.0] * 9 if kernel is UNIFORM else [math.exp(-0.5 * (j / 10) ** 2) for j in range(-2, 3)]
    taps, half = np.array(raw) / sum(raw), len(raw) // 2
    matrix = np.zeros((n, n))
    for i in range(n):
        for j in range(max(0, i - half), min(n, i + half)):
            matrix[i, j] = taps[j - i + half]
    return matrix


def published(x: np.ndarray, matrix: np.ndarray, tiled: bool) -> np.ndarray:
    """One picture (3, n, n) in [0, 1] through U S Vᵀ; S tiled as published, or as it should be."""
    n = len(matrix)
    u, s, vt = np.linalg.svd(matrix)
    s = np.where(s < 0.03, 0, s)
    products = np.outer(s, s).ravel()
    order = np.argsort(-products, kind="stable")
    values = np.tile(products[order], 3) if tiled else np.repeat(products[order], 3)
    vector = np.stack([(vt @ p @ vt.T).ravel()[order] for p in x], 1).ravel()
    shares = (vector * values).reshape(n * n, 3)
    out = np.empty_like(x)
    for c in range(3):
        plane = np.empty(n * n)
        plane[order] = shares[:, c]
        out[c] = u @ plane.reshape(n, n) @ u.T
    return out


def astronaut(n: int) -> Tensor:
    pixels = photographs.astronaut()[40 : 40 + 4 * n : 4, 160 : 160 + 4 * n : 4]
    return torch.from_numpy(pixels.transpose(2, 0, 1) / 127.5 - 1)


kernels = pytest.mark.parametrize("kernel", list(BlurKernel), ids=lambda k: k.value)


@kernels
@pytest.mark.parametrize("n", [9, 16, 17, 32])
def test_the_published_operator_built_again(kernel: BlurKernel, n: int) -> None:
    x = torch.stack([noise(3, n, n), astronaut(n)])
    got = PublishedBlur(kernel)(x)
    for given_, made in zip(x, got, strict=True):
        want = published((given_.numpy() + 1) / 2, one_sided(kernel, n), tiled=True)
        np.testing.assert_allclose(made.numpy(), 2 * want - 1, rtol=0, atol=1e-11)


@kernels
def test_values_in_place_would_make_it_the_convolution(kernel: BlurKernel) -> None:
    """The same construction with the right values is K' x K'ᵀ, K' with its small values zeroed."""
    n = 24
    x, matrix = (astronaut(n).numpy() + 1) / 2, one_sided(kernel, n)
    right = published(x, matrix, tiled=False)
    u, s, vt = np.linalg.svd(matrix)
    cut = (u * np.where(s < 0.03, 0, s)) @ vt
    np.testing.assert_allclose(right, cut @ x @ cut.T, rtol=0, atol=1e-12)
    plain = matrix @ x @ matrix.T  # zero-padded, separable
    bound = 0.03 * (2 * s[0] + 0.03) * np.linalg.norm(x)
    assert np.linalg.norm(right - plain) < bound
    assert np.sqrt(((right - plain) ** 2).mean()) < 0.004
    ours = (PublishedBlur(kernel)(astronaut(n)[None])[0].numpy() + 1) / 2
    assert np.sqrt(((ours - plain) ** 2).mean()) > 0.02  # the published one is not


@kernels
def test_the_published_operator_darkens(kernel: BlurKernel) -> None:
    """The missing tap: a constant becomes about (8/9)² or (4/5)² of itself, inside."""
    n, share = 64, (8 / 9) ** 2 if kernel is UNIFORM else one_sided(kernel, 9)[4].sum() ** 2
    y = (PublishedBlur(kernel)(torch.full((1, 3, n, n), 0.6, dtype=F64)) + 1) / 2
    inside = y[..., 16:-16, 16:-16]
    assert float(inside.mean()) == pytest.approx(share * 0.8, abs=0.01)
    assert share == pytest.approx({UNIFORM: 0.79, GAUSSIAN: 0.64}[kernel], abs=0.005)


def test_the_published_operator_serves_gradients_after_inference() -> None:
    """What it keeps was once made under inference mode, and could not be differentiated."""
    x = noise(1, 3, 21, 21)
    with torch.inference_mode():
        before = PublishedBlur()(x)
    x.requires_grad_()
    y = PublishedBlur()(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(y.detach(), before)


def test_published_pictures_are_square_and_coloured() -> None:
    for size in ((16, 12), (8, 8)):
        with pytest.raises(ValueError, match="square pictures of at least 9 pixels, got"):
            PublishedBlur()(noise(1, 3, *size))
