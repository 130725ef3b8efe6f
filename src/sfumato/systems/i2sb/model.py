r"""A model that undoes degradations, as data: a bridge, a diffusion, or a regression.

All three are one network that sees a state and, beside it, the bad picture x_1:

* BRIDGE (I²SB, Liu et al. 2023, arXiv 2302.05872): the state is x_t of the bridge between x_0 and
  x_1, the network predicts (x_t - x_0)/σ_t (algorithm 1), and walks begin at x_1.
* DIFFUSION (as in Palette, Saharia et al. 2022, arXiv 2111.05826): the state is x_0 with noise of
  any level, and walks begin at noise. A cosine schedule with uniform times and v-prediction, so
  that the network learns what x_1 alone says, at t = 1, as well as all that follows. (EDM's law of
  the times hardly visits the first steps, where an unconditional model has little to say.)
* REGRESSION: the bridge at t = 1 alone, where the state is x_1 itself, so that one evaluation
  gives E[x_0 | x_1].
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, final

import torch
from torch import Tensor

from sfumato.bridge import Bridge
from sfumato.condition import Condition, ImageCondition
from sfumato.data import LabelAxis
from sfumato.data.degrade import Problem, Task
from sfumato.denoise import Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.model.description import NetworkDescription, Sampling, initial
from sfumato.nn import UNet, UNetConfig
from sfumato.process import Process


class Method(Enum):
    """What the state is; the module's text has the meanings."""

    BRIDGE = "bridge"
    DIFFUSION = "diffusion"
    REGRESSION = "regression"


def beside_channels(channels: int, conditional: bool, masked: bool) -> int:
    """Channels that the network sees beside the state."""
    return channels * conditional + masked


@final
@dataclass(frozen=True)
class RestorationModel(NetworkDescription):
    """A network that undoes degradations, and the data and tasks it was made for.

    Args:
        data: name of the data set.
        network: sizes; its input is the state and what is seen beside it.
        method: what the state is.
        tasks: the degradations it was trained to undo.
        process: a `Bridge` for a bridge and a regression.
        prediction: what the network predicts.
        sigma_data: root mean square of the data.
        told: whether the network is told the task, by a label; it was then also trained without.
        conditional: whether it sees x_1 beside the state.
        masked: whether it also sees which part of x_1 is known; the known part is then put into
            every estimate, and is no part of the loss.

    Raises:
        UsageError: network, tasks and process do not fit.
    """

    command: ClassVar[str] = "restore"
    opens: ClassVar[str] = "sfumato.systems.i2sb.restorer:Restorer"

    data: str
    network: UNetConfig
    method: Method
    tasks: tuple[Task, ...]
    process: Process = Bridge()
    prediction: Prediction = Prediction.EPSILON
    sigma_data: float = 0.5
    told: bool = True
    conditional: bool = True
    masked: bool = False

    def __post_init__(self) -> None:
        if not self.tasks:
            raise UsageError("a model of restoration needs at least one task")
        if isinstance(self.process, Bridge) == (self.method is Method.DIFFUSION):
            raise UsageError(
                f"the process {type(self.process).__name__} does not fit a {self.method.value}"
            )
        super().__post_init__()
        channels = self.network.out_channels
        want = channels + beside_channels(channels, self.conditional, self.masked)
        if self.network.in_channels != want:
            raise UsageError(
                f"the network takes {self.network.in_channels} channels, expected {want}: the "
                "state and what is seen beside it"
            )

    @property
    def axes(self) -> tuple[LabelAxis, ...]:  # type: ignore[override]
        """The task, if the network is told it."""
        return (LabelAxis("task", self.names),) if self.told else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks, in the order of their label numbers."""
        return tuple(task.name for task in self.tasks)

    @property
    def sampling(self) -> Sampling:
        """Ten ancestral steps of a bridge; 18 multistep ones from noise; one of a regression."""
        match self.method:
            case Method.BRIDGE:
                return Sampling("ancestral", "uniform", 10)
            case Method.DIFFUSION:
                return Sampling()
            case Method.REGRESSION:
                return Sampling("ancestral", "uniform", 1, times=(1.0, 0.0))

    def build(self, seed: int = 0) -> Preconditioned:
        """The preconditioned network; fresh weights depend on ``seed`` alone."""
        with initial(seed):
            made = UNet(self.network)
        return Preconditioned(made, self.process, self.prediction, self.sigma_data)

    def cond(self, problem: Problem, labels: Tensor | None) -> Condition | Tensor | None:
        """What the network is told: the picture beside the state, and labels (B, 1)."""
        labels = labels if self.told else None
        parts = [problem.beside] * self.conditional + [problem.known] * self.masked
        if not parts:
            return labels
        return ImageCondition(torch.cat(parts, 1), labels)
