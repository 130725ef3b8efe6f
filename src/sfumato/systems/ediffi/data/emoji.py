"""Emoji of four vendors on white, with what their names and categories say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sfumato.data.emoji import CATEGORIES, VENDORS, _collections, emoji, emoji_names
from sfumato.data.kept import Split
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard
from sfumato.systems.ediffi.data.base import Captioned
from sfumato.systems.ediffi.data.words import noun_phrase, words_of

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
    """What can be said of an emoji by its name, and its category: true whoever drew it.

    Args:
        name: such as "red-apple".
        category: one of `CATEGORIES`.
        aliases: its other names.
    """
    thing, group = noun_phrase(name, category), category.lower().replace("&", "and")
    return (
        thing,
        f"a drawing of {thing}",
        f"{thing} on a white background",
        f"{words_of(name)}, {group}",
        *(noun_phrase(alias, category) for alias in aliases),
    )


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
        said = emoji_sentences(name, category, aliases.get(name, ()))
        captions += [
            tuple(in_style(s, vendor) for s in said) if style else said for vendor in vendors
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
