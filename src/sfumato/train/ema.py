r"""Averaged weights: an exponential moving average in float32.

After step n, with batch size B, the average is

.. math:: \bar\theta_n = \beta_n \bar\theta_{n-1} + (1 - \beta_n)\,\theta_n .

Either by half-life (Karras et al. 2022, arXiv 2206.00364, appendix F, and their code):
:math:`\beta_n = 2^{-B / \min(h, r n B)}`, with half-life h in images and ramp r; or with a
constant decay, :math:`\beta_n = \min(\beta, (1 + n)/(10 + n))`.
"""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import nn

from sfumato.train import shard
from sfumato.train.config import TrainConfig


def ema_decay(config: TrainConfig, step: int) -> float:
    """β of the update after step n = 1, 2, ...; 0 means that the average is the weights."""
    if config.ema_decay > 0:
        return min(config.ema_decay, (1 + step) / (10 + step))
    half_life = min(config.ema_half_life, config.ema_ramp * step * config.batch)
    return 0.5 ** (config.batch / half_life) if half_life > 0 else 0.0


@final
class Ema:
    """The averaged copy of a module, ready to be called.

    Args:
        module: the module that is being trained; it is copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        for p in self.module.parameters():
            p.data = p.data.float()

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        """Move the average towards the module's weights; buffers are copied."""
        mine = shard.slices(self.module.parameters())
        theirs = [p.float() for p in shard.slices(p.detach() for p in module.parameters())]
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)
        for mine_b, theirs_b in zip(self.module.buffers(), module.buffers(), strict=True):
            mine_b.copy_(theirs_b)
