"""Data sets by the names that models remember, for recipes that go on from a trained model."""

from __future__ import annotations

from pathlib import Path

from sfumato.data import ImageSet, PointSet, folder
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription
from sfumato.system import data_sets, training_set


def training_data(model: ModelDescription, path: Path | None = None) -> ImageSet | PointSet:
    """What a model was trained on, by its name; or the images in ``path``.

    Raises:
        UsageError: the name means no data set, and no path was given.
        SfumatoError: the data is not there.
    """
    images = len(model.shape) == 3
    if path is not None:
        if not images:
            raise UsageError(f"a folder of images does not fit a model of {model.shape} numbers")
        return folder(path, model.shape[-1], channels=3 if model.shape[0] == 3 else 1)
    if model.data not in data_sets():
        raise UsageError(
            f"the model was trained on {model.data!r}, which has no name here: give the folder or "
            "zip of images with --path"
        )
    n, resolution = data_sets()[model.data].trained, model.shape[-1] if images else 0
    data: ImageSet | PointSet = training_set(model.data, n=n, resolution=resolution)
    return data
