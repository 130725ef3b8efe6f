"""The private recipes: the paper's parametrisations, its settings, and a folder of images."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.console.again import read_run
from sfumato.denoise import Preconditioned
from sfumato.errors import SfumatoError
from sfumato.loss import denoising_loss
from sfumato.model.description import with_labels
from sfumato.model.load import load_model
from sfumato.nn import UNet
from sfumato.process import Scheduled
from sfumato.systems.dpdm import recipe as private
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.systems.dpdm.options import (
    UNIFORM_PIXELS,
    Config,
    Parametrisation,
    PrivateImages,
    preset,
    presets,
)
from sfumato.systems.dpdm.recipe import formulation_of


def built(chosen: Parametrisation) -> Preconditioned:
    """A disturbed network in this parametrisation, float64."""
    network = UNet(replace(Config().network, channels=4)).double()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    vp = chosen in (Parametrisation.V, Parametrisation.VP)
    sigma = 1.0 if vp else UNIFORM_PIXELS
    return Preconditioned(
        network,
        Scheduled(formulation_of(chosen).schedule),
        formulation_of(chosen).prediction,
        sigma,
    )


@pytest.mark.parametrize("chosen", list(Parametrisation))
def test_the_loss_is_the_papers(chosen: Parametrisation) -> None:
    """λ(σ) ‖D(x + σε; σ) - x‖² per pixel, with the paper's λ (its table of parametrisations)."""
    denoiser = built(chosen)
    schedule, g = formulation_of(chosen).schedule, torch.Generator().manual_seed(1)
    x = torch.randn(6, 1, 28, 28, generator=g, dtype=torch.float64).clamp(-1, 1)
    eps = torch.randn(6, 1, 28, 28, generator=g, dtype=torch.float64)
    t = formulation_of(chosen).law.draw(denoiser.process, 6, g).clamp(0.05, 0.9)
    alpha, sigma = (f(t)[:, None, None, None] for f in (schedule.alpha, schedule.sigma))
    level = sigma / alpha
    estimate = denoiser(alpha * x + sigma * eps, t)  # of the state α (x + level ε)
    weight = {
        Parametrisation.EDM: (level**2 + 1 / 3) / (level**2 / 3),
        Parametrisation.V: (level**2 + 1) / level**2,
        Parametrisation.VP: 1 / level**2,
        Parametrisation.VE: 1 / level**2,
    }[chosen]
    want = (weight * (estimate - x).square()).flatten(1).mean(1)
    got = denoiser.residual(alpha * x + sigma * eps, t, x, eps).square().flatten(1).mean(1)
    assert torch.allclose(got, want, rtol=1e-6)
    assert denoising_loss(denoiser, x, t).shape == (6,)


def test_the_laws_of_the_times_are_the_papers() -> None:
    g = torch.Generator().manual_seed(0)

    def levels(chosen: Parametrisation) -> torch.Tensor:
        schedule = formulation_of(chosen).schedule
        t = formulation_of(chosen).law.draw(Scheduled(schedule), 40_000, g)
        return (schedule.sigma(t) / schedule.alpha(t)).log()

    edm = levels(Parametrisation.EDM)
    assert float(edm.mean()) == pytest.approx(-1.2, abs=0.03)
    assert float(edm.std()) == pytest.approx(1.2, abs=0.03)
    v = levels(Parametrisation.V)
    assert -13.01 / 2 < float(v.min()) < -5 and 4 < float(v.max()) < 9.01 / 2
    t = 2 / math.pi * v.exp().atan()  # σ = tan(πt/2), t uniform
    low, high = (2 / math.pi * math.atan(math.exp(s)) for s in (-6.5, 4.5))
    assert float(t.mean()) == pytest.approx((low + high) / 2, abs=0.01)
    assert float(t.std()) == pytest.approx((high - low) / math.sqrt(12), abs=0.01)
    ve = levels(Parametrisation.VE)
    middle = (math.log(2e-3) + math.log(80)) / 2
    assert float(ve.median()) == pytest.approx(middle, abs=0.1)  # log-uniform, but for the end:
    below = float((ve < math.log(2e-3)).double().mean())
    assert below == pytest.approx(math.log(2) / (2 * math.log(80 / 2e-3)), abs=0.003)  # 3.3 %
    assert math.log(2.9e-5) < float(ve.min()) < math.log(1e-4)


@pytest.mark.parametrize("epsilon", [0.2, 1, 10])
def test_the_papers_settings(epsilon: float) -> None:
    config = preset(f"fashion-paper-{epsilon:g}")
    assert config.privacy.epsilon == epsilon  # the published files say 10 for 0.2
    assert config.train.steps == 300 * 15
    assert config.train.batch / 60_000 == pytest.approx(1 / 15)
    assert (config.privacy.multiplicity, config.privacy.clip) == (32, 1.0)
    assert config.parametrisation.value == ("v" if epsilon == 0.2 else "edm")
    network = UNet(with_labels(config.network, (), 28, 1))
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1.75e6, rel=0.15)


def test_nothing_is_measured_on_the_data() -> None:
    for config in presets().values():
        assert config.sigma_data == pytest.approx(math.sqrt(1 / 3))
        assert config.privacy.sampling == "poisson" and config.privacy.randomness.private


@pytest.mark.parametrize("chosen", list(Parametrisation))
def test_a_folder_of_images(tmp_path: Path, chosen: Parametrisation) -> None:
    pytest.importorskip("opacus", reason="the extra 'private' is not installed")
    rng = np.random.default_rng(0)
    for i in range(40):
        folder = tmp_path / "pictures" / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(
            folder / f"{i}.png"
        )
    small = preset("images")
    config = replace(
        small,
        path=tmp_path / "pictures",
        out=tmp_path / "run",
        resolution=16,
        parametrisation=chosen,
        network=replace(small.network, channels=4, resolution=16, attention=(4,)),
        privacy=replace(small.privacy, delta=1e-3),
        train=replace(
            small.train, steps=2, batch=8, sheet_every=2, cpu=True, quiet=True, tensorboard=False
        ),
    )
    assert config.data is PrivateImages.IMAGES
    run = private.run(config)
    denoiser, model = load_model(run)
    assert model.labels == (2,) and model.shape == (3, 16, 16)
    assert Ledger.read(run / NAME).mechanism.records == 40
    assert (run / "sheets" / "step-00000002.png").is_file()
    recipe, again = read_run(run)
    assert (recipe.run, again) == (private.run, config)
    told = json.loads((run / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert "epoch" not in told and told["ledger"]["steps"] == 2


def test_the_records_are_the_part_for_training(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    for i, name in enumerate(["train/a/0", "train/b/1", "test/a/2"]):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (16, 8), 50 * i).save(path)
    (tmp_path / "pictures" / "train" / "a" / "damaged.png").write_bytes(b"x")
    config = replace(
        preset("images"), path=tmp_path / "pictures", channels=1, resolution=8, fit="stretch"
    )
    with pytest.raises(SfumatoError, match=r"1 of 4 pictures(.|\n)*damaged\.png"):
        config.load()
    with pytest.warns(UserWarning, match="damaged"):
        records = replace(config, skip_broken=True).load()
    assert np.asarray(records.images)[:, 0, 4, 4].tolist() == [0, 50]
    assert records.labels is not None and records.labels[:, 0].tolist() == [0, 1]
    assert config.before == {"held_out": 0.0}  # runs of older versions read every picture
