"""How a step's gradient comes about: from a batch and its mean loss, or another way.

A `Seat` has the weights, the optimizer and the average; a `Rule` leaves a gradient in every
parameter's ``.grad`` and says what may be told about it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.train import shard

if TYPE_CHECKING:
    from sfumato.train.seat import Seat


class Outcome(NamedTuple):
    """What a gradient came with.

    Args:
        norm: of the gradient, before it is clipped.
        stop: whether any process must stop.
        losses: of the whole batch, on the CPU, if they may be known.
        drawn: what was drawn for it.
    """

    norm: float
    stop: bool
    losses: Tensor | None = None
    drawn: Any = None


class Rule(ABC):
    """Finds the gradient of each step."""

    @abstractmethod
    def parts(self, step: int) -> Any:
        """What the step needs that can be prepared while the one before still runs."""

    @abstractmethod
    def gradient(self, parts: Any, step: int, stop: bool) -> Outcome:
        """Leave the gradient in the parameters; ``stop``: whether this process must stop."""

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


MakeRule = Callable[["Seat"], Rule]
"""Makes the rule of the player "model"; refuses by a UsageError what it cannot do."""


@final
class Descent(Rule):
    """The mean loss of the batch, over all processes and parts; the gradient's norm is clipped."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    def open(self, out: Path, state: Mapping[str, Any] | None) -> str:
        """Refuses the weights of a private run."""
        if state is not None and "ledger" in state:
            raise UsageError(
                f"{out} holds a private run, and a step without noise would end what it promises; "
                "go on with `sfumato private train`, or choose another folder"
            )
        return ""

    def parts(self, step: int) -> list[Any]:
        """This process's parts of the batch."""
        return self.seat.draws.parts(self.seat.task, step, self.seat.name)

    def gradient(self, parts: list[Any], step: int, stop: bool) -> Outcome:
        """One forward and backward pass for each part."""
        seat, accelerator = self.seat, self.seat.accelerator
        mine = []
        for i, part in enumerate(parts):
            if i + 1 < len(parts):
                with accelerator.no_sync(seat.losses), shard.unsynced(seat.losses):
                    mine.append(self._pass(part))
            else:
                mine.append(self._pass(part))
        norm = accelerator.clip_grad_norm_(seat.parameters.values(), seat.config.clip or math.inf)
        flag = torch.tensor([float(stop)], device=accelerator.device)
        everyone = accelerator.gather(torch.cat([*mine, flag])).cpu()
        everyone = everyone.reshape(accelerator.num_processes, -1)
        losses, stop = everyone[:, :-1].reshape(-1), bool(everyone[:, -1].any())
        drawn = seat.draws.drawn(seat.task, step, seat.name) if seat.observer is not None else None
        return Outcome(float(shard.whole(norm)), stop, losses, drawn)

    def _pass(self, part: Any) -> Tensor:
        losses: Tensor = self.seat.losses(part)
        scaler = self.seat.accelerator.scaler
        loss = losses.mean() / self.seat.config.accumulate
        (loss if scaler is None else scaler.scale(loss)).backward()
        return losses.detach().float()

    def state(self, step: int) -> dict[str, Any]:
        """Where in the shuffled data the run is."""
        seat = self.seat
        epoch, position = divmod(step * seat.config.batch, len(seat.draws.data))
        return {"epoch": epoch, "position": position}
