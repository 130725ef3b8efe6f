"""From attributes to an SVG document, and from that to pixels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from sfumato.data.decode import drawn, planes
from sfumato.data.faces.choose import draw
from sfumato.data.faces.styles import (
    AVATAR_AXES,
    BACKGROUNDS,
    HAIR_COLOUR_OF,
    HAIR_COLOURS,
    SKINS,
    STYLES,
    FaceStyle,
)
from sfumato.data.sets import check_between
from sfumato.errors import require

_MOUTHS = next(axis.values for axis in AVATAR_AXES if axis.name == "mouth")
# pixel-art masks its beards by the brightness of the hair's colour, so that black ones vanish
_MASK = re.compile(r"<mask [^>]*mask-type:luminance[^>]*>.*?</mask>", re.DOTALL)
_FILL = re.compile(r'fill="#[0-9a-fA-F]+"')


@cache
def _generator_style(name: str) -> Any:
    require("dicebear_styles", "data")
    dicebear = require("dicebear", "data")
    text = files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8")
    return dicebear.Style(json.loads(text))


def options_of(index: int, attributes: Mapping[str, str]) -> dict[str, Any]:
    """The generator's options for face `index` with these attributes.

    Variants come from the lists of `FaceStyle`, picked by (index, slot); what the lists do not
    name (nose, brows, clothes) the generator picks from its own stream keyed by the index and
    the component, so that changing one attribute moves nothing else.
    """
    style = STYLES[attributes["style"]]

    def pick(slot: str, values: tuple[str, ...]) -> str:
        return values[draw(index, f"{style.name} {slot}", len(values))]

    hair = pick("hair", style.short if attributes["hair"] == "short" else style.long)
    options: dict[str, Any] = {
        "seed": f"sfumato {index}", "backgroundColor": [BACKGROUNDS[attributes["background"]]],
        f"{style.skin_colour}Color": [SKINS[attributes["skin"]]],
        "hairColor": [HAIR_COLOURS[attributes["hair_colour"]]], f"{style.hair}Variant": hair,
        f"{style.hair}Probability": 100, "eyesVariant": pick("eyes", style.eyes),
        "mouthVariant": pick("mouth", style.mouths[_MOUTHS.index(attributes["mouth"])]),
    }  # fmt: skip
    for axis, (component, variants) in (
        ("glasses", style.glasses),
        ("facial_hair", style.facial_hair),
    ):
        options[f"{component}Probability"] = 0 if attributes[axis] == "none" else 100
        options[f"{component}Variant"] = pick(axis, variants)
    for component in style.absent:
        if component != "clothesGraphic":
            options[f"{component}Probability"] = 0
    for name, values in style.colours:
        value = pick(f"{name} colour", values)
        options[f"{name}Color"] = [
            HAIR_COLOURS[attributes["hair_colour"]] if value == HAIR_COLOUR_OF else value
        ]
    options["scale"], options["translateY"] = style.zoom, style.down
    return options


def svg_of(index: int, attributes: Mapping[str, str]) -> str:
    """The SVG document of face `index`. Raises MissingExtra: the generator is not installed."""
    dicebear = require("dicebear", "data")
    style: FaceStyle = STYLES[attributes["style"]]
    avatar = dicebear.Avatar(_generator_style(style.name), options_of(index, attributes))
    return _MASK.sub(lambda mask: _FILL.sub('fill="white"', mask[0]), str(avatar.to_string()))


def rasterise(svg: str, resolution: int, *, crisp: bool = False) -> np.ndarray:
    """The picture as uint8 (3, R, R), composited on black where nothing is drawn.

    Args:
        svg: the document.
        resolution: R, from 8 to 4096 pixels.
        crisp: switch antialiasing off, so that every pixel has one of the document's colours.

    Raises:
        UsageError: the resolution is out of range.
        MissingExtra: the rasteriser is not installed.
    """
    check_between("the resolution of an avatar", resolution, 8, 4096)
    shapes = "crisp_edges" if crisp else "geometric_precision"
    return planes(drawn(svg, resolution, "RGB", background="#000000", shape_rendering=shapes))
