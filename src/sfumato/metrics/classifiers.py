"""The shipped classifiers: ``python -m sfumato.metrics.classifiers NAME OUT``.

NAME is "fashion-classifier" (Fashion-MNIST, 28x28) or "avatars-classifier" (avatars, 32x32, all
label axes). Their penultimate layers are the features that Fréchet distances are measured in.
Checkpoints and a log lie in OUT-run; the same command goes on with them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sfumato.data import ImageSet
from sfumato.data.faces import avatars
from sfumato.data.mnist import fashion_mnist
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.files.progress import show
from sfumato.metrics.accuracy import ClassifierTraining
from sfumato.metrics.shipping import train_feature_classifier

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
