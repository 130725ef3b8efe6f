"""Features: what goes in, what comes out, and that each says its name."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError
from sfumato.metrics.compare import compare
from sfumato.metrics.features import Inception, Pixels, extract, pixel_values
from sfumato.metrics.frechet import moments
from sfumato.metrics.mobilenet import MobileNet, MobileNetV2, load_mobilenet

WEIGHTS = data_root() / "mobilenet" / "mobilenet_v2-b0353104.pth"


def pictures(seed: int, n: int, c: int = 1, size: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, c, size, size), np.uint8)


def test_bytes_and_floats_agree() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    x = pixel_values(every)
    assert float(x.min()) == -1 and float(x.max()) == 1
    assert torch.equal(pixel_values(x), x)
    near = x + 0.4 / 127.5 * torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)
    assert torch.allclose(pixel_values(near), x, atol=1e-6)  # rounded to what a file would hold
    assert float(pixel_values(x * 3).max()) == 1
    assert torch.equal(pixel_values(every.numpy()), x)


def test_refuses_what_is_no_picture() -> None:
    for bad in (torch.zeros(3, 4, 4), torch.zeros(2, 5, 4, 4), torch.zeros(1, 1, 2, 2).long()):
        with pytest.raises(UsageError, match="expected"):
            pixel_values(bad)
    with pytest.raises(UsageError, match="not finite"):
        pixel_values(torch.full((1, 1, 2, 2), torch.nan))
    with pytest.raises(UsageError, match=r"\(1, 4, 4\)"):
        Pixels((1, 4, 4))(pictures(0, 2, 3))


def test_extract_is_the_same_however_images_come(tmp_path: Path) -> None:
    images = pictures(1, 37)
    features = Pixels((1, 4, 4))
    whole = features(images)
    assert torch.equal(extract(features, images, batch=5), whole)
    assert torch.equal(extract(features, torch.from_numpy(images), batch=100), whole)
    assert torch.equal(extract(features, np.array_split(images, 4), batch=3), whole)
    np.save(tmp_path / "i.npy", images)
    mapped = np.load(tmp_path / "i.npy", mmap_mode="r")
    seen: list[int] = []
    assert torch.equal(extract(features, mapped, batch=10, progress=seen.append), whole)
    assert seen == [10, 20, 30, 37]
    with pytest.raises(UsageError, match="got none"):
        extract(features, images[:0])


def test_compare_prints_every_score_with_its_features() -> None:
    real, generated = pictures(2, 300), pictures(3, 250) // 2
    result = compare(real, generated, Pixels((1, 4, 4)))
    lines = str(result).splitlines()
    assert len(lines) == 6
    assert all("(pixels 1x4x4, n=250" in line for line in lines)
    x, y = (torch.from_numpy(a).flatten(1).double() / 127.5 - 1 for a in (real, generated))
    a, b = moments(x), moments(y)
    root = (a.covariance @ b.covariance).double()
    trace = torch.linalg.eigvals(root).real.clamp_min(0).sqrt().sum()
    expected = float(
        (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * trace
    )
    assert result.scores[0].value == pytest.approx(expected, rel=1e-6)


class Halves(nn.Module):
    """Stands in for Inception: the mean of each half, doubled if features are not asked for."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        w = x.shape[3] // 2
        out = torch.stack((x[..., :w].mean((1, 2, 3)), x[..., w:].mean((1, 2, 3))), 1)
        return out if return_features else out * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_network_from_a_file(tmp_path: Path) -> None:
    torch.jit.script(Halves()).save(tmp_path / "inception-test.pt")
    features = Inception(tmp_path / "inception-test.pt")
    assert (features.name, features.dim) == ("inception-test", 2)
    images = pictures(4, 3)
    expected = np.stack((images[..., :2].mean((1, 2, 3)), images[..., 2:].mean((1, 2, 3))), 1)
    assert np.allclose(features(images).numpy(), expected, atol=1e-3)
    with pytest.raises(UsageError, match="no Inception weights"):
        Inception(tmp_path / "nowhere.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "state.pt")
    with pytest.raises(UsageError, match="not a TorchScript file"):
        Inception(tmp_path / "state.pt")


def test_mobilenet_has_the_published_shape() -> None:
    """3,504,872 parameters; strides down to 1/32; input 224 needs the paper's 300 M multiplies."""
    network = MobileNetV2().eval()
    assert sum(p.numel() for p in network.parameters()) == 3_504_872
    macs = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += module.weight.numel() * out.shape[2] * out.shape[3]
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        x = torch.zeros(1, 3, 224, 224)
        assert network.features(x).shape == (1, 1280, 7, 7)
        macs = 0
        assert network(x).shape == (1, 1000)
    assert macs == pytest.approx(300e6, rel=0.01)


def test_mobilenet_refuses_another_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sfumato data fetch mobilenet"):
        load_mobilenet(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes(b"something else")
    with pytest.raises(SfumatoError, match="SHA-256"):
        load_mobilenet(tmp_path / "x.pth")


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no MobileNetV2 weights in the data folder")
def test_mobilenet_features_do_not_depend_on_the_batch() -> None:
    features = MobileNet(WEIGHTS, resolution=64)
    assert features.name == "ImageNet MobileNetV2 at 64"
    images = pictures(5, 5, 3, 40)
    whole = features(images)
    assert whole.shape == (5, 1280)
    alone = torch.cat([features(images[i : i + 1]) for i in range(5)])
    assert float((whole - alone).abs().max()) < 1e-4
    grey = pictures(6, 2, 1, 40)
    assert torch.equal(features(grey), features(grey.repeat(3, axis=1)))


def photo(name: str) -> np.ndarray:
    spec = find_spec("skimage")
    if not WEIGHTS.is_file() or spec is None or spec.origin is None:
        pytest.skip("needs MobileNetV2's weights in the data folder and scikit-image's photos")
    path = Path(os.path.dirname(spec.origin)) / "data" / name
    if not path.is_file():
        pytest.skip(f"this scikit-image has no {name}")
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)  # the usual test view: short side 256, central 224
    w, h = (round(s * scale) for s in image.size)
    left, top = (w - 224) // 2, (h - 224) // 2
    image = image.resize((w, h), Image.Resampling.BILINEAR)
    view = image.crop((left, top, left + 224, top + 224))
    return np.asarray(view).transpose(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("name", "label", "at_least"),
    [("chelsea.png", 285, 0.6), ("coffee.png", 967, 0.9), ("rocket.jpg", 812, 0.2)],
    ids=["Egyptian cat", "espresso", "space shuttle"],
)
def test_mobilenet_knows_photographs(name: str, label: int, at_least: float) -> None:
    features = MobileNet(WEIGHTS) if WEIGHTS.is_file() else None
    image = photo(name)
    assert features is not None
    with torch.inference_mode():
        probabilities = features.network(features.prepare(image)).softmax(1)[0]
    assert int(probabilities.argmax()) == label
    assert float(probabilities[label]) > at_least
