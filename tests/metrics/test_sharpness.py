"""Detail and textures: what tells sharp from blurred."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.data.places import data_root
from sfumato.errors import UsageError
from sfumato.metrics import Textures, detail, frechet_distance

WEIGHTS = data_root() / "mobilenet" / "mobilenet_v2-b0353104.pth"
PHOTOS = ("chelsea", "coffee", "astronaut")

needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="no MobileNetV2 weights in the data folder"
)


def test_detail_is_the_ratio_of_laplacian_energies() -> None:
    from scipy.ndimage import laplace

    g = np.random.default_rng(0)
    a, b = (g.integers(0, 256, (3, 3, 20, 24), np.uint8) for _ in range(2))

    def energy(images: np.ndarray) -> float:
        inside = [laplace(c.astype(float))[1:-1, 1:-1] for x in images for c in x]
        return float(np.square(inside).sum())

    assert detail(a, b) == pytest.approx(energy(a) / energy(b), rel=1e-6)
    assert detail(a, a) == 1
    assert detail(a // 2, a // 2 * 2) == pytest.approx(0.25, rel=1e-6)
    with pytest.raises(UsageError, match="any detail"):
        detail(a, np.zeros_like(a))


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


@needs_weights
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
