r"""The training loop: minimise the denoising loss, and be able to stop and go on at any moment.

One step draws a batch of data and times, adds noise, and descends

.. math:: \frac1B \sum_i \ell(\theta; x_0^i, t^i, \epsilon^i),

the mean of `denoising_loss`, with Adam; then the averaged weights follow (see `ema`). Parallel
processes, devices and precision are accelerate's; everything random is a function of
(seed, step), see `draws`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from PIL import Image
from torch import Tensor, nn

from sfumato import pictures
from sfumato.denoise import Denoiser, Preconditioned
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import TimeLaw, denoising_loss
from sfumato.train import checkpoint as ck
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Data, Draws, Part
from sfumato.train.ema import Ema, ema_decay
from sfumato.train.levels import Levels, level, level_edges
from sfumato.train.report import Report, duration, write_text
from sfumato.train.stop import StopSignals

Loss = Callable[[Denoiser, Part], Tensor]
"""Losses (B,) of a part, in the order of its examples; never reduced."""

Sheet = Callable[[Denoiser], Image.Image]
"""Draws a picture from the averaged model; must not use torch's global generator."""


class Stopped(SfumatoError):
    """A signal stopped the run after it had saved a checkpoint."""


def standard_loss(denoiser: Denoiser, part: Part) -> Tensor:
    """`denoising_loss` of a part, each example with its own noise generator."""
    return denoising_loss(
        denoiser, part.x0, part.t, cond=part.cond, generator=part.generators
    )


@final
class _Losses(nn.Module):
    """The loss as a module, so that distributed wrappers see one forward per part."""

    def __init__(self, denoiser: Denoiser, loss: Loss) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.loss = loss

    def forward(self, part: Part) -> Tensor:
        return self.loss(self.denoiser, part)


def train(
    config: TrainConfig,
    denoiser: Denoiser,
    data: Data,
    out: Path,
    *,
    law: TimeLaw,
    labels: Sequence[int] = (),
    model: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    sheet: Sheet | None = None,
    loss: Loss = standard_loss,
    resume: bool = False,
) -> Path:
    """Train a denoiser in place and return the folder of the last checkpoint.

    Args:
        config: how to train.
        denoiser: what to train; all its parameters that require a gradient.
        data: `batch(indices)` gives float32 examples (B, ...) and int64 labels (B, A) or None.
        out: the run folder: ``checkpoints/``, ``sheets/``, ``log.jsonl``, ``config.json``.
        law: the law of the times; the loss is also logged over its equally likely levels.
        labels: number of classes per label axis that the denoiser takes; () trains without.
        model: JSON-able description of the denoiser, kept in ``model.json``.
        about: JSON-able description of the run, kept in ``config.json``.
        sheet: draws a picture of samples; ``None`` draws none.
        loss: another loss per example.
        resume: go on from the newest readable checkpoint in ``out``; from the beginning if
            there is none yet.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false; the checkpoint belongs to another
            model, seed or batch size; the batch cannot be divided among the processes.
        SfumatoError: the loss is not finite, no checkpoint can be read, or the disk refuses.
        Stopped: SIGINT or SIGTERM; a checkpoint was saved.
    """
    out = Path(out)
    accelerator = _accelerator(config)
    run = _Run(config, denoiser, data, out, accelerator, law, labels, model, sheet, loss)
    devices = [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            run.open(resume, about)
            return run.go()
        except OSError as error:
            raise SfumatoError(
                f"could not write to {out}: {error.strerror or error}; "
                f"{run.last_checkpoint()}"
            ) from error
        finally:
            run.close()


def _accelerator(config: TrainConfig) -> Accelerator:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # or a second run in one process keeps the first's precision
    return Accelerator(
        cpu=config.cpu,
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


@final
class _Run:
    """The state of a run between two steps."""

    def __init__(
        self,
        config: TrainConfig,
        denoiser: Denoiser,
        data: Data,
        out: Path,
        accelerator: Accelerator,
        law: TimeLaw,
        labels: Sequence[int],
        model: Mapping[str, Any] | None,
        sheet: Sheet | None,
        loss: Loss,
    ) -> None:
        self.config, self.out, self.accelerator, self.sheet = config, out, accelerator, sheet
        self.model = dict(model or {})
        self.main = accelerator.is_main_process
        self.draws = Draws(
            config,
            data,
            denoiser.process,
            law,
            labels,
            accelerator.process_index,
            accelerator.num_processes,
        )
        denoiser.to(accelerator.device)
        self.denoiser = denoiser.train()
        self.ema = Ema(denoiser)
        if config.compile:
            target = denoiser.network if isinstance(denoiser, Preconditioned) else denoiser
            target.compile()
        self.parameters = {n: p for n, p in denoiser.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=accelerator.device.type in ("cpu", "cuda"),
        )
        self.bare_optimizer = optimizer
        self.losses, self.optimizer = accelerator.prepare(_Losses(denoiser, loss), optimizer)
        self.levels = Levels(level_edges(denoiser.process, law, config.levels))
        self.step = 0
        self.skipped = 0
        self.norm = 0.0
        self.saved: Path | None = None
        self.report: Report | None = None

    # ---------------------------------------------------------------- opening and closing

    def open(self, resume: bool, about: Mapping[str, Any] | None) -> None:
        """Take up an older run, or start a new one in an empty folder."""
        found, refused = None, []
        if self.main and self.out.is_dir() and any(self.out.iterdir()):
            if not resume:
                raise UsageError(
                    f"{self.out} already holds a run; go on with it by --resume, or choose "
                    "another folder (nothing was changed)"
                )
            ck.clean(self.out)
        self.accelerator.wait_for_everyone()
        if resume:
            found, refused = ck.newest_checkpoint(self.out)
            if found is not None:
                self.restore(found)
        self.accelerator.wait_for_everyone()
        if self.main:
            self.out.mkdir(parents=True, exist_ok=True)
            if about is not None:
                write_text(self.out / "config.json", json.dumps(dict(about), indent=1) + "\n")
        self.report = Report(
            self.out,
            self.step,
            self.config.steps,
            self.config.batch,
            quiet=self.config.quiet,
            tensorboard=self.config.tensorboard,
            main=self.main,
        )
        for reason in refused:
            self.report.say(f"left out a damaged checkpoint: {reason}")
        if found is not None:
            self.report.say(f"going on after step {self.step:,} from {found.folder}")
        elif resume:
            self.report.say(f"no checkpoint in {self.out} yet: starting from the beginning")

    def restore(self, found: ck.Checkpoint) -> None:
        """Become what a checkpoint holds."""
        folder, files = found
        theirs = ck.parse_json(files, ck.DESCRIPTION, folder).get("model", {})
        if changed := ck.differences(theirs, self.model):
            raise UsageError(f"{folder} belongs to another model: " + "; ".join(changed))
        state = ck.parse_json(files, ck.STATE, folder)
        for key in ("seed", "batch"):
            if state["train"][key] != getattr(self.config, key):
                raise UsageError(
                    f"{folder} was trained with {key} {state['train'][key]}, got "
                    f"{getattr(self.config, key)}; a resumed run cannot change it"
                )
        ck.load_weights(self.denoiser, files[ck.MODEL], str(folder / ck.MODEL))
        ck.load_weights(self.ema.module, files[ck.EMA], str(folder / ck.EMA))
        ck.restore_optimizer(self.bare_optimizer, self.parameters, files[ck.OPTIMIZER])
        if state["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if len(state["levels"]["sums"]) == self.config.levels:
            self.levels.restore(state["levels"])
        self.step, self.saved = state["step"], folder

    def close(self) -> None:
        """Close the log, whatever happened."""
        if self.report is not None:
            self.report.close()
            self.report = None

    # ---------------------------------------------------------------- the loop

    def go(self) -> Path:
        """Train to the last step."""
        assert self.report is not None  # noqa: S101 (open came first)
        config, report = self.config, self.report
        began = self.step
        with StopSignals() as signals, ThreadPoolExecutor(1) as ahead:
            upcoming = ahead.submit(self.draws.parts, self.step)
            while self.step < config.steps:
                parts = upcoming.result()
                if self.step + 1 < config.steps:
                    upcoming = ahead.submit(self.draws.parts, self.step + 1)
                stop = self.advance(parts, signals.name is not None)
                done = self.step == config.steps
                report.advance(self.step)
                if self.step % config.log_every == 0 or done:
                    extra = {"lr": config.rate(self.step - 1), "grad_norm": self.norm}
                    report.line(self.step, {**self.levels.report(), **extra})
                    self.levels.clear()
                pause = time.monotonic()
                if self.sheet and config.sheet_every:
                    if self.step % config.sheet_every == 0 or done:
                        self.draw_sheet()
                if self.step % config.checkpoint_every == 0 or done or stop:
                    self.save()
                report.pause(time.monotonic() - pause)
                if stop and not done:
                    report.close()
                    raise Stopped(
                        f"stopped by {signals.name or 'a signal'} after step {self.step:,}; "
                        f"saved {self.saved}; go on with the same command and --resume"
                    )
        if self.saved is None:
            self.save()
        what = f"{self.step - began:,} steps in {duration(report.elapsed())}"
        report.close()
        report.say(
            f"done: {what}; weights in {self.saved}, log in {self.out / 'log.jsonl'}"
            + (f", sample sheets in {self.out / 'sheets'}" if self.sheet else "")
        )
        assert self.saved is not None  # noqa: S101
        return self.saved

    def advance(self, parts: Sequence[Part], stop: bool) -> bool:
        """One optimizer step; true if any process was asked to stop."""
        config, accelerator = self.config, self.accelerator
        self.draws.seed_dropout(self.step)
        mine = []
        for i, part in enumerate(parts):
            part = self.to_device(part)
            if i + 1 < len(parts):
                with accelerator.no_sync(self.losses):
                    losses = self.losses(part)
                    accelerator.backward(losses.mean())
            else:
                losses = self.losses(part)
                accelerator.backward(losses.mean())
            mine.append(losses.detach().float())
        norm = accelerator.clip_grad_norm_(
            self.parameters.values(), config.clip if config.clip else math.inf
        )
        flag = torch.tensor([float(stop)], device=accelerator.device)
        everyone = accelerator.gather(torch.cat([*mine, flag])).cpu()
        everyone = everyone.reshape(accelerator.num_processes, -1)
        losses, stop = everyone[:, :-1].reshape(-1), bool(everyone[:, -1].any())
        log_snr = level(self.denoiser.process, self.draws.times(self.step)[0])
        self.norm = float(norm)
        self.check(losses, log_snr)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.skipped = self.skipped + 1 if self.optimizer.step_was_skipped else 0
        self.step += 1
        self.ema.update(self.denoiser, ema_decay(config, self.step))
        self.levels.add(losses, log_snr)
        return stop

    def to_device(self, part: Part) -> Part:
        """Move a part to the device; its noise is drawn on the CPU, so that it is the same anywhere."""
        device = self.accelerator.device
        cond = None if part.cond is None else part.cond.to(device)
        return Part(part.x0.to(device), part.t.to(device), cond, part.generators)

    def check(self, losses: Tensor, log_snr: Tensor) -> None:
        """Stop the run, before the weights are touched, if the loss or gradient is not finite."""
        bad = ~losses.isfinite()
        scaled = self.accelerator.scaler is not None  # fp16 skips steps that overflow
        if not bad.any() and (math.isfinite(self.norm) or (scaled and self.skipped < 50)):
            return
        where = log_snr[bad] if bad.any() else log_snr
        raise SfumatoError(
            f"the loss is not finite at step {self.step + 1:,}: mean loss {float(losses.mean())}, "
            f"{int(bad.sum())} of {len(losses)} examples not finite, at log-SNR "
            f"{float(where.min()):.2f} to {float(where.max()):.2f}, gradient norm {self.norm}; "
            f"the weights were left as they were; {self.last_checkpoint()}; try a lower "
            "learning rate, a longer warm-up or stronger clipping"
        )

    def last_checkpoint(self) -> str:
        """A phrase that says which checkpoint stands."""
        return f"the last good checkpoint is {self.saved}" if self.saved else "no checkpoint yet"

    # ---------------------------------------------------------------- what is written

    def draw_sheet(self) -> None:
        """A sample sheet from the averaged weights."""
        if self.main and self.sheet is not None:
            picture = self.sheet(self.ema.module)  # type: ignore[arg-type]
            pictures.save(picture, self.out / "sheets" / f"step-{self.step:08d}.png")
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        config = self.config
        if self.main:
            epoch, position = divmod(self.step * config.batch, len(self.draws.data))
            scaler = self.accelerator.scaler
            state = {
                "step": self.step,
                "epoch": epoch,
                "position": position,
                "random": "a function of train.seed and step",
                "train": asdict(config),
                "levels": self.levels.state(),
                "scaler": scaler.state_dict() if scaler is not None else None,
            }
            names = list(self.parameters)
            files = {
                ck.MODEL: ck.pack_tensors(self.denoiser.state_dict()),
                ck.EMA: ck.pack_tensors(self.ema.module.state_dict()),
                ck.OPTIMIZER: ck.pack_tensors(ck.optimizer_tensors(self.bare_optimizer, names)),
                ck.STATE: ck.pack_json(state),
                ck.DESCRIPTION: ck.pack_json({"model": self.model}),
            }
            self.saved = ck.write_checkpoint(self.out, self.step, files, config.keep)
        self.accelerator.wait_for_everyone()
        self.saved = self.out / "checkpoints" / f"step-{self.step:08d}"
