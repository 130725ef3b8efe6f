"""How a step's gradient comes about: from a batch and its mean loss, or another way.

`Run` has the weights, the optimizer, the averages, the log and the checkpoints; a `Rule` leaves a
gradient in every parameter's ``.grad`` and says what may be told about it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.train.config import TrainConfig
from sfumato.train.draws import Draws, Microbatch


class Outcome(NamedTuple):
    """What a gradient came with: the whole batch's losses and times, if they may be known."""

    norm: float
    stop: bool
    losses: Tensor | None = None
    times: Tensor | None = None


class Rule(ABC):
    """Finds the gradient of each step."""

    @abstractmethod
    def parts(self, step: int) -> Any:
        """What the step needs that can be prepared while the one before still runs."""

    @abstractmethod
    def gradient(self, parts: Any, step: int, stop: bool) -> Outcome:
        """Leave the gradient in the parameters; true in `FolderOutcome.stop` if any process must
        stop."""

    @abstractmethod
    def open(self, out: Path, state: Mapping[str, Any] | None) -> str:
        """The run begins (state None) or goes on from a checkpoint; a sentence to say, or "".

        Raises:
            UsageError: the checkpoint was trained by another rule.
        """

    def spent(self) -> bool:
        """Whether there must be no further step."""
        return False

    def report(self) -> dict[str, Any]:
        """What a line of the log says of it."""
        return {}

    def state(self, step: int) -> dict[str, Any]:
        """What a checkpoint's ``state.json`` keeps of it after so many steps."""
        del step
        return {}


@final
class Descent(Rule):
    """The mean loss of the batch, over all processes and parts; the gradient's norm is clipped."""

    def __init__(
        self,
        config: TrainConfig,
        draws: Draws,
        accelerator: Accelerator,
        losses: nn.Module,
        parameters: Sequence[nn.Parameter],
    ) -> None:
        self.config, self.draws, self.accelerator = config, draws, accelerator
        self.losses, self.parameters = losses, parameters

    def open(self, out: Path, state: Mapping[str, Any] | None) -> str:
        """Refuses the weights of a private run."""
        if state is not None and "ledger" in state:
            raise UsageError(
                f"{out} holds a private run, and a step without noise would end what it promises; "
                "go on with `sfumato private train`, or choose another folder"
            )
        return ""

    def parts(self, step: int) -> list[Microbatch]:
        """This process's parts of the batch."""
        return self.draws.parts(step)

    def gradient(self, parts: list[Microbatch], step: int, stop: bool) -> Outcome:
        """One forward and backward pass for each part."""
        accelerator = self.accelerator
        mine = []
        for i, part in enumerate(parts):
            part = part.to(accelerator.device)
            if i + 1 < len(parts):
                with accelerator.no_sync(self.losses):
                    losses = self.losses(part)
                    accelerator.backward(losses.mean())
            else:
                losses = self.losses(part)
                accelerator.backward(losses.mean())
            mine.append(losses.detach().float())
        norm = accelerator.clip_grad_norm_(
            self.parameters, self.config.clip if self.config.clip else math.inf
        )
        flag = torch.tensor([float(stop)], device=accelerator.device)
        everyone = accelerator.gather(torch.cat([*mine, flag])).cpu()
        everyone = everyone.reshape(accelerator.num_processes, -1)
        losses, stop = everyone[:, :-1].reshape(-1), bool(everyone[:, -1].any())
        return Outcome(float(norm), stop, losses, self.draws.times(step)[0])

    def state(self, step: int) -> dict[str, Any]:
        """Where in the shuffled data the run is."""
        epoch, position = divmod(step * self.config.batch, len(self.draws.data))
        return {"epoch": epoch, "position": position}
