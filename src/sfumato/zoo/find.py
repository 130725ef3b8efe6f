"""From what a user types to a model: a shipped one, a checkpoint folder, or a run's newest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.zoo.cards import folders

if TYPE_CHECKING:
    from sfumato.denoise import Denoiser
    from sfumato.recipes.model import ModelConfig


def find(name: str) -> Path:
    """The folder with ``model.json`` that ``name`` means.

    A shipped model's name; a folder with ``model.json`` (a checkpoint); or a folder of a run,
    whose newest checkpoint it is.

    Raises:
        UsageError: neither; with the nearest names of shipped models.
        SfumatoError: a folder that holds no checkpoint.
    """
    shipped = folders()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_dir():
        if (path / "model.json").is_file():
            return path
        runs = [p.parent for p in path.glob("*/model.json")]
        runs += [p.parent for p in path.glob("checkpoints/*/model.json")]
        runs = [p for p in runs if not p.name.startswith(".")]
        if not runs:
            raise SfumatoError(f"{path} holds no checkpoint: no model.json in it or one level down")
        return max(runs, key=lambda p: (_number(p.name), p.name))
    if path.exists():
        raise UsageError(f"expected the folder of a model, but {path} is a file")
    if os.sep in name:
        raise UsageError(f"there is no folder {name!r}")
    raise unknown("model", name, shipped)


def load(name: str, *, ema: bool = True) -> tuple[Denoiser, ModelConfig]:
    """Load the model that ``name`` means (see :func:`find`), its checksums verified.

    With ``ema`` a checkpoint's averaged weights are taken. Raises what :func:`find` and
    ``sfumato.recipes.model.load_model`` raise.
    """
    from sfumato.recipes.model import load_model

    return load_model(find(name), ema=ema)


def _number(name: str) -> int:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits) if digits else -1
