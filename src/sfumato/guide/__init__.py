"""Guidance wraps the denoiser and is a denoiser; one idea per file."""

from sfumato.guide.classifier import Classifier
from sfumato.guide.classifier_free import ClassifierFree
from sfumato.guide.inpaint import Inpaint
from sfumato.guide.project import Projected
from sfumato.guide.tile import Tiled

__all__ = [
    "Classifier",
    "ClassifierFree",
    "Inpaint",
    "Projected",
    "Tiled",
]
