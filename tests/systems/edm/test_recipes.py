"""Recipes from data to a model folder, in small: train, resume, load, export, run again."""

from __future__ import annotations

import gzip
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.console.again import read_run
from sfumato.data import PointName
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.lock import contents
from sfumato.files.store import read_folder, write_folder
from sfumato.loss import edm_times
from sfumato.model.export import export
from sfumato.model.fit import draw_samples, root_mean_square
from sfumato.model.load import load_model
from sfumato.nn import UNetConfig
from sfumato.system import processes
from sfumato.systems.edm import images, points
from sfumato.train import TrainConfig, read_log

QUICK = TrainConfig(
    steps=4,
    batch=8,
    warmup=1,
    log_every=2,
    sheet_every=2,
    checkpoint_every=2,
    axis_dropout=0.3,
    cpu=True,
    quiet=True,
    tensorboard=False,
)
SMALL = UNetConfig(
    3, 3, channels=16, multipliers=(1, 2), blocks=1, attention=(), resolution=16, head_channels=0
)


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture
def clothes(tmp_path) -> Path:
    root = tmp_path / "clothes"
    root.mkdir()
    rng = np.random.default_rng(0)
    for stem in ("train", "t10k"):
        images = rng.integers(0, 255, (40, 28, 28)).astype(np.uint8)
        write_idx(root / f"{stem}-images-idx3-ubyte.gz", images)
        write_idx(root / f"{stem}-labels-idx1-ubyte.gz", (np.arange(40) % 10).astype(np.uint8))
    return root


def test_fashion_from_data_to_a_model_folder(clothes, tmp_path):
    config = images.Fashion(out=tmp_path / "run", root=clothes, train=QUICK)
    config = replace(config, network=replace(SMALL, multipliers=(1, 2, 2)))
    run = images.run(config)
    kept = sorted(path.name for path in contents(run))
    assert kept == ["checkpoints", "config.json", "log.jsonl", "sheets"]
    assert sorted(os.listdir(run / "sheets")) == ["step-00000002.png", "step-00000004.png"]
    with Image.open(run / "sheets" / "step-00000004.png") as sheet:
        assert sheet.width > sheet.height > 4 * 28
    assert [line["step"] for line in read_log(run)] == [2, 4]

    denoiser, model = load_model(run)
    assert model.shape == (1, 28, 28) and model.labels == (10,)
    assert len(model.axes) == 1 and len(model.axes[0].values) == 10
    raw, _ = load_model(run, ema=False)
    assert any(
        not torch.equal(a, b) for a, b in zip(denoiser.parameters(), raw.parameters(), strict=True)
    )
    x = denoiser.process.prior_sample((2, 1, 28, 28), torch.Generator().manual_seed(0))
    label = torch.tensor([[3], [10]])  # 10 is "no label"

    card = {"name": "small", "system": "EDM", "data": "fashion-mnist"}
    folder = export(run, tmp_path / "zoo" / "small", card)
    assert sorted(os.listdir(folder)) == [
        "SHA256SUMS",
        "card.json",
        "model.json",
        "model.safetensors",
    ]
    said = json.loads(read_folder(folder)["card.json"])
    assert said["name"] == "small" and said["steps"] == 4
    assert said["params"] == sum(p.numel() for p in denoiser.parameters())
    again, model_again = load_model(folder)
    assert model_again == model
    with torch.no_grad():
        assert torch.equal(again(x, 0.01, label), denoiser(x, 0.01, label))
    with pytest.raises(UsageError, match="only averaged weights"):
        load_model(folder, ema=False)
    with pytest.raises(SfumatoError, match="exists already"):
        export(run, folder, card)
    half = export(run, folder, card, half=True, replace=True)
    size = (half / "model.safetensors").stat().st_size
    assert size < 0.6 * (run / "checkpoints" / "step-00000004" / "ema.safetensors").stat().st_size
    with torch.no_grad():
        rough = load_model(half)[0](x, 0.01, label)
        assert torch.allclose(rough, denoiser(x, 0.01, label), atol=1e-2)

    recipe, back = read_run(run)
    assert back == config and recipe.run is images.run
    with pytest.raises(UsageError, match="already holds"):
        images.run(config)
    longer = replace(config, resume=True, train=replace(QUICK, steps=6))
    images.run(longer)
    assert [line["step"] for line in read_log(run)] == [2, 4, 6]


def test_a_run_of_an_older_version_goes_on(clothes, tmp_path):
    """A setting that the checkpoint does not know yet has its default; it is no other model."""
    network = replace(SMALL, multipliers=(1, 2, 2))
    train = replace(QUICK, steps=2, sheet_every=0)
    config = images.Fashion(out=tmp_path / "run", root=clothes, train=train, network=network)
    images.run(config)
    folder = tmp_path / "run" / "checkpoints" / "step-00000002"
    files = read_folder(folder)
    model = json.loads(files["model.json"])
    del model["model"]["network"]["fir"]
    write_folder(folder, {**files, "model.json": json.dumps(model).encode()}, replace=True)
    again = replace(config, resume=True, train=replace(train, steps=3))
    images.run(again)
    other = replace(again, network=replace(network, fir=True))
    with pytest.raises(UsageError, match=r"network\.fir: False there, True here"):
        images.run(other)


def test_a_damaged_run_description_is_refused(tmp_path):
    with pytest.raises(SfumatoError, match=r"there is no run in .*: it has no config\.json"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text('{"recipe": ')
    with pytest.raises(SfumatoError, match="does not say what was run"):
        read_run(tmp_path)
    about = {"recipe": "images", "config": {"path": "photos", "channels": 7}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match=r"config\.json\.channels"):  # the file is named
        read_run(tmp_path)
    (tmp_path / "config.json").write_text('{"recipe": "fashoin", "config": {}}')
    with pytest.raises(UsageError, match="did you mean 'fashion'"):
        read_run(tmp_path)


@pytest.mark.parametrize("kind", processes())
def test_points_learn_their_distribution(kind, tmp_path):
    """After a short training the samples' radii are those of the eight Gaussians on a circle."""
    train = replace(QUICK, steps=250, batch=128, lr=4e-3, warmup=20, sheet_every=0)
    train = replace(train, log_every=50, checkpoint_every=250, ema_half_life=2000.0)
    config = points.Points(
        out=tmp_path / "run", name=PointName.GAUSSIANS_8, n=4000, kind=kind, width=64, train=train
    )
    run = points.run(config)
    denoiser, model = load_model(run)
    cond = (torch.arange(400) % 8)[:, None]
    x = draw_samples(denoiser, model, cond, 400)
    centres = torch.tensor(
        [[np.cos(a), np.sin(a)] for a in 2 * np.pi * np.arange(8) / 8], dtype=torch.float32
    )
    nearest = torch.cdist(x, centres).min(1)
    assert nearest.values.mean() < 0.25  # the data: 0.125; a standard normal cloud: about 0.4
    for k in range(8):  # the label decides which one
        assert (nearest.indices[k::8] == nearest.indices[k::8].mode().values).double().mean() > 0.9
    assert len(nearest.indices.unique()) == 8
    losses = [line["loss"] for line in read_log(run)]
    assert losses[-1] < losses[0]


def test_a_folder_of_images(tmp_path, monkeypatch):
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    config = images.Images(
        path=tmp_path / "pets", out=tmp_path / "run", resolution=16, network=SMALL, train=QUICK
    )
    images.run(config)
    model = load_model(tmp_path / "run")[1]
    assert model.shape == (3, 16, 16)
    assert [axis.values for axis in model.axes] == [("cats", "dogs")]
    (tmp_path / "pets" / "cats" / "7.png").write_bytes(b"no picture")
    broken = replace(config, out=tmp_path / "other")
    with pytest.raises(SfumatoError, match=r"7\.png"):
        images.run(broken)
    with pytest.warns(UserWarning, match=r"7\.png"):
        images.run(replace(broken, skip_broken=True))
    with pytest.raises(UsageError, match="--path"):
        images.run(images.Images())


def test_avatars(tmp_path, monkeypatch):
    pytest.importorskip("dicebear")
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    config = images.Avatars(
        out=tmp_path / "run", n=24, resolution=16, network=SMALL, train=replace(QUICK, steps=2)
    )
    model = load_model(images.run(config))[1]
    assert model.shape == (3, 16, 16) and model.axes[0].name == "style"


class _Half:
    """Data whose root mean square is known."""

    def __len__(self) -> int:
        return 50

    def batch(self, indices):
        x = torch.full((len(indices), 1, 2, 2), 0.3)
        x[:, :, 0] = -0.4
        return x, None


def test_scale_and_times():
    """σ_d is the root mean square; the law of the times moves with it: median of σ/σ_d fixed."""
    assert root_mean_square(_Half()) == pytest.approx((0.5 * (0.09 + 0.16)) ** 0.5, abs=5e-4)
    assert edm_times(0.5).mean == pytest.approx(-1.2)
    assert np.exp(edm_times(0.8).mean) / 0.8 == pytest.approx(np.exp(-1.2) / 0.5)
