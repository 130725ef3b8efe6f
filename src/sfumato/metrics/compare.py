"""Every feature-based score of generated images against real ones, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sfumato.metrics.features import Features, Images, extract
from sfumato.metrics.frechet import frechet_distance
from sfumato.metrics.kernel import kernel_distance
from sfumato.metrics.neighbours import neighbourhoods
from sfumato.metrics.score import Score


@final
@dataclass(frozen=True)
class Comparison:
    """Scores of one set of generated images; prints one a line, each with its features."""

    scores: tuple[Score, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.scores))


def compare(
    real: Images | Iterable[Images],
    generated: Images | Iterable[Images],
    features: Features,
    *,
    batch: int = 256,
    progress: Callable[[str, int], None] | None = None,
) -> Comparison:
    """Fréchet and kernel distance, precision, recall, density and coverage.

    Features of both sets are kept, (N + n) F float32 numbers; images are read batch by batch. For
    the Fréchet distance of a stream without keeping features use `GroupedMoments`.

    Args:
        real, generated: (N, C, H, W) arrays or tensors, or batches of them.
        progress: called with "real" or "generated" and the number of images done.

    Raises:
        ValueError: shapes the features cannot take, or too few images (20).
    """

    def run(name: str, images: Images | Iterable[Images]) -> Tensor:
        tell = None if progress is None else lambda done: progress(name, done)
        return extract(features, images, batch=batch, progress=tell)

    return compare_features(run("real", real), run("generated", generated), features.name)


def compare_features(real: Tensor, generated: Tensor, name: str) -> Comparison:
    """The same for features already extracted, (N, F) and (n, F), under the features' name."""
    near = neighbourhoods(real, generated, features=name)
    return Comparison(
        (
            frechet_distance(real, generated, features=name),
            kernel_distance(real, generated, features=name),
            *near,
        )
    )
