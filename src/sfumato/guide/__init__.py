"""Guidance wraps the denoiser and is a denoiser; one idea per file."""

from sfumato.guide.classifier import ClassifierGuided
from sfumato.guide.classifier_free import ClassifierFree
from sfumato.guide.inpaint import Inpaint
from sfumato.guide.project import Projected
from sfumato.guide.tile import Tiled

__all__ = ["ClassifierGuided", "ClassifierFree", "Inpaint", "Projected", "Tiled"]
