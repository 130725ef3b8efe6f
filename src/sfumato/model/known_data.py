"""Data sets by the names that models remember, for recipes that go on from a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from sfumato.data import ImageSet, PointSet, folder
from sfumato.errors import UsageError
from sfumato.model.description import ModelDescription
from sfumato.system import data_sets, training_set


def run_source(folder: Path | str) -> dict[str, Any] | None:
    """Where the pictures are that a run learned from, and how they were read.

    Args:
        folder: of a run, or of one of its checkpoints.

    Returns:
        ``path`` and arguments of `sfumato.data.folder`, ``digest`` of the pictures (not of runs of
        older versions); None if it learned from no folder, or is no run.
    """
    place = Path(folder)
    runs = [place, place.parent.parent] if place.parent.name == "checkpoints" else [place]
    for run in runs:
        try:
            about = json.loads((run / "config.json").read_text("utf-8"))
            config, found = about["config"], about.get("source")
            if found is None and about["recipe"] in ("images", "private") and "path" in config:
                if about["recipe"] == "private" and config["data"] != "IMAGES":
                    return None
                keys = ("path", "resolution", "channels")
                found = {key: config[key] for key in keys} | {"held_out": 0.0}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        return dict(found) if isinstance(found, dict) else None
    return None


def training_data(
    model: ModelDescription, path: Path | None = None, run: Path | str | None = None
) -> ImageSet | PointSet:
    """What a model was trained on, by its name; or the images in ``path``.

    Args:
        model: the model.
        path: images to take instead.
        run: the folder of its run, which may know where its images are.

    Raises:
        UsageError: the name means no data set, and no path was given.
        SfumatoError: the data is not there.
    """
    images = len(model.shape) == 3
    if path is not None:
        if not images:
            raise UsageError(f"a folder of images does not fit a model of {model.shape} numbers")
        channels: Literal[1, 3] = 3 if model.shape[0] == 3 else 1
        height, width = model.shape[1:]
        return folder(
            path, height, channels=channels, split="train",
            image_width=0 if width == height else width,
        )  # fmt: skip
    if run is not None and (found := run_source(run)):
        options = {k: v for k, v in found.items() if k not in ("path", "digest", "pictures")}
        return folder(found["path"], split="train", **options)
    if model.data not in data_sets():
        raise UsageError(
            f"the model was trained on {model.data!r}, which has no name here: give the folder or "
            "zip of images with --path"
        )
    n, resolution = data_sets()[model.data].trained, model.shape[-2] if images else 0
    data: ImageSet | PointSet = training_set(model.data, n=n, resolution=resolution)
    return data
