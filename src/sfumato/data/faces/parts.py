"""Which pixel belongs to which part of a face, read off the structure of its SVG document."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, final

import numpy as np

from sfumato.data.faces.draw import rasterise
from sfumato.data.faces.styles import STYLES

Box: TypeAlias = tuple[float, float, float, float]
Point: TypeAlias = tuple[float, float]

PARTS: Final = (
    "background", "skin", "clothes", "hair", "facial_hair", "eyebrows", "eyes", "nose", "mouth",
    "glasses",
)  # fmt: skip
_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'
_SHAPES = {"path", "rect", "circle", "ellipse", "line", "polygon", "polyline"}
_STENCILS = {"mask", "clipPath"}  # their colours decide what shows, so they stay
_FINE = 256  # pixels at which positions are measured
_APART: Final = (  # parts that never touch one another are measured in one drawing
    frozenset({"skin"}), frozenset({"hair"}), frozenset({"glasses", "mouth", "clothes"}),
    frozenset({"eyes", "nose"}), frozenset({"eyebrows", "facial_hair"}),
)  # fmt: skip
_ALL: Final = frozenset(PARTS)


@final
@dataclass(frozen=True, eq=False)
class FaceParts:
    """Parts of one face.

    Args:
        map: uint8 (R, R), at each pixel the index in `PARTS` of the part that fills most of it.
        boxes: for each part that is drawn, its bounding box (x0, y0, x1, y1) in [0, 1], measured
            on the part alone, as if nothing covered it.
        landmarks: points (x, y) in [0, 1], x to the right and y downwards: the centres of the
            eye at the left and at the right of the picture and of the nose, and the left and
            right ends of the mouth.
    """

    map: np.ndarray
    boxes: Mapping[str, Box]
    landmarks: Mapping[str, Point]

    def mask(self, part: str) -> np.ndarray:
        """Boolean (R, R): the pixels of one part. The masks of all parts are disjoint.

        Raises:
            ValueError: no such part.
        """
        if part not in PARTS:
            raise ValueError(f"no part '{part}'; there are: {', '.join(PARTS)}")
        pixels: np.ndarray = self.map == PARTS.index(part)
        return pixels


def _colour(part: str) -> str:
    k = PARTS.index(part)
    return f"#{25 * k:02x}{255 - 25 * k if k else 0:02x}{40 * (k % 3) if k else 0:02x}"


def _part_of_id(identity: str, owners: Mapping[str, str]) -> str | None:
    component = identity.partition("-")[0]
    return owners.get(component)


def _is_veil(element: ET.Element) -> bool:
    return min(float(element.get(k, "1")) for k in ("opacity", "fill-opacity")) < 0.5


def _paint(
    element: ET.Element, part: str, owners: Mapping[str, str], shown: frozenset[str]
) -> None:
    """Gives every shape the flat colour of its part and hides the parts not in `shown`."""
    if element.tag in _STENCILS:
        for inner in element.iter():
            inner.attrib.pop("opacity", None)
        return
    part = _part_of_id(element.get("id", ""), owners) or part
    hide = part not in shown or (part == "glasses" and _is_veil(element))
    for attribute in ("fill", "stroke"):
        if element.get(attribute, "none") != "none":
            element.set(attribute, "none" if hide else _colour(part))
    for attribute in ("style", "filter", "opacity", "fill-opacity", "stroke-opacity"):
        element.attrib.pop(attribute, None)
    for child in element:
        _paint(child, part, owners, shown)


def _recoloured(svg: str, style: str, shown: frozenset[str] = _ALL) -> str:
    owners = {"head": "skin", "ears": "skin", **dict(STYLES[style].parts)}
    root = ET.fromstring(svg.replace(_NAMESPACE, "", 1))
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    fill = root.attrib.pop("fill", "none")
    root.set("shape-rendering", "crispEdges")
    for child in root:
        for element in child:
            backdrop = child.tag == "g" and element.tag == "rect"
            _paint(element, "background" if backdrop else "skin", owners, shown)
    root.set("fill", fill)
    return ET.tostring(root, "unicode").replace("<svg", "<svg" + _NAMESPACE, 1)


def _indices(svg: str, resolution: int) -> np.ndarray:
    """int (R, R): index of the part whose flat colour a pixel has; -1 for a mixed colour."""
    red, green, blue = rasterise(svg, resolution, crisp=True).astype(np.int64)
    seen = red << 16 | green << 8 | blue
    found = np.full(seen.shape, -1)
    for k, part in enumerate(PARTS):
        found[seen == int(_colour(part)[1:], 16)] = k
    return found


def _part_map(svg: str, style: str, resolution: int) -> np.ndarray:
    finer = max(1, -(-_FINE // resolution))
    fine = _indices(_recoloured(svg, style), resolution * finer)
    blocks = fine.reshape(resolution, finer, resolution, finer).swapaxes(1, 2)
    counts = [(blocks == k).sum((2, 3)) for k in range(len(PARTS))]
    most: np.ndarray = np.argmax(np.stack(counts), 0)
    return most.astype(np.uint8)


def _eyes(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The drawn eyes divided at the widest empty stretch of columns."""
    columns = np.flatnonzero(drawn.any(0))
    gaps = np.diff(columns)
    widest = int(np.argmax(gaps)) if len(gaps) else 0
    middle = columns.mean() if not len(gaps) or gaps[widest] < 2 else columns[widest]
    is_left = np.arange(drawn.shape[1]) <= middle
    return drawn & is_left, drawn & ~is_left


def _centre(drawn: np.ndarray) -> Point:
    y, x = np.nonzero(drawn)
    n = len(drawn)
    return float(x.mean() + 0.5) / n, float(y.mean() + 0.5) / n


def _measured(svg: str, style: str) -> Iterator[tuple[str, np.ndarray]]:
    """Each part that is drawn, with its pixels when the parts that may cover it are hidden."""
    for group in _APART:
        indices = _indices(_recoloured(svg, style, group), _FINE)
        for part in PARTS:
            if part in group and (drawn := indices == PARTS.index(part)).any():
                yield part, drawn


def face_parts(svg: str, style: str, resolution: int) -> FaceParts:
    """Parts, bounding boxes and landmarks of a face.

    Each component of the document is painted in one flat colour and drawn without antialiasing,
    at 256 pixels or more; what is nearly transparent in glasses counts as what is behind it.

    Args:
        svg: the document of the face.
        style: name of its drawing style.
        resolution: R of the part map.
    """
    boxes: dict[str, Box] = {}
    landmarks: dict[str, Point] = {}
    for part, drawn in _measured(svg, style):
        y, x = np.nonzero(drawn)
        boxes[part] = (
            float(x.min()) / _FINE,
            float(y.min()) / _FINE,
            float(x.max() + 1) / _FINE,
            float(y.max() + 1) / _FINE,
        )
        if part == "nose":
            landmarks["nose"] = _centre(drawn)
        elif part == "eyes":
            left, right = _eyes(drawn)
            for name, eye in (("left_eye", left), ("right_eye", right)):
                if eye.any():
                    landmarks[name] = _centre(eye)
        elif part == "mouth":
            for name, column in (("mouth_left", x.min()), ("mouth_right", x.max())):
                height = float(y[x == column].mean())
                landmarks[name] = float(column + 0.5) / _FINE, (height + 0.5) / _FINE
    return FaceParts(_part_map(svg, style, resolution), boxes, landmarks)
