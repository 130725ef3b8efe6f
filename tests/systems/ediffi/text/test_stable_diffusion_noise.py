"""How much noise there is, as each scheduler of diffusers says it; and at which sizes."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import UsageError
from sfumato.systems.ediffi.text.stable_diffusion import grid, noise_level
from tiny_diffusion import BETAS

diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[bench]'")
pytest.importorskip("transformers", reason="pip install 'sfumato[text]'")

from diffusers.schedulers import KarrasDiffusionSchedulers  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",  # of diffusers
)


def test_the_noise_level_of_every_scheduler() -> None:
    """Where they have several lists of σ, the timestep says what the network is asked about."""
    tried = 0
    for kind in KarrasDiffusionSchedulers:
        if kind.name in ("EDMEulerScheduler", "DPMSolverSDEScheduler"):
            continue  # of another process; needs another package
        made = getattr(diffusers, kind.name)
        for more in ({}, {"use_karras_sigmas": True}, {"timestep_spacing": "trailing"}):
            if not set(more) <= set(made().config):
                continue
            scheduler = made(**BETAS, **more)
            scheduler.set_timesteps(6)
            alphas = scheduler.alphas_cumprod.double()
            table = ((1 - alphas) / alphas).sqrt()
            x = torch.zeros(1, 4, 2, 2)
            for t in scheduler.timesteps:
                scaled = scheduler.scale_model_input(x, t)
                low, share = int(t), float(t) % 1
                want = table[low] ** (1 - share) * table[min(low + 1, 999)] ** share
                # Some round the timestep, which moves σ by a few thousandths.
                assert noise_level(scheduler, t) == pytest.approx(float(want), rel=5e-3), kind
                x = scheduler.step(scaled, t, x).prev_sample
                tried += 1
    assert tried > 150


def test_noise_levels() -> None:
    ddim = diffusers.DDIMScheduler(**BETAS, rescale_betas_zero_snr=True)
    assert noise_level(ddim, 999) == pytest.approx(4096, rel=1e-3)  # and not infinite
    half = int((ddim.alphas_cumprod - 0.5).abs().argmin())
    assert noise_level(ddim, torch.tensor(half)) == pytest.approx(1.0, abs=0.01)
    euler = diffusers.EulerDiscreteScheduler(**BETAS)
    euler.set_timesteps(sigmas=[12.0, 3.0, 1.0, 0.0])
    t = euler.timesteps
    assert noise_level(euler, t[1]) == pytest.approx(3.0)
    euler.set_begin_index(2)
    assert noise_level(euler, t[2]) == pytest.approx(1.0)
    dpm = diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True)
    dpm.set_timesteps(50)  # the last ones round to the same timesteps
    (twice,) = (dpm.timesteps[1:] == dpm.timesteps[:-1]).nonzero()[:1, 0].tolist()
    for begin in (twice, twice + 1):
        dpm.set_begin_index(begin)
        assert noise_level(dpm, dpm.timesteps[begin]) == float(dpm.sigmas[begin])
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    for other in (flow, diffusers.UniPCMultistepScheduler(use_flow_sigmas=True)):
        with pytest.raises(UsageError, match="expected a scheduler of Stable Diffusion's"):
            noise_level(other, 1)


def test_halving() -> None:
    assert grid(8 * 12, 8, 12) == (8, 12)
    assert grid(2 * 3, 8, 12) == (2, 3)
    assert grid(5 * 7, 9, 13) == (5, 7)
    assert grid(1, 3, 5) == (1, 1)
    for queries in (7, 97, 2 * 4):
        with pytest.raises(UsageError, match="expected attention at 8x12"):
            grid(queries, 8, 12)
