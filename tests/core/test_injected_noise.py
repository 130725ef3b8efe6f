"""Numbers from elsewhere in place of a generator, such as one Brownian path for all steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import sfumato as sf
from analytic import F64, PROCESSES, mixture, slope
from sfumato.seeds import NumberSource, Replay, rand
from sfumato.solve import EulerMaruyama


def test_euler_maruyama_converges_along_one_brownian_path() -> None:
    """Strong order 1, as the noise does not depend on the state; coarse steps sum increments."""
    denoiser = mixture(PROCESSES["vp"]())
    g = torch.Generator().manual_seed(0)
    fine, counts = 640, [20, 40, 80]
    normal = torch.randn(fine, 200, 2, generator=g, dtype=F64)
    x = denoiser.process.prior_sample((200, 2), g, t=0.8, dtype=F64)

    def walk(n: int) -> Tensor:
        m = fine // n
        draws = normal.reshape(n, m, 200, 2).sum(1) / m**0.5
        times = sf.times.uniform(n, 0.8, 0.2)
        return sf.sample(denoiser, EulerMaruyama(), times, x, generator=Replay(draws)).x

    end = walk(fine)
    errors = [float((walk(n) - end).square().mean().sqrt()) for n in counts]
    # the reference is itself off by 1/640, which steepens the slope from 1 to 1.1
    assert slope(errors, counts) == pytest.approx(1.1, abs=0.15)


@pytest.mark.parametrize("name", PROCESSES)
def test_noising_and_losses_take_the_numbers_they_are_given(name: str) -> None:
    process = PROCESSES[name]()
    z = [torch.randn(3, 2, generator=sf.generator(i), dtype=F64) for i in range(process.k)]
    x1 = process.prior_sample((3, 2), Replay(z), dtype=F64)
    root = process.marginal(1.0).root()
    want = torch.cat(
        [sum(root[i, j] * z[j] for j in range(process.k)) for i in range(process.k)], 1
    )
    torch.testing.assert_close(x1, want)
    x0 = torch.ones(3, 2, dtype=F64)
    _, eps = process.perturb(x0, 0.3, Replay(z))
    assert torch.equal(eps, torch.cat(z, 1))
    denoiser = mixture(process)
    loss = sf.denoising_loss(denoiser, x0, 0.3, generator=Replay(z))
    x_t, _ = process.perturb(x0, 0.3, Replay(z))
    assert torch.equal(loss, (denoiser(x_t, 0.3) - x0).square().mean(1))


def test_draws_that_are_missing_or_do_not_fit_are_errors() -> None:
    process = PROCESSES["edm"]()
    with pytest.raises(ValueError, match="expected draw 0 of shape .* got no more"):
        process.prior_sample((3, 2), Replay([]))
    with pytest.raises(ValueError, match="got one of shape"):
        process.prior_sample((3, 2), Replay([torch.zeros(2, 3)]))


class Global(NumberSource):
    """Torch's own generator."""

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, dtype=F64)


def test_a_field_takes_numbers_for_its_harmonics() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = sf.GaussianField(sf.Matern(0.2, 1.5), dims=1)
        x = field.sample(torch.zeros(4000, 1, 16, dtype=F64), Global())
        whole = rand((5,), Global())
    torch.testing.assert_close(x.square().mean(), torch.ones((), dtype=F64), atol=0.05, rtol=0)
    cov = torch.einsum("bcx,bcx->x", x, x.roll(1, -1)) / len(x)
    own = field.sample(torch.zeros(4000, 1, 16, dtype=F64), sf.generator(0))
    also = torch.einsum("bcx,bcx->x", own, own.roll(1, -1)) / len(own)
    torch.testing.assert_close(cov.mean(), also.mean(), atol=0.05, rtol=0)
    assert whole.dtype == F64 and bool(((whole >= 0) & (whole < 1)).all())
