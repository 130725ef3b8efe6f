"""Embeddings of the noise level and of the condition (class labels, or a vector)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.nn.mapping import Mapping

__all__ = ["Conditioning", "NoiseFeatures"]


@final
class NoiseFeatures(nn.Module):
    """cos and sin of the noise level at log-spaced frequencies: (B,) -> (B, width).

        gamma(c) = sqrt(2) [cos(2 pi f_j c), sin(2 pi f_j c)],   f_j = 2^-4 ... 2^3 geometrically

    The noise level is log-like (EDM's c_noise = ln(sigma) / 4 lies in [-1.6, 1.1]; Karras et al.
    2022, arXiv 2206.00364, table 1), so the lowest frequency is monotone over the whole range and
    the highest resolves 1/16 of a unit. Fixed frequencies take the place of the random ones of
    Song et al. 2021 (arXiv 2011.13456, appendix C.1): same idea, but the same in every run, and no
    state to save. Computed in float32 (float64 stays float64) whatever the dtype of the module:
    bfloat16 has too few digits for phases.

    Raises ValueError if `width` is odd or below 4.
    """

    LOWEST, HIGHEST = 2.0**-4, 2.0**3  # cycles per unit of noise level

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"expected an even noise embedding width >= 4, got {width}")
        self.count = width // 2

    def forward(self, noise_level: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        wide = torch.float64 if noise_level.dtype == torch.float64 else torch.float32
        low, high = math.log2(self.LOWEST), math.log2(self.HIGHEST)
        octaves = torch.linspace(low, high, self.count, dtype=wide, device=noise_level.device)
        phase = 2 * math.pi * noise_level.to(wide)[:, None] * octaves.exp2()
        return math.sqrt(2.0) * torch.cat([phase.cos(), phase.sin()], dim=1)


@final
class Conditioning(nn.Module):
    """Noise level and condition -> one vector (B, width) that modulates every block.

        e = SiLU(W2 SiLU(W1 gamma(noise_level) + b1) + b2 + sum_a L_a[label_a])       with labels
        e = SiLU(W2 SiLU(W1 gamma(noise_level) + b1) + b2 + W3 v)                     with a vector

    `labels` has the number of classes of each axis; each axis has one more row, its null token
    "no label" (index = number of classes). `embedding` is the width of a vector condition, whose
    absence is a learned vector. At most one of the two may be used. A generator has in addition a
    latent vector z, whose `Mapping` is added inside the same SiLU: every block's scale and shift is
    linear in e, so z, the noise level and the label drive them together.

    `cond` may be int (B,) for one axis, int (B, A), float (B, embedding), or None = all null.
    Raises ValueError for any other shape or dtype, and for labels out of range. On an accelerator
    the range is checked by the embedding kernel itself, so that no step waits for the device.
    """

    def __init__(
        self,
        features: int,
        width: int,
        labels: Sequence[int] = (),
        embedding: int = 0,
        latent: int = 0,
    ) -> None:
        super().__init__()
        if labels and embedding:
            raise ValueError(
                f"expected labels or an embedding, got both (labels={tuple(labels)}, "
                f"embedding={embedding}); set one of them to nothing"
            )
        if any(n < 1 for n in labels):
            raise ValueError(f"expected at least one class per label axis, got {tuple(labels)}")
        if embedding < 0:
            raise ValueError(f"expected embedding >= 0, got {embedding}")
        self.labels = tuple(int(n) for n in labels)
        self.embedding = embedding
        self.noise = NoiseFeatures(features)
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(width, width)
        if self.labels:
            rows = sum(n + 1 for n in self.labels)
            self.table = nn.Parameter(torch.randn(rows, width) / math.sqrt(len(self.labels)))
            starts = [sum(n + 1 for n in self.labels[:a]) for a in range(len(self.labels))]
            self.starts: Tensor
            self.counts: Tensor
            self.register_buffer("starts", torch.tensor(starts), persistent=False)
            self.register_buffer("counts", torch.tensor(self.labels), persistent=False)
        if embedding:
            self.project = nn.Linear(embedding, width, bias=False)
            self.absent = nn.Parameter(torch.zeros(embedding))
        self.mapping = Mapping(latent, width) if latent else None

    def forward(
        self,
        noise_level: Tensor,
        cond: Tensor | None = None,
        latent: Tensor | None = None,
        said: Tensor | None = None,
    ) -> Tensor:
        """noise_level (B,), cond, z (B, latent) where there is one -> (B, width).

        ``said`` (B, width) is added inside the last SiLU: what a prompt says as a whole.
        """
        if noise_level.ndim != 1:
            raise ValueError(
                f"expected one noise level per sample, shape (B,), got {tuple(noise_level.shape)}"
            )
        features = self.noise(noise_level).to(self.first.weight.dtype)
        e = self.second(F.silu(self.first(features)))
        extra = self._condition(noise_level.shape[0], cond)
        if extra is not None:
            e = e + extra
        if (latent is None) != (self.mapping is None):
            have = "a latent vector" if self.mapping is not None else "no latent vector"
            raise ValueError(
                f"this network takes {have}, got {'none' if latent is None else 'one'}"
            )
        if self.mapping is not None and latent is not None:
            e = e + self.mapping(latent)
        return F.silu(e if said is None else e + said)

    def _condition(self, batch: int, cond: Tensor | None) -> Tensor | None:
        if self.labels:
            if cond is None:
                return self.table[self.starts + self.counts].sum(0)
            return F.embedding(self._rows(batch, cond), self.table).sum(1)
        if self.embedding:
            if cond is None:
                return self.project(self.absent)
            if not cond.is_floating_point() or tuple(cond.shape) != (batch, self.embedding):
                raise ValueError(
                    f"expected a float condition of shape ({batch}, {self.embedding}), "
                    f"got {cond.dtype} {tuple(cond.shape)}"
                )
            return self.project(cond.to(self.project.weight.dtype))
        if cond is not None:
            raise ValueError(
                f"expected cond=None, because the network has neither labels nor an embedding; "
                f"got {cond.dtype} {tuple(cond.shape)}"
            )
        return None

    def _rows(self, batch: int, cond: Tensor) -> Tensor:
        """Labels -> rows of the joint table (B, A), checked."""
        axes = len(self.labels)
        if cond.is_floating_point() or cond.is_complex() or cond.dtype == torch.bool:
            raise ValueError(f"expected integer labels, got {cond.dtype}")
        labels = cond[:, None] if cond.ndim == 1 and axes == 1 else cond
        if tuple(labels.shape) != (batch, axes):
            raise ValueError(
                f"expected labels of shape ({batch}, {axes}), one column per label axis, "
                f"got {tuple(cond.shape)}"
            )
        labels = labels.long()
        wrong = (labels < 0) | (labels > self.counts)
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            if bool(wrong.any()):
                b, a = (int(i) for i in wrong.nonzero()[0])
                raise ValueError(
                    f"expected labels 0..{self.labels[a]} on axis {a} "
                    f"({self.labels[a]} = no label), got {int(labels[b, a])} for sample {b}"
                )
            return labels + self.starts
        return torch.where(wrong, self.table.shape[0], labels + self.starts)
