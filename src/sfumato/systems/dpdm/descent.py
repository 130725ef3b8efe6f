r"""Differentially private gradient descent with noise multiplicity (DPDM).

One step (Abadi et al. 2016, arXiv 1607.00133, algorithm 1; Dockhorn et al. 2023, arXiv 2210.09929,
algorithm 1), with expected batch B, clipping norm C and noise multiplier s:

1. every record takes part on its own with probability q = B/N; it may be none;
2. of each, :math:`g_i = \nabla \frac1K \sum_k \ell(x_i; t_{ik}, \epsilon_{ik})`, its label hidden
   or not once for all its K draws;
3. :math:`\bar g_i = g_i \min(1, C/\|g_i\|)`, the norm over all parameters together;
4. :math:`G = (\sum_i \bar g_i + s C z)/B`, z standard normal, B the expected batch;
5. G goes to the optimizer.

The sum changes by at most C when a record is added or removed, whatever K is: K draws are averaged
*before* clipping and depend on nothing but the record. A gradient that is not finite counts as 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast, final

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.model.codec import digest
from sfumato.systems.dpdm.accounting import epsilon, most_steps, noise_for
from sfumato.systems.dpdm.coupling import can_be_watched, refuse_coupling
from sfumato.systems.dpdm.ledger import NAME, Ledger, Mechanism
from sfumato.systems.dpdm.options import PrivacyConfig
from sfumato.systems.dpdm.per_example import one_at_a_time, per_example_gradients
from sfumato.systems.dpdm.randomness import RandomSource
from sfumato.train.config import TrainConfig
from sfumato.train.denoising import DiffusionDraw, DiffusionTask, Microbatch, examples
from sfumato.train.draws import Draws
from sfumato.train.rule import MakeRule, Outcome, Rule
from sfumato.train.seat import Seat


def private(privacy: PrivacyConfig) -> MakeRule:
    """The rule of a private run, for `sfumato.train.train`.

    Raises:
        UsageError: when it is made, for a run that cannot be private.
        MissingExtra: Opacus is not installed.
    """

    def make(seat: Seat) -> PrivateDescent:
        if not seat.alone:
            raise UsageError("a second player sees the data too: a private run cannot have one yet")
        if not isinstance(seat.task, DiffusionTask) or seat.sharded or seat.player.every > 1:
            raise UsageError(
                "a private run trains a denoiser by a DiffusionTask, in every step and with whole "
                "weights (no train.shard)"
            )
        return PrivateDescent(
            seat.config, privacy, seat.draws, seat.accelerator, cast(Denoiser, seat.module),
            seat.task, seat.model,
        )  # fmt: skip

    return make


@final
class PrivateDescent(Rule):
    """The rule of a private run; the module's text has the equations.

    Args:
        config: batch (the expected one) and steps; `clip` and `accumulate` play no part.
        privacy: what is promised.
        draws: the data, this process's rank.
        accelerator: devices, processes and precision.
        denoiser: what is trained.
        task: its loss may look at no other example.
        model: description of the denoiser.

    Raises:
        UsageError: settings that cannot be private, or a network that mixes its examples.
        MissingExtra: Opacus is not installed.
    """

    ledger: Ledger

    def __init__(
        self,
        config: TrainConfig,
        privacy: PrivacyConfig,
        draws: Draws,
        accelerator: Accelerator,
        denoiser: Denoiser,
        task: DiffusionTask,
        model: Mapping[str, Any],
    ) -> None:
        if config.mixed_precision == "fp16":
            raise UsageError(
                "train.mixed_precision: 'fp16' skips steps by looking at the data, which the "
                "ledger cannot count; take bf16 or no"
            )
        if config.compile:
            raise UsageError(
                "train.compile: per-record gradients watch the network's functions one by one, "
                "which a compiled network hides; leave it off"
            )
        self.config, self.privacy, self.draws = config, privacy, draws
        self.accelerator, self.denoiser, self.task = accelerator, denoiser, task
        self.parameters = [p for p in denoiser.parameters() if p.requires_grad]
        self.records = privacy.records(len(draws.data))
        self.rate = config.batch / self.records
        if self.rate > 1:
            raise UsageError(
                f"train.batch: {config.batch:,} is more than the {self.records:,} records; the "
                "expected batch of a private run is at most all of them"
            )
        x0, given = examples(draws.data.batch(np.zeros(1, dtype=np.int64)))
        labels = None if given is None or not len(task.labels) else task.labels.expand(4, -1)
        shape = tuple(x0.shape[1:])
        refuse_coupling(denoiser, shape, labels, loss=task.loss)
        together = can_be_watched(denoiser, task.loss, shape, labels)
        self.gradients = per_example_gradients if together else one_at_a_time
        self.model = digest(dict(model))
        self.source = RandomSource(privacy.randomness, config.seed)

    def mechanism(self, noise: float) -> Mechanism:
        """What a step is, at this noise multiplier."""
        return Mechanism(
            noise=noise,
            rate=self.rate,
            clip=self.privacy.clip,
            batch=self.config.batch,
            multiplicity=self.privacy.multiplicity,
            records=self.records,
            population_is_exact=self.privacy.population == 0,
            randomness=self.privacy.randomness.value,
            private=self.privacy.randomness.private,
            watched=self.privacy.watch_loss,
            model=self.model,
        )

    def open(self, out: Path, state: Mapping[str, Any] | None) -> str:
        """Begin a ledger, or go on with the one that the weights belong to.

        Raises:
            UsageError: the weights or the settings are not those of the ledger, or the budget is
                spent.
            SfumatoError: the ledger is missing or damaged.
        """
        path = out / NAME
        if state is not None and "ledger" not in state:
            raise UsageError(
                f"the checkpoint in {out} was not trained privately: its weights have seen the "
                "data without noise, and no later step takes that back. Choose another folder"
            )
        privacy = self.privacy
        if self.accelerator.is_main_process:
            if state is not None or (path.exists() and b"\n" in path.read_bytes()):
                self.ledger = Ledger.read(path, mend=True)
            else:
                path.unlink(missing_ok=True)  # a kill cut its first line short: nothing was begun
                noise = privacy.noise or noise_for(
                    privacy.epsilon, self.rate, self.config.steps, privacy.delta, privacy.accountant
                )
                self.ledger = Ledger.create(path, self.mechanism(noise))
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            self.ledger = Ledger.read(path)
        there = self.ledger.mechanism
        here = self.mechanism(privacy.noise or there.noise)
        if state is not None:  # its description was compared, and its mark is below; the digest may
            here = replace(here, model=there.model)  # be one of an older version's description
        changed = [
            f"{key}: {old} there, {new} here"
            for (key, old), new in zip(asdict(there).items(), asdict(here).values(), strict=True)
            if old != new
        ]
        if changed:
            raise UsageError(
                f"{path} counts steps of another kind ({'; '.join(changed)}); go on with the "
                "same settings, or choose another folder"
            )
        if state is not None:
            self.ledger.check_mark(state["ledger"], f"the checkpoint in {out}")
        step = 0 if state is None else int(state["step"])
        last = self.ledger.steps + self.config.steps - step  # if no step must be taken again
        self.most = most_steps(
            privacy.epsilon, there.noise, self.rate, privacy.delta, privacy.accountant, last
        )
        if self.spent() and not self.ledger.steps:
            one = epsilon(there.noise, self.rate, 1, privacy.delta, privacy.accountant)
            raise UsageError(
                f"the budget allows no step: one with noise multiplier {there.noise:g} costs "
                f"epsilon {one:.4g} at delta {privacy.delta:g}, more than {privacy.epsilon:g}. "
                "Take more noise, a smaller batch or a larger epsilon; `sfumato private plan` "
                "works them out"
            )
        if self.spent() and step < self.config.steps:
            raise UsageError(
                f"the budget is spent: {many(self.ledger.steps, 'step')} with noise multiplier "
                f"{there.noise:g} cost epsilon {self.epsilon():.4g} at delta {privacy.delta:g}, "
                f"and one more would pass {privacy.epsilon:g}. The weights in {out} are the result"
            )
        notice = "" if privacy.randomness.private else " NOT PRIVATE: the noise follows from a seed"
        return (
            f"noise multiplier {there.noise:g}, sampling rate {self.rate:.4g}, up to "
            f"{many(self.most - self.ledger.steps, 'step')} from here within epsilon "
            f"{privacy.epsilon:g} at delta {privacy.delta:g}{notice}"
        )

    def epsilon(self) -> float:
        """ε of all counted steps."""
        privacy, made = self.privacy, self.ledger.mechanism
        return epsilon(made.noise, made.rate, self.ledger.steps, privacy.delta, privacy.accountant)

    def spent(self) -> bool:
        """Whether one more step would cost more than the budget."""
        return self.ledger.steps >= self.most

    def report(self) -> dict[str, Any]:
        """ε so far, and what it may become."""
        return {"epsilon": self.epsilon(), "budget": self.privacy.epsilon}

    def state(self, step: int) -> dict[str, Any]:
        """Where in the ledger the weights belong, and what was promised."""
        del step
        promised = asdict(self.privacy)
        promised["accountant"] = self.privacy.accountant.value
        promised["randomness"] = self.privacy.randomness.value
        return {"ledger": self.ledger.mark(), "privacy": promised}

    def parts(self, step: int) -> NDArray[np.int64]:
        """The records of this process that take part in the step."""
        mine = self.source.chosen(step, len(self.draws.data), self.rate)
        return mine[mine % self.draws.world == self.draws.rank]

    def gradient(self, parts: NDArray[np.int64], step: int, stop: bool) -> Outcome:
        """Clip, sum, count, add noise, divide."""
        total = [torch.zeros_like(p, dtype=torch.float32) for p in self.parameters]
        seen: list[tuple[Tensor, Tensor]] = []
        for part in self.pieces(parts, step):
            seen.append(self.add_clipped(part, total))
        if self.accelerator.is_main_process:
            self.ledger.append(step)
            scale = self.ledger.mechanism.noise * self.privacy.clip
            for s, z in zip(total, self.source.normal(step, total), strict=True):
                s.add_(z, alpha=scale)
        else:
            self.ledger.follow()
        flag = torch.tensor([float(stop)], device=self.accelerator.device)
        if self.draws.world > 1:
            summed = [self.accelerator.reduce(s, "sum") for s in [*total, flag]]
            total, flag = summed[:-1], summed[-1]
        for p, s in zip(self.parameters, total, strict=True):
            p.grad = (s / self.config.batch).to(p.dtype)
        norm = math.sqrt(sum(float((s / self.config.batch).square().sum()) for s in total))
        if not (self.privacy.watch_loss and seen):
            return Outcome(norm, bool(flag.any()))
        losses, times = (torch.cat(pieces) for pieces in zip(*seen, strict=True))
        return Outcome(norm, bool(flag.any()), losses, DiffusionDraw(times, None))

    def pieces(self, records: NDArray[np.int64], step: int) -> Iterator[Microbatch]:
        """Parts of as many whole records as fit into ``physical`` draws, at least one."""
        size = max(1, self.privacy.physical // self.privacy.multiplicity)
        for start in range(0, len(records), size):
            yield self.part(records[start : start + size], step)

    def part(self, records: NDArray[np.int64], step: int) -> Microbatch:
        """All K draws of these records, draws innermost."""
        k, task = self.privacy.multiplicity, self.task
        x0, labels = examples(self.draws.data.batch(records))
        random = [self.source.record(step, int(r)) for r in records]
        t = torch.cat([task.law.draw(task.process, k, g) for g in random])
        cond = None
        if len(task.labels) and labels is not None:
            hidden = task.hide(
                torch.stack([torch.rand(1 + len(task.labels), generator=g) for g in random])
            )
            cond = torch.where(hidden, task.labels, labels).repeat_interleave(k, 0)
        return Microbatch(
            x0.repeat_interleave(k, 0), t, cond, [g for g in random for _ in range(k)]
        )

    def add_clipped(self, part: Microbatch, total: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Add every record's clipped gradient to the total; returns the losses and their times."""
        k, physical = self.privacy.multiplicity, self.privacy.physical
        records = len(part.x0) // k
        found: list[Tensor] | None = None
        losses = []
        at_once = k if records > 1 else min(k, physical)
        for start in range(0, k, at_once):  # in pieces only if one record's draws are too many
            n = min(at_once, k - start)
            here = part if n == k else part.rows(slice(start, start + n))
            here = here.to(self.accelerator.device)

            def some(low: int, high: int, here: Microbatch = here, n: int = n) -> Tensor:
                with self.accelerator.autocast():
                    return self.task.loss(self.denoiser, here.rows(slice(low * n, high * n)))

            gradients, values = self.gradients(some, records, n, self.parameters)
            losses.append(values)
            if n < k:
                gradients = [g * (n / k) for g in gradients]
            if found is None:
                found = gradients
            else:
                found = [f + g for f, g in zip(found, gradients, strict=True)]
        add_clipped(found or [], self.privacy.clip, total)
        return torch.cat(losses).float().cpu(), part.t


def add_clipped(gradients: Sequence[Tensor], clip: float, total: Sequence[Tensor]) -> Tensor:
    """Add Σ_i g_i min(1, C/‖g_i‖) to ``total``; returns the factors, one per record.

    A record whose gradient is not finite gets the factor 0.
    """
    flat = [_rows(g.float()) for g in gradients]
    norm = torch.stack([torch.linalg.vector_norm(rows, dim=1) for rows, _ in flat]).norm(dim=0)
    factor = torch.where(norm.isfinite(), (clip / (norm + 1e-6)).clamp(max=1.0), 0.0)
    every = bool(norm.isfinite().all())
    for s, (rows, order) in zip(total, flat, strict=True):
        rows = rows if every else rows.nan_to_num(0.0, 0.0, 0.0)
        there = s.permute(order)
        there.add_((factor @ rows).view(there.shape))
    return factor


def _rows(g: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """(records, n) in the order of memory, which saves a copy, and that order of the axes."""
    order = sorted(range(1, g.ndim), key=lambda a: -g.stride()[a])
    return g.permute(0, *order).flatten(1), tuple(a - 1 for a in order)
