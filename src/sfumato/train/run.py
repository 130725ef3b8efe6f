"""The state of a run between two steps, and how one step leads to the next."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from sfumato.denoise import Denoiser, Preconditioned
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import pictures
from sfumato.files.atomic import write
from sfumato.systems.dpdm.config import PrivacyConfig
from sfumato.systems.dpdm.descent import PrivateDescent
from sfumato.train import checkpoint as ck
from sfumato.train.adversary import Adversary, Opponent
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Draws, Loss, Microbatch
from sfumato.train.ema import Ema, ema_decay
from sfumato.train.levels import Levels, level, level_edges
from sfumato.train.muon import Muon, matrices
from sfumato.train.report import Report, duration
from sfumato.train.rule import Descent, Rule
from sfumato.train.stop import StopSignals

Sheet = Callable[[Denoiser], Image.Image]
"""Draws a picture from the averaged model; must not use torch's global generator."""


Update = Callable[[dict[str, Any]], dict[str, Any]]
"""Brings a model's description, written by an older version, up to date."""


def same(description: dict[str, Any]) -> dict[str, Any]:
    """The description as it is."""
    return description


class Stopped(SfumatoError):
    """A signal stopped the run after it had saved a checkpoint."""


@final
class _Losses(nn.Module):
    """The loss as a module, so that distributed wrappers see one forward per part."""

    def __init__(self, denoiser: Denoiser, loss: Loss) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.loss = loss

    def forward(self, part: Microbatch) -> Tensor:
        return self.loss(self.denoiser, part)


@final
class Run:
    """A run: weights, averaged weights, optimizer, step, and the folder it writes to.

    Args:
        config: how to train.
        denoiser: what is trained.
        draws: everything random, for this process.
        out: the run folder.
        accelerator: devices, processes and precision.
        model: description of the denoiser, for ``model.json``.
        sheet: draws a picture of samples.
        loss: the loss per example.
        adversary: the second player, if there is one.
        privacy: what is promised to the data's records, if anything is.
    """

    def __init__(
        self,
        config: TrainConfig,
        denoiser: Denoiser,
        draws: Draws,
        out: Path,
        accelerator: Accelerator,
        model: dict[str, Any],
        sheet: Sheet | None,
        loss: Loss,
        adversary: Adversary | None = None,
        privacy: PrivacyConfig | None = None,
    ) -> None:
        self.config, self.draws, self.out = config, draws, out
        self.accelerator, self.model, self.sheet = accelerator, model, sheet
        self.main = accelerator.is_main_process
        denoiser.to(accelerator.device)
        self.denoiser = denoiser.train()
        self.ema = Ema(denoiser)
        if config.compile:
            target = denoiser.network if isinstance(denoiser, Preconditioned) else denoiser
            target.compile()
        self.parameters = {n: p for n, p in denoiser.named_parameters() if p.requires_grad}
        how: dict[str, Any] = {
            "lr": config.lr,
            "betas": config.betas,
            "weight_decay": config.weight_decay,
            "fused": accelerator.device.type in ("cpu", "cuda"),
        }
        mine = list(self.parameters.values())
        optimizer = self.bare_optimizer = (
            Muon(mine, **how, matrices=matrices(denoiser))
            if config.optimizer == "muon"
            else torch.optim.AdamW(mine, **how)
        )
        self.losses, self.optimizer = accelerator.prepare(_Losses(denoiser, loss), optimizer)
        self.opponent = (
            None if adversary is None else Opponent(adversary, denoiser, config, accelerator)
        )
        self.rule: Rule
        if privacy is None:
            self.rule = Descent(config, draws, accelerator, self.losses, mine)
        else:
            self.rule = PrivateDescent(config, privacy, draws, accelerator, denoiser, loss, model)
        self.levels = Levels(level_edges(denoiser.process, draws.law, config.levels))
        self.step = 0
        self.skipped = 0
        self.norm = 0.0
        self.saved: Path | None = None

    def open(self, resume: bool, about: Mapping[str, Any] | None, update: Update) -> Report:
        """Take up an older run, or start a new one in an empty folder."""
        found: ck.Checkpoint | None = None
        state: dict[str, Any] | None = None
        refused: list[str] = []
        if not resume and self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UsageError(
                f"{self.out} already holds something; go on with a run by --resume, or choose "
                "another folder (nothing was changed)"
            )
        if self.main:
            ck.clean(self.out)
        self.accelerator.wait_for_everyone()
        if resume:
            found, refused = ck.newest_checkpoint(self.out)
            if found is not None:
                state = self.restore(found, update)
        self.accelerator.wait_for_everyone()
        news = self.rule.open(self.out, state)
        if self.main:
            self.out.mkdir(parents=True, exist_ok=True)
            if about is not None:
                write(self.out / "config.json", json.dumps(dict(about), indent=1) + "\n")
        report = Report(
            self.out,
            self.step,
            self.config.steps,
            self.config.batch,
            quiet=self.config.quiet,
            tensorboard=self.config.tensorboard,
            main=self.main,
        )
        for reason in refused:
            report.say(f"left out a damaged checkpoint: {reason}")
        if found is not None:
            report.say(f"going on after step {self.step:,} from {found.folder}")
        elif resume:
            report.say(f"no checkpoint in {self.out} yet: starting from the beginning")
        if news:
            report.say(news)
        return report

    def restore(self, found: ck.Checkpoint, update: Update) -> dict[str, Any]:
        """Become what a checkpoint holds; returns its state."""
        folder, files = found
        theirs = update(ck.parse_json(files, ck.DESCRIPTION, folder).get("model", {}))
        if changed := ck.differences(theirs, self.model):
            raise UsageError(f"{folder} belongs to another model: " + "; ".join(changed))
        state = ck.parse_json(files, ck.STATE, folder)
        for key in ("seed", "batch", "optimizer"):
            was = state["train"].get(key, "adam")  # older runs had no choice of an optimizer
            if was != getattr(self.config, key):
                raise UsageError(
                    f"{folder} was trained with {key} {was}, got {getattr(self.config, key)}; a "
                    "resumed run cannot change it"
                )
        ck.load_weights(self.denoiser, files[ck.MODEL], str(folder / ck.MODEL))
        ck.load_weights(self.ema.module, files[ck.EMA], str(folder / ck.EMA))
        ck.restore_optimizer(self.bare_optimizer, self.parameters, files[ck.OPTIMIZER])
        if state["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.opponent is not None:
            self.opponent.restore(files, state, folder)
        if len(state["levels"]["sums"]) == self.config.levels:
            self.levels.restore(state["levels"])
        self.step, self.saved = state["step"], folder
        return state

    def go(self, report: Report) -> Path:
        """Train to the last step; returns the last checkpoint."""
        config = self.config
        began = self.step
        saved = self.saved or self.out

        def due(every: int) -> bool:
            return self.step % every == 0

        with StopSignals() as signals, ThreadPoolExecutor(1) as ahead:
            upcoming = ahead.submit(self.parts, self.step)
            while self.step < config.steps and not self.rule.spent():
                parts, theirs = upcoming.result()
                if self.step + 1 < config.steps:
                    upcoming = ahead.submit(self.parts, self.step + 1)
                self.draws.seed_dropout(self.step)
                if self.opponent is not None:
                    self.opponent.advance(
                        [p.to(self.accelerator.device) for p in theirs], self.step
                    )
                stop = self.advance(parts, signals.name is not None)
                done = self.step == config.steps or self.rule.spent()
                report.advance(self.step)
                if due(config.log_every) or done:
                    extra = {"lr": config.rate(self.step - 1), "grad_norm": self.norm}
                    if self.opponent is not None:
                        extra |= self.opponent.report()
                        self.opponent.clear()
                    extra |= self.rule.report()
                    report.line(self.step, {**self.levels.report(), **extra})
                    self.levels.clear()
                pause = time.monotonic()
                if self.sheet and config.sheet_every and (due(config.sheet_every) or done):
                    self.draw_sheet()
                if due(config.checkpoint_every) or done or stop:
                    saved = self.save()
                report.pause(time.monotonic() - pause)
                if stop and not done:
                    raise Stopped(
                        f"stopped by {signals.name or 'a signal'} after step {self.step:,}; "
                        f"saved {saved}; go on with the same command and --resume"
                    )
        what = f"{self.step - began:,} steps in {duration(report.elapsed())}"
        report.close()
        report.say(
            f"done: {what}; weights in {saved}, log in {self.out / 'log.jsonl'}"
            + (f", sample sheets in {self.out / 'sheets'}" if self.sheet else "")
        )
        return saved

    def parts(self, step: int) -> tuple[Any, list[Microbatch]]:
        """The parts of a step, and those of the adversary."""
        mine = self.rule.parts(step)
        return mine, [] if self.opponent is None else self.draws.parts(step, "adversary")

    def advance(self, parts: Any, stop: bool) -> bool:
        """One optimizer step; true if any process was asked to stop."""
        config = self.config
        found = self.rule.gradient(parts, self.step, stop)
        self.norm = found.norm
        log_snr = None if found.times is None else level(self.denoiser.process, found.times)
        self.check(found.losses, log_snr)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.skipped = self.skipped + 1 if self.optimizer.step_was_skipped else 0
        self.step += 1
        self.ema.update(self.denoiser, ema_decay(config, self.step))
        if found.losses is not None and log_snr is not None:
            self.levels.add(found.losses, log_snr)
        return found.stop

    def check(self, losses: Tensor | None, log_snr: Tensor | None) -> None:
        """Stop the run, before the weights are touched, if the loss or gradient is not finite."""
        bad = None if losses is None else ~losses.isfinite()
        scaled = self.accelerator.scaler is not None  # fp16 skips steps that overflow
        fine = math.isfinite(self.norm) or (scaled and self.skipped < 50)
        if fine and (bad is None or not bad.any()):
            return
        what = f"gradient norm {self.norm}"
        if losses is not None and bad is not None and log_snr is not None:
            where = log_snr[bad] if bad.any() else log_snr
            what = (
                f"mean loss {float(losses.mean())}, {int(bad.sum())} of {len(losses)} examples not "
                f"finite, at log-SNR {float(where.min()):.2f} to {float(where.max()):.2f}, {what}"
            )
        raise SfumatoError(
            f"the loss is not finite at step {self.step + 1:,}: {what}; the weights were left as "
            f"they were; {self.last_checkpoint()}; try a lower learning rate, a longer warm-up or "
            "stronger clipping"
        )

    def last_checkpoint(self) -> str:
        """A phrase that says which checkpoint stands."""
        return f"the last good checkpoint is {self.saved}" if self.saved else "no checkpoint yet"

    def draw_sheet(self) -> None:
        """A sample sheet from the averaged weights."""
        if self.main and self.sheet is not None:
            picture = self.sheet(self.ema.module)  # type: ignore[arg-type]
            pictures.save(picture, self.out / "sheets" / f"step-{self.step:08d}.png")
        self.accelerator.wait_for_everyone()

    def save(self) -> Path:
        """Write a checkpoint of this moment; returns its folder."""
        config = self.config
        if self.main:
            scaler = self.accelerator.scaler
            state = {
                "step": self.step,
                "random": "a function of train.seed and step",
                "train": asdict(config),
                "levels": self.levels.state(),
                "scaler": scaler.state_dict() if scaler is not None else None,
            }
            state |= self.rule.state(self.step)
            if self.opponent is not None:
                state["adversary"] = self.opponent.state()
            names = list(self.parameters)
            files = {
                ck.MODEL: ck.pack_tensors(self.denoiser.state_dict()),
                ck.EMA: ck.pack_tensors(self.ema.module.state_dict()),
                ck.OPTIMIZER: ck.pack_tensors(ck.optimizer_tensors(self.bare_optimizer, names)),
                ck.STATE: ck.pack_json(state),
                ck.DESCRIPTION: ck.pack_json({"model": self.model}),
            }
            if self.opponent is not None:
                files |= self.opponent.files()
            ck.write_checkpoint(self.out, self.step, files, config.keep)
        self.accelerator.wait_for_everyone()
        self.saved = ck.step_folder(self.out, self.step)
        return self.saved
