"""A restorer without a network, for what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.systems.i2sb.work import Progress


@dataclass
class Fake:
    """Answers darker by ``step`` and, where they differ, by noise of ``noise``; enlarges sr4x."""

    tasks: tuple[str, ...] = ("deblur", "sr4x", "colourise", "inpaint")
    step: float = 0.0
    noise: float = 0.1
    out: int = 3
    best_quality: int = 60
    calls: list[tuple[tuple[int, ...], str, int | None, tuple[int, ...]]] = field(
        default_factory=list
    )

    def scale(self, task: str) -> int:
        return 4 if task == "sr4x" else 1

    def channels(self, task: str) -> int:
        return self.out

    def masks(self, task: str) -> bool:
        return task == "inpaint"

    def __call__(
        self,
        picture: Tensor,
        task: str,
        *,
        mask: Tensor | None,
        seeds: Sequence[int],
        steps: int | None,
        progress: Progress | None,
    ) -> Tensor:
        assert picture.dtype == torch.float32
        assert picture.shape[0] == self.out
        assert (mask is not None) == self.masks(task)
        self.calls.append((tuple(picture.shape), task, steps, tuple(seeds)))
        base = picture.repeat_interleave(self.scale(task), 1)
        base = base.repeat_interleave(self.scale(task), 2) - self.step
        if task == "colourise":
            base = base + torch.tensor([0.2, 0.0, -0.2])[:, None, None]
        if progress is not None:
            for i in range(3):
                progress(i + 1, 3)
        if not self.noise:
            return base.expand(len(seeds), *base.shape)
        g = [torch.Generator().manual_seed(s) for s in seeds]
        return torch.stack([base + self.noise * torch.randn(base.shape, generator=h) for h in g])
