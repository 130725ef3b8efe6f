"""From what a user types to a model: a shipped one, a checkpoint folder, or a run's newest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.zoo.listing import card, folders

if TYPE_CHECKING:
    from sfumato.denoise import Preconditioned
    from sfumato.recipes.model import ModelConfig


def find(name: str) -> Path:
    """The folder that ``name`` means: a shipped model's, a checkpoint's, or a run's.

    Raises:
        UsageError: none of these; with the nearest names of shipped models.
        SfumatoError: a folder that holds no checkpoint.
    """
    shipped = folders()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_dir():
        if not (path / "model.json").is_file() and not (path / "checkpoints").is_dir():
            raise SfumatoError(f"{path} is not a model: no model.json and no checkpoints/ in it")
        return path
    if path.exists():
        raise UsageError(f"expected the folder of a model, but {path} is a file")
    if os.sep in name:
        raise UsageError(f"there is no folder {name!r}")
    raise unknown("model", name, shipped)


def load(name: str) -> tuple[Preconditioned, ModelConfig]:
    """Load the model that ``name`` means (see :func:`find`), its checksums verified.

    Of a run, its newest readable checkpoint is taken; of a checkpoint, the averaged weights.

    Raises:
        UsageError: ``name`` means nothing.
        SfumatoError: damaged files, files of a newer sfumato, or weights of another model.
    """
    folder = find(name)
    if name in folders() and (kind := card(name).kind) != "denoiser":
        raise UsageError(f"{name!r} is a {kind}, expected a generative model")
    from sfumato.recipes.model import load_model

    try:
        return load_model(folder)
    except KeyError as error:
        raise SfumatoError(f"{folder} is not a generative model: no {error} in it") from error
    except UsageError as error:  # what is wrong is the files, not how they were asked for
        raise SfumatoError(str(error)) from error
