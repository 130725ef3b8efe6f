"""Walk a trained model from noise to data many times, and keep the ways: a trajectory set.

Any deterministic solver will do, on any grid. The times to be kept are put into the grid in the
place of its nearest times, so that the number of steps stays what was asked for. What a set is,
and why a killed run goes on to the same bytes: `dsno.data`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError, UsageError, noting
from sfumato.files.atomic import beside, sweep
from sfumato.files.lock import held
from sfumato.files.words import many
from sfumato.model.walk import walk as from_noise
from sfumato.process import Process
from sfumato.sampling import Solver
from sfumato.systems.dsno.data import (
    SET,
    Description,
    check_shard,
    describe,
    in_words,
    scales,
    shard_folder,
    write_description,
    write_shard,
)
from sfumato.times import schedule_of
from sfumato.train import differences


def through(process: Process, grid: Tensor, times: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A grid that passes through ``times``, and their positions in it.

    Each time takes the place of the nearest one in order, and those between follow, by a shift of
    ln(σ/α) that is linear in the step's number, so that steps next to each other stay alike.

    Args:
        process: a scheduled one.
        grid: falling from 1 to 0.
        times: falling from 1 to 0, fewer than those of the grid.

    Raises:
        UsageError: too few steps to pass through all times in order, or no schedule.
    """
    schedule, inner = schedule_of(process), times[1:-1]
    clock = process.clock(grid[1:-1])
    wanted = process.clock(inner)
    kept: list[int] = []
    for j, c in enumerate(wanted):
        low, high = kept[-1] + 1 if kept else 0, len(clock) - (len(wanted) - j) + 1
        if low >= high:
            raise UsageError(
                f"a walk of {len(grid) - 1} steps cannot pass through {len(inner)} times between "
                "its ends: take more steps, or keep fewer times"
            )
        kept.append(low + int((clock[low:high] - c).abs().argmin()))
    knots = [-1, *kept, len(clock)]
    shifts = [0.0, *(wanted - clock[kept]).tolist(), 0.0]
    shift = torch.from_numpy(np.interp(range(len(clock)), knots, shifts))
    made = torch.cat([grid[:1], schedule.time(-2 * (clock + shift)), grid[-1:]])
    positions = [0, *(k + 1 for k in kept), len(grid) - 1]
    made[positions] = times
    return made, tuple(positions)


def generate(
    denoiser: Denoiser,
    solver: Solver,
    about: Description,
    out: Path | str,
    *,
    share: tuple[int, int] = (0, 1),
    wait: Callable[[], None] = lambda: None,
    advance: Callable[[int], None] = lambda done: None,
) -> Path:
    """Write the set that ``about`` describes, or what is missing of it; returns its folder.

    Args:
        denoiser: the model, on its device, in evaluation mode.
        solver: a deterministic one.
        about: see `Description`; a set may be grown by asking for a larger n.
        out: the set's folder.
        share: (i, k): this process is the i-th of k that share the work.
        wait: waits for the other processes.
        advance: told of every finished shard, by its number of trajectories.

    Raises:
        UsageError: a solver that draws noise, another process than that of the description, or
            ``out`` holds something else.
        SfumatoError: states that are not finite, or the disk refuses.
    """
    if not solver.deterministic:
        raise UsageError(f"trajectories follow an ODE: {type(solver).__name__} draws noise")
    if (own := in_words(denoiser.process)) != about.process:
        raise UsageError(f"expected a model of {about.process}, got {own}")
    out = Path(out)
    with ExitStack() as stack:
        if share[1] == 1:  # several processes share the folder
            stack.enter_context(held(beside(out, "lock"), out))
        stack.enter_context(noting(lambda: _kept(out, about)))
        if share[0] == 0:
            _open(out, about)
        wait()
        for shard in range(share[0], about.shards, share[1]):
            if not _stands(out, about, shard):
                states, labels = walk(denoiser, solver, about, about.indices(shard))
                write_shard(out, about, shard, states, labels)
            advance(len(about.indices(shard)))
        wait()
    return out


def _kept(out: Path, about: Description) -> str:
    """What there is to go on with, in a phrase."""
    there = sum(shard_folder(out, shard).is_dir() for shard in range(about.shards))
    shards = many(about.shards, "shard")
    return f"{there} of {shards} kept in {out}; the same command goes on" if there else ""


def walk(
    denoiser: Denoiser, solver: Solver, about: Description, indices: range
) -> tuple[np.ndarray, np.ndarray]:
    """States (n, M, C, ...) float32, divided by their scale, and labels (n, A).

    Raises:
        SfumatoError: a state that is not finite.
    """
    process = denoiser.process
    grid = torch.tensor(about.grid, dtype=torch.float64)
    scale = scales(process, about.times, about.sigma_data).tolist()
    labels = about.label_rows(indices)
    device = next(denoiser.parameters(), torch.empty(0)).device
    parts = []
    for a in range(0, len(indices), about.batch):
        some = indices[a : a + about.batch]
        cond = torch.from_numpy(labels[a : a + about.batch]).to(device) if about.labels else None
        path = from_noise(
            denoiser, solver, grid, about.shape, about.seed, some,
            cond=cond, device=device, save_path=True,
        ).path  # fmt: skip
        pairs = zip(about.kept, scale, strict=True)
        parts.append(torch.stack([(path[k] / s).float().cpu() for k, s in pairs], 1))
    states = torch.cat(parts)
    if not bool(states.isfinite().all()):
        raise SfumatoError(
            f"trajectories {indices.start} to {indices.stop - 1} are not finite; "
            "take more steps or another solver"
        )
    return states.numpy(), labels


def _open(out: Path, about: Description) -> None:
    """Begin a set in a new or empty folder, take up one that stands, or let it grow."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        write_description(out, about)
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; choose another folder")
    sweep(out)
    if not (out / SET).is_dir():
        if any(out.iterdir()):
            raise UsageError(f"{out} holds something that is not a trajectory set; choose another")
        write_description(out, about)
        return
    older = describe(out)
    theirs, ours = replace(older, n=about.n).to_json(), about.to_json()
    if changed := differences(theirs, ours):
        raise UsageError(
            f"{out} holds another trajectory set ({'; '.join(changed)}); choose another folder"
        )
    if older.n > about.n:
        raise UsageError(f"{out} is a set of {older.n}, which can grow but not shrink to {about.n}")
    if older.n < about.n:
        write_description(out, about)


def _stands(out: Path, about: Description, shard: int) -> bool:
    """Whether a shard is there and whole; one that is not is cleared away."""
    folder = shard_folder(out, shard)
    if not folder.exists():
        return False
    try:
        check_shard(out, about, shard)
        return True
    except SfumatoError:
        shutil.rmtree(folder)
        return False
