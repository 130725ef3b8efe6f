"""Critically-damped Langevin diffusion from data to a model folder, in the plane and on images."""

from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.console.again import read_run
from sfumato.data import PointName
from sfumato.model.description import ModelConfig
from sfumato.model.export import export
from sfumato.model.load import load_model
from sfumato.nn import UNetConfig
from sfumato.systems.cld import points as cld_points
from sfumato.systems.cld import recipe as cld
from sfumato.systems.cld.loss import Matching, Weighting
from sfumato.systems.cld.recipe import DampedConfig
from sfumato.systems.cld.sscs import SSCS
from sfumato.train import TrainConfig, read_log

QUICK = TrainConfig(
    steps=3,
    batch=8,
    sheet_every=3,
    checkpoint_every=3,
    log_every=1,
    tensorboard=False,
    quiet=True,
    cpu=True,
)
POINTS = cld_points.DampedPoints(n=200, width=8, blocks=1, train=QUICK)


def walk(denoiser: sf.Denoiser, shape: tuple[int, ...], n: int = 3) -> torch.Tensor:
    seeds = sf.generators(0, range(n))
    x = denoiser.process.prior_sample((n, *shape), seeds)
    solution = sf.sample(denoiser, SSCS(), sf.times.quadratic(30), x, generator=seeds)
    return denoiser.process.to_data(solution.x)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    ("matching", "weighting"),
    [(Matching.HYBRID, Weighting.LIKELIHOOD), (Matching.PLAIN, Weighting.REWEIGHTED_V1)],
)
def test_points(tmp_path: Path, mixed: bool, matching: Matching, weighting: Weighting) -> None:
    damped = DampedConfig(
        0.1, 6.9, mass_inv=1.0, gamma=0.1, mixed=mixed, matching=matching, weighting=weighting
    )
    config = replace(POINTS, out=tmp_path / "run", data=PointName.DIAMOND, damped=damped)
    run = cld_points.run(config)
    denoiser, model = load_model(run)
    assert isinstance(model, ModelConfig) and model.mixed == mixed and model.labels == ()
    process = denoiser.process
    assert isinstance(process, sf.CriticallyDamped)
    assert (process.beta0, process.beta1, process.mass_inv, process.gamma) == (0.1, 6.9, 1.0, 0.1)
    assert walk(denoiser, (2,)).isfinite().all()
    assert [line["step"] for line in read_log(run)] == [1, 2, 3]
    assert read_run(run)[1] == config
    made = export(run, tmp_path / "shipped", {"name": "small"})
    assert torch.equal(walk(load_model(made)[0], (2,)), walk(denoiser, (2,)))


def test_images_have_twice_the_channels_at_the_input(tmp_path: Path) -> None:
    root, rng = tmp_path / "clothes", np.random.default_rng(0)
    root.mkdir()
    for stem in ("train", "t10k"):
        images = rng.integers(0, 255, (20, 28, 28)).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(20) % 10)):
            array = array.astype(np.uint8)
            head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (root / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    network = UNetConfig(1, 1, channels=8, multipliers=(1, 1, 1), blocks=1, attention=())
    config = cld.Config(out=tmp_path / "run", root=root, network=network, train=QUICK)
    run = cld.run(config)
    denoiser, model = load_model(run)
    assert isinstance(model, ModelConfig) and isinstance(model.network, UNetConfig)
    assert (model.network.in_channels, model.network.out_channels) == (2, 1)
    assert model.shape == (1, 28, 28) and model.labels == (10,) and model.mixed
    assert walk(denoiser, model.shape).isfinite().all()
    recipe, back = read_run(run)
    assert back == config and recipe.run is cld.run


@pytest.mark.parametrize("matching", Matching)
def test_it_learns_eight_gaussians(tmp_path: Path, matching: Matching) -> None:
    """After a short training the samples lie on the circle, and around all of it."""
    train = replace(QUICK, steps=300, batch=128, lr=4e-3, warmup=20, sheet_every=0)
    train = replace(train, log_every=50, checkpoint_every=300, ema_half_life=2000.0)
    config = cld_points.DampedPoints(
        out=tmp_path / "run",
        data=PointName.GAUSSIANS_8,
        n=4_000,
        width=64,
        blocks=3,
        damped=DampedConfig(mixed=True, matching=matching),
        train=train,
    )
    run = cld_points.run(config)
    x = walk(load_model(run)[0], (2,), 500)
    radius = x.norm(dim=1)
    assert float((radius - 1).abs().mean()) < 0.3  # the data: 0.08; a normal cloud: 0.45
    octant = (torch.atan2(x[:, 1], x[:, 0]) * 4 / torch.pi).round().long() % 8
    assert float(octant.bincount(minlength=8).min()) > 500 / 8 / 3
    losses = [line["loss"] for line in read_log(run)]
    assert losses[-1] < losses[0]
