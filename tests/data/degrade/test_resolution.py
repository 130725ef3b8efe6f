"""Fewer pixels: Keys' kernel, slow loops, torch's antialiased filter, explicit means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as photographs
from torch import Tensor

from sfumato.data.degrade import Bicubic, Pooled
from sfumato.data.degrade.resolution import cubic, repeat_pixels

F64 = torch.float64
factors = pytest.mark.parametrize("factor", [2, 3, 4])


def noise(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=g, dtype=F64) - 1


def astronaut(side: int) -> Tensor:
    pixels = photographs.astronaut()[30 : 30 + side, 170 : 170 + side]
    return torch.from_numpy(pixels.transpose(2, 0, 1) / 127.5 - 1)[None]


def keys(x: float) -> float:
    """Keys 1981, eq. 15: the coefficients as printed there."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slowly(x: np.ndarray, f: int) -> np.ndarray:
    """One channel, from the description: centre f i + (f-1)/2, all pixels within 2 f of it."""
    h, w = x.shape
    far = 2 * f + 2
    wide = np.pad(x, far, mode="symmetric")
    out = np.zeros((h // f, w // f))
    for i in range(h // f):
        for j in range(w // f):
            ci, cj = f * i + (f - 1) / 2, f * j + (f - 1) / 2
            total = mass = 0.0
            for p in range(f * i - far + 1, f * i + far):
                for q in range(f * j - far + 1, f * j + far):
                    weight = keys((p - ci) / f) * keys((q - cj) / f)
                    total += weight * wide[p + far, q + far]
                    mass += weight
            out[i, j] = total / mass
    return out


def test_the_kernel_has_the_values_of_its_paper() -> None:
    at = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, -0.5, -1.5], dtype=F64)
    want = [1.0, 0.5625, 0.0, -0.0625, 0.0, 0.0, 0.5625, -0.0625]
    assert cubic(at).tolist() == pytest.approx(want, abs=1e-15)
    x = torch.linspace(-3, 3, 1201, dtype=F64)
    assert cubic(x).tolist() == pytest.approx([keys(float(v)) for v in x], abs=1e-14)
    assert float(cubic(torch.tensor(1.5, dtype=F64), a=-0.75)) == pytest.approx(-0.09375)
    area = torch.trapezoid(cubic(x), x)
    assert float(area) == pytest.approx(1, abs=1e-5)


@settings(max_examples=20)
@given(st.floats(-5, 5), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_the_kernel_interpolates_quadratics_exactly(x: float, p: list[float]) -> None:
    """Σ_j k(x - j) p(j) = p(x): what a = -1/2 alone does."""
    j = torch.arange(-10, 11, dtype=F64)
    samples = p[0] + p[1] * j + p[2] * j**2
    got = float((cubic(x - j) * samples).sum())
    assert got == pytest.approx(p[0] + p[1] * x + p[2] * x**2, abs=1e-9)


@factors
def test_bicubic_is_a_slow_loop_over_the_mirrored_picture(factor: int) -> None:
    for h, w in ((4 * factor, 6 * factor), (2 * factor, factor)):  # the last: narrower than taps
        x = noise(2, 3, h, w)
        got = Bicubic(factor).observe(x)
        for b in range(2):
            want = np.stack([slowly(x[b, c].numpy(), factor) for c in range(3 if h < 9 else 1)])
            np.testing.assert_allclose(got[b, : len(want)].numpy(), want, rtol=0, atol=1e-13)


@factors
def test_bicubic_is_torch_antialiased_in_the_interior(factor: int) -> None:
    side = 24 * factor
    for x in (noise(2, 3, side, side), astronaut(side)):
        got = Bicubic(factor).observe(x)
        want = F.interpolate(x, (24, 24), mode="bicubic", antialias=True, align_corners=False)
        inside = slice(2, -2)
        torch.testing.assert_close(
            got[..., inside, inside], want[..., inside, inside], rtol=0, atol=1e-12
        )
        assert float((got - want).abs().max()) < 0.2  # at the border torch leaves taps out


@factors
def test_bicubic_keeps_constants_to_the_border_and_ramps_in_the_interior(factor: int) -> None:
    x = torch.full((1, 2, 5 * factor, 3 * factor), 0.3, dtype=F64)
    torch.testing.assert_close(
        Bicubic(factor).observe(x), torch.full((1, 2, 5, 3), 0.3, dtype=F64), rtol=0, atol=1e-14
    )
    ramp = torch.arange(8 * factor, dtype=F64).expand(1, 1, 8 * factor, -1)
    centres = factor * torch.arange(8, dtype=F64) + (factor - 1) / 2
    got = Bicubic(factor).observe(ramp)[0, 0]
    torch.testing.assert_close(got[:, 2:-2], centres[2:-2].expand(8, -1), rtol=0, atol=1e-12)


@factors
def test_bicubic_moves_with_the_picture_and_turns_with_it(factor: int) -> None:
    kind, x = Bicubic(factor), noise(1, 1, 12 * factor, 10 * factor)
    y = kind.observe(x)
    moved = kind.observe(x.roll((factor, -factor), (2, 3)))
    inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    torch.testing.assert_close(moved[inside], y.roll((1, -1), (2, 3))[inside], rtol=0, atol=1e-13)
    for turn in (lambda v: v.flip(2), lambda v: v.flip(3), lambda v: v.mT):
        torch.testing.assert_close(kind.observe(turn(x)), turn(y), rtol=0, atol=1e-13)


@factors
def test_bicubic_weights(factor: int) -> None:
    """They sum to 1; every one is Keys' kernel at its distance from the centre, none is missing."""
    w = Bicubic(factor).weights()
    assert float(w.sum()) == pytest.approx(1, abs=1e-15)
    first, centre = -((3 * factor) // 2), (factor - 1) / 2
    distance = [(first + k - centre) / factor for k in range(4 * factor)]
    raw = np.array([keys(v) for v in distance])
    np.testing.assert_allclose(w.numpy(), raw / raw.sum(), atol=1e-15)
    for outside in (first - 1, first + 4 * factor):
        assert keys((outside - centre) / factor) == 0


@factors
def test_bicubic_does_not_alias(factor: int) -> None:
    """Single-pixel stripes, of which every factor-th pixel is a picture of stripes or a constant,
    are gone, and a slow wave stays."""
    j = torch.arange(24 * factor, dtype=F64)
    kind = Bicubic(factor)
    stripes = torch.cos(torch.pi * j).expand(1, 1, 24 * factor, -1)
    assert float(kind.observe(stripes)[..., 3:-3].abs().max()) < 0.05
    wave = torch.cos(2 * torch.pi * j / (12 * factor)).expand(1, 1, 24 * factor, -1)
    centres = factor * torch.arange(24, dtype=F64) + (factor - 1) / 2
    want = torch.cos(2 * torch.pi * centres / (12 * factor))
    assert float((kind.observe(wave)[0, 0, 0] - want)[3:-3].abs().max()) < 0.05


@pytest.mark.parametrize("factor", [2, 3, 4, 16])
def test_pooling_is_the_mean_of_each_square(factor: int) -> None:
    x = noise(2, 3, 2 * factor, 3 * factor)
    got = Pooled(factor).observe(x)
    for i in range(2):
        for j in range(3):
            rows, columns = slice(factor * i, factor * (i + 1)), slice(factor * j, factor * (j + 1))
            want = x[:, :, rows, columns].sum((2, 3)) / factor**2
            torch.testing.assert_close(got[:, :, i, j], want, rtol=0, atol=1e-14)
    lifted = Pooled(factor)(x)
    torch.testing.assert_close(Pooled(factor)(lifted), lifted, rtol=0, atol=1e-14)  # a projection
    torch.testing.assert_close(lifted.mean((2, 3)), x.mean((2, 3)), rtol=0, atol=1e-14)


def test_pixels_are_repeated_as_numpy_does() -> None:
    y = noise(2, 3, 4, 5)
    want = np.kron(y.numpy(), np.ones((1, 1, 3, 3)))
    np.testing.assert_array_equal(repeat_pixels(y, 3).numpy(), want)


@pytest.mark.parametrize("kind", [Bicubic, Pooled])
@pytest.mark.parametrize("factor", [-4, 0, 1, 17])
def test_factors_out_of_range_are_refused(kind: type, factor: int) -> None:
    with pytest.raises(ValueError, match=f"a factor from 2 to 16, got {factor}"):
        kind(factor)
