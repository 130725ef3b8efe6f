"""The textures that the benchmark of restoration compares sets of pictures by."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.data.places import data_root
from sfumato.errors import UsageError
from sfumato.metrics import frechet_distance

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
Textures = pytest.importorskip("textures").Textures
WEIGHTS = data_root() / "mobilenet" / "mobilenet_v2-b0353104.pth"
PHOTOS = ("chelsea", "coffee", "astronaut")


def crops(n: int) -> torch.Tensor:
    """n squares of 64 pixels from the photographs, uint8."""
    data = pytest.importorskip("skimage.data")
    g = np.random.default_rng(0)
    wholes = [getattr(data, name)() for name in PHOTOS]
    found = []
    for i in range(n):
        whole = wholes[i % len(wholes)]
        top, left = (int(g.integers(0, side - 63)) for side in whole.shape[:2])
        found.append(whole[top : top + 64, left : left + 64].transpose(2, 0, 1))
    return torch.from_numpy(np.stack(found))


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no MobileNetV2 weights in the data folder")
def test_textures_know_blur_and_noise_and_not_places() -> None:
    """Mirrored pictures are nearer than blurred and noisy ones, in the Fréchet distance."""
    features = Textures(WEIGHTS)
    x = crops(200).float() / 127.5 - 1
    real = features(x)
    assert real.shape == (200, 144)
    torch.testing.assert_close(features(x[:3]), real[:3], atol=1e-4, rtol=1e-3)

    def far(y: torch.Tensor) -> float:
        return frechet_distance(real, features(y), features="textures", groups=2).value

    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    turned, noisy, soft = far(x.flip(3)), far(x + noise), far(F.avg_pool2d(x, 3, 1, 1))
    assert turned < 0.5 * min(noisy, soft)
    assert far(F.avg_pool2d(x, 5, 1, 2)) > soft
    with pytest.raises(UsageError, match="16 pixels or more"):
        features(x[:, :, :8, :8])
