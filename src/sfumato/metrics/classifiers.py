"""The shipped classifiers: ``python -m sfumato.metrics.classifiers NAME OUT``.

NAME is "fashion-classifier" (Fashion-MNIST, 28x28) or "avatars-classifier" (avatars, 32x32, all
label axes). Their penultimate layers are the features that Fréchet distances are measured in.
Checkpoints and a log lie in OUT-run; the same command goes on with them.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from sfumato.data import ImageSet
from sfumato.data.faces import avatars
from sfumato.data.mnist import fashion_mnist
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.files.progress import Progress, show
from sfumato.metrics.accuracy import ClassifierTraining, label_accuracy, train_classifier
from sfumato.metrics.classifier import LabelledClassifier, save_classifier
from sfumato.metrics.score import Score

NAMES = ("fashion-classifier", "avatars-classifier")
FASHION = ClassifierTraining(epochs=8, batch=128, rate=4e-3)
AVATARS = ClassifierTraining(epochs=5, batch=128, rate=4e-3, flip=False, shift=1)


def sets(name: str) -> tuple[ImageSet, ImageSet, ClassifierTraining]:
    """Training set, test set and settings. Raises UsageError for another name."""
    if name == "fashion-classifier":
        return fashion_mnist("train"), fashion_mnist("test"), FASHION
    if name == "avatars-classifier":
        return avatars("train"), avatars("test"), AVATARS
    raise unknown("classifier", name, NAMES)


def train_feature_classifier(
    train: ImageSet,
    test: ImageSet,
    out: str | Path,
    *,
    name: str,
    command: str,
    training: ClassifierTraining | None = None,
    device: str = "cpu",
    replace: bool = False,
    run: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[LabelledClassifier, tuple[Score, ...]]:
    """Trains on ``train``, tests on ``test``, writes the folder ``out``.

    Args:
        name: of the classifier, and of the features it gives.
        command: what a reader types to repeat this; stands in the card.
        replace: overwrite an existing folder.
        run: a folder of checkpoints and a log; goes on with what is in it. None keeps none.

    Returns:
        The classifier and its accuracy on ``test``, in %, one score per axis.

    Raises:
        ValueError: a set without labels, or that cannot be trained on.
        SfumatoError: the folder exists or cannot be written.
    """
    if train.labels is None or test.labels is None:
        raise ValueError(f"{train.name} has no labels; a classifier needs them")
    training = training or ClassifierTraining()
    axes = train.axes
    began = time.monotonic()
    classifier = train_classifier(
        train.images, train.labels, axes, name=name, training=training, device=device,
        run=run, progress=progress,
    )  # fmt: skip
    seconds = time.monotonic() - began
    scores = label_accuracy(classifier, test.images, test.labels, metric="test accuracy")
    kind = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    card: dict[str, Any] = {
        "name": name,
        "system": "classifier",
        "kind": "classifier",
        "data": train.name,
        "source": train.card.source,
        "licence": f"weights Apache-2.0; data {train.card.licence}",
        "command": command,
        "seconds": round(seconds),
        "time": f"{seconds / 60:.1f} min, {torch.get_num_threads()} thread(s) of a shared {kind}",
        "resolution": classifier.resolution,
        "params": sum(p.numel() for p in classifier.network.parameters()),
        "labels": {axis.name: list(axis.values) for axis in axes},
        "scores": {
            f"test accuracy % ({score.setting}, {score.n} images)": round(score.value, 2)
            for score in scores
        },
        "note": f"{len(train.images)} training images, {training.epochs} epochs, "
        f"seed {training.seed}; its penultimate layer gives {classifier.network.width} features",
    }
    save_classifier(classifier, out, card, replace=replace)
    return classifier, scores


def main(arguments: Sequence[str]) -> int:
    """Trains one classifier and writes its folder; returns the exit status."""
    try:
        if len(arguments) != 2:
            raise UsageError(f"expected NAME OUT, got {shlex.join(arguments) or 'nothing'}")
        name, out = arguments
        train, test, training = sets(name)
        command = f"python -m sfumato.metrics.classifiers {name} {Path(out).name}"
        _, scores = train_feature_classifier(
            train, test, out, name=name, command=command, training=training, progress=show,
            run=Path(f"{out}-run"),
        )  # fmt: skip
    except SfumatoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(*scores, f"written to {out}", sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
