"""``sfumato trajectories``: the ways of many samples from noise to data, for DSNO to learn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from sfumato.console.options import (
    Device,
    DeviceName,
    Grid,
    Name,
    Solver,
    at_least,
    parse,
)
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.system import AUTO

_ABOUT = """Walk a model from noise to data many times and keep states along the way.

The set is written in shards with checksums. A run that is interrupted goes on where it stopped
when the same command is given again, to the same bytes; a larger --n lets a set grow. Classes
take turns. The processes of `accelerate launch` share the work.

examples:
  sfumato trajectories fashion --n 20000 --steps 18 --times 8 --out runs/traj
  sfumato train dsno --model fashion --trajectories runs/traj --out runs/dsno
"""


@final
@dataclass(frozen=True)
class TrajectoriesConfig:
    """What to walk, and where to keep it."""

    name: Name
    """A shipped model (see sfumato models), or the folder of a checkpoint or of a run."""
    out: Path = Path("runs/trajectories")
    """The folder of the set."""
    n: int = 20_000
    """How many trajectories."""
    steps: int = 18
    """How many steps from noise to data."""
    times: int = 8
    """States kept after the first: at equal steps of the angle between noise and data."""
    seed: int = 0
    """The seed of the noise, and of labels on several axes."""
    solver: Solver = "dpmpp2m"
    """A solver of the probability flow."""
    grid: Grid = AUTO
    """How the steps are spread over time; the kept times take the places of the nearest."""
    guidance: float = 1.0
    """Strength of classifier-free guidance, which becomes part of what is learned."""
    shard: int = 250
    """Trajectories in a shard, which is written at once."""
    batch: int = 50
    """Trajectories computed together; the last bits depend on it."""
    dtype: Literal["float16", "float32"] = "float16"
    """How states are kept, divided by their scale."""
    device: Device = DeviceName.AUTO
    """Where the network runs; auto takes CUDA, then Apple's GPU, then the CPU."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""
    quiet: bool = False
    """No progress bar and no report."""


def main(argv: list[str]) -> None:
    """Run ``sfumato trajectories``."""
    run(parse(TrajectoriesConfig, "trajectories", argv, _ABOUT))


def run(config: TrajectoriesConfig) -> None:
    """Make the set, or what is missing of it.

    Raises UsageError for options that make no sense or a folder that holds something else,
    SfumatoError for a model that cannot be loaded or a disk that refuses.
    """
    from sfumato import zoo

    for name in ("n", "steps", "times", "shard", "batch"):
        at_least(name, getattr(config, name), 1)
    at_least("guidance", config.guidance, 0)
    at_least("threads", config.threads, 0)
    zoo.find(config.name)  # say what is wrong with the name before torch is imported

    import torch

    from sfumato.console.drawing import processes
    from sfumato.console.options import torch_device
    from sfumato.console.progress import bar
    from sfumato.denoise import Preconditioned
    from sfumato.guide import ClassifierFree
    from sfumato.model.load import load
    from sfumato.model.plan import make_solver, make_times
    from sfumato.model.sampler import Sampler
    from sfumato.systems.dsno.data import Description, in_words, solver_in_words
    from sfumato.systems.dsno.trajectories import generate, through
    from sfumato.times import angular
    from sfumato.train.checkpoint import digest

    if config.threads:
        torch.set_num_threads(config.threads)
    opened = load(config.name, Sampler)
    denoiser, model = opened.denoiser, opened.description
    if not isinstance(denoiser, Preconditioned):
        raise UsageError(f"{config.name} is not a denoiser with a probability flow to follow")
    weights, process, sigma_data = digest(denoiser), denoiser.process, denoiser.sigma_data
    solver = make_solver("dpmpp2m" if config.solver == AUTO else config.solver, config.steps)
    kept_times = angular(process, config.times, sigma_data)
    grid, kept = through(process, make_times(config.grid, process, config.steps), kept_times)
    words = solver_in_words(solver)
    if config.guidance != 1:
        words += f", guidance {config.guidance}"
    about = Description(
        model=config.name, weights=weights, process=in_words(process), solver=words,
        grid=tuple(grid.tolist()), kept=kept, shape=model.shape, labels=model.labels,
        sigma_data=sigma_data, n=config.n, seed=config.seed, shard=config.shard,
        batch=config.batch, dtype=config.dtype,
    )  # fmt: skip
    if config.guidance != 1 and not model.axes:
        raise UsageError("--guidance needs a model with labels; this one has none")
    device = torch_device(config.device)
    walker = denoiser if config.guidance == 1 else ClassifierFree(denoiser, config.guidance)
    state = processes(device)
    quiet = config.quiet or state.index > 0
    began = time.perf_counter()
    with bar("trajectories", config.n, quiet=quiet) as advance:
        generate(
            walker.to(device).eval(), solver, about, config.out, share=(state.index, state.count),
            wait=state.wait, advance=lambda done: advance(done * state.count),
        )  # fmt: skip
    if not quiet:
        spent = time.perf_counter() - began
        print(
            f"{many(config.n, 'trajectory', 'trajectories')} of {many(config.steps, 'step')}, "
            f"{many(len(about.times), 'state')} each "
            f"({spent:.0f} s)"
        )
        print(f"wrote {config.out}")
