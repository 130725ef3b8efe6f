"""One model against an ensemble of experts: loss by noise level, time of a step, memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ddo_shown import resident
from ediffi_drawn import Prompts, draw
from scene_reader.emoji import FINE
from torch import Tensor

from sfumato.condition import Given, ImageCondition
from sfumato.denoise import Denoiser
from sfumato.files.cards import find
from sfumato.loss import Between, LogNormal, denoising_loss
from sfumato.nn import best_dtype
from sfumato.seeds import fold, generator, generators
from sfumato.systems.ediffi.data import Scenes, scenes
from sfumato.systems.ediffi.experts import Experts, Node
from sfumato.systems.ediffi.pipeline import Cascade, Stage, open_cascade
from sfumato.systems.ediffi.prompt_data import DEGRADATION, downsampled, upsampled

LEVEL = 3
"""The noise levels are told apart by the nodes of this level of the experts' tree: eighths."""

SAID = "a fox left of a bell on sand"


def losses(stages: Sequence[Stage], n: int, seed: int, batch: int = 50) -> list[list[Tensor]]:
    """The loss of n held-out scenes at a level in each node, (n,), node by node for each stage.

    Every stage sees the same scenes, sentences, levels and noise; no encoder of sentences is
    hidden, and no style is shown.
    """
    every = Scenes("test", FINE, n)
    data = scenes(every)
    law = stages[0].model.law
    found: list[list[Tensor]] = [[] for _ in stages]
    for node in range(2**LEVEL):
        own = fold(seed, "level", node)
        times = Between(law, (Node(LEVEL, node).range,)).draw(
            stages[0].denoiser.process, n, generator(own, "times")
        )
        parts: list[list[Tensor]] = [[] for _ in stages]
        for first in range(0, n, batch):
            index = np.arange(first, min(first + batch, n))
            pictures, said = data.batch(index)[0], data.draw_captions(index, seed)
            for stage, part in zip(stages, parts, strict=True):
                part.append(_loss(stage, pictures, said, times[index], own, index))
        for mine, part in zip(found, parts, strict=True):
            mine.append(torch.cat(part))
    return found


def _loss(
    stage: Stage, pictures: Tensor, said: Sequence[str], t: Tensor, seed: int, index: np.ndarray
) -> Tensor:
    """Of a batch, in the precision that pictures are drawn in."""
    side, low = stage.model.network.resolution, stage.model.low
    random = generators(seed, index.tolist())
    x0 = downsampled(pictures, side).to(stage.device)
    cond: Given = stage.encoder.prompt(said)
    if low:
        small = DEGRADATION(downsampled(pictures, low), random)
        cond = ImageCondition(upsampled(small, side), stage.encoder.prompt(said))
    dtype = best_dtype(stage.device)
    with torch.no_grad(), torch.autocast(stage.device.type, dtype, enabled=dtype != torch.float32):
        made = denoising_loss(stage.denoiser, x0, t, cond=cond, generator=random)
    return made.double().cpu()


def loss_rows(both: list[list[Tensor]], law: LogNormal) -> list[dict[str, Any]]:
    """Means with errors, and the paired difference of the second from the first, by node."""
    rows = []
    for node, (one, other) in enumerate(zip(*both, strict=True)):
        low, high = Node(LEVEL, node).range
        ends = law.quantile(torch.tensor([low, high], dtype=torch.float64)).tolist()
        gap = other - one
        count = len(one) ** 0.5
        rows.append(
            {
                "node": f"{LEVEL}.{node}",
                "sigma_low": ends[0],
                "sigma_high": ends[1] if high < 1 else None,
                "single": float(one.mean()),
                "single_error": float(one.std()) / count,
                "experts": float(other.mean()),
                "experts_error": float(other.std()) / count,
                "difference": float(gap.mean()),
                "difference_error": float(gap.std()) / count,
                "percent": 100 * float(gap.mean() / one.mean()),
                "percent_error": 100 * float(gap.std() / one.mean()) / count,
            }
        )
    return rows


def cost(
    single: Cascade, ensemble: Cascade, guidance: float, steps: int | None, rounds: int = 8
) -> dict[str, Any]:
    """Processor time of a step of a batch of 16, in turns; each turn gives one ratio."""
    asked = Prompts([SAID] * 16, guidance=guidance)
    spent: list[list[float]] = [[], []]
    nfe = [0, 0]
    count = steps or single.stages[0].model.sampling.steps
    for turn in range(rounds + 1):
        for k, cascade in enumerate((single, ensemble)):
            began = time.process_time()
            nfe[k] = draw(cascade, asked, turn, steps).nfe
            if turn:  # the first one warms up, and reads what is read late
                spent[k].append((time.process_time() - began) / count)
    one, other = (np.array(s) for s in spent)
    ratio = other / one
    return {
        "rounds": rounds,
        "batch": 16,
        "nfe_single": nfe[0],
        "nfe_experts": nfe[1],
        "seconds_of_step_single": float(np.median(one)),
        "seconds_of_step_experts": float(np.median(other)),
        "ratio": float(np.median(ratio)),
        "ratio_least": float(ratio.min()),
        "ratio_most": float(ratio.max()),
    }


def memory(script: Path, models: dict[str, tuple[str, int]]) -> list[dict[str, Any]]:
    """What a process of its own needs for each (folder, experts kept) and one picture."""
    rows = []
    for title, (folder, keep) in models.items():
        command = [sys.executable, str(script), "experts", "--model", folder]
        done = subprocess.run(
            [*command, "--keep", str(keep)], capture_output=True, text=True, check=True
        )
        figures = {k: float(v) for k, v in (w.split("=") for w in done.stdout.split())}
        rows.append({"model": title, "keep": keep, **figures})
    return rows


def weights_of(denoiser: Denoiser) -> list[Tensor]:
    """All weights in memory, those of experts that were read late included."""
    late = denoiser.loaded.values() if isinstance(denoiser, Experts) else ()
    return [p for one in (denoiser, *late) for p in one.parameters()]


def one_memory(folder: str, keep: int, steps: int | None) -> None:
    """Draw one picture with at most so many experts at once (0: all); print what it took.

    Memory is that of the whole process, libraries and encoders included; and the weights alone.
    """
    torch.set_num_threads(1)
    cascade = open_cascade([str(find(folder))], keep=keep)
    draw(cascade, Prompts([SAID]), 0, steps)
    weights = sum(p.numel() * p.element_size() for p in weights_of(cascade.stages[0].denoiser))
    figures = {
        "megabytes": resident("VmRSS") / 1024,
        "megabytes_peak": resident("VmHWM") / 1024,
        "megabytes_weights": weights / 2**20,
    }
    print(" ".join(f"{k}={v}" for k, v in figures.items()))
