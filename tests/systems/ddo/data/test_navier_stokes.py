"""The fluid solver: exact solutions, balances, conservation, order, symmetry, aliasing, errors."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from fluid import energy, enstrophy, palinstrophy, velocity
from sfumato.errors import SfumatoError
from sfumato.systems.ddo.data.navier_stokes import NavierStokes
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates, resample, to_modes

TURN = 2 * math.pi


def xy(n: int) -> tuple[Tensor, Tensor]:
    x, y = coordinates((n, n), Domain.PERIODIC)
    return x, y


def rough(n: int, top: int, batch: int = 1, size: float = 5.0, seed: int = 0) -> Tensor:
    """Random fields of mean 0 with equal power in all modes up to ``top``; float64 (B, n, n)."""
    side = 2 * top + 1
    z = torch.randn(batch, side, side, generator=torch.Generator().manual_seed(seed)).double()
    z -= z.mean((-2, -1), keepdim=True)
    z *= size / z.square().mean((-2, -1), keepdim=True).sqrt()
    return resample(z, (n, n), Domain.PERIODIC)


def test_waves_of_one_length_decay_without_advecting_one_another() -> None:
    nu, n = 0.01, 16
    x, y = xy(n)
    vortices = (TURN * x).sin() * (TURN * y).sin()  # Taylor and Green
    many = (
        (TURN * (3 * x + 4 * y)).cos()
        + (TURN * (4 * x - 3 * y) + 1).sin()
        - (10 * math.pi * y).sin()
    )
    made = NavierStokes(nu, 1.0, 200).solve(torch.stack([vortices, many]))
    for got, start, waves in ((made[0], vortices, 2), (made[1], many, 25)):
        rate = nu * TURN**2 * waves
        crank = ((1 - rate / 400) / (1 + rate / 400)) ** 200
        assert torch.allclose(got, crank * start, rtol=0, atol=1e-12)
    assert torch.allclose(made[0], math.exp(-8 * math.pi**2 * nu) * vortices, rtol=0, atol=2e-6)


def test_a_wave_of_force_builds_up_its_flow_and_holds_it() -> None:
    nu, n, t = 0.02, 16, 0.7
    x, y = xy(n)
    f = 3 * (TURN * (2 * x - y) + 0.3).cos()[None]
    rate = nu * TURN**2 * 5
    steady = f / rate
    kept = NavierStokes(nu, t, 50).solve(steady, f)
    assert torch.allclose(kept, steady, rtol=0, atol=1e-12)
    built = NavierStokes(nu, t, 400).solve(torch.zeros_like(f), f)
    exact = (1 - math.exp(-rate * t)) * steady
    assert torch.allclose(built, exact, rtol=0, atol=2e-6)


def test_velocity_and_integrals_of_a_flow_known_by_hand() -> None:
    x, y = xy(12)
    w = (TURN * x).sin() + (2 * TURN * y).cos()
    u = velocity(w)
    assert torch.allclose(u[0], -(2 * TURN * y).sin() / (2 * TURN), atol=1e-14)
    assert torch.allclose(u[1], -(TURN * x).cos() / TURN, atol=1e-14)
    assert math.isclose(float(energy(w)), 0.5 * float(u.square().sum(0).mean()), rel_tol=1e-12)
    assert math.isclose(float(energy(w)), 0.25 * (1 / TURN**2 + 1 / (2 * TURN) ** 2), rel_tol=1e-12)
    assert math.isclose(float(enstrophy(w + 3.0)), 0.5, rel_tol=1e-12)
    assert math.isclose(float(palinstrophy(w)), 0.25 * 5 * TURN**2, rel_tol=1e-12)
    both = torch.stack([w, 2 * w]).float()[:, None]
    assert velocity(both).shape == (2, 1, 2, 12, 12) and velocity(both).dtype == torch.float32
    assert torch.allclose(energy(both)[1], 4 * energy(both)[0])
    highest = velocity((6 * TURN * x).cos())  # has no slope at the grid's points
    assert float(highest.abs().max()) < 1e-14
    # by one short step: u·∇w = 3/2 cos(2πx) sin(4πy)
    h = 1e-6
    change = (NavierStokes(0.0, h, 1).solve(w[None])[0] - w) / h
    assert torch.allclose(change, -1.5 * (TURN * x).cos() * (2 * TURN * y).sin(), atol=1e-5)


def test_energy_and_enstrophy_change_as_their_balances_say() -> None:
    nu, d = 5e-3, 1e-3
    w, f = rough(32, 3, 2), rough(32, 3, 2, 40.0, seed=1)
    w = NavierStokes(nu, 0.1, 100).solve(w, f)
    step = NavierStokes(nu, d, 4)
    now = step.solve(w, f)
    after = step.solve(now, f)
    work = (velocity(now) * velocity(f)).sum(-3).mean((-2, -1))
    rate = (energy(after) - energy(w)) / (2 * d)
    assert torch.allclose(rate, work - 2 * nu * enstrophy(now), rtol=2e-4)
    made = (now * f).mean((-2, -1))
    rate = (enstrophy(after) - enstrophy(w)) / (2 * d)
    assert torch.allclose(rate, made - 2 * nu * palinstrophy(now), rtol=2e-4)
    assert bool((2 * nu * palinstrophy(now) > 0.05 * made.abs()).all())  # both terms matter


def test_advection_conserves_energy_and_enstrophy_though_all_modes_are_full() -> None:
    w = rough(24, 7, 3)
    drift = []
    for steps in (20, 40):
        made = NavierStokes(0.0, 0.02, steps).solve(w)
        assert float((made - w).abs().max()) > 0.5
        drift.append([float((law(made) / law(w) - 1).abs().max()) for law in (energy, enstrophy)])
    assert max(drift[0]) < 1e-4
    for coarse, fine in zip(*drift):  # all that is left is the error of the time steps, O(h³) here
        assert 6 < coarse / fine < 10


def test_the_error_falls_as_the_square_of_the_time_step() -> None:
    w, f = rough(32, 4, 1, 8.0), rough(32, 3, 1, 30.0, seed=1)
    made = {s: NavierStokes(5e-3, 0.4, s).solve(w, f) for s in (60, 120, 240, 1920)}
    error = [float((made[s] - made[1920]).square().mean().sqrt()) for s in (60, 120, 240)]
    assert error[0] < 0.05 * float(made[1920].std())
    for coarse, fine in zip(error, error[1:]):
        assert abs(math.log2(coarse / fine) - 2) < 0.15


def numpy_step(w: np.ndarray, f: np.ndarray, nu: float, h: float) -> np.ndarray:
    """One step from dense sums of harmonics, products formed on a grid four times as fine."""
    n = len(w)
    top = (n - 1) // 3
    waves = [k for k in product(range(-top, top + 1), repeat=2) if k != (0, 0)]
    K = TURN * np.array(waves)
    squared = (K**2).sum(1)

    def matrix(m: int) -> np.ndarray:
        points = np.array(list(product(range(m), repeat=2))) / m
        return np.exp(1j * points @ K.T)

    coarse, fine = matrix(n), matrix(4 * n)

    def advect(modes: np.ndarray) -> np.ndarray:
        psi = modes / squared
        u, v = fine @ (1j * K[:, 1] * psi), fine @ (-1j * K[:, 0] * psi)
        product_ = u * (fine @ (1j * K[:, 0] * modes)) + v * (fine @ (1j * K[:, 1] * modes))
        return -(fine.conj().T @ product_) / len(fine)

    a, g = (coarse.conj().T @ z.ravel() / n**2 for z in (w, f))
    down, up = 1 - h * nu * squared / 2, 1 + h * nu * squared / 2
    guess = (down * a + h * g + h * advect(a)) / up
    made = (down * a + h * g + h * (advect(a) + advect(guess)) / 2) / up
    return (coarse @ made).real.reshape(n, n)


@pytest.mark.parametrize("n", [12, 13, 15, 16])
def test_steps_agree_with_dense_sums_on_a_finer_grid(n: int) -> None:
    w, f = rough(n, (n - 1) // 2), rough(n, (n - 1) // 2, seed=1)  # the solver drops high modes
    nu, h = 0.01, 0.02
    once = numpy_step(w[0].numpy(), f[0].numpy(), nu, h)
    twice = numpy_step(once, f[0].numpy(), nu, h)
    made = NavierStokes(nu, 2 * h, 2).solve(w, f)
    assert np.abs(made[0].numpy() - twice).max() < 1e-11
    assert np.abs(twice - once).max() > 0.01


def test_what_is_moved_turned_or_mirrored_flows_alike() -> None:
    law = NavierStokes(2e-3, 0.3, 60)
    w, f = rough(24, 3), rough(24, 3, seed=1)
    made = law.solve(w, f)
    moves = [
        lambda z: z.roll((5, -7), (-2, -1)),
        lambda z: -z.mT,  # a mirror turns a vortex the other way
        lambda z: z.rot90(1, (-2, -1)).roll(1, -2),
    ]
    for move in moves:
        assert torch.allclose(law.solve(move(w), move(f)), move(made), rtol=0, atol=1e-10)
    assert float((made - w).abs().max()) > 1


def test_two_halves_of_the_time_are_the_whole_and_a_batch_is_its_members() -> None:
    w, f = rough(16, 3, 5), rough(16, 3, 5, seed=1)
    whole = NavierStokes(2e-3, 0.2, 20).solve(w, f)
    half = NavierStokes(2e-3, 0.1, 10)
    assert torch.allclose(half.solve(half.solve(w, f), f), whole, rtol=0, atol=1e-11)
    alone = NavierStokes(2e-3, 0.2, 20).solve(w[3:4], f[3:4])
    assert torch.allclose(alone, whole[3:4], rtol=0, atol=1e-12)


def test_single_precision_stays_single_and_is_close() -> None:
    w, f = rough(32, 4, 2), rough(32, 4, 2, seed=1)
    seen: list[tuple[int, int]] = []
    made = NavierStokes(2e-3, 0.5, 50).solve(
        w.float(), f.float(), lambda done, steps: seen.append((done, steps))
    )
    exact = NavierStokes(2e-3, 0.5, 50).solve(w, f)
    assert made.dtype == torch.float32 and exact.dtype == torch.float64
    assert float((made - exact).abs().max()) < 1e-4 * float(exact.abs().max())
    assert seen == [(k, 50) for k in range(1, 51)]


def test_only_modes_below_a_third_remain_and_the_mean_is_zero() -> None:
    made = NavierStokes(0.0, 0.01, 1).solve(rough(16, 7))
    modes = to_modes(made[0], 2, Domain.PERIODIC).abs()
    assert float(modes[6:11].max()) < 1e-14 and float(modes[:, 6:11].max()) < 1e-14
    assert float(modes[0, 0]) < 1e-14
    assert float(modes[5, 1:6].min()) > 1e-3 and float(modes[1:6, 5].min()) > 1e-3


def test_too_long_a_step_is_refused_with_its_cfl_number() -> None:
    x, _ = xy(16)
    w = (TURN * x).sin()[None] * TURN  # speeds up to 1
    NavierStokes(0.0, 0.049, 1).solve(w)  # CFL number 0.784
    with pytest.raises(SfumatoError, match=r"after 0 of 1 steps the CFL number is 0\.816,.*0\.8"):
        NavierStokes(0.0, 0.051, 1).solve(w)
    x, y = xy(16)
    oblique = (TURN * (x + y)).sin()[None] * TURN  # speeds up to 1/2 along each axis
    with pytest.raises(SfumatoError, match=r"CFL number is 0\.816"):
        NavierStokes(0.0, 0.051, 1).solve(oblique)
    zero = torch.zeros(1, 16, 16, dtype=torch.float64)
    with pytest.raises(SfumatoError, match="after 1 of 1 steps"):  # though no step follows
        NavierStokes(0.0, 1.0, 1).solve(zero, w)
    with pytest.raises(SfumatoError, match="CFL number is nan.*take more steps"):
        NavierStokes(0.0, 1.0, 1).solve(zero, 1e200 * rough(16, 3))


@pytest.mark.parametrize(
    "wrong", [(-1.0, 1.0, 1), (math.nan, 1.0, 1), (0.1, 0.0, 1), (0.1, 1.0, 0)]
)
def test_numbers_out_of_range(wrong: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        NavierStokes(*wrong)


def test_wrong_fields_are_refused() -> None:
    law, w = NavierStokes(0.1, 0.01, 1), rough(8, 2)
    bad = w.clone()
    bad[0, 0, 0] = math.nan
    for field, force, says in (
        (w[0], None, r"\(B, n, n\) with B >= 1"),
        (w[:0], None, "B >= 1"),
        (w[:, :4], None, r"\(B, n, n\)"),
        (w.half(), None, "float32 or float64"),
        (w + 0.1, None, "the vorticity of mean 0, got a mean of 0.1"),
        (bad, None, "the vorticity has values that are not finite"),
        (w, w + 0.1, "the forcing of mean 0"),
        (w, w.float(), "the forcing as the vorticity"),
        (w, torch.cat([w, w]), "the forcing as the vorticity"),
        (w, bad, "the forcing has values"),
    ):
        with pytest.raises(ValueError, match=says):
            law.solve(field, force)
