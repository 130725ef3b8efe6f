"""Classifier guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from sfumato.condition import NOTHING, Condition
from sfumato.denoise import Denoiser
from sfumato.nn.dispatch import has_tangent
from sfumato.process import mix
from sfumato.schedule import Time, as_time
from sfumato.seeds import Generators

LogProb = Callable[[Tensor, Tensor, Condition], Tensor]
"""log p(c | x_t) in nats per sample, from (x_t, t (B,), cond)."""


@final
class ClassifierGuided(Denoiser):
    """Adds w K∇log p(c | x_t) to the score (Dhariwal & Nichol 2021, section 4).

    In the estimate that is x̂ + w (σ²/α) K∇log p. K = I is assumed; where α = 0 the state holds
    nothing to classify and the plain estimate is returned.

    Args:
        denoiser: what is guided; the condition goes to the classifier, and to it as well if
            ``share`` is true.
        log_prob: differentiable log-probability of the condition given the noisy state.
        scale: w.
        share: whether the denoiser sees the condition.

    Raises:
        ValueError: the process has more than one block.
    """

    def __init__(
        self, denoiser: Denoiser, log_prob: LogProb, scale: float, share: bool = False
    ) -> None:
        super().__init__()
        if denoiser.process.k != 1:
            raise ValueError(
                f"classifier guidance needs one block, got {denoiser.process.k}: in phase space "
                "the gradient cannot be written as a change of x_0"
            )
        self.denoiser = denoiser
        self.process = denoiser.process
        self.log_prob = log_prob
        self.scale = scale
        self.share = share

    def forward(
        self, x_t: Tensor, t: Time, cond: Condition = NOTHING, generator: Generators = None
    ) -> Tensor:
        """The estimate, moved up the classifier's gradient."""
        x0 = self.denoiser(x_t, t, cond if self.share else None, generator)
        q = self.process.marginal(t)
        gain = torch.where(q.A > 0, self.scale * q.cov / q.A, torch.zeros_like(q.A))
        if has_tangent(x_t):  # a derivative along the guided flow differentiates this forward
            within = as_time(t).to(x_t.device).expand(x_t.shape[0])
            total = torch.func.grad(lambda x: self.log_prob(x, within, cond).sum())
            return x0 + mix(gain, total(x_t))
        keep = torch.is_grad_enabled() and x_t.requires_grad  # a likelihood differentiates this
        with torch.enable_grad():
            x = x_t if keep else x_t.detach().requires_grad_()
            time = as_time(t).to(x.device).expand(x.shape[0])
            log_p = self.log_prob(x, time, cond).sum()
            (slope,) = torch.autograd.grad(log_p, x, create_graph=keep)
        return x0 + mix(gain, slope)
