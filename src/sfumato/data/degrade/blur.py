r"""Blur by a separable convolution, and the published operators that were not quite one.

I²SB's deblurring tasks name a "9-tap box" and a "5-tap Gaussian of σ = 10". `Blur` is that, as the
convolution the words say: y = k ⋆ₕ (k ⋆ᵥ x), with the picture mirrored beyond its border and
Σ k = 1, so that constants are kept.

`PublishedBlur` reproduces the operators behind the published figures, which came down from DDRM's
code (Kawar et al. 2022, arXiv 2201.11793). They apply U S Vᵀ with the singular value decomposition
of a one-dimensional n x n matrix K, and differ from the convolution in four ways:

1. the last tap is left out (8 of 9, 4 of 5 taps), so a constant becomes (8/9)² = .79 or
   (4/5)² = .64 of itself;
2. beyond the border there are zeros;
3. singular values of K below .03 are taken for 0;
4. the n² products of singular values are repeated three times one after the other, while the
   coefficients of the three channels lie side by side: coefficient i of channel c, at place
   k = 3 i + c, is multiplied by the value of place k mod n² instead of i. So it is no convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.data.degrade.base import (
    Degradation,
    DegradationCard,
    check_range,
    mirrored,
    need_picture,
)
from sfumato.seeds import Generators, rand


class BlurKernel(Enum):
    """A box (UNIFORM) or a Gaussian (GAUSSIAN)."""

    UNIFORM = "uniform"
    GAUSSIAN = "gaussian"


def gaussian_taps(size: int, sigma: Tensor) -> Tensor:
    """exp(-j²/(2σ²)), j = -(size-1)/2 ..., normalised; sigma (B,) in pixels -> (B, size)."""
    j = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    taps = (-0.5 * (j / sigma.double()[:, None]).square()).exp()
    return taps / taps.sum(1, keepdim=True)


@final
@dataclass(frozen=True)
class Blur(Degradation):
    """y = k ⋆ₕ (k ⋆ᵥ x), the picture mirrored beyond its border.

    Args:
        kernel: UNIFORM, k_j = 1/size, or GAUSSIAN.
        size: number of taps, odd.
        sigma: lowest and highest deviation of the Gaussian in pixels; drawn log-uniformly for
            each picture. Equal ends draw nothing. The uniform kernel does not ask for it.

    Raises:
        ValueError: an even size, or deviations that do not rise.
    """

    kernel: BlurKernel = BlurKernel.GAUSSIAN
    size: int = 5
    sigma: tuple[float, float] = (10.0, 10.0)

    def __post_init__(self) -> None:
        if self.size < 3 or self.size % 2 == 0:
            raise ValueError(f"expected an odd number of taps of at least 3, got {self.size}")
        check_range("sigma", self.sigma, 1e-3, 1e6)

    def _card(self) -> DegradationCard:
        low, high = self.sigma
        wide = "" if self.kernel is BlurKernel.UNIFORM else f", σ = {low:g} to {high:g} pixels"
        return DegradationCard(
            f"{self.kernel.value} blur of {self.size} taps{wide}",
            "the convolution that I²SB's deblurring tasks name (arXiv 2302.05872)",
        )

    def taps(self, n: int, generator: Generators = None) -> Tensor:
        """The kernels of n pictures, (n, size) float64; each sums to 1."""
        low, high = self.sigma
        if self.kernel is BlurKernel.UNIFORM:
            return torch.full((n, self.size), 1 / self.size, dtype=torch.float64)
        if low == high:
            return gaussian_taps(self.size, torch.full((n,), low, dtype=torch.float64))
        u = rand((n, 1), generator)[:, 0]
        return gaussian_taps(self.size, low * (high / low) ** u)

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """The blurred picture, (B, C, H, W)."""
        need_picture(x)
        b, c, h, w = x.shape
        taps = self.taps(b, generator).to(x).repeat_interleave(c, 0)
        half = self.size // 2
        y = mirrored(mirrored(x, half, half, 2), half, half, 3)
        y = y.reshape(1, b * c, h + 2 * half, w + 2 * half)
        y = F.conv2d(y, taps[:, None, :, None], groups=b * c)
        return F.conv2d(y, taps[:, None, None, :], groups=b * c).reshape(x.shape)


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept must serve gradients later
def _decomposed(kernel: BlurKernel, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """U, V (n, n) of the published matrix, its products of singular values, and their order."""
    if kernel is BlurKernel.UNIFORM:
        taps = torch.full((9,), 1 / 9, dtype=torch.float64)
    else:
        taps = gaussian_taps(5, torch.tensor([10.0]))[0]
    half = len(taps) // 2
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for j, tap in enumerate(taps[:-1].tolist()):  # the last tap is left out
        offset = j - half
        matrix += tap * torch.diag(torch.ones(n - abs(offset), dtype=torch.float64), offset)
    u, s, vt = torch.linalg.svd(matrix)
    s = torch.where(s < 0.03, torch.zeros_like(s), s)
    values, order = torch.outer(s, s).flatten().sort(descending=True, stable=True)
    return u, vt.mT.contiguous(), values, order


@final
@dataclass(frozen=True)
class PublishedBlur(Degradation):
    """The operators behind I²SB's published deblurring figures, see the module's text.

    Equal products of singular values may be sorted either way, so results agree with the published
    code up to that choice. Pictures are square and have three channels; [-1, 1] is taken to
    [0, 1] and back.
    """

    kernel: BlurKernel = BlurKernel.UNIFORM

    def _card(self) -> DegradationCard:
        return DegradationCard(
            f"I²SB's published {self.kernel.value} deblurring operator",
            "inherited from DDRM (arXiv 2201.11793); for comparing published figures only",
            note="not a convolution: darkens, and mixes what belongs to other frequencies",
        )

    def observe(self, x: Tensor, generator: Generators = None) -> Tensor:
        """U (S ∘ (Vᵀ x V)) Uᵀ with the values out of place."""
        need_picture(x, channels=(3,))
        if x.shape[2] != x.shape[3] or x.shape[2] < 9:
            raise ValueError(
                f"expected square pictures of at least 9 pixels, got {tuple(x.shape[2:])}"
            )
        b, c, n, _ = x.shape
        u, v, values, order = (a.to(x.device) for a in _decomposed(self.kernel, n))
        values = values.to(x.dtype)
        coefficients = v.mT.to(x) @ (0.5 * (x + 1)) @ v.to(x)
        rows = coefficients.flatten(2)[:, :, order].mT.reshape(b, -1)  # (i, c) at 3 i + c
        rows = rows * values.repeat(c)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        y = rows.reshape(b, n * n, c).mT[:, :, back].reshape(b, c, n, n)
        return 2 * (u.to(x) @ y @ u.mT.to(x)) - 1
