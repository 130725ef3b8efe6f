"""Accuracy of classifiers: of one trained on generated pictures, and of one that reads them.

* The **classification accuracy score** (Ravuri and Vinyals 2019, arXiv 1905.10887) trains a
  classifier on generated labelled samples and tests it on real ones. It falls when samples are
  unlike real ones, carry the wrong label, or lack variety. Its ceiling is the same classifier's
  accuracy when trained on as many real images.
* **Label accuracy** lets a classifier trained on real images read the labels that samples were
  asked for. It is blind to variety.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from sfumato.data.sets import LabelAxis
from sfumato.errors import UsageError
from sfumato.files.progress import Progress
from sfumato.metrics.classifier import LabelledClassifier
from sfumato.metrics.features import Images, pixel_values
from sfumato.metrics.score import Score
from sfumato.nn import Classifier, ClassifierConfig
from sfumato.nn.dispatch import memory_format
from sfumato.train import Part, Player, Task, small, train

Labels = Tensor | np.ndarray


@final
@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained: AdamW, one-cycle learning rate, random flips and shifts.

    Args:
        epochs: passes through the images. batch: images a step.
        rate: highest learning rate. decay: weight decay. smoothing: of the labels.
        flip: mirror half of the images. shift: move by up to that many pixels each way.
        channels, multipliers, dropout: of the network, see `ClassifierConfig`.
        seed: of initial weights, order and augmentation; same seed and threads, same weights.
    """

    epochs: int = 8
    batch: int = 128
    rate: float = 4e-3
    decay: float = 0.05
    smoothing: float = 0.05
    flip: bool = True
    shift: int = 2
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("shift", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"expected {name} >= {least}, got {getattr(self, name)}")
        if not self.rate > 0:
            raise UsageError(f"expected rate > 0, got {self.rate}")


def train_classifier(
    images: Images,
    labels: Labels,
    axes: Sequence[LabelAxis],
    *,
    name: str = "classifier",
    training: ClassifierTraining | None = None,
    device: str = "cpu",
    run: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> LabelledClassifier:
    """Trains a small residual network on all label axes at once.

    The loss is the sum over axes of the cross entropy. A label equal to the axis's number of
    classes means "no label" and does not count. The global random state is left as it was.

    Args:
        images: (N, C, H, H), uint8 or float in [-1, 1]. labels: (N,) or (N, A) int.
        axes: name and classes of each of the A axes.
        run: a folder of checkpoints and a log; goes on with what is in it. None keeps none.
        progress: called every 50 steps.

    Raises:
        UsageError: shapes or labels that do not fit, or fewer images than a batch.
        SfumatoError: the loss is no longer finite.
    """
    training = training or ClassifierTraining()
    target = check_labels(labels, axes, len(images))
    if len(images) < training.batch:
        raise UsageError(f"expected at least {training.batch} images, got {len(images)}")
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UsageError(f"expected square images (N, C, H, H), got {tuple(images.shape)}")
    sizes = tuple(len(axis.values) for axis in axes)
    target = torch.stack(
        [torch.where(target[:, a] == n, -100, target[:, a]) for a, n in enumerate(sizes)], 1
    )
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = Classifier(
            ClassifierConfig(
                images.shape[1], sizes, training.channels, training.multipliers, training.dropout
            )
        )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = training.epochs * (len(images) // training.batch)
    config = small(
        device, steps=steps, batch=training.batch, lr=training.rate, weight_decay=training.decay,
        decay="one-cycle", warmup=round(steps / 4), seed=training.seed,
    )  # fmt: skip
    task = Classification(training.smoothing, training.flip, training.shift)
    player = Player(network, task, decay_vectors=False)
    train(
        config, player, LabelledPictures(images, target), run, resume=True, progress=progress,
        model={"axes": [list(axis.values) for axis in axes], "training": asdict(training)},
    )  # fmt: skip
    return LabelledClassifier(network.eval(), name, tuple(axes), images.shape[2])


def label_accuracy(
    classifier: LabelledClassifier,
    images: Images,
    labels: Labels,
    *,
    metric: str = "label accuracy",
) -> tuple[Score, ...]:
    """How often the classifier reads the given labels from the images, in %, axis by axis.

    Samples without a label on an axis (label = number of classes) do not count there. The error
    is that of a share of n.

    Raises:
        UsageError: shapes or labels that do not fit, or an axis on which no image has a label.
    """
    target = check_labels(labels, classifier.axes, len(images))
    right = classifier.predict(images) == target
    scores = []
    for a, axis in enumerate(classifier.axes):
        counted = right[target[:, a] < len(axis.values), a]
        if not len(counted):
            raise UsageError(f"no image has a label on the axis {axis.name!r}")
        scores.append(
            percentage(metric, counted, len(counted), classifier.name, f"axis {axis.name}")
        )
    return tuple(scores)


def percentage(metric: str, right: Tensor, n: int, features: str, setting: str = "") -> Score:
    """The share of True in % with the error of a share, 100 sqrt(p (1 - p)/len(right))."""
    p = float(right.double().mean())
    error = 100 * math.sqrt(p * (1 - p) / len(right))
    return Score(metric, 100 * p, error, n, features, setting, unit="%")


def accuracy_score(
    generated: Images,
    labels: Labels,
    test_images: Images,
    test_labels: Labels,
    axes: Sequence[LabelAxis],
    *,
    training: ClassifierTraining | None = None,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Score, ...]:
    """The classification accuracy score in %, one per label axis; n is the number generated.

    Give real images as ``generated`` to get the ceiling. The error is that of the finite test set;
    another seed of the training moves the score by about as much again.

    Raises:
        UsageError: as :func:`train_classifier`.
    """
    check_labels(test_labels, axes, len(test_images))
    classifier = train_classifier(
        generated, labels, axes, training=training, device=device, progress=progress
    )
    named = replace(classifier, name="small residual network")
    tested = label_accuracy(named, test_images, test_labels, metric="classification accuracy score")
    return tuple(
        replace(score, n=len(generated), setting=f"{score.setting}, {score.n} real test images")
        for score in tested
    )


def check_labels(labels: Labels, axes: Sequence[LabelAxis], n: int) -> Tensor:
    """Labels as int64 (n, A); raises UsageError for another shape or a label out of range."""
    target = torch.from_numpy(np.array(labels)) if isinstance(labels, np.ndarray) else labels
    target = target[:, None] if target.ndim == 1 else target
    if tuple(target.shape) != (n, len(axes)) or target.dtype.is_floating_point:
        raise UsageError(
            f"expected integer labels ({n}, {len(axes)}), got {target.dtype} {tuple(target.shape)}"
        )
    target = target.long()
    for a, axis in enumerate(axes):
        low, high = (int(target[:, a].min()), int(target[:, a].max())) if n else (0, 0)
        if low < 0 or high > len(axis.values):
            raise UsageError(
                f"expected labels 0..{len(axis.values) - 1} on the axis {axis.name!r} "
                f"({len(axis.values)} for none), got {low}..{high}"
            )
    return target


@final
class LabelledPictures:
    """Pictures and their labels, for the loop.

    Args:
        images: (N, C, H, W), uint8 or float in [-1, 1].
        target: int64 (N, A); -100 where there is no label.
    """

    def __init__(self, images: Images, target: Tensor) -> None:
        self.images, self.target = images, target

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pixels (B, C, H, W) in [-1, 1], and labels (B, A)."""
        rows = torch.from_numpy(indices) if isinstance(self.images, Tensor) else indices
        return pixel_values(self.images[rows]), self.target[torch.from_numpy(indices)]


@final
class Classification(Task):
    """The sum over label axes of the cross entropy, each axis's mean over those that have a label.

    Args:
        smoothing: of the labels. flip, shift: see `augment`.
    """

    noise, distinct = False, True

    def __init__(self, smoothing: float = 0.0, flip: bool = False, shift: int = 0) -> None:
        self.smoothing, self.flip, self.shift = smoothing, flip, shift

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """What `augment` needs."""
        return torch.rand(count, 3, generator=generator)

    def prepare(self, part: Part) -> tuple[Tensor, Tensor]:
        """With the pictures mirrored and moved."""
        x, y = part.batch
        return augment(x, self.flip, self.shift, part.drawn), y

    def losses(self, module: nn.Module, part: Any) -> Tensor:
        """(B,), of a network that gives logits (B, n), or a sequence of them for several axes."""
        x, y = part
        said = module(x.to(memory_format=memory_format(x)))
        total = x.new_zeros(len(x))
        for a, logits in enumerate([said] if isinstance(said, Tensor) else said):
            there = (y[:, a] >= 0).sum().clamp_min(1)
            found = cross_entropy(
                logits.float(), y[:, a], reduction="none", label_smoothing=self.smoothing
            )
            total = total + found * (len(x) / there)
        return total


def augment(x: Tensor, flip: bool, shift: int, u: Tensor) -> Tensor:
    """Mirrors half of the images (B, C, H, W) and moves all by up to ``shift`` pixels each way.

    Args:
        u: uniform in [0, 1), (B, 3): what each image is to suffer. Edges are continued.
    """
    if flip:
        x = torch.where(u[:, 0, None, None, None] < 0.5, x.flip(3), x)
    if shift:
        h, w = x.shape[2:]
        padded = pad(x, (shift, shift, shift, shift), mode="replicate")
        dy, dx = (u[:, 1:] * (2 * shift + 1)).long().T[..., None]
        rows = (torch.arange(h) + dy)[:, None, :, None]
        columns = (torch.arange(w) + dx)[:, None, None, :]
        b = torch.arange(len(x))[:, None, None, None]
        c = torch.arange(x.shape[1])[None, :, None, None]
        x = padded[b, c, rows, columns]
    return x
