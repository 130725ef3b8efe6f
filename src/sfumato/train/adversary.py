"""The second player of a two-player run: a discriminator with its own optimizer and loss.

In every step it moves first, on a batch of its own draws (the same examples, fresh times, labels
and noise: the paths of `draws` have "adversary" in front), with the denoiser held still; then the
denoiser moves with the discriminator held still. It lives in the same checkpoint, in
``adversary.safetensors`` and ``adversary-optimizer.safetensors``; it has no average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.train import checkpoint as ck
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Microbatch

WEIGHTS, OPTIMIZER = "adversary.safetensors", "adversary-optimizer.safetensors"

AdversaryLoss = Callable[[nn.Module, Denoiser, Microbatch, int], Tensor]
"""Losses (B,) of (the adversary, the denoiser, a part, the step n = 0, 1, ...)."""


@final
@dataclass(frozen=True)
class Adversary:
    """A second player.

    Args:
        module: its network; the denoiser's own loss holds the same module.
        loss: what it minimises; no gradient must reach the denoiser.
        lr: its highest learning rate; it rises and falls as the denoiser's does.
    """

    module: nn.Module
    loss: AdversaryLoss
    lr: float


@final
class _Losses(nn.Module):
    """The loss as a module of the adversary's parameters alone, for distributed wrappers."""

    def __init__(self, adversary: Adversary, denoiser: Denoiser) -> None:
        super().__init__()
        self.adversary = adversary.module
        self.loss = adversary.loss
        self._denoiser = (denoiser,)  # not a submodule: its parameters are the other player's

    def forward(self, part: Microbatch, step: int) -> Tensor:
        return self.loss(self.adversary, self._denoiser[0], part, step)


@final
class Opponent:
    """The adversary during a run.

    Args:
        adversary: who plays.
        denoiser: against whom.
        config: the betas, clipping, and the shape of the learning rate over the steps.
        accelerator: devices, processes and precision.
    """

    def __init__(
        self,
        adversary: Adversary,
        denoiser: Denoiser,
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        if not (adversary.lr > 0 and math.isfinite(adversary.lr)):
            raise UsageError(f"adversary lr: expected a positive number, got {adversary.lr}")
        self.config, self.accelerator = config, accelerator
        self.ratio = adversary.lr / config.lr
        self.module = adversary.module.to(accelerator.device).train()
        self.parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.bare_optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=adversary.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.losses, self.optimizer = accelerator.prepare(
            _Losses(adversary, denoiser), self.bare_optimizer
        )
        self.total, self.steps = 0.0, 0

    def hold(self, still: bool) -> None:
        """Whether its parameters are held still; gradients still pass through to its input."""
        for p in self.parameters.values():
            p.requires_grad_(not still)

    def advance(self, parts: Sequence[Microbatch], step: int) -> None:
        """One optimizer step on its own parts, which are on the device; holds still after it.

        Raises:
            SfumatoError: its loss is not finite; its weights were left as they were.
        """
        config, accelerator = self.config, self.accelerator
        self.hold(False)
        mine = []
        for i, part in enumerate(parts):
            if i + 1 < len(parts):
                with accelerator.no_sync(self.losses):
                    losses = self.losses(part, step)
                    accelerator.backward(losses.mean())
            else:
                losses = self.losses(part, step)
                accelerator.backward(losses.mean())
            mine.append(losses.detach().float())
        norm = float(
            accelerator.clip_grad_norm_(
                self.parameters.values(), config.clip if config.clip else math.inf
            )
        )
        mean = float(accelerator.gather(torch.cat(mine)).mean())
        scaled = accelerator.scaler is not None  # fp16 skips steps that overflow
        if not math.isfinite(mean) or not (scaled or math.isfinite(norm)):
            raise SfumatoError(
                f"the adversary's loss is not finite at step {step + 1:,}: {mean}, gradient norm "
                f"{norm}; try a lower learning rate or a stronger penalty"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(step) * self.ratio
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.hold(True)
        self.total, self.steps = self.total + mean, self.steps + 1

    def report(self) -> dict[str, float]:
        """Its mean loss since the last line of the log."""
        return {"adversary_loss": self.total / max(self.steps, 1)}

    def clear(self) -> None:
        """Start a new interval of the log."""
        self.total, self.steps = 0.0, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint's ``state.json`` keeps."""
        return {"total": self.total, "steps": self.steps}

    def files(self) -> dict[str, bytes]:
        """What a checkpoint keeps beside it."""
        moments = ck.optimizer_tensors(self.bare_optimizer, list(self.parameters))
        return {
            WEIGHTS: ck.pack_tensors(self.module.state_dict()),
            OPTIMIZER: ck.pack_tensors(moments),
        }

    def restore(self, files: Mapping[str, bytes], state: Mapping[str, Any], folder: Path) -> None:
        """Become what a checkpoint holds.

        Raises:
            UsageError: it is one of a run without an adversary.
            SfumatoError: it holds another network.
        """
        if WEIGHTS not in files or OPTIMIZER not in files:
            raise UsageError(f"{folder} was trained without an adversary; choose another folder")
        ck.load_weights(self.module, files[WEIGHTS], str(folder / WEIGHTS))
        ck.restore_optimizer(self.bare_optimizer, self.parameters, files[OPTIMIZER])
        self.total, self.steps = state["adversary"]["total"], state["adversary"]["steps"]
