"""From files to models: every kind of model that there is, and how it is found and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sfumato.denoise import Denoiser
from sfumato.errors import UsageError
from sfumato.model.codec import allowed_types, decode
from sfumato.model.description import ModelDescription
from sfumato.train import checkpoint as ck


def read_model(value: dict[str, Any]) -> ModelDescription:
    """A model's description from what `ModelDescription.to_json` made.

    Raises:
        UsageError: anything unknown or missing in it.
    """
    return decode(value, ModelDescription, allowed_types(value), "model")  # type: ignore[type-abstract]


@final
@dataclass(frozen=True, eq=False)
class SavedModel:
    """A checked folder with a model: a checkpoint, or one that is shipped.

    Args:
        folder: of the files.
        files: their contents by name.
        described: what ``model.json`` says, apart from the version of its format.
        model: as which that is read.
    """

    folder: Path
    files: Mapping[str, bytes]
    described: Mapping[str, Any]
    model: ModelDescription

    def weights(self, ema: bool = True) -> str:
        """The name of the file with the weights; the averaged ones where there are two.

        Raises:
            UsageError: there is none, or only averaged ones and ``ema`` is False.
        """
        name = ck.MODEL
        if ema and ck.EMA in self.files:
            name = ck.EMA
        elif not ema and ck.EMA not in self.files:
            raise UsageError(f"{self.folder} holds only averaged weights; use ema=True")
        if name not in self.files:
            raise UsageError(f"{self.folder} has no {name}, so it is not a model folder")
        return name

    @property
    def averaged(self) -> bytes:
        """A checkpoint's averaged weights. Raises UsageError if it has none."""
        if ck.EMA not in self.files:
            raise UsageError(f"{self.folder} has no averaged weights")
        return self.files[ck.EMA]

    @property
    def step(self) -> int:
        """Of a checkpoint. Raises SfumatoError for a folder that is none."""
        return int(ck.parse_json(self.files, ck.STATE, self.folder)["step"])


def read_saved(folder: Path | str) -> SavedModel:
    """What is in a run folder's newest checkpoint, a checkpoint, or a model folder.

    Raises:
        SfumatoError: no such folder, damaged files, or files of a newer sfumato.
        UsageError: a description that is not known.
    """
    found = ck.find_checkpoint(Path(folder))
    described = ck.parse_json(found.files, ck.DESCRIPTION, found.folder)
    return SavedModel(found.folder, found.files, described, read_model(described["model"]))


def load_model(folder: Path | str, ema: bool = True) -> tuple[Denoiser, ModelDescription]:
    """A trained denoiser, in evaluation mode on the CPU, and its configuration.

    Args:
        folder: a run folder (its newest checkpoint is taken), a checkpoint, or a model folder.
        ema: take the averaged weights; a model folder holds only these.

    Raises:
        SfumatoError: no such folder, damaged files, weights of another model, or files of a
            newer sfumato.
        UsageError: ``ema=False`` of a model folder.
    """
    kept = read_saved(folder)
    name = kept.weights(ema)
    denoiser = kept.model.build()
    kept.model.load(denoiser, kept.files[name], str(kept.folder / name))
    return denoiser.eval(), kept.model
