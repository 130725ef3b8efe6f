"""Grey, noise, chains and one's own: formulas, moments, distributions, order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from skimage import data as photographs
from torch import Tensor

from sfumato.data.degrade import (
    Blur,
    CentreMask,
    Chain,
    Degraded,
    FromFunction,
    Grey,
    Jpeg,
    Noisy,
    Pooled,
)
from sfumato.model.codec import encode
from sfumato.seeds import Generators, generators, rand

F64 = torch.float64


def noise(*shape: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return 2 * torch.rand(shape, generator=g, dtype=F64) - 1


def test_grey_is_luma_three_times() -> None:
    pixels = photographs.chelsea()[:20, :30].transpose(2, 0, 1) / 127.5 - 1
    got = Grey()(torch.from_numpy(pixels)[None])[0].numpy()
    want = 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]
    for plane in got:
        np.testing.assert_allclose(plane, want, rtol=0, atol=1e-14)


def test_grey_keeps_grey_and_is_a_projection() -> None:
    flat = torch.full((1, 3, 4, 4), 0.3, dtype=F64)
    torch.testing.assert_close(Grey()(flat), flat, rtol=0, atol=1e-15)  # to double precision
    once = Grey()(noise(2, 3, 5, 6))
    torch.testing.assert_close(Grey()(once), once, rtol=0, atol=1e-15)
    once[:, 0] = 7  # its channels are no views of one another
    assert float(once[:, 1:].abs().max()) < 7


def test_fixed_noise_has_its_moments_and_is_white() -> None:
    x = noise(50, 3, 24, 24)
    z = (Noisy((0.3, 0.3))(x, generators(0, range(50))) - x) / 0.3
    assert kstest(z.flatten().numpy(), "norm").pvalue > 0.01
    assert abs(float(z.var()) - 1) < 4 * (2 / z.numel()) ** 0.5
    for lag in (z[..., 1:] * z[..., :-1], z[:, :, 1:] * z[:, :, :-1], z[:, 1:] * z[:, :-1],
                z[1:] * z[:-1]):  # fmt: skip
        assert abs(float(lag.mean())) < 4 / lag.numel() ** 0.5
    assert torch.equal(Noisy((0.0, 0.0))(x), x)


def test_deviations_are_uniform_and_each_picture_gets_its_own() -> None:
    """σ read back from 3072 pixels of each of 400 pictures, then Kolmogorov and Smirnov."""
    x = torch.zeros(400, 3, 32, 32)
    y = Noisy((0.1, 0.5))(x, generators(0, range(400))).double()
    sigma = y.square().mean((1, 2, 3)).sqrt().numpy()
    assert kstest((sigma - 0.1) / 0.4, "uniform").pvalue > 0.01
    for i in (0, 7):  # exactly: the deviation is drawn before the noise
        drawn = 0.1 + 0.4 * float(rand((1, 1), generators(0, [i]))[0, 0])
        assert sigma[i] == pytest.approx(drawn, rel=0.05)
    channels = y[:20].square().mean((2, 3)).sqrt()  # one deviation for all channels
    assert float((channels / channels.mean(1, keepdim=True) - 1).abs().max()) < 0.1


@pytest.mark.parametrize("sigma", [(-0.1, 0.2), (0.3, 0.2), (0.0, 11.0)])
def test_deviations_that_are_none(sigma: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"expected 0.0 <= sigma <= 10.0, rising, got \("):
        Noisy(sigma)


def test_a_chain_is_one_after_the_other_from_the_same_generators() -> None:
    x = noise(3, 3, 16, 16)
    steps = (Pooled(2), Noisy((0.1, 0.2)), Blur(), Noisy((0.3, 0.4)), Jpeg((5, 60)))
    g, want = generators(0, range(3)), x
    for step in steps:
        want = step(want, g)
    got = Chain(steps).degrade(x, generators(0, range(3)))
    assert torch.equal(got.x1, want)
    assert got.known is None
    back = Chain((*steps[1::-1], *steps[2:]))(x, generators(0, range(3)))
    assert not torch.allclose(back, want)
    nested = Chain((Chain(steps[:2]), Chain(steps[2:])))
    assert torch.equal(nested(x, generators(0, range(3))), want)
    assert torch.equal(Chain(steps).observe(x, generators(0, range(3))), want)


def test_a_chain_of_one_is_that_one_and_of_more_knows_nothing() -> None:
    x = noise(2, 3, 8, 8)
    one = Chain((CentreMask(),)).degrade(x, generators(0, range(2)))
    want = CentreMask().degrade(x, generators(0, range(2)))
    assert one.known is not None
    assert want.known is not None
    assert torch.equal(one.x1, want.x1)
    assert torch.equal(one.known, want.known)
    assert Chain((CentreMask(), Grey())).degrade(x).known is None
    lifted = Chain((Pooled(2),)).degrade(x)
    assert torch.equal(lifted.x1, Pooled(2)(x))


def test_a_chain_has_the_card_of_its_links() -> None:
    linear, curved = Chain((Pooled(2), Blur())).card, Chain((Blur(), Jpeg())).card
    assert (linear.linear, linear.differentiable) == (True, True)
    assert (curved.linear, curved.differentiable) == (False, False)
    assert linear.what == f"{Pooled(2).card.what}, then {Blur().card.what}"
    with pytest.raises(ValueError, match="at least one degradation in a chain, got none"):
        Chain(())


def darkened(x: Tensor, generator: Generators) -> Tensor:
    return x * rand((len(x), 1), generator)[:, :, None, None].to(x)


def test_a_function_of_ones_own() -> None:
    kind, x = FromFunction("darkened", darkened), noise(3, 3, 6, 6)
    u = [float(rand((1, 1), generators(0, [i]))[0, 0]) for i in range(3)]
    want = torch.stack([a * b for a, b in zip(x, u, strict=True)])
    made = kind.degrade(x, generators(0, range(3)))
    assert isinstance(made, Degraded)
    assert made.known is None
    torch.testing.assert_close(made.x1, want, rtol=0, atol=1e-15)
    assert kind.card.what == "darkened"
    assert not kind.card.linear
    assert not kind.card.differentiable
    chained = Chain((kind, Grey()))(x, generators(0, range(3)))
    torch.testing.assert_close(chained, Grey()(want), rtol=0, atol=1e-14)
    with pytest.raises(TypeError, match="cannot write a function as JSON"):
        encode(kind)


def test_a_function_that_returns_something_else_is_named() -> None:
    x = noise(2, 3, 6, 6)
    with pytest.raises(ValueError, match=r"half: expected pictures \(2, 3, 6, 6\) back, got \(2,"):
        FromFunction("half", lambda v, _: v[:, :, ::2])(x)
    with pytest.raises(ValueError, match="log: returned values that are not finite"):
        FromFunction("log", lambda v, _: v.log())(x)
    with pytest.raises(ValueError, match="expected float pictures"):
        FromFunction("same", lambda v, _: v)(x[0])
