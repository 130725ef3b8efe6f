"""From an index to the attributes of a face, and from attributes to words and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sfumato.data.faces.styles import AVATAR_AXES
from sfumato.errors import UsageError, unknown

GENERATION = 1  # part of every hash and of the cache's name: raise it when any drawing changes
_WITHOUT_FACIAL_HAIR = 0.75
_MOUTH_WORDS = {"smile": "a smiling", "serious": "a serious", "open": "an open-mouthed"}


def draw(index: int, slot: str, count: int) -> int:
    """A number in 0..count-1 that depends on (index, slot) only, uniform to 1 part in 2^64."""
    digest = hashlib.sha256(f"sfumato avatars {GENERATION}:{index}:{slot}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * count >> 64


def attributes_of(index: int, change: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The value on every axis for face number `index`.

    Independent and uniform on every axis, except that three faces in four have no facial hair.

    Args:
        index: number of the face, >= 0.
        change: values that replace the drawn ones; everything else about the face stays.

    Raises:
        UsageError: a negative index, or a name or value that no axis has.
    """
    if index < 0:
        raise UsageError(f"the index of an avatar must be >= 0, got {index}")
    chosen = {
        axis.name: axis.values[draw(index, axis.name, len(axis.values))] for axis in AVATAR_AXES
    }
    bald = draw(index, "facial_hair", 1000) < 1000 * _WITHOUT_FACIAL_HAIR
    chosen["facial_hair"] = "none" if bald else "some"
    values = {axis.name: axis.values for axis in AVATAR_AXES}
    for name, value in (change or {}).items():
        if name not in values:
            raise unknown("avatar attribute", name, values)
        if value not in values[name]:
            raise unknown(f"value of the avatar attribute '{name}'", value, values[name])
        chosen[name] = value
    return MappingProxyType(chosen)


def caption(attributes: Mapping[str, str]) -> str:
    """One English sentence that says every attribute."""
    a = attributes
    style = a["style"].replace("-", " ")
    worn = {
        (False, False): "",
        (True, False): " and glasses",
        (False, True): " and facial hair",
        (True, True): ", glasses and facial hair",
    }[a["glasses"] != "none", a["facial_hair"] != "none"]
    return (
        f"{_article(style).capitalize()} {style} drawing of {_MOUTH_WORDS[a['mouth']]} face with "
        f"{a['skin']} skin, {a['hair']} {a['hair_colour']} hair{worn} "
        f"on a {a['background']} background."
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def labels_of(indices: Sequence[int]) -> np.ndarray:
    """int64 labels (N, A) of the faces, one column per axis of `AVATAR_AXES`."""
    rows = []
    for index in indices:
        chosen = attributes_of(index)
        rows.append([axis.values.index(chosen[axis.name]) for axis in AVATAR_AXES])
    return np.array(rows, np.int64).reshape(len(rows), len(AVATAR_AXES))
