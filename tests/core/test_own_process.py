"""A process of one block in three methods; all else follows from them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar, final

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, mixture
from sfumato.noise import Noise
from sfumato.process import Coef, Gaussian
from sfumato.schedule import Time, as_time

TIMES = torch.tensor([1e-3, 0.02, 0.3, 0.7, 0.95], dtype=F64)


@final
@dataclass(frozen=True)
class OwnVP(sf.Diffusion):
    """dx = -β x dt/2 + √β dW."""

    beta: float = 9.0
    noise: Noise = sf.White()
    k: ClassVar[int] = 1

    def drift(self, t: Time) -> Coef:
        return torch.full_like(as_time(t), -0.5 * self.beta)[..., None, None]

    def diffusion(self, t: Time) -> Coef:
        return torch.full_like(as_time(t), self.beta)[..., None, None]

    def kernel(self, s: Time, t: Time) -> Gaussian:
        passed = self.beta * (as_time(t) - s)
        return Gaussian(
            (-0.5 * passed).exp()[..., None, None], -torch.expm1(-passed)[..., None, None]
        )


@final
@dataclass(frozen=True)
class Derived(sf.Diffusion):
    """Another process's three methods, so that all else is what a `Diffusion` makes of them."""

    of: sf.Scheduled
    noise: Noise = sf.White()
    k: ClassVar[int] = 1

    def drift(self, t: Time) -> Coef:
        return self.of.drift(t)

    def diffusion(self, t: Time) -> Coef:
        return self.of.diffusion(t)

    def kernel(self, s: Time, t: Time) -> Gaussian:
        if isinstance(s, float) and s == 0:  # the ratio α_t/α_0, which the kernel divides out
            return self.of.marginal(t)
        return self.of.kernel(s, t)


SCHEDULES = [sf.VPLinear(), sf.VPCosine(), sf.VE(), sf.EDM(), sf.RectifiedFlow()]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_clock_and_level_follow_from_the_kernel(schedule: sf.Schedule) -> None:
    whole, own = sf.Scheduled(schedule), Derived(sf.Scheduled(schedule))

    def same(a: Tensor, b: Tensor) -> None:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)

    same(own.clock(TIMES), whole.clock(TIMES))
    same(own.clock_dot(TIMES), whole.clock_dot(TIMES))
    same(own.noise_level(TIMES), whole.noise_level(TIMES))
    same(own.flow(TIMES), whole.flow(TIMES))
    same(own.transport(TIMES, 0.5 * TIMES), whole.transport(TIMES, 0.5 * TIMES))
    same(own.posterior(0.5 * TIMES, TIMES).A, whole.posterior(0.5 * TIMES, TIMES).A)


def test_a_process_of_three_methods_is_walked_like_the_published_one() -> None:
    own, published = OwnVP(), sf.Scheduled(sf.VPLinear(9.0, 9.0))
    x = own.prior_sample((16, 2), sf.generator(0), dtype=F64)
    assert torch.equal(x, published.prior_sample((16, 2), sf.generator(0), dtype=F64))
    times = sf.times.quadratic(12)
    for solver in (sf.solve.Heun(), sf.solve.Ancestral(), sf.solve.DPMSolverPP(3)):
        got, want = (
            sf.sample(mixture(p), solver, times, x, generator=sf.generator(1)).x
            for p in (own, published)
        )
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_more_blocks_need_a_clock_of_their_own() -> None:
    @dataclass(frozen=True)
    class Two(sf.Diffusion):
        noise: Noise = sf.White()
        k: ClassVar[int] = 2
        drift = sf.CriticallyDamped.drift
        diffusion = sf.CriticallyDamped.diffusion

        def kernel(self, s: Time, t: Time) -> Gaussian:
            return sf.CriticallyDamped().kernel(s, t)

    still = sf.CriticallyDamped(gamma=1e-12)  # v_0 = 0, as `Diffusion` takes it to be
    torch.testing.assert_close(Two().marginal(TIMES).A, still.marginal(TIMES).A)
    torch.testing.assert_close(Two().marginal(TIMES).cov, still.marginal(TIMES).cov)
    with pytest.raises(ValueError, match="Two has 2 blocks: write its clock"):
        Two().clock(TIMES)


def test_processes_are_values() -> None:
    assert sf.Scheduled() == sf.Scheduled(sf.EDM(), sf.White()) != sf.Scheduled(sf.VE())
    assert repr(sf.Scheduled()) == "Scheduled(schedule=EDM(sigma_max=80.0), noise=White())"
    assert sf.CriticallyDamped() == sf.CriticallyDamped(4.0) != sf.CriticallyDamped(5.0)
    assert sf.Bridge() == sf.Bridge(sf.Scheduled(sf.SymmetricBrownian()))
    assert len({sf.Scheduled(), sf.Scheduled(sf.EDM()), sf.Bridge()}) == 2
    with pytest.raises(FrozenInstanceError):
        sf.CriticallyDamped().gamma = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="expected a scheduled process to pin"):
        sf.Bridge(sf.CriticallyDamped())  # type: ignore[arg-type]
