"""How good are samples? Distances over named features, accuracies, distances of points, pairs."""

from sfumato.metrics.accuracy import (
    ClassifierTraining,
    accuracy_score,
    label_accuracy,
    train_classifier,
)
from sfumato.metrics.classifier import (
    ClassifierFeatures,
    LabelledClassifier,
    load_classifier,
    save_classifier,
    shipped_features,
)
from sfumato.metrics.compare import Comparison, compare, compare_features
from sfumato.metrics.distance import Absolute, Distance, Perceptual, Squared
from sfumato.metrics.downstream import DownstreamSettings, downstream_accuracy
from sfumato.metrics.features import Features, Inception, Pixels, Thumbnails, extract
from sfumato.metrics.frechet import frechet_distance, gaussian_frechet
from sfumato.metrics.kernel import energy_distance, kernel_distance, mmd
from sfumato.metrics.mobilenet import MobileNet
from sfumato.metrics.moments import GroupedMoments, Moments
from sfumato.metrics.neighbours import Neighbourhoods, neighbourhoods
from sfumato.metrics.points import ModeCoverage, mode_coverage, sliced_wasserstein
from sfumato.metrics.restored import ImageNetPerceptual, detail, psnr, restoration_scores, ssim
from sfumato.metrics.score import Score

__all__ = [
    "Absolute", "ClassifierFeatures", "ClassifierTraining", "Comparison",
    "Distance", "DownstreamSettings", "Features", "GroupedMoments", "ImageNetPerceptual",
    "Inception", "LabelledClassifier", "MobileNet", "ModeCoverage", "Moments", "Neighbourhoods",
    "Perceptual", "Pixels", "Score", "Squared", "Thumbnails", "accuracy_score", "compare",
    "compare_features", "detail", "downstream_accuracy", "energy_distance", "extract",
    "frechet_distance", "gaussian_frechet", "kernel_distance", "label_accuracy", "load_classifier",
    "mmd", "mode_coverage", "neighbourhoods", "psnr", "restoration_scores", "save_classifier",
    "shipped_features", "sliced_wasserstein", "ssim", "train_classifier",
]  # fmt: skip
