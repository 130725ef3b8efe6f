"""Captions for sets of drawings: emoji of four vendors, illustrated faces, stamps of Tux Paint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Final

from sfumato.data.emoji import CATEGORIES, VENDORS, _collections, emoji, emoji_names
from sfumato.data.faces.cache import avatars
from sfumato.data.faces.styles import AVATAR_AXES
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, Split
from sfumato.data.stamps import stamp_captions, stamps
from sfumato.seeds import fold
from sfumato.systems.ediffi.data.base import Captioned, LazySequence
from sfumato.systems.ediffi.data.words import article, noun_phrase, with_article, words_of

_PLAIN: Final = re.compile(r"[a-z]+(-[a-z]+)*")
_NO_NAMES: Final = frozenset(  # misspelt, another thing, or no English
    ["grasshopper", "japanese-hear-button", "man-with-chinese-cap", "pistol", "white-medium-star"]
)


def in_style(sentence: str, vendor: str) -> str:
    """The sentence with the words that say who drew it."""
    comma = "," if ", " in sentence else ""
    return f"{sentence}{comma} in the style of {vendor}"


def former_names(root: Path | None = None) -> Mapping[str, tuple[str, ...]]:
    """Other names of the things, which some vendor's package has for older versions of Unicode.

    Of the aliases in the four packages only those that mean exactly the same picture, are plain
    words, and say something else than the name does: {"backpack": ("school-backpack",), ...}.
    The same for all vendors, whoever's package has them.

    Args:
        root: the data folder; `data_root()` when None.

    Raises:
        SfumatoError: the packages are not there (the message says what to run) or are damaged.
    """
    found: dict[str, set[str]] = {}
    for icons in _collections(data_root() if root is None else root).values():
        for alias, what in icons.get("aliases", {}).items():
            unchanged = set(what) == {"parent"}  # neither mirrored nor turned
            named = _PLAIN.fullmatch(alias) and not alias.startswith(("flag-for-", "heavy-"))
            if unchanged and named and alias not in _NO_NAMES:
                found.setdefault(what["parent"], set()).add(alias)
    return {name: tuple(sorted(aliases - {name})) for name, aliases in sorted(found.items())}


def emoji_sentences(name: str, category: str, aliases: Sequence[str] = ()) -> tuple[str, ...]:
    """Captions of an emoji made from its name and category, true for every vendor.

    Args:
        name: such as "red-apple".
        category: one of `CATEGORIES`.
        aliases: its other names.
    """
    thing, group = noun_phrase(name, category), category.lower().replace("&", "and")
    return (
        thing, f"a drawing of {thing}", f"{thing} on a white background",
        f"{words_of(name)}, {group}", *(noun_phrase(alias, category) for alias in aliases),
    )  # fmt: skip


def captioned_emoji(
    split: Split = "train",
    resolution: int = 64,
    vendors: Sequence[str] = VENDORS,
    *,
    style: bool = False,
    root: Path | None = None,
    progress: bool = True,
) -> Captioned:
    """`emoji` with sentences made from the names, the older names and the categories.

    "a red apple", "a drawing of a red apple", "a red apple on a white background", "red apple,
    food and drink". The sentences of a thing are the same for every vendor unless `style` is
    set: then each ends in "in the style of noto", and so on.

    Args:
        split: "train" or "test"; by name, see `emoji`.
        resolution: height and width R, 8..1024.
        vendors: some of "noto", "twemoji", "openmoji", "fluent".
        style: say the vendor.
        root: the data folder; `data_root()` when None.
        progress: show a progress bar.

    Returns:
        images uint8 (N, 3, R, R), in the order of `emoji`, with 4 or more sentences each.

    Raises:
        UsageError, MissingExtra, SfumatoError: as `emoji`.
    """
    images = emoji(split, resolution, vendors, root, progress)
    labels = images.labels
    aliases = former_names(root)
    captions = []
    for i, name in enumerate(emoji_names(split, root)):
        row = i * len(vendors)
        category = CATEGORIES[0 if labels is None else int(labels[row, 1])]
        plain = emoji_sentences(name, category, aliases.get(name, ()))
        captions += [
            tuple(in_style(s, vendor) for s in plain) if style else plain for vendor in vendors
        ]
    card = images.card
    return Captioned(
        "emoji",
        images.images,
        tuple(captions),
        DataCard(
            card.name,
            card.source,
            card.licence,
            card.size.partition(", 2 label axes")[0] + f", {sum(map(len, captions)):,} sentences",
            card.note + " Sentences are made from names and categories, which say nothing of "
            "what else is in a drawing.",
        ),
        tuple(vendors) * (len(captions) // len(vendors)),
    )


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
        number: chooses the orders in which skin, hair, glasses and facial hair come; one of
            24 for each sentence.
    """
    a = attributes
    style = a["style"].replace("-", " ")
    adjective, noun, verb = _MOUTHS[a["mouth"]]
    glasses, beard = a["glasses"] != "none", a["facial_hair"] != "none"
    parts = (
        f"{a['skin']} skin",
        f"{a['hair']} {a['hair_colour']} hair",
        "glasses" if glasses else "no glasses",
        "facial hair" if beard else "no facial hair",
    )

    def ordered(k: int) -> list[str]:
        order = _ORDERS[fold(number, "avatar sentence", k) % len(_ORDERS)]
        return [parts[i] for i in order]

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
    return Captioned("avatars", faces.images, LazySequence(len(faces), of), card)


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
