"""Fashion-MNIST: 70,000 grey pictures of clothes, 28x28, ten balanced classes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from sfumato.data.idx import read_idx
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, LabelAxis
from sfumato.errors import SfumatoError, unknown

Split: TypeAlias = Literal["train", "test"]

FASHION_CLASSES = LabelAxis(
    "class",
    (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
)
FASHION_CARD = DataCard(
    name="fashion-mnist",
    source="Zalando Research (Xiao, Rasul, Vollgraf, arXiv 1708.07747); Debian package "
    "dataset-fashion-mnist 0.0~git20200523.55506a9-1",
    licence="MIT",
    size="60,000 train + 10,000 test images, 28x28 grey, 10 balanced classes; 31 MB compressed",
    note="Product photographs; class labels are a shop's categories.",
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_STEMS = {"train": "train", "test": "t10k"}


def _files(folder: Path, split: Split) -> tuple[Path, Path] | None:
    found = []
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        plain = folder / f"{_STEMS[split]}-{kind}"
        zipped = plain.with_name(plain.name + ".gz")
        found.append(zipped if zipped.is_file() else plain)
    return (found[0], found[1]) if all(path.is_file() for path in found) else None


def fashion_mnist(split: Split = "train", root: Path | None = None) -> ImageSet:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747).

    Looked for in `root` if given; else in the folder `fashion-mnist` of the data folder (see
    `data_root`), then where Debian's package `dataset-fashion-mnist` puts it.

    Args:
        split: "train" (60,000) or "test" (10,000).
        root: a folder holding the four idx files, gzipped or not.

    Returns:
        images uint8 (N, 1, 28, 28), labels (N, 1) on the axis "class".

    Raises:
        ValueError: another split.
        SfumatoError: the files are not there (the message says what to run) or are damaged.
    """
    if split not in _STEMS:
        raise unknown("split", split, tuple(_STEMS))
    places = [root] if root is not None else [data_root() / "fashion-mnist", DEBIAN_FOLDER]
    for folder in places:
        if (found := _files(folder, split)) is not None:
            break
    else:
        looked = " and ".join(str(place) for place in places)
        raise SfumatoError(
            f"Fashion-MNIST is not in {looked}; run 'sfumato data fetch fashion-mnist', or "
            "'apt-get install dataset-fashion-mnist' as root"
        )
    images, labels = read_idx(found[0]), read_idx(found[1])
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise SfumatoError(
            f"{found[0]}: expected images (N, 28, 28) and labels (N,), "
            f"got {images.shape} and {labels.shape}"
        )
    return ImageSet(
        "fashion-mnist",
        images[:, None],
        labels.astype(np.int64)[:, None],
        (FASHION_CLASSES,),
        FASHION_CARD,
    )
