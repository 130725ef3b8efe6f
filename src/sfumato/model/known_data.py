"""Data sets by the names that models remember, for recipes that go on from a trained model."""

from __future__ import annotations

from pathlib import Path

from sfumato.data import (
    ImageSet,
    PointName,
    PointSet,
    avatars,
    digits,
    fashion_mnist,
    folder,
    points,
)
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription


def training_data(model: ModelDescription, path: Path | None = None) -> ImageSet | PointSet:
    """What a model was trained on, by its name; or the images in ``path``.

    Raises:
        UsageError: the name means no data set, and no path was given.
        SfumatoError: the data is not there.
    """
    if path is not None:
        if len(model.shape) != 3:
            raise UsageError(f"a folder of images does not fit a model of {model.shape} numbers")
        return folder(path, model.shape[-1], channels=3 if model.shape[0] == 3 else 1)
    match model.data:
        case "fashion-mnist":
            return fashion_mnist("train")
        case "digits":
            return digits("train")
        case "avatars":
            return avatars("train", model.shape[-1], 40_000)
    if model.data in [p.value for p in PointName]:
        return points(PointName(model.data), 20_000)
    raise UsageError(
        f"the model was trained on {model.data!r}, which has no name here: give the folder or zip "
        "of images with --path"
    )
