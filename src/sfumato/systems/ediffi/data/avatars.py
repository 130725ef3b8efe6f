"""Illustrated faces with sentences that say every attribute, in several forms and orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Final

from sfumato.data.faces.cache import Split, avatars
from sfumato.data.faces.styles import AVATAR_AXES
from sfumato.seeds import fold
from sfumato.systems.ediffi.data.base import Captioned, Made
from sfumato.systems.ediffi.data.words import article, with_article

_MOUTHS: Final = {
    "smile": ("smiling", "a smile", "smiles"),
    "serious": ("serious", "a serious mouth", "is serious"),
    "open": ("open-mouthed", "an open mouth", "has an open mouth"),
}
_ORDERS: Final = tuple(permutations(range(4)))


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def avatar_sentences(attributes: Mapping[str, str], number: int = 0) -> tuple[str, ...]:
    """Four sentences, each of which says the value on every axis of `AVATAR_AXES`.

    The first says only what there is; the others also say "no glasses" and "no facial hair".

    Args:
        attributes: the value on every axis.
        number: chooses the orders in which skin, hair, glasses and facial hair are said; one of
            24 for each sentence.
    """
    a = attributes
    style = a["style"].replace("-", " ")
    adjective, noun, verb = _MOUTHS[a["mouth"]]
    glasses, beard = a["glasses"] != "none", a["facial_hair"] != "none"
    said = (
        f"{a['skin']} skin",
        f"{a['hair']} {a['hair_colour']} hair",
        "glasses" if glasses else "no glasses",
        "facial hair" if beard else "no facial hair",
    )

    def ordered(k: int) -> list[str]:
        order = _ORDERS[fold(number, "avatar sentence", k) % len(_ORDERS)]
        return [said[i] for i in order]

    ground = f"a {a['background']} background"
    return (
        f"{article(style)} {style} drawing of {with_article(f'{adjective} face')} with "
        f"{_listed([s for s in ordered(3) if not s.startswith('no ')])} on {ground}",
        f"{with_article(f'{adjective} face')} with {_listed(ordered(0))} on {ground}, "
        f"{style} style",
        f"{article(style)} {style} portrait on {ground}: {', '.join([noun, *ordered(1)])}",
        f"on {ground}, a face with {_listed(ordered(2))} {verb}, drawn in {style} style",
    )


def captioned_avatars(
    split: Split = "train",
    resolution: int = 32,
    n: int | None = None,
    *,
    root: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Captioned:
    """`avatars` with four sentences each, made from the labels when they are asked for.

    Args:
        split, resolution, n, root, workers, progress: as `avatars`.

    Returns:
        images uint8 (n, 3, R, R).

    Raises:
        UsageError, MissingExtra, SfumatoError: as `avatars`.
    """
    faces = avatars(split, resolution, n, root=root, workers=workers, progress=progress)
    labels = faces.labels

    def of(i: int) -> tuple[str, ...]:
        row = [] if labels is None else labels[i].tolist()
        values = {axis.name: axis.values[k] for axis, k in zip(AVATAR_AXES, row, strict=True)}
        return avatar_sentences(values, i)

    card = replace(faces.card, size=f"{faces.card.size}, 4 sentences each")
    return Captioned("avatars", faces.images, Made(len(faces), of), card)
