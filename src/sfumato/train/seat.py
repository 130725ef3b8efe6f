"""A player during a run: its optimizer, its average, the sums of its log, and how it moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from sfumato.errors import SfumatoError, UsageError
from sfumato.train import checkpoint as ck
from sfumato.train import shard
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Draws
from sfumato.train.ema import Ema, ema_decay
from sfumato.train.muon import Muon, matrices
from sfumato.train.rule import Descent, MakeRule, Outcome, Rule
from sfumato.train.task import MAIN, Player, Task, moved

if TYPE_CHECKING:
    from accelerate import Accelerator


@final
class _Losses(nn.Module):
    """The loss as a module, so that distributed wrappers see one forward per part."""

    def __init__(self, module: nn.Module, task: Task, accelerator: Accelerator) -> None:
        super().__init__()
        self.player = module
        self.task, self.accelerator = task, accelerator

    def forward(self, part: Any) -> Tensor:
        with self.accelerator.autocast():
            return self.task.losses(self.player, moved(part, self.accelerator.device))


@final
class Seat:
    """A player during a run.

    Args:
        player: who plays.
        config: how the run trains.
        draws: everything random, for this process.
        accelerator: devices, processes and precision.
        model: description of the player "model", for ``model.json``.
        alone: whether there is no other player.
        rule: makes the rule of "model"; others descend.

    Raises:
        UsageError: the data does not fit the task, or see ``rule``.
    """

    def __init__(
        self,
        player: Player,
        config: TrainConfig,
        draws: Draws,
        accelerator: Accelerator,
        model: Mapping[str, Any],
        alone: bool = True,
        rule: MakeRule = Descent,
    ) -> None:
        self.player, self.name, self.task = player, player.name, player.goal
        self.config, self.draws, self.accelerator = config, draws, accelerator
        self.model, self.alone, main = model, alone, player.name == MAIN
        self.task.check(draws.data)
        self.module = player.module.to(accelerator.device).train()
        self.average = Ema(self.module) if main else None
        if config.compile and main:
            self.task.compiled(self.module).compile()
        losses = _Losses(self.module, self.task, accelerator)
        self.sharded = config.shard and accelerator.num_processes > 1
        if self.sharded:
            self._shard(losses)
        self.parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.bare_optimizer = self._optimizer()
        self.losses, self.optimizer = losses, accelerator.prepare(self.bare_optimizer)
        if not self.sharded:
            self.losses = accelerator.prepare(losses)
        self.observer = self.task.observer() if main else None
        self.total = 0.0
        self.steps = self.skipped = 0
        self.norm = 0.0
        self.rule: Rule = rule(self) if main else Descent(self)

    def _optimizer(self) -> torch.optim.Optimizer:
        config, player = self.config, self.player
        mine = list(self.parameters.values())
        groups: list[dict[str, Any]] = [{"params": mine}]
        if not player.decay_vectors:
            vectors = [p for p in mine if p.ndim <= 1]
            groups = [
                {"params": [p for p in mine if p.ndim > 1]},
                {"params": vectors, "weight_decay": 0.0},
            ]
            self.parameters = dict(
                sorted(self.parameters.items(), key=lambda pair: pair[1].ndim <= 1)
            )
        how: dict[str, Any] = {
            "lr": config.lr * player.ratio,
            "betas": player.betas or config.betas,
            "weight_decay": config.weight_decay,
            "fused": self.accelerator.device.type in ("cpu", "cuda"),
        }
        kind = player.optimizer or (config.optimizer if self.name == MAIN else "adam")
        if kind == "adam":
            return torch.optim.AdamW(groups, **how)
        if self.sharded:
            raise UsageError(
                "train.shard: muon turns whole matrices, of which a process has slices alone; "
                "take train.optimizer adam"
            )
        return Muon(groups, **how, matrices=matrices(self.module))

    def _shard(self, losses: nn.Module) -> None:
        if not self.alone:
            raise UsageError("train.shard: a run with several players cannot be cut yet")
        shard.cut(losses, self.accelerator.device)
        if self.average is not None:
            shard.cut(self.average.module, self.accelerator.device)

    def moves(self, step: int) -> bool:
        """Whether it moves in a step."""
        return step % self.player.every == 0

    def hold(self, still: bool) -> None:
        """Whether its parameters are held still; gradients still pass through to its input."""
        for p in self.parameters.values():
            p.requires_grad_(not still)

    def advance(self, parts: Any, step: int, stop: bool, last: str) -> bool:
        """One optimizer step; true if any process was asked to stop.

        Raises:
            SfumatoError: the loss or the gradient is not finite; the weights were left as they
                were. The message ends with ``last``, which checkpoint stands.
        """
        config = self.config
        found = self.rule.gradient(parts, step, stop)
        self.norm = found.norm
        self._check(found, step, last)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(step) * self.player.ratio
            if config.decay == "one-cycle":
                group["betas"] = (config.momentum(step), group["betas"][1])
        if self.accelerator.scaler is None:
            self.bare_optimizer.step()  # accelerate's looks for packages on the disk in each step
        else:
            self.optimizer.step()
        self.bare_optimizer.zero_grad()
        self.skipped = self.skipped + 1 if self.optimizer.step_was_skipped else 0
        if self.average is not None:
            self.average.update(self.module, ema_decay(config, step + 1))
        if found.losses is not None:
            self.total += float(found.losses.double().mean())
            self.steps += 1
            if self.observer is not None:
                self.observer.add(found.losses, found.drawn)
        return found.stop

    def _check(self, found: Outcome, step: int, last: str) -> None:
        """Stop the run, before the weights are touched, if the loss or gradient is not finite."""
        losses = found.losses
        bad = torch.zeros(0, dtype=torch.bool) if losses is None else ~losses.isfinite()
        scaled = self.accelerator.scaler is not None  # fp16 skips steps that overflow
        if (math.isfinite(self.norm) or (scaled and self.skipped < 50)) and not bad.any():
            return
        what = f"gradient norm {self.norm}"
        if losses is not None:
            where = None
            if self.observer is not None:
                where = self.observer.where(found.drawn, bad if bad.any() else ~bad)
            told = f"{int(bad.sum())} of {len(losses)} examples not finite"
            what = ", ".join(
                word for word in (f"mean loss {float(losses.mean())}", told, where, what) if word
            )
        whose = "the" if self.name == MAIN else f"the {self.name}'s"
        raise SfumatoError(
            f"{whose} loss is not finite at step {step + 1:,}: {what}; the weights were left as "
            f"they were; {last}; try a lower learning rate, a longer warm-up or stronger clipping"
        )

    def report(self) -> dict[str, Any]:
        """What the log's next line says, and a new interval begins."""
        key = "loss" if self.name == MAIN else f"{self.name}_loss"
        told: dict[str, Any] = {key: self.total / self.steps} if self.steps else {}
        self.total, self.steps = 0.0, 0
        if self.observer is not None:
            told |= self.observer.report()
            self.observer.clear()
        return told

    def state(self) -> dict[str, Any]:
        """What a checkpoint's ``state.json`` keeps of it."""
        mine = {} if self.observer is None else self.observer.state()
        return {**mine, "total": self.total, "steps": self.steps}

    @property
    def files(self) -> tuple[str, str]:
        """Names of its weights and its moments in a checkpoint."""
        if self.name == MAIN:
            return ck.MODEL, ck.OPTIMIZER
        return f"{self.name}.safetensors", f"{self.name}-optimizer.safetensors"

    def pack(self) -> dict[str, bytes]:
        """What a checkpoint keeps; of a sharded run every process must ask."""
        weights, moments = self.files
        names = list(self.parameters)
        made = {
            weights: ck.pack_tensors(self.module.state_dict()),
            moments: ck.pack_tensors(ck.optimizer_tensors(self.bare_optimizer, names)),
        }
        if self.average is not None:
            made[ck.EMA] = ck.pack_tensors(self.average.module.state_dict())
        return made

    def restore(self, found: ck.Checkpoint, state: dict[str, Any]) -> None:
        """Become what a checkpoint holds.

        Raises:
            UsageError: it is one of a run without this player.
            SfumatoError: it holds another network.
        """
        folder, files = found
        weights, moments = self.files
        if weights not in files or moments not in files:
            raise UsageError(
                f"{folder} was trained without the player {self.name!r}; choose another folder"
            )
        ck.load_weights(self.module, files[weights], str(folder / weights))
        if self.average is not None:
            ck.load_weights(self.average.module, files[ck.EMA], str(folder / ck.EMA))
        ck.restore_optimizer(self.bare_optimizer, self.parameters, files[moments])
        mine = state["levels" if self.name == MAIN else self.name]
        self.total, self.steps = mine["total"], mine["steps"]
        if self.observer is not None:
            self.observer.restore(mine)
