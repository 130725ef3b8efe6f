"""Detail: what tells sharp from blurred."""

from __future__ import annotations

import numpy as np
import pytest

from sfumato.errors import UsageError
from sfumato.metrics import detail


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
