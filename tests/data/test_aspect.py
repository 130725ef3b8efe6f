"""Pictures that are not square: read, learned from, drawn and measured in their proportions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.cli import main
from sfumato.data import folder
from sfumato.data.aspect import width_of
from sfumato.errors import UsageError
from sfumato.model.codec import encode
from sfumato.nn import UNet, UNetConfig


def save(path: Path, width: int, height: int, exif: Image.Exif | None = None) -> None:
    """Red rises from left to right, green from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    pixels = np.stack([x, y, 0 * x], -1) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(path, exif=exif or Image.Exif())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    for i in range(60):
        save(top / f"{i}.png", 64 + i % 3, 48)
    return top


def test_the_width_follows_the_aspect(photos: Path) -> None:
    assert width_of(photos, 64, "square", 8) == 0
    assert width_of(photos, 64, "3:2", 8) == 96 and width_of(photos, 64, "1:2", 8) == 32
    assert width_of(photos, 64, "1:1", 8) == 0 and width_of(photos, 64, "1.45:1", 8) == 96
    assert width_of(photos, 48, "native", 1) == 65  # the median of 64, 65 and 66
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    for i in range(70):
        save(photos / f"upright {i}.png", 64, 48, turned)
    assert width_of(photos, 64, "native", 8) == 48
    for wrong in ("wide", "0:0", "100:1"):
        with pytest.raises(UsageError, match="--aspect"):
            width_of(photos, 64, wrong, 8)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_each_fit_by_its_corners(tmp_path: Path, fit: str) -> None:
    save(tmp_path / "p" / "1.png", 80, 40)
    data = folder(
        tmp_path / "p",
        20,
        fit=fit,
        image_width=30,
        root=tmp_path / "c",
        progress=False,  # type: ignore[arg-type]
    )
    x = np.asarray(data.images)[0].astype(int)
    assert x.shape == (3, 20, 30) and (data.resolution, data.image_width) == (20, 30)
    if fit == "pad":  # 30x15 between bars of 2 and 3
        assert not x[:, :2].any() and not x[:, -3:].any() and x[1, 2:17].min(0).max() < 30
        return
    per, first = (2, 10) if fit == "crop" else (80 / 30, 0)  # columns of 80 in one, and left out
    edge = 255 * (first + per / 2 - 0.5) / 79
    assert x[0, :, 0].mean() == pytest.approx(edge, abs=1.5)
    assert x[0, :, -1].mean() == pytest.approx(255 - edge, abs=1.5)
    assert x[1, 0].mean() == pytest.approx(255 * 0.5 / 39, abs=1)  # of the first two of 40 rows


def test_a_square_network_is_written_as_it_was() -> None:
    square = UNetConfig(3, 3, 8, (1, 2), attention=(8,), head_channels=0, resolution=16)
    assert "image_width" not in encode(square) and square.size == (16, 16)
    wide = square.at(16, 24)
    assert encode(wide)["image_width"] == 24 and wide.size == (16, 24)
    with pytest.raises(ValueError, match="width divisible by 2"):
        square.at(16, 23)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_picture_on_its_side_gives_the_same_on_its_side(patch: int) -> None:
    """With every kernel turned, attention included."""
    sizes = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "head_channels": 0, "patch": patch}
    flat = UNetConfig(1, 1, attention=(8 // patch,), resolution=16, image_width=24, **sizes)
    high = UNetConfig(1, 1, attention=(12 // patch,), resolution=24, image_width=16, **sizes)
    torch.manual_seed(0)
    one, other = UNet(flat).double(), UNet(high).double()
    state = one.state_dict()
    for value in state.values():
        value.normal_(0, 0.2)
    one.load_state_dict(state)
    turned = {k: v.mT.contiguous() if v.ndim == 4 else v for k, v in state.items()}
    if patch == 2:  # the channels of a patch stand row by row
        order = torch.tensor([0, 2, 1, 3])
        first, last = one.input.weight, one.output.weight
        names = [k for k, v in one.named_parameters() if v is first or v is last]
        assert len(names) == 2
        for name in names:
            dim = int(state[name].shape[0] == 4)
            turned[name] = turned[name].index_select(1 - dim, order)
            bias = name.replace("weight", "bias")
            turned[bias] = turned[bias][order] if dim else turned[bias]
    other.load_state_dict(turned)
    x, level = torch.randn(2, 1, 16, 24).double(), torch.randn(2).double()
    torch.testing.assert_close(other(x.mT, level), one(x, level).mT)


def test_the_whole_way(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                       capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    network = "--network.channels 8 --network.multipliers 1 2 --network.blocks 1 "
    network += "--network.attention 8 --network.patch 2 --network.head-channels 0"
    small = [*network.split(), "--train.batch", "4", "--train.steps", "3"]
    words = ["train", "images", "--path", "photos", "--resolution", "16", "--aspect", "native"]
    assert main([*words, "--out", "run", *small]) == 0
    assert (
        "64x48 to 66x48 pixels, now 20x16 colour (the middle, resized)" in capsys.readouterr().err
    )
    assert main(["train", "--resume", "run", "--train.steps", "4", "--change"]) == 0
    assert sf.load("run").sample(2, steps=2, seed=0).shape == (2, 3, 16, 20)
    assert main(["sample", "run", "--n", "24", "--steps", "2", "--out", "drawn.npz"]) == 0
    assert main(["sample", "run", "--n", "2", "--steps", "2", "--out", "drawn"]) == 0
    with Image.open(next(Path("drawn").glob("*.png"))) as picture:
        assert picture.size == (20, 16)
    evaluate = ["--split", "all", "--steps", "2", "--n", "24", "--features", "thumbnails"]
    assert main(["evaluate", "run", *evaluate, "--out", "a.json"]) == 0
    files = ["--data", "photos", "--resolution", "16", *evaluate[:2], *evaluate[4:]]
    assert main(["evaluate", "drawn.npz", *files, "--out", "b.json"]) == 0
    scores = [json.loads(Path(f).read_text())["results"][0]["scores"] for f in ("a.json", "b.json")]
    assert scores[0] == scores[1]
    assert main(["encode", "run", "photos/1.png", "--steps", "2", "--out", "latents.npz"]) == 0
    with np.load("latents.npz") as latents:
        assert next(v for v in latents.values() if v.ndim == 4).shape[1:] == (3, 16, 20)
    assert main(["models", "run", "--out", "mine"]) == 0
    assert main(["sample", "mine", "--n", "2", "--steps", "2", "--out", "again"]) == 0
    first = [next(Path(f).glob("*0.png")).read_bytes() for f in ("drawn", "again")]
    assert first[0] == first[1]
