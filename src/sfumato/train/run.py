"""The state of a run between two steps, and how one step leads to the next."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from PIL import Image
from torch import nn

from sfumato.errors import SfumatoError, UsageError
from sfumato.files import pictures
from sfumato.files.atomic import write
from sfumato.files.lock import contents
from sfumato.files.progress import Progress
from sfumato.files.words import many
from sfumato.train import checkpoint as ck
from sfumato.train import shard
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Draws
from sfumato.train.report import Report, duration
from sfumato.train.rule import MakeRule
from sfumato.train.seat import Seat
from sfumato.train.stop import StopSignals
from sfumato.train.task import MAIN, Player

if TYPE_CHECKING:
    from accelerate import Accelerator

Sheet = Callable[[Any], Image.Image]
"""Draws a picture from the averaged model; must not use torch's global generator."""


Update = Callable[[dict[str, Any]], dict[str, Any]]
"""Brings a model's description, written by an older version, up to date."""


def same(description: dict[str, Any]) -> dict[str, Any]:
    """The description as it is."""
    return description


class Stopped(SfumatoError):
    """A signal stopped the run after it had saved a checkpoint."""


def refuse_used(out: Path, resume: bool) -> None:
    """Raise UsageError if a run cannot begin in ``out``, because something is there."""
    if not resume and out.exists() and (not out.is_dir() or contents(out)):
        raise UsageError(
            f"{out} already holds something; go on with a run by --resume, or choose another "
            "folder (nothing was changed)"
        )


_KEEP = 600.0
"""Seconds after which a process that is alone writes a checkpoint, however slow its steps are."""


@final
class Run:
    """A run: its players, the step, and the folder it writes to.

    Args:
        config: how to train.
        players: in the order they move; one is called "model".
        draws: everything random, for this process.
        out: the run folder.
        accelerator: devices, processes and precision.
        model: description of the player "model", for ``model.json``.
        sheet: draws a picture of samples.
        frozen: modules that are used and not trained, by name.
        rule: makes the rule by which "model" descends.
        progress: is told at each line of the log.
    """

    def __init__(
        self,
        config: TrainConfig,
        players: Sequence[Player],
        draws: Draws,
        out: Path,
        accelerator: Accelerator,
        model: dict[str, Any],
        sheet: Sheet | None,
        frozen: Mapping[str, nn.Module],
        rule: MakeRule,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.config, self.draws, self.out = config, draws, out
        self.accelerator, self.model, self.sheet = accelerator, model, sheet
        self.main, self.progress = accelerator.is_main_process, progress
        self.frozen = {}
        for name, module in frozen.items():
            module.to(accelerator.device).eval().requires_grad_(False)
            self.frozen[name] = ck.digest(module)
        alone = len(players) == 1
        self.seats = [Seat(p, config, draws, accelerator, model, alone, rule) for p in players]
        (self.first,) = (seat for seat in self.seats if seat.name == MAIN)
        self.rule = self.first.rule
        for seat in self.seats:
            seat.hold(not alone)
        self.step = 0
        self.saved: Path | None = None

    def open(self, resume: bool, about: Mapping[str, Any] | None, update: Update) -> Report:
        """Take up an older run, or start a new one in an empty folder."""
        found: ck.Checkpoint | None = None
        state: dict[str, Any] | None = None
        refused: list[str] = []
        refuse_used(self.out, resume)
        if self.main:
            ck.clean(self.out)
        self.accelerator.wait_for_everyone()
        if resume:
            found, refused = ck.newest_checkpoint(self.out)
            if found is not None:
                state = self.restore(found, update, about or {})
        self.accelerator.wait_for_everyone()
        news = self.rule.open(self.out, state)
        if self.main:
            self.out.mkdir(parents=True, exist_ok=True)
            if about is not None:
                self.describe(about)
        config = self.config
        report = Report(
            self.out, self.step, config.steps, config.batch, quiet=config.quiet,
            tensorboard=config.tensorboard, main=self.main, progress=self.progress,
        )  # fmt: skip
        for reason in refused:
            report.say(f"left out a damaged checkpoint: {reason}")
        if found is not None:
            report.say(f"going on after step {self.step:,} from {found.folder}")
        elif resume:
            report.say(f"no checkpoint in {self.out} yet: starting from the beginning")
        if news:
            report.say(news)
        return report

    def describe(self, about: Mapping[str, Any]) -> None:
        """Keep ``about`` in ``config.json``, below what was said there up to this step."""
        path = self.out / "config.json"
        older = ck.read_about(path)
        history = older.pop("history", [])
        if older and older != json.loads(json.dumps(about)):
            history.append({"up_to_step": self.step, **older})
        now = {**about, "history": history} if history else dict(about)
        write(path, json.dumps(now, indent=1) + "\n")

    def restore(
        self, found: ck.Checkpoint, update: Update, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Become what a checkpoint holds; returns its state."""
        folder, files = found
        theirs = update(ck.parse_json(files, ck.DESCRIPTION, folder).get("model", {}))
        if changed := ck.differences(theirs, self.model):
            was, now = ck.read_about(self.out / "config.json").get("data"), about.get("data")
            if was != now:
                changed.append(f"the data changed, from {was or 'what is not on record'} to {now}")
            raise UsageError(f"{folder} belongs to another model: " + "; ".join(changed))
        state = ck.parse_json(files, ck.STATE, folder)
        for key in ("seed", "batch", "optimizer"):
            was = state["train"].get(key, "adam")  # older runs had no choice of an optimizer
            if was != getattr(self.config, key):
                raise UsageError(
                    f"{folder} was trained with {key} {was}, got {getattr(self.config, key)}; a "
                    "resumed run cannot change it"
                )
        frozen = state.get("frozen", self.frozen)  # older runs did not say
        for name in sorted({*frozen, *self.frozen}):
            if frozen.get(name) != self.frozen.get(name):
                old, new = ((d.get(name) or "none")[:12] for d in (frozen, self.frozen))
                raise UsageError(
                    f"{folder} was trained with another frozen module {name!r}: {old} there, {new} "
                    "here; a resumed run cannot change it"
                )
        for seat in self.seats:
            seat.restore(found, state)
        if state["scaler"] and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.saved = state["step"], folder
        return state

    def go(self, report: Report) -> Path:
        """Train to the last step; returns the last checkpoint."""
        config = self.config
        began = self.step
        saved, kept = self.saved or self.out, time.monotonic()

        def due(every: int) -> bool:
            return self.step % every == 0

        with StopSignals() as signals, ThreadPoolExecutor(1) as ahead:
            upcoming = ahead.submit(self.parts, self.step)
            while self.step < config.steps and not self.rule.spent():
                parts = upcoming.result()
                if self.step + 1 < config.steps:
                    upcoming = ahead.submit(self.parts, self.step + 1)
                self.draws.seed_dropout(self.step)
                stop = self.advance(parts, signals.name is not None)
                done = self.step == config.steps or self.rule.spent()
                report.advance(self.step)
                if due(config.log_every) or done:
                    told = self.first.report()
                    told |= {"lr": config.rate(self.step - 1), "grad_norm": self.first.norm}
                    for seat in self.seats:
                        told |= {} if seat is self.first else seat.report()
                    report.line(self.step, told | self.rule.report())
                pause = time.monotonic()
                if self.sheet and config.sheet_every and (due(config.sheet_every) or done):
                    self.draw_sheet(self.sheet)
                late = time.monotonic() - kept > _KEEP and self.accelerator.num_processes == 1
                if due(config.checkpoint_every) or done or stop or late:
                    saved, kept = self.save(), time.monotonic()
                report.pause(time.monotonic() - pause)
                if stop and not done:
                    raise Stopped(
                        f"stopped by {signals.name or 'a signal'} after step {self.step:,}; "
                        f"saved {saved}; go on with --resume {self.out}"
                    )
        for seat in self.seats:
            seat.hold(False)
        what = f"{many(self.step - began, 'step')} in {duration(report.elapsed())}"
        report.close()
        report.say(
            f"done: {what}; weights in {saved}, log in {self.out / 'log.jsonl'}"
            + (f", sample sheets in {self.out / 'sheets'}" if self.sheet else "")
        )
        return saved

    def parts(self, step: int) -> list[Any]:
        """The parts of a step, for each player that moves in it."""
        return [seat.rule.parts(step) if seat.moves(step) else None for seat in self.seats]

    def advance(self, parts: Sequence[Any], stop: bool) -> bool:
        """Every player whose turn it is moves; true if any process was asked to stop."""
        asked = False  # where nobody moves, processes have not spoken: it waits for the next step
        for seat, mine in zip(self.seats, parts, strict=True):
            if seat.moves(self.step):
                seat.hold(False)
                asked |= seat.advance(mine, self.step, stop, self.last_checkpoint())
                seat.hold(len(self.seats) > 1)
        self.step += 1
        return asked

    def last_checkpoint(self, resumable: bool = False) -> str:
        """A phrase that says which checkpoint stands, and how to go on from it."""
        stands = f"the last good checkpoint is {self.saved}" if self.saved else "no checkpoint yet"
        return f"{stands}; go on with --resume {self.out}" if resumable else stands

    def draw_sheet(self, sheet: Sheet) -> None:
        """A sample sheet from the averaged weights."""
        average = self.first.average
        if average is not None:
            with shard.together(average.module):
                if self.main:
                    path = self.out / "sheets" / f"step-{self.step:08d}.png"
                    pictures.save(sheet(average.module), path)
        self.accelerator.wait_for_everyone()

    def save(self) -> Path:
        """Write a checkpoint of this moment; returns its folder."""
        if self.main or self.first.sharded:
            scaler = self.accelerator.scaler
            state = {
                "step": self.step,
                "random": "a function of train.seed and step",
                "train": asdict(self.config),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "frozen": self.frozen,
                **self.rule.state(self.step),
            }
            files = {ck.DESCRIPTION: ck.pack_json({"model": self.model})}
            for seat in self.seats:
                state["levels" if seat is self.first else seat.name] = seat.state()
                files |= seat.pack()
            files[ck.STATE] = ck.pack_json(state)
            if self.main:
                ck.write_checkpoint(self.out, self.step, files, self.config.keep)
        self.accelerator.wait_for_everyone()
        self.saved = ck.step_folder(self.out, self.step)
        return self.saved
