"""Samples measured against real data: the features by name, and the scores for what there is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato import zoo
from sfumato.console import datasets
from sfumato.console.progress import bar
from sfumato.data import ImageSet, LabelAxis, PointSet
from sfumato.data.download import mobilenet_weights_path
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.metrics import (
    ClassifierFeatures,
    Features,
    Inception,
    LabelledClassifier,
    MobileNet,
    Pixels,
    Score,
    Thumbnails,
    accuracy_score,
    compare_features,
    downstream_accuracy,
    extract,
    label_accuracy,
    load_classifier,
    mmd,
    sliced_wasserstein,
)
from sfumato.metrics.downstream import check_downstream

_FEW = 1024
"""Numbers of a picture that may be compared as they are, unless something else is asked for."""

_MEMORY = 4e9
"""Bytes that a comparison may take for its matrices."""

_MATRICES = 15
"""Covariance matrices that a Fréchet distance with its jackknife holds at once."""

_LEAST = 20
"""Pictures that a comparison needs."""

Labels = NDArray[np.int64] | None


def classifiers() -> dict[str, Path]:
    """The folders of the shipped classifiers by name."""
    return {c.name: zoo.folders()[c.name] for c in zoo.cards() if c.kind == "classifier"}


def classifier_for(data: str) -> LabelledClassifier | None:
    """The shipped classifier that was trained on the data set of that name, if there is one."""
    for card in zoo.cards():
        if card.kind == "classifier" and card.data == data:
            return load_classifier(zoo.folders()[card.name])
    return None


def features(name: str, data: ImageSet) -> Features:
    """The features of that name.

    "auto" takes the classifier that is shipped for the data set; else the pixels where they are
    at most 1,024 numbers; else MobileNet, if it was fetched; else thumbnails. Raises UsageError for
    an unknown name, SfumatoError if weights are missing.
    """
    shape = tuple(data.images.shape[1:])
    if name == "auto":
        shipped = classifier_for(data.name)
        if shipped:
            return ClassifierFeatures(shipped)
        if math.prod(shape) <= _FEW:
            return Pixels(shape)
        try:
            return MobileNet(mobilenet_weights_path())
        except SfumatoError:
            return Thumbnails(data.channels)
    if name == "pixels":
        return Pixels(shape)
    if name == "thumbnails":
        return Thumbnails(data.channels)
    if name == "mobilenet":
        return MobileNet(mobilenet_weights_path())
    if name in classifiers():
        return ClassifierFeatures(load_classifier(classifiers()[name]))
    if Path(name).is_file():
        return Inception(name)
    raise unknown("features", name, ["auto", "pixels", "thumbnails", "mobilenet", *classifiers()])


@final
@dataclass(frozen=True)
class Reference:
    """Real data, and what samples are compared with it by."""

    data: ImageSet | PointSet
    features: Features | None
    reader: LabelledClassifier | None
    accuracy: bool
    downstream: bool = False
    quiet: bool = False

    @classmethod
    def of(
        cls,
        data: str,
        wish: datasets.DataRequest,
        name: str,
        accuracy: bool,
        downstream: bool = False,
        quiet: bool = False,
    ) -> Reference:
        """Load the real data, and what it is compared by.

        Raises UsageError for names that do not exist or do not go together.
        """
        found = datasets.load(data, wish)
        if isinstance(found, PointSet):
            if name != "auto":
                raise UsageError(f"points are compared as they are, without --features {name}")
            if downstream:
                raise UsageError(f"--downstream needs images with labels, and {data} are points")
            return cls(found, None, None, False)
        if accuracy and found.labels is None:
            raise UsageError(f"--accuracy needs labels, and {data} has none")
        if downstream and (found.labels is None or len(found.axes) != 1):
            have = ", ".join(axis.name for axis in found.axes) or "none"
            raise UsageError(f"--downstream needs exactly one label axis, and {data} has {have}")
        chosen = features(name, found)
        return cls(found, chosen, classifier_for(found.name), accuracy, downstream, quiet)

    @cached_property
    def real(self) -> Tensor:
        """The features (N, F) of the real data; points as they are."""
        if isinstance(self.data, PointSet) or self.features is None:
            return self.data.batch(range(len(self.data)))[0]
        return self._features(self.features, self.data.images, "real")

    @property
    def resolution(self) -> int:
        """Pixels along a side, or from top to bottom; 0 for points."""
        return self.data.resolution if isinstance(self.data, ImageSet) else 0

    @property
    def image_width(self) -> int:
        """Pixels from left to right where images are not square, or 0."""
        return self.data.image_width if isinstance(self.data, ImageSet) else 0

    @property
    def channels(self) -> int:
        """1 or 3; 0 for points."""
        return self.data.channels if isinstance(self.data, ImageSet) else 0

    @property
    def axes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The names and values of the real data's label axes."""
        return tuple((axis.name, axis.values) for axis in self.data.axes)

    def check(self, labels: Labels, n: int) -> None:
        """Say early what keeps n samples with these labels from being compared.

        Raises UsageError.
        """
        part = (
            self.data.summary.split if isinstance(self.data, ImageSet) and self.data.summary else ""
        )
        real = f"pictures of {self.data.name}"
        more = f" in its part for {part}; --split all takes all" if part not in ("", "all") else ""
        for count, what, where in ((n, "samples", ""), (len(self.data), real, more)):
            if count < _LEAST:
                raise UsageError(f"expected at least {_LEAST} {what}, got {count}{where}")
        dim = self.features.dim if self.features is not None else 0
        need = 8 * dim**2 * _MATRICES
        if max(n, len(self.data)) >= dim and need > _MEMORY:
            raise UsageError(
                f"comparing {n:,} samples by {dim:,} numbers each takes {need / 1e9:.0f} GB; take "
                "--features mobilenet or thumbnails, or fewer pictures (--n, --real) than numbers"
            )
        for option, wanted in (("accuracy", self.accuracy), ("downstream", self.downstream)):
            if wanted and labels is None:
                raise UsageError(f"--{option} needs samples with labels")
        if self.downstream and labels is not None:
            check_downstream(labels, self._classes(), n)

    def scores(self, x: NDArray[Any], labels: Labels) -> list[Score]:
        """All scores of images uint8 (N, C, H, W), or of points (N, d)."""
        if isinstance(self.data, PointSet):
            if x.ndim != 2:
                raise UsageError(f"{self.data.name} are points, but images came")
            points = torch.from_numpy(np.ascontiguousarray(x))
            return [sliced_wasserstein(self.real, points), mmd(self.real, points)]
        if x.ndim != 4:
            raise UsageError(f"{self.data.name} are images, but points came")
        if self.features is None:
            raise ValueError("a judge of images needs features")
        seen = self._features(self.features, x, "drawn")
        scores = list(compare_features(self.real, seen, self.features.name).scores)
        if labels is not None and self.reader is not None and _same(self.reader, self.data, labels):
            scores += label_accuracy(self.reader, x, labels)
        if self.accuracy:
            scores += accuracy_score(*self._trial(x, labels))
        if self.downstream:
            scores += downstream_accuracy(*self._trial(x, labels))
        return scores

    def _features(self, features: Features, images: NDArray[Any], which: str) -> Tensor:
        """(N, F), with a bar."""
        with bar(f"{features.name}, {which} pictures", len(images), quiet=self.quiet) as advance:
            before = 0

            def progress(done: int) -> None:
                nonlocal before
                advance(done - before)
                before = done

            return extract(features, images, progress=progress)

    def _trial(
        self, x: NDArray[Any], labels: Labels
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], tuple[LabelAxis, ...]]:
        """What a classifier learns from, what it is tested on, and what the labels mean."""
        data = self.data
        if labels is None or not isinstance(data, ImageSet) or data.labels is None:
            raise UsageError("training classifiers needs samples with labels")
        return x, labels, data.images, data.labels, self._classes()

    def _classes(self) -> tuple[LabelAxis, ...]:
        return self.data.axes


def _same(reader: LabelledClassifier, data: ImageSet | PointSet, labels: NDArray[Any]) -> bool:
    """Whether the classifier's axes are those of the labels."""
    ours = [(a.name, a.values) for a in data.axes]
    return ours == [(a.name, a.values) for a in reader.axes] and labels.shape[1] == len(ours)
