"""Are generated images of use? Three plain classifiers learn from them and are tested on real ones.

Generators with differential privacy are judged this way (DP-Sinkhorn, arXiv 2111.01177; GS-WGAN,
arXiv 2006.08265; DPDM, arXiv 2210.09929). In place of private data its owner would publish the
samples, so what counts is what can be learned from them. All classifiers see pixels in [-1, 1]:

* **logistic regression**: one affine map to the classes, without regularization;
* **MLP**: one hidden layer of 100 units, ReLU;
* **CNN**: two 3x3 convolutions of 32 and 64 channels, each with ReLU, max pooling by 2 and dropout,
  then a dense layer; no normalization.

Adam minimizes the cross entropy in a fixed number of steps; its rate falls linearly to zero. Images
are not augmented. The last weights are tested: nothing is chosen by looking at test images.

The papers publish neither one protocol nor one code, so figures of theirs are near these, not equal
in the last digit. Put the same three figures for as many real training images beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from sfumato.data.sets import LabelAxis
from sfumato.errors import UsageError
from sfumato.files.progress import Progress
from sfumato.metrics.accuracy import (
    Classification,
    LabelledPictures,
    Labels,
    check_labels,
    percentage,
)
from sfumato.metrics.features import Images, pixel_values
from sfumato.metrics.score import Score
from sfumato.nn.dispatch import best_dtype, memory_format
from sfumato.seeds import fold
from sfumato.train import Player, small, train

CLASSIFIERS = ("logistic regression", "MLP", "CNN")


@final
@dataclass(frozen=True)
class DownstreamSettings:
    """The three classifiers and how they are trained. Compare figures of equal settings only.

    Args:
        steps: of the optimizer, for each classifier, whatever the number of images.
        batch: images a step; all of them if there are fewer.
        rate: first learning rate of Adam; it falls linearly to zero.
        hidden: units of the MLP's hidden layer.
        channels: of the CNN's two convolutions. dropout: after each of them.
        seed: of initial weights, order and dropout; same seed, threads and machine, same
            figures.
    """

    steps: int = 4000
    batch: int = 128
    rate: float = 1e-3
    hidden: int = 100
    channels: tuple[int, int] = (32, 64)
    dropout: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "hidden"):
            if getattr(self, name) < 1:
                raise UsageError(f"expected {name} >= 1, got {getattr(self, name)}")
        if len(self.channels) != 2 or min(self.channels) < 1:
            raise UsageError(f"expected two numbers of channels >= 1, got {self.channels}")
        if not self.rate > 0:
            raise UsageError(f"expected rate > 0, got {self.rate}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"expected dropout in [0, 1), got {self.dropout}")


def downstream_accuracy(
    generated: Images,
    labels: Labels,
    test_images: Images,
    test_labels: Labels,
    axes: Sequence[LabelAxis],
    *,
    settings: DownstreamSettings | None = None,
    device: str = "cpu",
    run: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Score, Score, Score]:
    """Test accuracies in % of logistic regression, MLP and CNN trained on the generated images.

    Give real training images as ``generated`` to get the ceiling. Images without a label (label =
    number of classes) count on neither side; n is the number trained on. The error is that of a
    share of the finite test set: another seed, or another sample from the same generator, moves
    the figures too. The global random state is left as it was.

    Args:
        generated: (N, C, H, W), uint8 or float in [-1, 1], with labels (N,) or (N, 1).
        test_images: (M, C, H, W), real, with test_labels (M,) or (M, 1).
        axes: the one label axis.
        run: a folder of checkpoints and logs, one for each classifier; goes on with what is in
            it. None keeps none.
        progress: called every 50 steps; its steps are those of all three classifiers.

    Raises:
        UsageError: no label axis or several, shapes or labels that do not fit, images below 4x4,
            or a class without any generated image.
        SfumatoError: a loss is no longer finite.
    """
    settings = settings or DownstreamSettings()
    trained = check_downstream(labels, axes, len(generated))
    tested = check_labels(test_labels, axes, len(test_images))[:, 0]
    classes = len(axes[0].values)
    shape = tuple(generated.shape[1:])
    if tuple(test_images.shape[1:]) != shape:
        raise UsageError(
            f"expected test images of shape {shape} like those trained on, got "
            f"{tuple(test_images.shape[1:])}"
        )
    pixel_values(generated[:1])  # refuses what are no images
    if min(shape[1:]) < 4:
        raise UsageError(f"the CNN pools twice and needs images of at least 4x4, got {shape}")
    if not bool((tested < classes).any()):
        raise UsageError(f"no test image has a label on the axis {axes[0].name!r}")

    usable = torch.nonzero(trained < classes)[:, 0]
    rows = usable if isinstance(generated, Tensor) else usable.numpy()
    data = LabelledPictures(generated[rows], trained[usable, None])
    steps = len(CLASSIFIERS) * settings.steps
    began = time.monotonic()
    details = ("pixels", f"{settings.hidden} hidden units", "{} and {} channels")
    scores = []
    for i, name in enumerate(CLASSIFIERS):

        def report(at: Progress, done: int = i * settings.steps) -> None:
            if progress is not None:
                seconds = time.monotonic() - began
                progress(Progress(done + at.step, steps, at.loss, seconds))

        with torch.random.fork_rng():
            torch.manual_seed(fold(settings.seed, "downstream", name))
            network = _network(name, shape, classes, settings)
        low = name == "CNN" and best_dtype(device) is torch.bfloat16
        config = small(
            device, steps=settings.steps, batch=min(settings.batch, len(usable)),
            lr=settings.rate, decay="linear", warmup=0, seed=fold(settings.seed, name),
            mixed_precision="bf16" if low else "no",
        )  # fmt: skip
        player = Player(network, Classification())
        train(config, player, data, run and run / name, resume=True, progress=report)
        counted = (_predict(network, test_images, device) == tested)[tested < classes]
        setting = (
            f"axis {axes[0].name}, {settings.steps} steps of {settings.batch}, "
            f"{len(counted)} real test images"
        )
        about = details[i].format(*settings.channels)
        scores.append(percentage(f"{name} accuracy", counted, len(usable), about, setting))
    return scores[0], scores[1], scores[2]


def check_downstream(labels: Labels, axes: Sequence[LabelAxis], n: int) -> Tensor:
    """The labels (n,) of n images to learn from.

    Raises UsageError unless there is one label axis and an image of each of its classes.
    """
    if len(axes) != 1:
        names = ", ".join(axis.name for axis in axes) or "none"
        raise UsageError(f"downstream accuracy needs exactly one label axis, got {names}")
    target = check_labels(labels, axes, n)[:, 0]
    values = axes[0].values
    counts = torch.bincount(target, minlength=len(values))
    missing = [value for value, count in zip(values, counts.tolist()) if not count]
    if missing:
        raise UsageError(
            f"none of the {n} images to learn from has the {axes[0].name} "
            f"{', '.join(map(repr, missing))}"
        )
    return target


def _network(
    name: str, shape: tuple[int, ...], classes: int, settings: DownstreamSettings
) -> nn.Module:
    c, h, w = shape
    if name == "logistic regression":
        return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, classes))
    if name == "MLP":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(c * h * w, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, classes),
        )
    layers: list[nn.Module] = []
    for before, after in zip((c, settings.channels[0]), settings.channels):
        # pooling first gives the same numbers, and leaves a quarter of them to ReLU
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2)]
        layers += [nn.ReLU(), nn.Dropout(settings.dropout)]
    dense = nn.Linear(settings.channels[1] * (h // 4) * (w // 4), classes)
    return nn.Sequential(*layers, nn.Flatten(), dense)


def _predict(network: nn.Module, images: Images, device: str) -> Tensor:
    network.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(images), 256):
            x = pixel_values(images[start : start + 256])
            out.append(network(x.to(device, memory_format=memory_format(x))).argmax(1).cpu())
    return torch.cat(out)
