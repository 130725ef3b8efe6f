"""Points beyond the border: PyTorch's own padding, derivatives of all kinds."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sfumato as sf
from sfumato.systems.ddo.nn.border import pad_border
from sfumato.systems.ddo.nn.harmonic import Domain

SHAPES = {1: (2, 3, 5), 2: (2, 3, 4, 5), 3: (2, 1, 3, 4, 2)}


def fields(dims: int) -> Tensor:
    return torch.randn(SHAPES[dims], dtype=torch.float64, generator=sf.generator(0, dims))


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_it_is_the_padding_of_pytorch(dims: int, domain: Domain) -> None:
    x = fields(dims)
    mode = "circular" if domain is Domain.PERIODIC else "replicate"
    want = F.pad(x, (1,) * (2 * dims), mode=mode)
    torch.testing.assert_close(pad_border(x, dims, domain), want, atol=0, rtol=0)


@pytest.mark.parametrize("domain", Domain)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_its_derivatives(dims: int, domain: Domain) -> None:
    """Backward, twice, forward, and over a batch of its own."""
    x = fields(dims).requires_grad_()

    def curved(v: Tensor) -> Tensor:
        return pad_border(v, dims, domain).square()

    assert torch.autograd.gradcheck(curved, (x,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(curved, (x,))
    v = fields(dims).flip(0)
    _, pushed = torch.func.jvp(lambda u: pad_border(u, dims, domain), (x.detach(),), (v,))
    torch.testing.assert_close(pushed, pad_border(v, dims, domain))
    each = torch.func.vmap(lambda u: pad_border(u, dims, domain))(x.detach())
    torch.testing.assert_close(each, pad_border(x.detach(), dims, domain))
