"""One face with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from sfumato.data.faces.choose import attributes_of, caption
from sfumato.data.faces.draw import rasterise, svg_of
from sfumato.data.faces.parts import FaceParts, face_parts
from sfumato.data.faces.styles import AVATAR_AXES


@final
@dataclass(frozen=True, eq=False)
class Avatar:
    """One face.

    Args:
        index: its number.
        image: uint8 (3, R, R).
        attributes: the value on every axis of `AVATAR_AXES`.
        labels: the same as int64 (A,).
        caption: the same as a sentence.
        parts: part map, boxes and landmarks, if they were asked for.
    """

    index: int
    image: np.ndarray
    attributes: Mapping[str, str]
    labels: np.ndarray
    caption: str
    parts: FaceParts | None


def avatar(
    index: int,
    resolution: int = 256,
    *,
    change: Mapping[str, str] | None = None,
    part_masks: bool = False,
) -> Avatar:
    """Draws face number `index`, the same picture as in `avatars` at that resolution.

    Args:
        index: >= 0; the training set starts at 0 and the test set at 100,000,000.
        resolution: height and width R in pixels, 8..4096.
        change: attributes to replace, for instance {"mouth": "smile"}; the rest of the face
            stays as it is, which gives exact pairs "before and after an edit". Changing the
            style redraws everything.
        part_masks: also find parts, boxes and landmarks (some tens of milliseconds).

    Raises:
        UsageError: an unknown attribute or value, or a number out of range.
        MissingExtra: the generator is not installed.
    """
    attributes = attributes_of(index, change)
    svg = svg_of(index, attributes)
    labels = [axis.index(attributes[axis.name]) for axis in AVATAR_AXES]
    return Avatar(
        index, rasterise(svg, resolution), attributes, np.array(labels, np.int64),
        caption(attributes),
        face_parts(svg, attributes["style"], resolution) if part_masks else None,
    )  # fmt: skip
