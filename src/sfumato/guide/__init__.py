"""Guidance wraps the denoiser and is a denoiser; one idea per file."""

from sfumato.guide.classifier import Classifier
from sfumato.guide.classifier_free import ClassifierFree
from sfumato.guide.inpaint import Inpaint
from sfumato.guide.mixed_derivative import MixedDerivative
from sfumato.guide.observed import Observed
from sfumato.guide.paint import Painted, Stroke
from sfumato.guide.project import Projected
from sfumato.guide.tile import Tiled
from sfumato.guide.told import ByEncoder, Told

__all__ = [
    "ByEncoder",
    "Classifier",
    "ClassifierFree",
    "Inpaint",
    "MixedDerivative",
    "Observed",
    "Painted",
    "Projected",
    "Stroke",
    "Tiled",
    "Told",
]
