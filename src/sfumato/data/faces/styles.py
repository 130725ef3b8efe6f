"""The five drawing styles: which variants show which attribute, and how a face is framed.

Every value of every axis exists in every style, so the axes are independent by construction:
any combination can be drawn, and any combination can be asked of a model trained on them.
The variants were sorted by eye; those that show an attribute badly (hats, flowers, hair over
both eyes, nearly bald heads, medium-length hair) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, final

from sfumato.data.sets import LabelAxis

HAIR_COLOURS: Final = MappingProxyType(
    {
        "black": "1d1a1a", "brown": "6b4226", "blond": "e6c35c", "red": "c1440e",
        "grey": "b5b5b5", "blue": "3f7fd1", "green": "4caf50", "pink": "f07ab0",
    }
)  # fmt: skip
SKINS: Final = MappingProxyType(
    {"light": "ffdfc4", "tan": "e3a878", "brown": "b0703f", "dark": "835430"}
)
BACKGROUNDS: Final = MappingProxyType(
    {"grey": "d5d9e0", "sand": "f3e3bd", "sky": "b9def5", "mint": "c6ebcd"}
)
CLOTHES: Final = ("3d5a80", "8d99ae", "ee6c4d", "5b8e7d", "f4d58d", "7b506f")


def _numbered(numbers: str, prefix: str = "variant") -> tuple[str, ...]:
    return tuple(prefix + number for number in numbers.split())


def _named(names: str) -> tuple[str, ...]:
    return tuple(names.split())


@final
@dataclass(frozen=True)
class FaceStyle:
    """One drawing style of dicebear-styles, reduced to what the axes need.

    Args:
        name: name of the style, also the value on the axis "style".
        artist: who drew it.
        licence: licence of the art.
        short, long: hair variants by length.
        mouths: mouth variants for "smile", "serious", "open".
        glasses: component and variants that are glasses.
        facial_hair: component and variants that are a beard or a moustache.
        eyes: eye variants used.
        hair: the component that is hair.
        skin_colour: name of the generator's skin colour.
        colours: other colours, each one of the listed hex values or the name of an attribute.
        absent: components never drawn.
        parts: which part of the face each component belongs to; others count as skin.
        zoom, down: magnification, and downward shift in percent of the height.
    """

    name: str
    artist: str
    licence: str
    short: tuple[str, ...]
    long: tuple[str, ...]
    mouths: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    glasses: tuple[str, tuple[str, ...]]
    facial_hair: tuple[str, tuple[str, ...]]
    eyes: tuple[str, ...]
    hair: str
    skin_colour: str
    colours: tuple[tuple[str, tuple[str, ...]], ...]
    absent: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    zoom: float = 1.0
    down: float = 0.0


HAIR_COLOUR_OF = "hair_colour"


def _parts(others: str) -> tuple[tuple[str, str], ...]:
    """Eyes, eyebrows, mouth and nose, and others as COMPONENT:PART, or PART where both agree."""
    pairs = (entry.partition(":") for entry in f"eyes eyebrows mouth nose {others}".split())
    return tuple((component, part or component) for component, _, part in pairs)


ADVENTURER = FaceStyle(
    name="adventurer",
    artist="Lisa Wischofsky",
    licence="CC BY 4.0",
    short=_numbered("01 02 03 07 08 09 10 11 14 15 16 17 18", "short"),
    long=_numbered("01 04 05 06 07 09 14 16 17 22 24", "long"),
    mouths=(_numbered("01 05 22 23 25 26"), _numbered("04 09 10"), _numbered("03 07 15 18")),
    glasses=("glasses", _numbered("01 02 04 05")),
    facial_hair=("details", ("mustache",)),
    eyes=_numbered("01 02 03 04 05 09 10 12 15 18 24 25 26"),
    hair="hair",
    skin_colour="skin",
    colours=(),
    absent=("earrings",),
    parts=_parts("hair glasses details:facial_hair"),
    zoom=1.05,
)
AVATAAARS = FaceStyle(
    name="avataaars",
    artist="Pablo Stanley",
    licence="Free for personal and commercial use",
    short=_named(
        "dreads01 shortCurly shortFlat shortRound shortWaved theCaesar theCaesarAndSidePart"
    ),
    long=_named(
        "bob curly curvy dreads longButNotTooLong miaWallace straight01 straight02 "
        "straightAndStrand"
    ),
    mouths=(
        _named("smile tongue default"),
        _named("serious sad"),
        _named("disbelief screamOpen concerned"),
    ),
    glasses=("accessories", ("prescription01", "prescription02", "round", "sunglasses", "kurt")),
    facial_hair=("facialHair", ("beardLight", "beardMajestic", "beardMedium", "moustacheMagnum")),
    eyes=("default", "happy", "side", "squint", "surprised", "eyeRoll"),
    hair="top",
    skin_colour="skin",
    colours=(
        ("facialHair", (HAIR_COLOUR_OF,)),
        ("accessories", ("262e33", "1d3461")),
        ("clothes", CLOTHES),
    ),
    absent=("clothesGraphic",),
    parts=_parts("top:hair accessories:glasses facialHair:facial_hair clothes"),
    zoom=1.2,
    down=7.0,
)
LORELEI = FaceStyle(
    name="lorelei",
    artist="Lisa Wischofsky",
    licence="CC0 1.0",
    short=_numbered("01 02 03 04 05 06 07 08 09 12 22 39 43 47"),
    long=_numbered("10 13 15 16 17 18 19 23 24 32 35 41"),
    mouths=(
        _numbered("03 05 06 12 16", "happy"),
        _numbered("02 04 05 09", "sad"),
        ("sad01", "happy18", "sad07"),
    ),
    glasses=("glasses", _numbered("01 02 03 04 05")),
    facial_hair=("beard", _numbered("01 02")),
    eyes=_numbered("02 04 05 09 10 11 12 14 16 17 18 21 23 24"),
    hair="hair",
    skin_colour="skin",
    colours=(),
    absent=("earrings", "freckles", "hairAccessories"),
    parts=_parts("hair glasses beard:facial_hair"),
    zoom=1.1,
    down=2.0,
)
MICAH = FaceStyle(
    name="micah",
    artist="Micah Lanier",
    licence="CC BY 4.0",
    short=("fonze", "mrT"),
    long=("dannyPhantom", "full", "pixie"),
    mouths=(("laughing", "smile"), ("frown", "sad"), ("surprised",)),
    glasses=("glasses", ("round", "square")),
    facial_hair=("facialHair", ("beard",)),
    eyes=("eyes", "round", "smiling"),
    hair="hair",
    skin_colour="base",
    colours=(
        ("facialHair", (HAIR_COLOUR_OF,)),
        ("glasses", ("000000", "1d3461")),
        ("shirt", CLOTHES),
    ),
    absent=("earrings",),
    parts=_parts("hair glasses facialHair:facial_hair clothes"),
    zoom=1.1,
    down=4.0,
)
PIXEL_ART = FaceStyle(
    name="pixel-art",
    artist="DiceBear",
    licence="CC0 1.0",
    short=_numbered("01 02 03 04 06 08 09 10 14 15 16 17 22", "short"),
    long=_numbered("01 02 03 04 07 09 12 13 17 20 21", "long"),
    mouths=(
        _numbered("07 08 09 12", "happy"),
        _numbered("01 02 04 05 06", "sad"),
        _numbered("01 06 13", "happy"),
    ),
    glasses=(
        "glasses",
        (*_numbered("01 02 03 05 06 07", "dark"), *_numbered("01 02 03 05 06 07", "light")),
    ),
    facial_hair=("beard", _numbered("01 03 05 07 08")),
    eyes=_numbered("01 02 03 04 06 07 08 10 11"),
    hair="hair",
    skin_colour="skin",
    colours=(
        ("glasses", ("191919", "43677d")),
        ("mouth", ("b01240", "de0f0d")),
        ("clothing", CLOTHES),
    ),
    absent=("accessories", "hat"),
    parts=_parts("hair glasses beard:facial_hair clothes"),
)
STYLES: Final = MappingProxyType(
    {style.name: style for style in (ADVENTURER, AVATAAARS, LORELEI, MICAH, PIXEL_ART)}
)

AVATAR_AXES: Final = (
    LabelAxis("style", tuple(STYLES)),
    LabelAxis("hair", ("short", "long")),
    LabelAxis("hair_colour", tuple(HAIR_COLOURS)),
    LabelAxis("glasses", ("none", "glasses")),
    LabelAxis("mouth", ("smile", "serious", "open")),
    LabelAxis("facial_hair", ("none", "some")),
    LabelAxis("skin", tuple(SKINS)),
    LabelAxis("background", tuple(BACKGROUNDS)),
)
