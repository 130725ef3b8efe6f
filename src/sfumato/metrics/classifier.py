"""Classifiers in folders, and their penultimate layer as features.

A classifier's folder holds ``model.safetensors`` (weights), ``model.json`` (what they belong to),
``card.json`` (data, licence, command, time, scores) and ``SHA256SUMS``; see `sfumato.files.store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from sfumato.data.sets import LabelAxis
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.metrics.features import Features, Images, pixel_values
from sfumato.metrics.folders import read_network, write_network
from sfumato.nn import Classifier, ClassifierConfig

KIND = "classifier"
_ZOO = Path(__file__).resolve().parents[1] / "zoo"


@final
@dataclass(frozen=True, eq=False)
class LabelledClassifier:
    """A trained classifier together with what its outputs mean.

    Attributes:
        network: in evaluation mode; images in [-1, 1] -> one tensor of logits per axis.
        name: e.g. "fashion-classifier".
        axes: one per output.
        resolution: of the images it was trained on.
    """

    network: Classifier
    name: str
    axes: tuple[LabelAxis, ...]
    resolution: int

    def check(self, images: Tensor) -> None:
        """Raises UsageError for images of another shape than (B, C, H, H) of the training's."""
        shape = (self.network.config.in_channels, self.resolution, self.resolution)
        if tuple(images.shape[1:]) != shape:
            raise UsageError(
                f"{self.name} was trained on images of shape {shape}, got {tuple(images.shape[1:])}"
            )

    def predict(self, images: Images, batch: int = 256) -> Tensor:
        """The most likely class of every image on every axis, (N, A) int64."""
        if not len(images):
            raise UsageError("expected images, got none")
        out = []
        device = self.network.input.weight.device
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                x = pixel_values(images[start : start + batch])
                self.check(x)
                logits = self.network.eval()(x.to(device))
                out.append(torch.stack([axis.argmax(1) for axis in logits], 1).cpu())
        return torch.cat(out)


@final
class ClassifierFeatures(Features):
    """The penultimate layer of a classifier trained on the data set itself."""

    def __init__(self, classifier: LabelledClassifier) -> None:
        self.classifier = classifier
        self.name = classifier.name
        self.dim = classifier.network.width

    def __call__(self, images: Images) -> Tensor:
        """Images of the training's shape -> (B, F): the mean over pixels before the heads."""
        x = pixel_values(images)
        self.classifier.check(x)
        network = self.classifier.network.eval()
        with torch.inference_mode():
            return network.features(x.to(network.input.weight.device)).float().cpu().clone()


def shipped_features(name: str) -> ClassifierFeatures:
    """The features of a shipped classifier, for instance "fashion-classifier".

    Raises:
        UsageError: no such classifier; the nearest names are suggested.
        SfumatoError: its files are damaged.
    """
    names = [p.parent.name for p in _ZOO.glob("*-classifier/model.json")]
    if name not in names:
        raise unknown("classifier", name, names)
    return ClassifierFeatures(load_classifier(_ZOO / name))


def save_classifier(
    classifier: LabelledClassifier,
    path: str | Path,
    card: Mapping[str, Any],
    *,
    replace: bool = False,
) -> Path:
    """Writes the folder, atomically. Raises SfumatoError if it exists (unless ``replace``)."""
    description = {
        "name": classifier.name,
        "resolution": classifier.resolution,
        "config": asdict(classifier.network.config),
        "axes": [asdict(axis) for axis in classifier.axes],
    }
    return write_network(path, KIND, classifier.network, description, card, replace=replace)


def load_classifier(path: str | Path) -> LabelledClassifier:
    """Reads a classifier's folder, every checksum verified; nothing in it is executed.

    Raises:
        SfumatoError: damaged, from a newer version, or not a classifier.
    """
    raw, weights = read_network(path, KIND)
    try:
        network = Classifier(ClassifierConfig(**raw["config"]))
        axes = tuple(LabelAxis(a["name"], tuple(a["values"])) for a in raw["axes"])
        network.load_state_dict(load_tensors(weights))
        return LabelledClassifier(network.eval(), raw["name"], axes, int(raw["resolution"]))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise SfumatoError(f"{path}: weights and description do not fit: {error}") from error
