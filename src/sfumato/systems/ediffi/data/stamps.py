"""Stamps of Tux Paint with their sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sfumato.data.kept import Split
from sfumato.data.stamps import stamp_captions, stamps
from sfumato.systems.ediffi.data.base import Captioned


def captioned_stamps(
    split: Split = "train",
    resolution: int = 64,
    root: Path | None = None,
    progress: bool = True,
) -> Captioned:
    """`stamps` with the sentence that lies beside each: "A mandarin orange."

    Args:
        split, resolution, root, progress: as `stamps`.

    Returns:
        images uint8 (N, 3, R, R), one sentence each.

    Raises:
        UsageError, SfumatoError: as `stamps`.
    """
    images = stamps(split, resolution, root, progress)
    captions = tuple((sentence,) for sentence in stamp_captions(split, root))
    card = replace(images.card, size=images.card.size.replace(", 1 label axis", ""))
    return Captioned("stamps", images.images, captions, card)
