"""How a run trains: everything the loop needs to know, in one frozen dataclass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

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
            orthogonal (see `sfumato.train.muon`). Further players have AdamW unless they say
            otherwise.
        lr: the highest learning rate.
        warmup: steps over which the rate rises linearly from lr/warmup to lr.
        decay: "cosine" or "linear" lets the rate fall to 0 at the last step, "constant" keeps it;
            "one-cycle" (Smith and Topin 2017, arXiv 1708.07120) goes from lr/25 to lr over the
            warm-up and to lr/250,000 at the end along half cosines, and Adam's first beta from
            0.95 to 0.85 and back.
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
        shard: cut weights, averages and moments among the processes (FSDP), for a network that
            does not fit one device; nothing in one process.
        log_every: steps between lines of log.jsonl.
        levels: noise-level bins in which the loss is logged.
        sheet_every: steps between sample sheets; 0 draws none.
        checkpoint_every: steps between checkpoints; the last step always has one. One process alone
            also writes one when ten minutes have gone by without.
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
    decay: Literal["cosine", "constant", "linear", "one-cycle"] = "cosine"
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
    shard: bool = False
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
        if self.shard and self.mixed_precision == "fp16":
            raise UsageError("train.shard: fp16 needs whole gradients; take bf16 or no")
        if self.batch % self.accumulate:
            raise UsageError(
                f"train.batch: {self.batch} images cannot be cut into {self.accumulate} equal "
                "parts; choose a multiple of train.accumulate"
            )

    def rate(self, step: int) -> float:
        """Learning rate of step n = 0, 1, ...: lr min(1, (n+1)/warmup) · (1 + cos(πn/steps))/2."""
        if self.decay == "one-cycle":
            return self._cycle(step, self.lr / 25, self.lr, self.lr / 250_000)
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.decay == "constant":
            return self.lr * rise
        if self.decay == "linear":
            return self.lr * rise * (1 - min(step / self.steps, 1.0))
        return self.lr * rise * 0.5 * (1 + math.cos(math.pi * min(step / self.steps, 1.0)))

    def momentum(self, step: int) -> float:
        """Adam's first beta in a step of one cycle."""
        return self._cycle(step, 0.95, 0.85, 0.95)

    def _cycle(self, step: int, low: float, high: float, last: float) -> float:
        """From low to high over the warm-up, and to last at the end."""
        peak, end = self.warmup - 1, self.steps - 1
        if step <= peak:
            start, stop, share = low, high, step / max(peak, 1)
        else:
            start, stop, share = high, last, (step - peak) / max(end - peak, 1)
        return stop + (start - stop) / 2 * (1 + math.cos(math.pi * min(share, 1.0)))


_AT_LEAST: dict[str, float] = {
    "steps": 1, "batch": 1, "accumulate": 1, "warmup": 0, "weight_decay": 0, "clip": 0,
    "ema_half_life": 0, "ema_ramp": 0, "log_every": 1, "levels": 1, "sheet_every": 0,
    "checkpoint_every": 1, "keep": 1,
}  # fmt: skip


def small(device: str, **settings: Any) -> TrainConfig:
    """Settings of something smaller than a generative model, a judge or a reader.

    Args:
        device: "cpu" or "cuda".
        settings: those that differ from the usual: Adam's own betas, no clipping, no sheets,
            nothing on the terminal, a line of the log in 50 steps, a checkpoint in 500.
    """
    usual: dict[str, Any] = {
        "cpu": not device.startswith("cuda"), "betas": (0.9, 0.999), "clip": 0.0,
        "sheet_every": 0, "log_every": 50, "checkpoint_every": 500,
        "tensorboard": False, "quiet": True,
    }  # fmt: skip
    return TrainConfig(**{**usual, **settings})
