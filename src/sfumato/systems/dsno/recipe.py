r"""DSNO (Zheng et al. 2023, arXiv 2211.13449): one evaluation of a network for a whole trajectory.

Learns a set made by ``sfumato trajectories`` from the weights of the model that was walked (see
`dsno.operator`): with x̄_0(t_j) the operator's estimates and x̂_0(t_j) those that the states
of a known trajectory stand for, the loss of one trajectory is

.. math:: \sum_j w_j\, d(\bar x_0(t_j), \hat x_0(t_j)) \Big/ \sum_j w_j, \qquad
          w = \min(\max(\alpha/\sigma, 1), w_{max}).

Published: w_max = 10⁴, so that t = 0 outweighs all else; d is L1, or perceptual. The number of
frames may differ from step to step, as the temporal convolutions allow: ``frames`` take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor

from sfumato.data import to_uint8
from sfumato.denoise import Denoiser, Preconditioned
from sfumato.errors import UsageError
from sfumato.files import pictures
from sfumato.files.cards import find
from sfumato.metrics import load_classifier
from sfumato.metrics.distance import Absolute, Distance, Perceptual, Squared
from sfumato.model.description import ModelConfig
from sfumato.model.fit import fit
from sfumato.model.load import load_model
from sfumato.nn import UNetConfig
from sfumato.process import Process
from sfumato.systems.dsno.data import Trajectories, TrajectorySet
from sfumato.systems.dsno.model import OperatorModel, take_over
from sfumato.systems.dsno.operator import TrajectoryOperator
from sfumato.systems.dsno.options import Config
from sfumato.times import at_angle
from sfumato.train import Part, Sheet
from sfumato.train.checkpoint import digest
from sfumato.train.task import Losses


def time_weights(process: Process, times: Tensor, cap: float) -> Tensor:
    """w = α/σ, at least 1 and at most ``cap``, over its sum; float64 (T,)."""
    snr = (-process.clock(times)).exp()
    w = snr.clamp(1.0, cap)
    return w / w.sum()


def kept(times: Sequence[float], count: int) -> tuple[float, ...]:
    """Every so-many-th of the times after x_1, ``count`` in all, the last one included.

    Raises:
        UsageError: the count does not divide their number.
    """
    if (len(times) - 1) % count:
        raise UsageError(
            f"frames: {count} do not divide the {len(times) - 1} times of the trajectories"
        )
    stride = (len(times) - 1) // count
    return tuple(times[stride::stride])


def trajectory_loss(
    times: Sequence[float], frames: Sequence[int], d: Distance, cap: float
) -> Losses:
    """The loss of the module's text on parts of trajectories at ``times``.

    Each part takes every so-many-th time, so that there are as many after x_1 as one of
    ``frames`` says, drawn from the part's own generator.

    Raises:
        UsageError: a number of frames that does not divide the number of times after x_1.
    """
    grids = [torch.tensor(kept(times, count), dtype=torch.float64) for count in frames]

    def loss(operator: TrajectoryOperator, part: Part) -> Tensor:
        trajectories: Trajectories = part.batch
        here = grids[int(torch.randint(len(grids), (), generator=part.generators[0]))]
        stride = (len(times) - 1) // len(here)
        x_1, states = trajectories.states[:, 0], trajectories.states[:, stride::stride]
        estimates = operator.estimates(x_1, here, trajectories.labels)
        targets = operator.targets(x_1, states, here)
        gaps = d(estimates.flatten(0, 1), targets.flatten(0, 1)).unflatten(0, (-1, len(here)))
        return (gaps * time_weights(operator.process, here, cap).to(gaps)).sum(1)

    return loss


def make_distance(config: Config) -> Distance:
    """The distance that a configuration names. Raises UsageError for an unknown classifier."""
    if config.distance == "perceptual":
        return Perceptual(load_classifier(find(config.features)), config.pixels)
    return Absolute() if config.distance == "l1" else Squared()


def pair_sheet(data: TrajectorySet, columns: int = 10) -> Sheet:
    """The ends of the first trajectories, and below each what the operator makes of its x_1."""
    states, cond = data.batch(range(2 * columns))

    def draw(denoiser: Denoiser) -> Image.Image:
        device = next(denoiser.parameters()).device
        with torch.no_grad():
            labels = None if cond is None else cond.to(device)
            made = denoiser(states[:, 0].to(device), 1.0, labels).cpu()
        rows = [r for k in (0, columns) for r in (states[k:, -1][:columns], made[k:][:columns])]
        return pictures.sheet(to_uint8(torch.cat(rows)).numpy(), columns=columns)

    return draw


def run(config: Config) -> Path:
    """Train; returns the run folder.

    Raises:
        UsageError: settings, teacher or classifier that do not fit.
        SfumatoError: trajectories of another model, damaged or unfinished ones; or see
            `sfumato.train.train`.
    """
    teacher, theirs = load_model(find(config.model))
    network = theirs.network if isinstance(theirs, ModelConfig) else None
    if not isinstance(theirs, ModelConfig) or not isinstance(network, UNetConfig):
        raise UsageError(f"expected a denoiser of images, but {config.model!r} is not one")
    teacher = cast(Preconditioned, teacher)
    data = TrajectorySet(
        config.trajectories,
        teacher.process,
        weights=digest(teacher),
        partial=config.partial,
    )
    sigma_data = theirs.sigma_data
    model = OperatorModel(
        data=theirs.data, network=network, times=kept(data.times, config.frames[0]),
        start=float(at_angle(teacher.process, torch.tensor(config.start), sigma_data)),
        modes=config.modes, process=theirs.process, prediction=theirs.prediction,
        sigma_data=sigma_data, axes=theirs.axes, teacher=config.model,
    )  # fmt: skip
    operator = model.build(config.train.seed)
    take_over(operator, teacher)
    distance = make_distance(config)
    return fit(
        "dsno", config, model, data, None, config.train, config.out, config.resume,
        denoiser=operator,
        task=trajectory_loss(data.times, config.frames, distance, config.cap),
        frozen={"features": distance.network} if isinstance(distance, Perceptual) else None,
        sheet=pair_sheet(data),
    )  # fmt: skip
