"""How a run trains: everything the loop needs to know, in one frozen dataclass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

from sfumato.errors import UsageError


@final
@dataclass(frozen=True)
class TrainConfig:
    """How a run trains. What it trains, and on what, is the recipe's business.

    Args:
        steps: optimizer steps of the whole run.
        batch: images per step, over all processes and accumulated parts together.
        accumulate: parts that a process cuts its share of a batch into, to save memory.
        seed: everything random in the run follows from it.
        optimizer: "adam", or "muon", which makes the momentum of matrices and convolutions
            orthogonal (see `sfumato.train.muon`). A second player is always trained by AdamW.
        lr: the highest learning rate.
        warmup: steps over which the rate rises linearly from lr/warmup to lr.
        decay: "cosine" lets the rate fall to 0 at the last step, "constant" keeps it.
        betas: Adam's decay rates of the first and second moment.
        weight_decay: decoupled weight decay (AdamW); 0 is Adam.
        clip: largest gradient norm; larger gradients are scaled down to it. 0 does not clip.
        label_dropout: probability with which an example's labels are hidden (all of them
            together), which is what classifier-free guidance needs.
        axis_dropout: probability with which one label axis alone is hidden, for each axis.
        ema_half_life: half-life of the averaged weights, in images (Karras et al. 2022).
        ema_ramp: the half-life is at most this fraction of the images seen so far.
        ema_decay: if positive, averages with this decay per step instead, warmed up as
            min(decay, (1 + n)/(10 + n)).
        mixed_precision: "no" (float32), "bf16" or "fp16" inside the network.
        compile: run the network through torch.compile (minutes of compilation on a CPU).
        cpu: stay on the CPU even where there is a GPU.
        log_every: steps between lines of log.jsonl.
        levels: noise-level bins in which the loss is logged.
        sheet_every: steps between sample sheets; 0 draws none.
        checkpoint_every: steps between checkpoints; the last step always has one.
        keep: newest checkpoints that are kept.
        tensorboard: also write TensorBoard files where tensorboard is installed.
        quiet: no progress on the terminal.

    Raises:
        UsageError: a value outside its range.
    """

    steps: int = 10_000
    batch: int = 128
    accumulate: int = 1
    seed: int = 0
    optimizer: Literal["adam", "muon"] = "adam"
    lr: float = 1e-3
    warmup: int = 500
    decay: Literal["cosine", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip: float = 1.0
    label_dropout: float = 0.1
    axis_dropout: float = 0.0
    ema_half_life: float = 50_000.0
    ema_ramp: float = 0.05
    ema_decay: float = 0.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    cpu: bool = False
    log_every: int = 50
    levels: int = 8
    sheet_every: int = 1_000
    checkpoint_every: int = 1_000
    keep: int = 2
    tensorboard: bool = True
    quiet: bool = False

    def __post_init__(self) -> None:
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if not value >= low:
                raise UsageError(f"train.{name}: expected at least {low}, got {value}")
        for name in ("label_dropout", "axis_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(f"train.{name}: expected a probability below 1, got {value}")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise UsageError(f"train.lr: expected a positive number, got {self.lr}")
        if self.optimizer not in ("adam", "muon"):
            raise UsageError(f"train.optimizer: expected adam or muon, got {self.optimizer!r}")
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"train.ema_decay: expected 0 <= ema_decay < 1, got {self.ema_decay}")
        if self.batch % self.accumulate:
            raise UsageError(
                f"train.batch: {self.batch} images cannot be cut into {self.accumulate} equal "
                "parts; choose a multiple of train.accumulate"
            )

    def rate(self, step: int) -> float:
        """Learning rate of step n = 0, 1, ...: lr min(1, (n+1)/warmup) · (1 + cos(πn/steps))/2."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay == "constant":
            return self.lr * rise
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1.0)))


_AT_LEAST: dict[str, float] = {
    "steps": 1,
    "batch": 1,
    "accumulate": 1,
    "warmup": 0,
    "weight_decay": 0,
    "clip": 0,
    "ema_half_life": 0,
    "ema_ramp": 0,
    "log_every": 1,
    "levels": 1,
    "sheet_every": 0,
    "checkpoint_every": 1,
    "keep": 1,
}
