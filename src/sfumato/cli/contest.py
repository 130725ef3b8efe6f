r"""One sampler at one cost, measured: quality, distance to the ODE's solution, FLOPs, seconds.

A *contestant* draws samples from a model by one rule. All of them draw the same samples: labels
and starting noise are those of sample 0 .. n - 1 of the seed. What is measured of each:

* the scores of `Reference`, above all the Fréchet distance;
* where it follows the probability flow, its root mean square distance over pixels to a fine
  solution of that ODE from the same noise (data in [-1, 1]): pure discretisation error;
* floating-point operations of one sample, counted while it is drawn (convolutions and matrix
  products, two per multiply-add), the heads and everything else the sampler calls included;
* seconds of one sample in the fastest batch: processor time, on a GPU time. The fastest, because
  what else the machine does at the time is no cost of the sampler.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.cli.judging import Reference
from sfumato.console.how import SamplingOptions
from sfumato.data import to_uint8
from sfumato.denoise import Denoiser
from sfumato.errors import SfumatoError
from sfumato.files.words import many
from sfumato.metrics import Score
from sfumato.model.labels import Labelled
from sfumato.model.sampler import Sampler
from sfumato.process import Scheduled
from sfumato.schedule import RectifiedFlow
from sfumato.system import AUTO, solvers

Row = dict[str, Any]
FINE_STEPS = 200
"""Steps of the solution that is taken for exact: its own error is below 10⁻⁴ on the shipped
models, found by doubling."""


class Contestant(ABC):
    """Something that draws samples of a model.

    Attributes:
        name: of the sampler.
        settings: what was chosen for it, in words.
        maker: whose code it is.
        follows: it solves the probability flow of `denoiser`.
        model: what it draws from, before guidance.
    """

    name: str
    settings: str
    maker: str = "sfumato"
    follows: bool
    model: Sampler

    @abstractmethod
    def steps(self, budgets: Sequence[int]) -> list[int]:
        """The numbers of steps to measure, for so many network evaluations at most; rising."""

    @abstractmethod
    def draw(
        self, indices: Sequence[int], labels: NDArray[np.int64], steps: int, seed: int
    ) -> tuple[Tensor, int]:
        """These samples as data (B, ...) float32 on the CPU, and the network evaluations of one."""

    def identity(self) -> dict[str, Any]:
        """What its figures depend on, besides the task."""
        return {
            "name": self.name,
            "settings": self.settings,
            "model": self.model.description.to_json(),
            "weights": digest(self.model.denoiser),
        }


@final
class Ours(Contestant):
    """A solver of sfumato by its name in the table.

    Args:
        name: how it is called in the table.
        model: what is sampled.
        how: batch, device, guidance and so on; solver and grid are overwritten.
        solver, grid: the rule, and its times; of a model that was made for its own times, theirs.
    """

    def __init__(
        self,
        name: str,
        model: Sampler,
        how: SamplingOptions,
        solver: str,
        grid: str = AUTO,
    ) -> None:
        self.name = name
        self.model = model
        self.entry = solvers()[solver]
        times = model.description.sampling.times
        self.own = len(times) - 1 if times else 0
        self.how = how if self.own else replace(how, solver=solver, grid=grid)
        self.settings = f"{solver}, grid {grid}"
        if self.own:
            self.settings = f"its own {self.own} step{'s' if self.own > 1 else ''}"
        if how.guidance != 1:
            self.settings += f", guidance {how.guidance:g}"
        self.follows = not self.entry.noisy and not self.own

    def steps(self, budgets: Sequence[int]) -> list[int]:
        """From the evaluations that a step of the solver costs."""
        if self.own:
            return [self.own]
        return sorted({self.entry.steps_within(b) for b in budgets})

    def draw(
        self, indices: Sequence[int], labels: NDArray[np.int64], steps: int, seed: int
    ) -> tuple[Tensor, int]:
        """As `sfumato sample` draws them."""
        drawer = self.how.prepare(self.model, steps, seed)
        drawn = drawer.draw(indices, labels, batch=len(indices))
        return drawn.x, drawn.nfe


def digest(denoiser: Denoiser) -> str:
    """A short digest of a model's weights."""
    found = hashlib.blake2b(digest_size=8)
    for name, value in denoiser.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products, two per multiply-add."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return int(counter.get_total_flops())


@final
class Contest:
    """The task that all contestants are given, and what their samples are judged by.

    Args:
        labels: of the n samples.
        judge: real data and features.
        how: batch and device.
        seed: of noise.
        close: so many of the samples are compared with the fine solution of the ODE.
        like: a contest whose first samples are the same, so that its fine solutions serve.
    """

    def __init__(
        self,
        labels: Labelled,
        judge: Reference,
        how: SamplingOptions,
        seed: int,
        close: int = 256,
        like: Contest | None = None,
    ) -> None:
        self.labels, self.judge, self.how, self.seed = labels, judge, how, seed
        self.n = len(labels.labels)
        self.close = min(close, self.n)
        self._fine: dict[str, Tensor] = {} if like is None else like._fine

    def key(self, contestant: Contestant, steps: int) -> str:
        """A digest of everything that a row's figures depend on (times aside)."""
        features = self.judge.features
        about = {
            "format": 1,
            "contestant": contestant.identity(),
            "how": [self.how.guidance, self.how.dtype.value],
            "steps": steps,
            "n": self.n,
            "seed": self.seed,
            "labels": hashlib.blake2b(self.labels.labels.tobytes(), digest_size=8).hexdigest(),
            "data": self.judge.data.name,
            "real": len(self.judge.real),
            "features": features.name if features else "points",
            "close": [self.close, FINE_STEPS],
        }
        text = json.dumps(about, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def measure(
        self, contestant: Contestant, steps: int, advance: Callable[[int], None] = lambda done: None
    ) -> Row:
        """One row: what the sampler costs at so many steps, and how good it is.

        Raises SfumatoError when the samples are not finite.
        """
        parts, spent, nfe, batch = [], [], 0, self.how.batch
        for first in range(0, self.n, batch):
            chosen = range(first, min(first + batch, self.n))
            began = _now()
            wanted = self.labels.labels[chosen.start : chosen.stop]
            x, nfe = contestant.draw(chosen, wanted, steps, self.seed)
            spent.append((_now() - began) / len(chosen))
            parts.append(x)
            advance(len(chosen))
        x = torch.cat(parts)
        if not bool(torch.isfinite(x).all()):
            raise SfumatoError(
                f"{contestant.name}: the samples are not finite at {many(steps, 'step')}"
            )
        one = self.labels.labels[:1]
        operations = flops(lambda: contestant.draw(range(1), one, steps, self.seed))
        pixels = (to_uint8(x) if x.ndim == 4 else x).numpy()
        scores = self.judge.scores(pixels, self.labels.labels if self.labels.axes else None)
        return {
            "sampler": contestant.name,
            "settings": contestant.settings,
            "maker": contestant.maker,
            "steps": steps,
            "nfe": nfe,
            "n": self.n,
            "seed": self.seed,
            "flops": operations,
            "seconds": min(spent),
            "rms": self._distance(contestant, x),
            **headline(scores),
            "scores": [s.as_dict() for s in scores],
        }

    def _distance(self, contestant: Contestant, x: Tensor) -> float | None:
        if not contestant.follows:
            return None
        mark = digest(contestant.model.denoiser)
        if len(self._fine.get(mark, ())) < self.close:
            self._fine[mark] = self.fine(contestant.model)
        near = self._fine[mark][: self.close]
        return float((x[: self.close] - near).square().mean().sqrt())

    def fine(self, model: Sampler) -> Tensor:
        """The probability flow followed closely from the first samples' noise, (close, ...)."""
        process = model.process
        even = isinstance(process, Scheduled) and not isinstance(process.schedule, RectifiedFlow)
        how = replace(self.how, solver="dpmpp3m", grid="log-snr" if even else AUTO)
        drawer = how.prepare(model, FINE_STEPS, self.seed)
        some = range(self.close)
        return drawer.draw(some, self.labels.labels[: self.close], batch=how.batch).x


def headline(scores: Sequence[Score]) -> Row:
    """The figures that a table shows, by short names; None where there are none."""
    first = scores[0]
    row: Row = {"measure": first.metric, "quality": first.value, "quality_error": first.error}
    by_name = {s.metric: s for s in scores}
    for name in ("precision", "recall"):
        row[name] = by_name[name].value if name in by_name else None
    read = [s.value for s in scores if s.metric == "label accuracy"]
    row["accuracy"] = sum(read) / len(read) if read else None
    return row


def _now() -> float:
    """Seconds: of this process's computing, or of the clock once a GPU has been used."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()
