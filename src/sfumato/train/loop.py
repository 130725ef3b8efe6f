r"""The training loop: minimise the denoising loss, and be able to stop and go on at any moment.

One step draws a batch of data and times, adds noise, and descends

.. math:: \frac1B \sum_i \ell(\theta; x_0^i, t^i, \epsilon^i),

the mean of `denoising_loss`, with Adam; then the averaged weights follow (see `ema`). Parallel
processes, devices and precision are accelerate's; everything random is a function of
(seed, step), see `draws`. With an `adversary` every step has two moves.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError
from sfumato.loss import TimeLaw
from sfumato.systems.dpdm.config import PrivacyConfig
from sfumato.train.adversary import Adversary
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Data, Draws, Loss, standard_loss
from sfumato.train.run import Run, Sheet, Update, same

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}


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
    adversary: Adversary | None = None,
    privacy: PrivacyConfig | None = None,
    resume: bool = False,
    update: Update = same,
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
        adversary: a second player, which moves first in every step.
        privacy: what the run promises to the data's records (see `private`); None promises
            nothing.
        resume: go on from the newest readable checkpoint in ``out``; from the beginning if
            there is none yet.
        update: brings the description of an older version's checkpoint up to date, before it
            is compared with ``model``.

    Raises:
        UsageError: ``out`` holds a run and ``resume`` is false; the checkpoint belongs to another
            model, seed or batch size; the batch cannot be divided among the processes.
        SfumatoError: the loss is not finite, no checkpoint can be read, or the disk refuses.
        Stopped: SIGINT or SIGTERM; a checkpoint was saved.
    """
    out = Path(out)
    if privacy is not None and adversary is not None:
        raise UsageError("a second player sees the data too: a private run cannot have one yet")
    accelerator = _accelerator(config)
    rank, world = accelerator.process_index, accelerator.num_processes
    draws = Draws(config, data, denoiser.process, law, labels, rank, world)
    devices = [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        about_model = dict(model or {})
        run = Run(
            config, denoiser, draws, out, accelerator, about_model, sheet, loss, adversary, privacy
        )
        try:
            report = run.open(resume, about, update)
            try:
                return run.go(report)
            finally:
                report.close()
        except OSError as error:
            if error.errno not in _DISK:
                raise
            raise SfumatoError(
                f"could not write to {out}: {error.strerror}; {run.last_checkpoint()}"
            ) from error


def _accelerator(config: TrainConfig) -> Accelerator:
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


def _leave() -> None:
    """Leave the group of processes: one that ends within it may abort while its threads run.

    They end with the last reference to the group, which models in reference cycles hold too.
    """
    gc.collect()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
