"""The walk from noise to data that everything here draws by.

Sample i starts from noise of ``generators(seed, [i])``, and every later random number comes from
the same generator. So it does not matter with which others it is computed, in which process, or
whether the run was interrupted between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor

from sfumato.condition import Given
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError
from sfumato.sampling import Callback, Solution, Solver, sample
from sfumato.seeds import generators

Progress = Callable[[int], None]
"""Told how many more samples are finished."""


def walk(
    denoiser: Denoiser,
    solver: Solver,
    times: Tensor,
    shape: Sequence[int],
    seed: int,
    indices: Sequence[int],
    *,
    cond: Given = None,
    start: Tensor | None = None,
    begin: float = 1.0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    save_path: bool = False,
    callback: Callback | None = None,
) -> Solution:
    """Walk samples of these numbers from the prior to data.

    Args:
        denoiser, solver, times: see `sfumato.sample`.
        shape: of one example of the data.
        seed, indices: of the samples.
        cond: what the denoiser is told, for all of them.
        start: the states at ``times[0]``, instead of draws from the prior.
        begin: the time whose prior that is, see `Process.prior_sample`.
        device: where the state and the denoiser are.
        dtype: what networks compute in; the state stays float32.
        save_path, callback: see `sfumato.sample`.
    """
    random = generators(seed, indices)
    if start is None:
        process = denoiser.process
        start = process.prior_sample((len(indices), *shape), random, t=begin)
    with computing(device, dtype):
        done = sample(
            denoiser, solver, times, start.to(device), cond=cond, generator=random,
            save_path=save_path, callback=callback,
        )  # fmt: skip
    return replace(done, x=done.x.clone(), path=[x.clone() for x in done.path])


@contextmanager
def computing(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Networks inside compute in ``dtype``; what comes out is to be cloned.

    Below float32 in inference mode, whose kernels round otherwise than those of ``no_grad``.
    """
    lower = dtype is not torch.float32
    with torch.inference_mode(lower), torch.autocast(torch.device(device).type, dtype, lower):
        yield


@final
@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples float32 (n, ...) on the CPU, and the network evaluations of each."""

    x: Tensor
    nfe: int


class Keep(Protocol):
    """Where finished batches are kept, so that a drawing that was stopped goes on."""

    def find(self, places: range) -> Tensor | None:
        """The samples at these places, if they are there."""

    def put(self, places: range, x: Tensor) -> None:
        """Keep the samples at these places."""


def in_batches(
    n: int,
    batch: int,
    draw: Callable[[range], tuple[Tensor, int]],
    progress: Progress | None = None,
    hint: str = "try more steps, less guidance, or float32",
    keep: Keep | None = None,
) -> Drawn:
    """Draw samples 0 .. n-1, ``batch`` at a time.

    Args:
        n: number of samples, at least 1.
        batch: most samples computed together.
        draw: gives the samples at some places, and their evaluations.
        progress: told of every finished batch.
        hint: what to do if values are not finite.
        keep: keeps finished batches, where there are several, and has those of before.

    Raises:
        SfumatoError: values that are not finite.
    """
    parts, nfe = [], 0
    keep = keep if n > batch else None
    for first in range(0, n, batch):
        places = range(first, min(first + batch, n))
        x = None if keep is None else keep.find(places)
        if x is None:
            x, nfe = draw(places)
            x = x.float().cpu()
            if not bool(x.isfinite().all()):
                raise SfumatoError(f"the samples are not finite; {hint}")
            if keep is not None:
                keep.put(places, x)
        parts.append(x)
        if progress is not None:
            progress(len(places))
    return Drawn(torch.cat(parts), nfe)
