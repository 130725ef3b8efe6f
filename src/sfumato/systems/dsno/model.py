"""The kind of model that is a trajectory operator (see `dsno.operator`), as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from sfumato.data import LabelAxis
from sfumato.denoise import Preconditioned, Prediction
from sfumato.errors import UsageError
from sfumato.model.description import NetworkDescription, Sampling, initial
from sfumato.nn import UNetConfig
from sfumato.process import Process, Scheduled
from sfumato.schedule import EDM
from sfumato.systems.dsno.operator import Means, TrajectoryOperator
from sfumato.systems.dsno.temporal import TemporalUNet


@final
@dataclass(frozen=True)
class OperatorModel(NetworkDescription):
    """An operator over frames, and the teacher that it was made from.

    Args:
        data: name of the data set.
        network: sizes of the U-Net; its number of labels must be that of ``axes``.
        times: of the frames, falling to 0.
        start: the time at which the network takes up the trajectory; 1 is the very beginning.
        modes: temporal modes that are kept.
        process, prediction, sigma_data: the teacher's.
        axes: names and values of the label axes.
        teacher: the teacher's name.
    """

    data: str
    network: UNetConfig
    times: tuple[float, ...]
    start: float = 1.0
    modes: int = 2
    process: Process = Scheduled(EDM())
    prediction: Prediction = Prediction.EDM
    sigma_data: float = 0.5
    axes: tuple[LabelAxis, ...] = ()
    teacher: str = ""

    @property
    def sampling(self) -> Sampling:
        """One step, which is all that it knows."""
        return Sampling("ddim", steps=1, times=(1.0, 0.0))

    def build(self, seed: int = 0) -> TrajectoryOperator:
        """The operator; its means are zero until they are learned or taken from a teacher."""
        with initial(seed):
            network = TemporalUNet(self.network, self.modes)
        backbone = Preconditioned(
            network, self.process, self.prediction, sigma_data=self.sigma_data
        )
        means = Means(self.shape, self.labels) if self.start < 1 else None
        return TrajectoryOperator(backbone, self.times, self.start, means)


@torch.no_grad()
def take_over(operator: TrajectoryOperator, teacher: Preconditioned, draws: int = 8) -> None:
    """Put a teacher's weights into an operator: every frame is then the teacher's answer.

    μ(c) is the mean of the teacher's answers at t = 1 to a few draws of pure noise. Of several
    label axes, each value's part is taken with the other labels hidden.

    Raises:
        UsageError: the teacher's network is not the operator's.
    """
    network = operator.backbone.network
    if not isinstance(network, TemporalUNet):
        raise UsageError(f"expected a TemporalUNet, got a {type(network).__name__}")
    theirs, ours = teacher.network.state_dict(), network.unet.state_dict()
    if {k: v.shape for k, v in theirs.items()} != {k: v.shape for k, v in ours.items()}:
        raise UsageError("the teacher's network has other sizes than the operator's")
    network.unet.load_state_dict(theirs)
    means = operator.means
    if means is None:
        return
    noise = teacher.process.prior_sample(
        (draws, *means.table.shape[1:]), torch.Generator().manual_seed(0)
    ).to(means.table.device)

    def answer(cond: list[int]) -> torch.Tensor:
        rows = torch.tensor([cond] * draws, device=noise.device) if cond else None
        return teacher(noise, 1.0, rows).mean(0)

    hidden = list(means.labels)
    means.table.zero_()
    means.table[0] = answer(hidden)
    for axis, count in enumerate(means.labels):
        for label in range(count):
            cond = [label if a == axis else n for a, n in enumerate(hidden)]
            means.table[means.row(axis, label)] = answer(cond) - means.table[0]
