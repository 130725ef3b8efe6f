"""Denoising diffusion GANs from data to a model folder, afresh and from a trained denoiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.console.again import read_run
from sfumato.data import PointName
from sfumato.errors import UsageError
from sfumato.model.export import export
from sfumato.model.load import load_model
from sfumato.nn import UNetConfig
from sfumato.solve import Ancestral
from sfumato.systems.ddgan import recipe as ddgan
from sfumato.systems.ddgan.implicit import Bound, ImplicitDenoiser
from sfumato.systems.ddgan.model import ImplicitModel
from sfumato.systems.edm import points
from sfumato.train import TrainConfig, read_log

QUICK = TrainConfig(
    steps=3,
    batch=8,
    sheet_every=3,
    checkpoint_every=2,
    log_every=1,
    tensorboard=False,
    quiet=True,
    cpu=True,
)
POINTS = ddgan.Config(data="points", n=200, width=8, blocks=1, latent=2, train=QUICK)


def walk(denoiser: sf.Denoiser) -> torch.Tensor:
    assert isinstance(denoiser, ImplicitDenoiser)
    seeds = sf.generators(0, range(3))
    x = denoiser.process.prior_sample((3, 2), seeds)
    return sf.sample(denoiser, Ancestral(), denoiser.times, x, generator=seeds).x


@pytest.mark.parametrize("steps, latent", [(1, 2), (4, 0), (8, 3)])
def test_points(tmp_path: Path, steps: int, latent: int) -> None:
    out = tmp_path / "run"
    run = ddgan.run(
        replace(POINTS, out=out, denoising_steps=steps, latent=latent, energy=float(latent > 0))
    )
    denoiser, model = load_model(run)
    assert isinstance(model, ImplicitModel) and model.steps == steps
    assert model.sampling.times == tuple(sf.times.offset(steps).tolist())
    assert walk(denoiser).isfinite().all()
    assert [line["step"] for line in read_log(run)] == [1, 2, 3]
    recipe, back = read_run(run)
    assert recipe.run is ddgan.run and back.denoising_steps == steps
    made = export(run, tmp_path / "shipped", {"name": "small"})
    assert torch.equal(walk(load_model(made)[0]), walk(denoiser))
    with pytest.raises(UsageError, match=r"another model: .*steps: \d there, 2 here"):
        ddgan.run(replace(back, denoising_steps=2, resume=True))


def test_a_shifted_process_is_kept(tmp_path: Path) -> None:
    run = ddgan.run(replace(POINTS, out=tmp_path / "run", shift=0.35))
    denoiser, _ = load_model(run)
    assert denoiser.process.schedule == sf.Shifted(sf.VPLinear(), 0.35)
    assert walk(denoiser).isfinite().all()


@pytest.mark.parametrize("name", [PointName.GAUSSIANS_8, PointName.SWISS_ROLL])
def test_from_a_trained_denoiser(tmp_path: Path, name: PointName) -> None:
    """Before its first step it gives the denoiser's estimate, whatever z."""
    base = points.run(
        points.Points(out=tmp_path / "a", name=name, n=200, width=8, blocks=1, train=QUICK)
    )
    config = replace(POINTS, name=name, out=tmp_path / "b", model=str(base))
    model, generator = ddgan.from_trained(config, ddgan.load_data(config), 0)
    assert model.bound is Bound.NONE and model.network.latent == 2
    trained, _ = load_model(base)
    t, x = float(generator.times[2]), torch.randn(5, 2, generator=sf.generator(0))
    alpha, sigma = (
        float(f(t)) for f in (generator.process.schedule.alpha, generator.process.schedule.sigma)
    )
    want = trained(x / alpha, sigma / alpha / 80)
    torch.testing.assert_close(generator(x, t), want, rtol=1e-4, atol=1e-4)
    ddgan.run(config)
    other = PointName.SWISS_ROLL if name is not PointName.SWISS_ROLL else PointName.GAUSSIANS_8
    with pytest.raises(UsageError, match=rf"was trained on .*{name}.* got .*{other}"):
        ddgan.from_trained(config, ddgan.load_data(replace(config, name=other)), 0)
    with pytest.raises(UsageError, match="expected a denoiser to start from"):
        twice = replace(config, model=str(tmp_path / "b"))
        ddgan.from_trained(twice, ddgan.load_data(config), 0)


def test_digits_with_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from sfumato.data import DataCard, ImageSet, LabelAxis

    pixels = np.random.default_rng(0).integers(0, 255, (20, 1, 8, 8)).astype(np.uint8)
    axis = LabelAxis("digit", tuple("0123456789"))
    data = ImageSet(
        "tiny", pixels, (np.arange(20) % 10)[:, None], (axis,), DataCard("tiny", "", "", "")
    )
    monkeypatch.setattr(ddgan, "training_set", lambda name, **wish: data)
    config = ddgan.Config(
        out=tmp_path / "run",
        data="digits",
        latent=4,
        penalty=0.5,
        penalty_every=2,
        network=UNetConfig(1, 1, channels=16, multipliers=(1, 2), blocks=1, attention=(), patch=2),
        train=QUICK,
    )
    run = ddgan.run(config)
    denoiser, model = load_model(run)
    assert model.labels == (10,) and model.shape == (1, 8, 8)
    x = denoiser(torch.randn(2, 1, 8, 8), 1.0, torch.tensor([[3], [10]]))
    assert x.shape == (2, 1, 8, 8) and x.abs().max() <= 1
    free = ddgan.new_model(replace(config, conditional=False), data)
    assert free.labels == ()


def test_the_penalty_falls_geometrically() -> None:
    config = replace(POINTS, penalty=1e-2, penalty_end=1e-4, train=replace(QUICK, steps=100))
    got = [ddgan.gamma(config, step) for step in (0, 30, 60, 90, 99)]
    assert got == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4, 1e-4])
    assert ddgan.gamma(replace(config, penalty_end=0.0), 80) == 1e-2


def test_settings_out_of_range() -> None:
    with pytest.raises(UsageError, match="denoising_steps: expected at least 1, got 0"):
        ddgan.Config(denoising_steps=0)
    with pytest.raises(UsageError, match="penalty: expected at least 0, got -1"):
        ddgan.Config(penalty=-1)
    with pytest.raises(UsageError, match="shift: expected a positive number, got 0"):
        ddgan.Config(shift=0.0)
    with pytest.raises(UsageError, match="energy: a generator with latent 0 has one answer"):
        ddgan.Config(energy=1.0, latent=0)
    with pytest.raises(UsageError, match=r"nearest: expected less than 0.2507, the .* got 0.3"):
        ddgan.Config(nearest=0.3)
