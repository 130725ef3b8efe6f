r"""diffusers' schedulers, driving a denoiser of ours: what `sampling.py` compares with.

A scheduler keeps a state and, at each call, turns an estimate of x_0 into the next state. Two
conventions occur: DDIM, DPM-Solver, UniPC and DEIS keep y = x/(α √(1 + ς²)), variance preserving
at the noise level ς = σ/α; Heun keeps z = x/α. Neither depends on the process of the network, so
at each call the driver

1. reads the level ς_i that the scheduler is at, from the scheduler,
2. finds the time t_i of our process with that level and scales the state to x_{t_i},
3. asks our denoiser for x̂_0(x_{t_i}, t_i) and hands it over as the prediction "sample".

No scheduler knows EDM's range of levels, 0.002 to 80, so each is given a table of training levels
that spans it. The table goes in as \bar α = 1/(1 + ς²) in float64, because the float32 product of
1 - β would be off by a per cent at the small end.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from sfumato import Denoiser
from sfumato.condition import Given
from sfumato.denoise import counted
from sfumato.errors import require
from sfumato.times import schedule_of

F64 = torch.float64
SIGMA_MIN, SIGMA_MAX, RHO, TRAIN_LEVELS = 0.002, 80.0, 7.0, 1000


class Spacing(Enum):
    """How noise levels are spread: equally in ς^(1/7) (Karras et al. 2022), or in ln ς."""

    KARRAS = "Karras levels"
    EXPONENTIAL = "exponential levels"


def levels(spacing: Spacing, n: int, low: float, high: float) -> Tensor:
    """n falling noise levels from ``high`` to ``low``, float64."""
    f = torch.linspace(0, 1, n, dtype=F64)
    if spacing is Spacing.KARRAS:
        root = 1 / RHO
        return (high**root + f * (low**root - high**root)) ** RHO
    ends = torch.tensor([high, low], dtype=F64).log()
    return (ends[0] + f * (ends[1] - ends[0])).exp()


@final
class Ready(NamedTuple):
    """A scheduler that is about to start."""

    scheduler: Any
    levels: Tensor
    """ς at each call, and after the last one, float64."""
    calls: int
    """How often the network is asked."""


class Peer(ABC):
    """A scheduler with its options.

    Attributes:
        name: that of the scheduler, as a reader knows it.
        scaled: it keeps y = x/(α √(1 + ς²)), otherwise z = x/α.
    """

    name: str
    scaled: bool = True
    spacing: Spacing

    @property
    @abstractmethod
    def settings(self) -> str:
        """What was chosen, in words."""

    @abstractmethod
    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """A fresh scheduler for a walk of so many steps, from the level ``high``."""

    def steps(self, evaluations: int) -> int:
        """The most steps that so many network evaluations allow."""
        return evaluations

    def walk(
        self, denoiser: Denoiser, x: Tensor, steps: int, cond: Given = None
    ) -> tuple[Tensor, int]:
        """(x_0, network evaluations) from the state x at the prior.

        Raises:
            UsageError: a process without noise levels σ/α.
        """
        schedule = schedule_of(denoiser.process)
        high = min(SIGMA_MAX, float((-0.5 * schedule.log_snr(1.0)).exp()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            scheduler, level, calls = self.ready(steps, high)
        unit = (1 + level.square()).sqrt() if self.scaled else torch.ones_like(level)
        t = schedule.time(-2 * level[:calls].log()).clamp(0, 1)
        scale = schedule.alpha(t) * unit[:calls]
        state = x / float(scale[0])
        with torch.no_grad(), counted() as spent:
            for i in range(calls):
                x0 = denoiser(state * float(scale[i]), t[i], cond)
                state = scheduler.step(x0, scheduler.timesteps[i], state).prev_sample
        return state * float(unit[calls]), spent.evaluations


def _train(kind: Any, table: Tensor, options: dict[str, Any]) -> Any:
    """A scheduler whose training levels are ``table`` (rising)."""
    bar = 1 / (1 + table.square())
    before = torch.cat([torch.ones(1, dtype=F64), bar[:-1]])
    betas = (1 - bar / before).numpy()
    made = kind(
        num_train_timesteps=len(table), trained_betas=betas, prediction_type="sample", **options
    )
    made.alphas_cumprod = bar
    return made


def _flags(spacing: Spacing) -> dict[str, bool]:
    if spacing is Spacing.KARRAS:
        return {"use_karras_sigmas": True}
    return {"use_exponential_sigmas": True}


def _spanning(
    kind: str, spacing: Spacing, options: dict[str, Any], steps: int, high: float
) -> tuple[Any, Tensor]:
    """A scheduler that places its own levels between the ends of its training table."""
    diffusers = require("diffusers", "bench")
    table = levels(Spacing.EXPONENTIAL, TRAIN_LEVELS, SIGMA_MIN, high).flip(0)
    made = _train(getattr(diffusers, kind), table, {**_flags(spacing), **options})
    made.set_timesteps(steps)
    made.set_begin_index(0)  # rounded time steps may coincide; the index is what counts
    return made, made.sigmas.to(F64)


@final
@dataclass(frozen=True)
class Ddim(Peer):
    """DDIMScheduler. It walks equally through its training levels, so these are the grid."""

    spacing: Spacing = Spacing.KARRAS
    clip: bool = False
    name = "diffusers DDIM"

    @property
    def settings(self) -> str:
        """Spacing and clipping."""
        return self.spacing.value + (", estimates clipped" if self.clip else "")

    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """One training level for each step."""
        diffusers = require("diffusers", "bench")
        low = SIGMA_MIN if steps > 1 else high
        grid = levels(self.spacing, steps, low, high)
        made = _train(
            diffusers.DDIMScheduler,
            grid.flip(0),
            {"clip_sample": self.clip, "timestep_spacing": "trailing"},
        )
        made.set_timesteps(steps)
        return Ready(made, torch.cat([grid, grid.new_zeros(1)]), steps)


@final
@dataclass(frozen=True)
class DpmSolver(Peer):
    """DPMSolverMultistepScheduler, dpmsolver++."""

    order: int = 2
    spacing: Spacing = Spacing.KARRAS
    heun: bool = False
    name = "diffusers DPMSolverMultistep"

    @property
    def settings(self) -> str:
        """Order, type and spacing."""
        return f"{self.order}M{' heun' if self.heun else ''}, {self.spacing.value}"

    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """Ends at ς = 0."""
        kind = "heun" if self.heun else "midpoint"
        options = {"solver_order": self.order, "solver_type": kind}
        return Ready(
            *_spanning("DPMSolverMultistepScheduler", self.spacing, options, steps, high), steps
        )


@final
@dataclass(frozen=True)
class UniPc(Peer):
    """UniPCMultistepScheduler, B₂(h) (B₁ is not a number where a step ends at ς = 0)."""

    order: int = 2
    spacing: Spacing = Spacing.KARRAS
    name = "diffusers UniPC"

    @property
    def settings(self) -> str:
        """Order and spacing."""
        return f"order {self.order}, {self.spacing.value}"

    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """Ends at ς = 0."""
        options = {"solver_order": self.order}
        return Ready(
            *_spanning("UniPCMultistepScheduler", self.spacing, options, steps, high), steps
        )


@final
@dataclass(frozen=True)
class Deis(Peer):
    """DEISMultistepScheduler, log-rho.

    It repeats the smallest level at the end, so that its last call changes nothing and its result
    holds noise of ς = 0.002, a quarter of a grey level. The call is left out here, and the walk
    has one level more for it.
    """

    order: int = 2
    spacing: Spacing = Spacing.KARRAS
    name = "diffusers DEIS"

    @property
    def settings(self) -> str:
        """Order and spacing."""
        return f"order {self.order}, {self.spacing.value}"

    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """Ends at ς = 0.002."""
        made, sigmas = _spanning(
            "DEISMultistepScheduler", self.spacing, {"solver_order": self.order}, steps + 1, high
        )
        return Ready(made, sigmas, steps)


@final
@dataclass(frozen=True)
class HeunPeer(Peer):
    """HeunDiscreteScheduler: two evaluations a step, one in the last."""

    spacing: Spacing = Spacing.KARRAS
    name = "diffusers Heun"
    scaled = False

    @property
    def settings(self) -> str:
        """Spacing."""
        return self.spacing.value

    def steps(self, evaluations: int) -> int:
        """2 n - 1 evaluations for n steps; a single step would start at the smallest level."""
        return max(2, (evaluations + 1) // 2)

    def ready(self, steps: int, high: float = SIGMA_MAX) -> Ready:
        """The levels come twice but for the first; the second call is at the end of the step."""
        made, sigmas = _spanning("HeunDiscreteScheduler", self.spacing, {}, steps, high)
        return Ready(made, sigmas, len(made.timesteps))


def options() -> dict[str, list[Peer]]:
    """For each scheduler, the settings among which its best are sought."""
    both = list(Spacing)
    every: list[Peer] = [
        *(Ddim(s, clip) for s in both for clip in (False, True)),
        *(DpmSolver(order, s) for order in (2, 3) for s in both),
        DpmSolver(2, Spacing.KARRAS, heun=True),
        *(UniPc(order, s) for order in (2, 3) for s in both),
        *(Deis(order, s) for order in (2, 3) for s in both),
        *(HeunPeer(s) for s in both),
    ]
    found: dict[str, list[Peer]] = {}
    for peer in every:
        found.setdefault(peer.name, []).append(peer)
    return found
