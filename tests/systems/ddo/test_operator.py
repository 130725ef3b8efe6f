"""Neural operators: the convolution theorem, the same operator on every grid, symmetries."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sfumato as sf
from sfumato.systems.ddo.nn.harmonic import Domain, places, resample
from sfumato.systems.ddo.nn.operator import FNO, UNO, FNOConfig, UNOConfig, _Block, _Local
from sfumato.systems.ddo.nn.spectral import SpectralConvolution

F64 = torch.float64
PERIODIC, REFLECTING = Domain.PERIODIC, Domain.REFLECTING


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(1))


def awake(net: nn.Module) -> nn.Module:
    """In float64, with weights where there were zeros, so that every part does something."""
    g = torch.Generator().manual_seed(2)
    for p in net.parameters():
        if not bool(p.any()):
            nn.init.normal_(p, std=0.1, generator=g)
    return net.double()


@pytest.mark.parametrize("grid", [(16,), (9,), (16, 12), (9, 8, 10)])
def test_a_convolution_is_a_product_of_modes(grid: tuple[int, ...]) -> None:
    """Against torch's FFT, mode by mode."""
    d = len(grid)
    modes = (4, 3, 2)[:d]
    conv = SpectralConvolution(3, 2, modes).double()
    u = noise(2, 3, *grid)
    axes = tuple(range(-d, 0))
    have = torch.fft.rfftn(u, dim=axes, norm="forward")
    made = torch.zeros(2, 2, *have.shape[2:], dtype=have.dtype)
    weight = torch.view_as_complex(conv.weight.detach().movedim(d, -1).contiguous())
    spans = [range(-m, m + 1) for m in modes[:-1]] + [range(modes[-1] + 1)]
    for j in torch.cartesian_prod(*map(torch.tensor, map(list, spans))).reshape(-1, d).tolist():
        at = tuple(w + (m if a < d - 1 else 0) for a, (w, m) in enumerate(zip(j, modes)))
        where = tuple(w % n for w, n in zip(j[:-1], grid)) + (j[-1],)
        made[(..., *where)] = have[(..., *where)] @ weight[at]
    want = torch.fft.irfftn(made, s=grid, dim=axes, norm="forward")
    torch.testing.assert_close(conv(u), want)


def test_on_mirrors_it_is_that_of_the_mirrored_function() -> None:
    conv = SpectralConvolution(2, 2, (3, 3), REFLECTING).double()
    u = noise(1, 2, 6, 5)
    whole = torch.cat([u, u.flip(2)], 2)
    whole = torch.cat([whole, whole.flip(3)], 3)  # period 2; its grid begins half a cell inside
    there = SpectralConvolution(2, 2, (3, 3)).double()
    with torch.no_grad():
        there.weight.copy_(conv.weight)
    torch.testing.assert_close(conv(u), there(whole)[..., :6, :5])


@pytest.mark.parametrize("domain", Domain)
def test_the_result_on_another_grid_is_the_same_function(domain: Domain) -> None:
    conv = SpectralConvolution(1, 1, (3, 3), domain).double()
    u = noise(1, 1, 9, 9)
    for grid in ((18, 15), (9, 12)):
        torch.testing.assert_close(conv(u, grid), conv(resample(u, grid, domain)))


def test_on_a_coarse_grid_the_result_has_only_its_waves() -> None:
    conv = SpectralConvolution(1, 1, (6, 6)).double()
    u = noise(1, 1, 16, 15)
    torch.testing.assert_close(conv(u, (7, 8)), resample(conv(u), (7, 8), PERIODIC))


def test_a_local_convolution_on_mirrors_is_that_of_the_mirrored_function() -> None:
    mirrored = _Local(2, 3, UNOConfig(1, 1, (6,), multipliers=(1,), domain=REFLECTING))
    around = _Local(2, 3, UNOConfig(1, 1, (6,), multipliers=(1,)))
    around.load_state_dict(mirrored.state_dict())
    u = noise(1, 2, 6).float()
    torch.testing.assert_close(mirrored(u), around(torch.cat([u, u.flip(2)], 2))[..., :6])


def silu_of_norm(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """SiLU(u (1 + scale) + shift) with u the normalised x (B, C, n), all channels as one group."""
    axes = tuple(range(1, x.ndim))
    gap = x - x.mean(axes, keepdim=True)
    u = gap / (gap.square().mean(axes, keepdim=True) + 1e-5).sqrt()
    u = u * weight[:, None] + bias[:, None]
    v = u * (1 + scale[..., None]) + shift[..., None]
    return v / (1 + (-v).exp())


def stencil(x: Tensor, weight: Tensor) -> Tensor:
    """Σ_d w_d x(· + d), d = -1, 0, 1, on a circle."""
    moved = torch.stack([x.roll(-d, -1) for d in (-1, 0, 1)])
    return torch.einsum("oid,dbin->bon", weight, moved)


@pytest.mark.parametrize("outputs", [2, 3])
def test_a_block_is_its_equation(outputs: int) -> None:
    """√½ (W x + L' SiLU(norm(L h + K h) (1 + scale) + shift)): shifts come first, then scales."""
    n, m = 8, 2
    block = awake(_Block(2, outputs, (m,), UNOConfig(1, 1, (n,), multipliers=(1,))))
    w = {k: v.detach() for k, v in block.state_dict().items()}
    x, shift, scale = noise(3, 2, n), noise(3, outputs) + 1, noise(3, outputs) / 2
    none = torch.zeros(3, 2, dtype=F64)
    h = silu_of_norm(x, w["norm0.weight"], w["norm0.bias"], none, none)
    near = stencil(h, w["local0.conv.weight"]) + w["local0.conv.bias"][:, None]
    waves = torch.zeros(3, outputs, n // 2 + 1, dtype=torch.complex128)
    matrices = torch.complex(w["spectral.weight"][:, 0], w["spectral.weight"][:, 1])
    waves[..., : m + 1] = torch.einsum("jio,bij->boj", matrices, torch.fft.rfft(h)[..., : m + 1])
    h = near + torch.fft.irfft(waves, n)
    h = silu_of_norm(h, w["norm1.weight"], w["norm1.bias"], scale, shift)
    h = stencil(h, w["local1.conv.weight"])
    if outputs == 2:
        skip = x
    else:
        skip = stencil(x, F.pad(w["skip.weight"], (1, 1))) + w["skip.bias"][:, None]
    got = block(x, torch.cat([shift, scale], 1))
    torch.testing.assert_close(got, (skip + h) / math.sqrt(2))


@pytest.mark.parametrize("outputs", [8, 12])
def test_a_block_begins_as_its_skip(outputs: int) -> None:
    """Whatever modulates it, as the second convolution begins at zero."""
    block = _Block(8, outputs, (2, 2), UNOConfig(1, 1, (8, 8), multipliers=(1,))).double()
    x, modulation = noise(2, 8, 8, 8), noise(2, 2 * outputs)
    skip = x
    if outputs != 8:
        assert block.skip is not None
        skip = torch.einsum("oi,bi...->bo...", block.skip.weight[..., 0, 0], x)
    torch.testing.assert_close(block(x, modulation), skip / math.sqrt(2))


@pytest.mark.parametrize(("modes", "kept"), [(9, (9, 4, 2)), (5, (5, 2, 2))])
def test_each_level_down_convolves_half_the_waves(modes: int, kept: tuple[int, ...]) -> None:
    """At least 2, on grids that hold more of them; on the way up as on the way down."""
    net = UNO(UNOConfig(1, 1, (32,), channels=4, multipliers=(1, 1, 2), modes=modes)).double()
    blocks = [*net.down, net.middle, *net.up]
    sides = (32, 16, 8, 8, 8, 16, 32)
    for block, n, limit in zip(blocks, sides, (*kept, kept[-1], *kept[::-1]), strict=True):
        waves = range((n - 1) // 2 + 1)
        x = torch.stack([(2 * math.pi * j * places(n, PERIODIC)).cos() for j in waves])
        made = block.spectral(x[:, None].expand(-1, block.spectral.weight.shape[-2], -1))
        seen = made.abs().amax((1, 2)) > 1e-9
        assert seen.tolist() == [j <= limit for j in waves]


@pytest.mark.parametrize("side", [11, 15, 24])
def test_a_uno_adds_a_mixture_of_its_input(side: int) -> None:
    """Σ_i m_oi x_i with what its own grid holds of x, and m = W e(noise level) + b."""
    torch.manual_seed(0)
    net = awake(UNO(UNOConfig(2, 3, (16,), channels=8, modes=4, multipliers=(1, 2))))
    x, level = noise(2, 2, side), torch.tensor([0.3, -0.5], dtype=F64)
    weight, bias = net.mixture.weight.detach().clone(), noise(6)
    with torch.no_grad():
        net.mixture.weight.zero_()
        net.mixture.bias.zero_()
        plain = net(x, level)
        net.mixture.weight.copy_(weight)
        net.mixture.bias.copy_(bias)
        got = net(x, level) - plain
        e = net.conditioning(level, None)
    waves = torch.fft.rfft(x)
    waves[..., 8:] = 0  # 16 points tell 7 waves
    held = torch.fft.irfft(waves, side)
    m = e @ weight.T + bias
    want = torch.zeros(2, 3, side, dtype=F64)
    for o in range(3):
        for i in range(2):
            want[:, o] += m[:, 2 * o + i, None] * held[:, i]
    torch.testing.assert_close(got, want)
    assert float((m[0] - m[1]).abs().max()) > 0.1


def test_levels_may_have_different_numbers_of_blocks() -> None:
    """One number for each level is the same network; each block is on its own level's grid."""
    made = []
    for blocks in (2, (2, 2)):
        torch.manual_seed(0)
        net = UNO(UNOConfig(1, 1, (16,), channels=4, multipliers=(1, 2), modes=2, blocks=blocks))
        made.append(awake(net)(noise(3, 1, 24), torch.zeros(3, dtype=F64)))
    torch.testing.assert_close(*made, rtol=0, atol=0)
    net = UNO(UNOConfig(1, 1, (16,), channels=4, multipliers=(1, 2), modes=2, blocks=(1, 3)))
    awake(net)
    seen: list[int] = []
    for block in (*net.down, net.middle, *net.up):
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2]))
    net(noise(3, 1, 24), torch.zeros(3, dtype=F64))
    assert seen == [16, 8, 8, 8, 8, 8, 8, 8, 16]
    for wrong in ((1,), (1, 1, 1), (1, 0), 0):
        with pytest.raises(ValueError, match="one number or one for each of 2 levels"):
            UNOConfig(1, 1, (16,), channels=4, multipliers=(1, 2), blocks=wrong)


def test_several_blocks_share_a_level() -> None:
    net = UNO(UNOConfig(1, 1, (16,), channels=4, multipliers=(1, 2), modes=2, blocks=2))
    seen: list[int] = []
    for block in (*net.down, net.middle, *net.up):
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-1]))
    net(torch.randn(1, 1, 20), torch.zeros(1))
    assert seen == [16, 16, 8, 8, 8, 8, 8, 16, 16]


def test_the_transforms_stay_in_single_precision_under_autocast() -> None:
    conv, u = SpectralConvolution(2, 2, (3, 3)), noise(1, 2, 16, 16).float()
    want = conv(u)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(u), want)


def test_a_coarse_grid_keeps_the_waves_that_it_has() -> None:
    conv = SpectralConvolution(1, 1, (6,)).double()
    x = places(5, PERIODIC)
    u = (2 * math.pi * 2 * x).cos()[None, None]
    re, im = conv.weight.detach()[2, :, 0, 0]
    want = re * (2 * math.pi * 2 * x).cos() - im * (2 * math.pi * 2 * x).sin()
    torch.testing.assert_close(conv(u)[0, 0], want)


def test_gradients_are_those_of_differences() -> None:
    conv = SpectralConvolution(2, 1, (1, 2)).double()
    u = noise(1, 2, 4, 5).requires_grad_()
    weight = conv.weight.detach().clone().requires_grad_()

    def run(u: Tensor, w: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {"weight": w}, (u,))

    assert torch.autograd.gradcheck(run, (u, weight))


@pytest.mark.parametrize("domain", Domain)
def test_variance_of_the_kept_waves_is_kept(domain: Domain) -> None:
    torch.manual_seed(0)
    conv = SpectralConvolution(64, 64, (7, 7), domain).double()
    side = 15 if domain is PERIODIC else 8  # as many waves as it keeps
    kept = resample(torch.randn(8, 64, side, side, dtype=F64), (32, 32), domain)
    with torch.no_grad():
        assert float(conv(kept).var() / kept.var()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_uno_is_one_operator_on_all_grids(domain: Domain, dims: int) -> None:
    """Functions of at most 7 waves an axis, seen on four grids, coarser ones than its own too."""
    torch.manual_seed(0)
    config = UNOConfig(
        2, 1, (16,) * dims, channels=8, modes=4, domain=domain, coordinates=True, multipliers=(1, 2)
    )
    net = awake(UNO(config))
    u, level = noise(2, 2, *[7] * dims), torch.tensor([0.2, -0.4], dtype=F64)
    want = net(resample(u, (16,) * dims, domain), level)
    for n in (9, 15, 24, 31):
        x = resample(u, (n,) * dims, domain)
        got = net(x, level)
        torch.testing.assert_close(got, resample(want, (n,) * dims, domain), atol=1e-11, rtol=0)


def test_in_single_precision_to_five_digits() -> None:
    """As trained models are used: agreement across grids to 1e-5 of the output's size."""
    torch.manual_seed(0)
    net = awake(UNO(UNOConfig(1, 1, (32, 32), channels=16, modes=8))).float()
    u, level = noise(2, 1, 31, 31).float(), torch.zeros(2)
    outputs = [net(resample(u, (n, n), PERIODIC), level) for n in (32, 64, 128)]
    for other in outputs[1:]:
        gap = (resample(other, (31, 31), PERIODIC) - resample(outputs[0], (31, 31), PERIODIC)).abs()
        assert float(gap.max() / outputs[0].std()) < 1e-5 * 3


@pytest.mark.parametrize("domain", Domain)
def test_an_fno_converges_as_grids_grow_fine(domain: Domain) -> None:
    """Its products at points alias, by less on each finer grid."""
    torch.manual_seed(0)
    net = awake(FNO(FNOConfig(1, 1, 2, 8, 2, 3, domain, coordinates=True)))
    u, level = noise(1, 1, 5, 5), torch.zeros(1, dtype=F64)
    fine = net(resample(u, (81, 81), domain), level)
    errors = []
    for n in (9, 27):  # points that 81 has too
        step = 81 // n
        first = 0 if domain is PERIODIC else step // 2
        there = fine[..., first::step, first::step]
        errors.append(float((net(resample(u, (n, n), domain), level) - there).abs().max()))
    assert errors[1] < 1e-3 * float(fine.std()) and errors[1] < errors[0] / 5


@pytest.mark.parametrize("kind", ["uno", "fno"])
def test_without_places_a_periodic_operator_moves_with_its_argument(kind: str) -> None:
    torch.manual_seed(0)
    net = awake(
        UNO(UNOConfig(1, 1, (8, 8), channels=8, modes=2, multipliers=(1, 2)))
        if kind == "uno"
        else FNO(FNOConfig(1, 1, 2, 8, 2, 2))
    )
    u, level = noise(1, 1, 8, 8), torch.zeros(1, dtype=F64)
    got = net(u.roll((2, 4), (2, 3)), level)
    torch.testing.assert_close(got, net(u, level).roll((2, 4), (2, 3)))


def test_what_conditions_it_matters_and_nothing_else() -> None:
    torch.manual_seed(0)
    for net in (
        awake(UNO(UNOConfig(1, 1, (8,), channels=8, modes=2, multipliers=(1,), embedding=3))),
        awake(FNO(FNOConfig(1, 1, 1, 8, 2, 2, embedding=3))),
    ):
        u, c = noise(2, 1, 16), noise(2, 3)
        level = torch.tensor([0.1, 0.1], dtype=F64)
        base = net(u, level, c)
        assert float((net(u, level + 0.3, c) - base).abs().max()) > 1e-3
        assert float((net(u, level, c + 1) - base).abs().max()) > 1e-3
        torch.testing.assert_close(net(u[:1], level[:1], c[:1]), base[:1])


def test_what_is_kept_from_inference_can_be_trained_with() -> None:
    """Matrices are kept; those first made in inference mode must serve gradients too."""
    net = UNO(UNOConfig(1, 1, (22,), channels=8, modes=3, multipliers=(1,)))
    x, level = torch.randn(1, 1, 23), torch.zeros(1)
    with torch.inference_mode():
        net(x, level)
    net(x, level).sum().backward()
    noise = sf.GaussianField(sf.Matern(0.11), 1)
    with torch.inference_mode():
        noise.whiten(noise.sample(x))
    noise.whiten(x.requires_grad_()).sum().backward()


def test_it_begins_at_zero() -> None:
    for net in (UNO(UNOConfig(1, 2, (16, 16))), FNO(FNOConfig(1, 2))):
        assert not bool(net(torch.randn(1, 1, 16, 16), torch.zeros(1)).any())


def test_misfits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 points along each axis for 3 levels"):
        UNOConfig(1, 1, (8, 32))
    with pytest.raises(ValueError, match="local = 1 or 3"):
        UNOConfig(1, 1, local=5)
    with pytest.raises(ValueError, match="channels even"):
        FNOConfig(1, 1, channels=5)
    with pytest.raises(ValueError, match="modes >= 1"):
        FNOConfig(1, 1, modes=0)
    with pytest.raises(ValueError, match="1, 2 or 3 axes"):
        FNOConfig(1, 1, dims=4)
    with pytest.raises(ValueError, match="at least one channel"):
        SpectralConvolution(0, 1, (1,))
    with pytest.raises(ValueError, match=r"expected u of shape \(B, 2, 1 axes\)"):
        SpectralConvolution(2, 1, (1,))(torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match=r"x of shape \(B, 1, and 2 axes\)"):
        FNO(FNOConfig(1, 1))(torch.zeros(1, 8, 8), torch.zeros(1))
    with pytest.raises(ValueError, match=r"noise_level of shape \(2,\)"):
        UNO(UNOConfig(1, 1, (16, 16)))(torch.zeros(2, 1, 16, 16), torch.zeros(1))
