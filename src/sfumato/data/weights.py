"""Pretrained weights that other modules use as they are."""

from __future__ import annotations

from pathlib import Path

from sfumato.data.fetch import fetch
from sfumato.data.packages import MINILM, MOBILENET, Package
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError


def mobilenet_weights_path(root: Path | None = None, *, download: bool = False) -> Path:
    """The file `mobilenet_v2-b0353104.pth` (torchvision, ImageNet) in the data folder.

    Args:
        root: the data folder; `data_root()` when None.
        download: fetch the package first if the file is not there.

    Raises:
        SfumatoError: it is not there and `download` is False, or fetching failed.
    """
    folder = _folder(MOBILENET, "the MobileNetV2 weights are", root, download)
    return folder / MOBILENET.targets[0]


def sentence_encoder_folder(root: Path | None = None, *, download: bool = False) -> Path:
    """The folder with all-MiniLM-L6-v2 (weights, configuration, tokeniser) in the data folder.

    Args:
        root: the data folder; `data_root()` when None.
        download: fetch the package first if the files are not there.

    Raises:
        SfumatoError: they are not there and `download` is False, or fetching failed.
    """
    return _folder(MINILM, "the sentence encoder is", root, download)


def _folder(package: Package, what: str, root: Path | None, download: bool) -> Path:
    """The folder that has all files of a package; ``what`` begins the sentence if it has not."""
    folder = (data_root() if root is None else root) / package.key
    if download:
        folder = fetch(package, root)
    if not all((folder / name).is_file() for name in package.targets):
        raise SfumatoError(
            f"{what} not in {folder}; run 'sfumato data fetch {package.key}' "
            f"({package.megabytes} MB)"
        )
    return folder
