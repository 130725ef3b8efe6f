"""How useful are labelled samples to someone who has nothing else? Three plain classifiers say.

A logistic regression, a perceptron (MLP) and a convolutional network (CNN) are trained on samples
and tested on real images, as papers on private generative models do: Chen et al. 2020 (GS-WGAN,
arXiv 2006.08265), Cao et al. 2021 (DP-Sinkhorn, arXiv 2111.01177), Dockhorn et al. 2022 (DPDM,
arXiv 2210.09929). Those leave the training open in places, so here it is fixed: Adam, a number of
steps that does not depend on the number of samples, a rate that falls linearly to zero, images in
[-1, 1] without augmentation, and the last weights: the test images choose nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sfumato.errors import UsageError
from sfumato.metrics.accuracy import Labels, Progress, check_labels
from sfumato.metrics.classifier import Axis
from sfumato.metrics.features import Images, pixel_values
from sfumato.metrics.score import Score
from sfumato.nn import best_dtype
from sfumato.seeds import fold, generator


@final
@dataclass(frozen=True)
class DownstreamTraining:
    """The three classifiers, and how they are trained.

    Args:
        logistic_steps, mlp_steps, cnn_steps: of Adam, each on `batch` images.
        batch: images a step; all of them where there are fewer.
        rate: of Adam at the first step; it falls linearly to zero.
        hidden: ReLU units of the MLP's one hidden layer.
        channels: of the CNN's two convolutions, each 3x3, max pooling by 2, ReLU, dropout.
        dense: ReLU units between those and the CNN's logits, with dropout.
        dropout: share that is dropped.
    """

    logistic_steps: int = 10_000
    mlp_steps: int = 10_000
    cnn_steps: int = 3_000
    batch: int = 128
    rate: float = 1e-3
    hidden: int = 100
    channels: tuple[int, int] = (32, 64)
    dense: int = 128
    dropout: float = 0.25

    def __post_init__(self) -> None:
        sizes = ("logistic_steps", "mlp_steps", "cnn_steps", "batch", "hidden", "dense")
        for name in sizes:
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name} >= 1, got {getattr(self, name)}")
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise UsageError(f"expected two numbers of channels >= 1, got {self.channels}")
        if not 0 < self.rate < math.inf:
            raise UsageError(f"expected a finite rate > 0, got {self.rate}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"expected 0 <= dropout < 1, got {self.dropout}")


def downstream_accuracy(
    images: Images,
    labels: Labels,
    test_images: Images,
    test_labels: Labels,
    axes: Sequence[Axis],
    *,
    training: DownstreamTraining | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Score, ...]:
    """Test accuracy in % of logistic regression, MLP and CNN trained on labelled samples.

    Give real training images as ``images`` to get the ceiling. An image whose label is the number
    of classes has none, and does not count; n is the number of samples that do. The error is that
    of a share of the test images: sqrt(p (1 - p) / N). Another seed moves the figures as well.
    Same seed and threads, same figures; the global random state is left as it was. All runs on the
    CPU, the CNN under bfloat16 autocast where that is faster.

    Args:
        images: samples (N, C, H, W), C = 1 or 3, uint8 or float in [-1, 1].
        labels: (N,) or (N, 1) int.
        test_images, test_labels: real ones, likewise.
        axes: the one label axis.
        seed: of initial weights, order and dropout.
        progress: called about every second; steps are counted through all three.

    Raises:
        UsageError: no label axis or several, a class that no sample has, no test image with a
            label, or shapes or labels that do not fit.
        ArithmeticError: a loss is no longer finite.
    """
    training = training or DownstreamTraining()
    target = training_labels(labels, axes, len(images))
    truth = check_labels(test_labels, axes, len(test_images))[:, 0]
    classes = len(axes[0].values)
    taken, tested = (torch.nonzero(y < classes)[:, 0] for y in (target, truth))
    if not len(tested):
        raise UsageError(f"no test image has a label on the axis {axes[0].name!r}")
    shape, other = (tuple(pixel_values(x[:1]).shape[1:]) for x in (images, test_images))
    if shape != other:
        raise UsageError(f"expected test images of the samples' shape {shape}, got {other}")
    contenders = _contenders(shape, classes, training)
    report = _Report(sum(c.steps for c in contenders), progress)
    scores = []
    for contender in contenders:
        with torch.random.fork_rng():
            torch.manual_seed(fold(seed, "downstream", contender.name, "weights"))
            network = contender.build()
            order = _batches(taken, training.batch, generator(seed, "downstream", contender.name))
            _fit(network, contender, images, target, order, training.rate, report)
        right = sum(
            int((network(_take(test_images, some)).argmax(1) == truth[some]).sum())
            for some in tested.split(1000)
        )
        p = right / len(tested)
        scores.append(
            Score(
                f"{contender.name} accuracy",
                100 * p,
                100 * math.sqrt(p * (1 - p) / len(tested)),
                len(taken),
                contender.features,
                f"axis {axes[0].name}, {contender.steps} steps, {len(tested)} real test images",
                unit="%",
            )
        )
    return tuple(scores)


def training_labels(labels: Labels, axes: Sequence[Axis], n: int) -> Tensor:
    """Labels that the classifiers can be trained on, int64 (n,).

    Raises:
        UsageError: no label axis or several, a class that no sample has, or labels that do not fit.
    """
    single_axis([axis.name for axis in axes])
    target = check_labels(labels, axes, n)[:, 0]
    values = axes[0].values
    seen = torch.bincount(target, minlength=len(values))
    missing = [value for value, count in zip(values, seen.tolist()) if not count]
    if missing:
        raise UsageError(
            f"downstream classifiers need samples of every class of the axis {axes[0].name!r}; "
            f"among {n} there is none of: {', '.join(missing)}"
        )
    return target


def single_axis(names: Sequence[str]) -> None:
    """Raises UsageError unless there is exactly one label axis."""
    if len(names) != 1:
        got = f"{len(names)}: {', '.join(names)}" if names else "none"
        raise UsageError(f"downstream classifiers need images with one label axis, got {got}")


@final
@dataclass(frozen=True)
class _Contender:
    name: str
    features: str
    steps: int
    dtype: torch.dtype
    build: Callable[[], nn.Module]


def _contenders(
    shape: tuple[int, ...], classes: int, training: DownstreamTraining
) -> tuple[_Contender, ...]:
    channels, height, width = shape
    pixels = channels * height * width
    first, second = training.channels
    flat = second * -(-height // 4) * -(-width // 4)  # each pooling rounds up

    def logistic() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))

    def mlp() -> nn.Module:
        hidden = nn.Linear(pixels, training.hidden)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(training.hidden, classes))

    def cnn() -> nn.Module:
        network = nn.Sequential(
            nn.Conv2d(channels, first, 3, padding=1),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),  # after pooling: the same values, from a quarter of the work
            nn.Dropout(training.dropout),
            nn.Conv2d(first, second, 3, padding=1),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.ReLU(),
            nn.Dropout(training.dropout),
            nn.Flatten(),
            nn.Linear(flat, training.dense),
            nn.ReLU(),
            nn.Dropout(training.dropout),
            nn.Linear(training.dense, classes),
        )
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    plain, fast = torch.float32, best_dtype("cpu")
    return (
        _Contender("logistic regression", "pixels", training.logistic_steps, plain, logistic),
        _Contender("MLP", f"{training.hidden} hidden units", training.mlp_steps, plain, mlp),
        _Contender("CNN", f"{first} and {second} channels", training.cnn_steps, fast, cnn),
    )


@final
class _Report:
    """Tells of the steps done, about every second and at the end."""

    def __init__(self, steps: int, told: Callable[[Progress], None] | None) -> None:
        self.step, self.steps, self.told = 0, steps, told
        self.began = self.last = time.monotonic()

    def __call__(self, loss: Tensor, *, finished: bool) -> None:
        self.step += 1
        now = time.monotonic()
        if not finished and now - self.last <= 1:
            return
        self.last = now
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ArithmeticError(f"the loss of a downstream classifier is {value}; lower the rate")
        if self.told is not None:
            self.told(Progress(self.step, self.steps, value, now - self.began))


def _fit(
    network: nn.Module,
    contender: _Contender,
    images: Images,
    target: Tensor,
    order: Iterator[Tensor],
    rate: float,
    report: _Report,
) -> None:
    """Trains in place; ends in evaluation mode, without gradients."""
    optimizer = torch.optim.Adam(network.parameters(), rate)
    low = contender.dtype is not torch.float32
    network.train()
    for step in range(contender.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / contender.steps)
        some = next(order)
        with torch.autocast("cpu", contender.dtype, enabled=low):
            logits = network(_take(images, some))
        loss = cross_entropy(logits.float(), target[some])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(loss, finished=step + 1 == contender.steps)
    network.eval().requires_grad_(False)


def _batches(taken: Tensor, batch: int, random: torch.Generator) -> Iterator[Tensor]:
    """Indices of batches without end: all samples in a new order, and again."""
    batch = min(batch, len(taken))
    while True:
        shuffled = taken[torch.randperm(len(taken), generator=random)]
        yield from shuffled[: len(taken) // batch * batch].split(batch)


def _take(images: Images, some: Tensor) -> Tensor:
    return pixel_values(images[some.numpy() if isinstance(images, np.ndarray) else some])
