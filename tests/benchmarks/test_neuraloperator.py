"""Our spectral convolution is neuraloperator's, weight for weight."""

from __future__ import annotations

import pytest
import torch

from sfumato.systems.ddo.nn.spectral import SpectralConvolution

peer = pytest.importorskip(
    "neuralop.layers.spectral_convolution",
    reason="needs pip install requests; --no-deps neuraloperator==2.0.0 tensorly tensorly-torch",
)


@pytest.mark.parametrize(
    ("modes", "grid"), [((9,), (16,)), ((9, 9), (16, 20)), ((7, 5, 9), (10, 12, 16))]
)
def test_the_same_operator(modes: tuple[int, ...], grid: tuple[int, ...]) -> None:
    """Theirs keeps modes // 2 waves on either side, and half of the last axis, as ours."""
    torch.manual_seed(0)
    theirs = peer.SpectralConv(3, 2, modes, bias=False)
    weight = theirs.weight
    dense = weight.to_tensor() if hasattr(weight, "to_tensor") else weight
    d = len(modes)
    ours = SpectralConvolution(3, 2, [m // 2 for m in modes])
    with torch.no_grad():
        parts = torch.view_as_real(dense.detach().resolve_conj())
        ours.weight.copy_(parts.permute(*range(2, 2 + d), 2 + d, 0, 1))
    x = torch.randn(2, 3, *grid)
    torch.testing.assert_close(ours(x), theirs(x), atol=2e-6, rtol=1e-5)
    assert float(ours(x).std()) > 0.1
