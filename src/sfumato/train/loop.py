r"""The training loop: minimise a mean loss, and be able to stop and go on at any moment.

One step prepares a batch, and each player whose turn it is descends

.. math:: \frac1B \sum_i \ell_i(\theta),

the mean of its task's losses, with Adam or Muon; then the averaged weights follow (see `ema`).
Parallel processes, devices and precision are accelerate's; everything random is a function of
(seed, step), see `draws`.
"""

from __future__ import annotations

import atexit
import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sfumato.errors import DISK, SfumatoError, reason
from sfumato.files.lock import held
from sfumato.files.progress import Progress
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Draws
from sfumato.train.rule import Descent, MakeRule
from sfumato.train.run import Run, Sheet, Stopped, Update, refuse_used, same
from sfumato.train.task import Data, Player, ordered

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(
    config: TrainConfig,
    players: Player | Sequence[Player],
    data: Data,
    out: Path | str | None,
    *,
    model: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    sheet: Sheet | None = None,
    frozen: Mapping[str, nn.Module] | None = None,
    rule: MakeRule = Descent,
    resume: bool = False,
    update: Update = same,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train modules in place and return the folder of the last checkpoint.

    Args:
        config: how to train.
        players: what to train and towards what; several move in this order in every step.
        data: the examples; what `Data.batch` gives is what the tasks get.
        out: the run folder: ``checkpoints/``, ``sheets/``, ``log.jsonl``, ``config.json``; None
            keeps nothing.
        model: JSON-able description of the player "model", kept in ``model.json``.
        about: JSON-able description of the run, kept in ``config.json``.
        sheet: draws a picture from the averaged module; ``None`` draws none.
        frozen: modules that losses use and that are not trained, by name. They are held still,
            stay out of checkpoints, and their digests are compared on resuming.
        rule: how the gradient of "model" comes about; that of differential privacy is in
            `sfumato.systems.dpdm`.
        resume: go on from the newest readable checkpoint in ``out``; from the beginning if
            there is none yet.
        update: brings the description of an older version's checkpoint up to date, before it
            is compared with ``model``.
        progress: is told at each line of the log.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false; the checkpoint belongs to another
            model, seed, batch size or frozen module; the batch cannot be divided among the
            processes.
        SfumatoError: the loss is not finite, no checkpoint can be read, or the disk refuses.
        Stopped: SIGINT or SIGTERM; a checkpoint was saved.
    """
    if out is None:
        with tempfile.TemporaryDirectory(prefix="sfumato-") as folder:
            unseen = replace(
                config, checkpoint_every=config.steps, sheet_every=0, tensorboard=False
            )
            try:
                return train(
                    unseen, players, data, folder, frozen=frozen, rule=rule, progress=progress
                )
            except Stopped as stopped:
                raise Stopped("stopped by a signal; nothing was kept") from stopped
    out = Path(out)
    accelerator = _accelerator(config)
    draws = Draws(config, data, accelerator.process_index, accelerator.num_processes)
    devices = [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []
    refuse_used(out, resume)
    with _alone(accelerator, out), torch.random.fork_rng(devices=devices):
        run = Run(
            config, ordered(players), draws, out, accelerator, dict(model or {}), sheet,
            frozen or {}, rule, progress,
        )  # fmt: skip
        try:
            report = run.open(resume, about, update)
            try:
                return run.go(report)
            finally:
                report.close()
        except OSError as error:
            if error.errno not in DISK:
                raise
            refused = SfumatoError(f"{out} cannot be written ({reason(error)})")
            refused.add_note(run.last_checkpoint(resumable=about is not None))
            raise refused from error
        except (KeyboardInterrupt, SfumatoError) as stop:
            if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__cause__, OSError):
                stop.add_note(run.last_checkpoint(resumable=about is not None))
            raise


def _accelerator(config: TrainConfig) -> Accelerator:
    from accelerate import Accelerator  # not before a training: it takes a second to import
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    # Without a GPU and without cpu=True, accelerate takes several processes for separate runs.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cpu = config.cpu or (several and not torch.cuda.is_available())
    if several:
        atexit.register(_leave)
    AcceleratorState._reset_state()  # or a second run in one process keeps the first's precision
    return Accelerator(
        cpu=cpu,
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


@contextmanager
def _alone(accelerator: Accelerator, out: Path) -> Iterator[None]:
    """Hold the run folder; if the first process cannot, all of them raise what it met."""
    from accelerate.utils import broadcast_object_list

    with ExitStack() as stack:
        refused: list[str | None] = [None]
        if accelerator.is_main_process:
            try:
                stack.enter_context(held(out))
            except SfumatoError as error:
                refused = [str(error)]
        if accelerator.num_processes > 1:
            broadcast_object_list(refused)
        if refused[0] is not None:
            raise SfumatoError(refused[0])
        yield


def _leave() -> None:
    """Leave the group of processes: one that ends within it may abort while its threads run.

    They end with the last reference to the group, which models in reference cycles hold too.
    """
    gc.collect()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
