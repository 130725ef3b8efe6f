"""Tiny models in the true format: random weights, two label axes, or points."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sfumato.damped import CriticallyDamped
from sfumato.data import LabelAxis
from sfumato.denoise import Prediction
from sfumato.files.store import write_folder
from sfumato.model.description import ModelConfig
from sfumato.nn import MLPConfig, UNetConfig
from sfumato.train.checkpoint import pack_json, pack_tensors

STYLES = LabelAxis("style", ("lorelei", "micah", "pixel-art"))
GLASSES = LabelAxis("glasses", ("none", "glasses"))
CLASSES = LabelAxis("class", tuple("abcdefghij"))


def unet(axes: tuple[LabelAxis, ...], channels: int, resolution: int = 8) -> UNetConfig:
    return UNetConfig(
        in_channels=channels,
        out_channels=channels,
        channels=8,
        multipliers=(1, 2),
        blocks=1,
        attention=(resolution // 2,),
        head_channels=0,
        resolution=resolution,
        labels=tuple(len(a.values) for a in axes),
    )


def write_model(root: Path, name: str, config: ModelConfig, system: str = "EDM") -> Path:
    """A folder of the zoo with random weights, none of them zero."""
    denoiser = config.build()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in denoiser.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=random))
    card = {
        "name": name,
        "system": system,
        "data": config.data,
        "kind": "denoiser",
        "licence": "CC0",
        "resolution": 0 if len(config.shape) == 1 else config.shape[-1],
        "params": sum(p.numel() for p in denoiser.parameters()),
        "labels": {a.name: list(a.values) for a in config.axes},
        "scores": {"a score": 1.25},
    }
    files = {
        "model.safetensors": pack_tensors(denoiser.state_dict()),
        "model.json": pack_json({"model": config.to_json()}),
        "card.json": json.dumps(card).encode(),
    }
    return write_folder(root / name, files)


@pytest.fixture(scope="session")
def zoo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    grey = ModelConfig("fashion-mnist", unet((CLASSES,), 1, 28), axes=(CLASSES,))
    write_model(root, "tiny-grey", grey)
    colour = ModelConfig("avatars", unet((STYLES, GLASSES), 3), axes=(STYLES, GLASSES))
    write_model(root, "tiny-faces", colour)
    phase = ModelConfig(
        "avatars",
        replace(unet((STYLES, GLASSES), 3), in_channels=6),
        CriticallyDamped(),
        Prediction.VELOCITY_NOISE,
        axes=(STYLES, GLASSES),
    )
    write_model(root, "tiny-phase", phase, "CLD")
    write_model(root, "tiny-points", ModelConfig("25-gaussians", MLPConfig(width=16, blocks=1)))
    return root


@pytest.fixture(autouse=True)
def in_an_empty_folder(zoo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFUMATO_ZOO", str(zoo_folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path
