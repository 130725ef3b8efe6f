"""The same things drawn by four vendors: emoji as vector graphics, rendered once on white."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from sfumato.data.decode import drawn, planes
from sfumato.data.download import check
from sfumato.data.kept import keep, load_kept, split_of
from sfumato.data.packages import EMOJI
from sfumato.data.places import data_root
from sfumato.data.sets import DataCard, ImageSet, LabelAxis, Split, check_between, check_split
from sfumato.errors import SfumatoError, UsageError, require, unknown

Icons: TypeAlias = Mapping[str, Any]

VENDORS: Final = tuple(package.key.removeprefix("emoji-") for package in EMOJI)
CATEGORIES: Final = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body",
    "Smileys & Emotion", "Symbols", "Travel & Places",
)  # fmt: skip
EMOJI_AXES: Final = (LabelAxis("vendor", VENDORS), LabelAxis("category", CATEGORIES))
_GENERATION = 1


def emoji_source() -> str:
    """The packages that emoji come from, and what draws them."""
    names = ", ".join(f"{p.name} {p.version}" for p in EMOJI)
    return f"npm packages {names}, rasterised by resvg (PyPI resvg-py)"


def emoji_licence() -> str:
    """The licences of the four vendors."""
    return "; ".join(f"{p.key.removeprefix('emoji-')}: {p.licence}" for p in EMOJI)


def emoji_card(n: int, resolution: int, split: Split, concepts: int) -> DataCard:
    """Source, licences and size of n pictures of so many things."""
    return DataCard(
        name="emoji",
        source=emoji_source(),
        licence=emoji_licence(),
        size=f"{n:,} {split} images of {concepts:,} things, {resolution}x{resolution} RGB on "
        f"white, {len(EMOJI_AXES)} label axes",
        note="Drawings. Only what all four vendors draw under the same name; split by name, so "
        "nothing is in both splits, but some things differ little (clock faces, people).",
    )


def _folder(vendor: str, root: Path) -> Path:
    folder = root / f"emoji-{vendor}"
    if not folder.is_dir():
        raise SfumatoError(
            f"the emoji of {vendor} are not in {folder}; run 'sfumato data fetch emoji'"
        )
    return folder


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SfumatoError(
            f"{path} is damaged ({error}); delete its folder and fetch it again"
        ) from error
    return found


@lru_cache(maxsize=1)
def _collections(root: Path) -> dict[str, Icons]:
    """The contents of the four `icons.json`, by vendor."""
    for vendor in VENDORS:
        check(_folder(vendor, root))
    return {vendor: _json(_folder(vendor, root) / "icons.json") for vendor in VENDORS}


def _names(split: Split, root: Path) -> tuple[str, ...]:
    icons = [set(found["icons"]) for found in _collections(root).values()]
    return tuple(name for name in sorted(set.intersection(*icons)) if split_of(name) == split)


def emoji_names(split: Split = "train", root: Path | None = None) -> tuple[str, ...]:
    """The things that all four vendors draw, such as "red-apple", sorted.

    With V vendors asked for, image i of `emoji` shows name number i // V.

    Args:
        split: "train" or "test".
        root: the data folder; `data_root()` when None.

    Raises:
        UsageError: unknown split.
        SfumatoError: the packages are not there (the message says what to run) or are damaged.
    """
    check_split(split)
    return _names(split, data_root() if root is None else root)


def svg_of_icon(icons: Icons, name: str) -> str:
    """The SVG document of one icon, its view padded to a centred square."""
    icon = icons["icons"][name]
    left, top, width, height = (
        float(icon.get(key, icons.get(key, default)))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    side = max(width, height)
    left, top = left - (side - width) / 2, top - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{side:g}" height="{side:g}" viewBox="{left:g} {top:g} {side:g} {side:g}">'
        f"{icon['body']}</svg>"
    )


def render(svg: str, resolution: int) -> np.ndarray:
    """The document as uint8 (3, R, R), composited on white.

    Raises:
        MissingExtra: the rasteriser is not installed.
    """
    return planes(drawn(svg, resolution, "RGB", background="#ffffff"))


def _draw(
    folder: Path, split: Split, resolution: int, vendors: Sequence[str], root: Path, progress: bool
) -> None:
    require("resvg_py", "data")
    names, collections = _names(split, root), _collections(root)
    categories = {
        name: CATEGORIES.index(category)
        for category, members in _json(_folder("noto", root) / "metadata.json")[
            "categories"
        ].items()
        for name in members
    }
    labels = np.array(
        [[VENDORS.index(vendor), categories[name]] for name in names for vendor in vendors],
        np.int64,
    )

    def images() -> Iterator[np.ndarray]:
        for name in names:
            for vendor in vendors:
                try:
                    yield render(svg_of_icon(collections[vendor], name), resolution)
                except ValueError as error:  # what the rasteriser raises
                    raise SfumatoError(f"'{name}' of {vendor} cannot be drawn: {error}") from error

    what = f"drawing {len(labels):,} emoji at {resolution} px"
    keep(folder, images(), labels, resolution, what, progress, {"names": list(names)})


def emoji(
    split: Split = "train",
    resolution: int = 64,
    vendors: Sequence[str] = VENDORS,
    root: Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """Emoji on white, each thing drawn by each vendor, with the axes "vendor" and "category".

    Only what all four vendors draw under one name, whichever vendors are asked for; about a
    tenth of the names are for test (`split_of`). Image i shows name number i // V by vendor
    number i % V. Rendered once into the data folder and read as a memory map afterwards.

    Args:
        split: "train" or "test".
        resolution: height and width R, 8..1024.
        vendors: some of "noto", "twemoji", "openmoji", "fluent".
        root: the data folder; `data_root()` when None.
        progress: show a progress bar.

    Returns:
        images uint8 (N, 3, R, R), labels int64 (N, 2).

    Raises:
        UsageError: unknown split or vendor, one vendor twice, or the resolution out of range.
        MissingExtra: the rasteriser is needed and not installed.
        SfumatoError: the packages are not there (the message says what to run), or something is
            damaged or cannot be written.
    """
    check_split(split)
    for vendor in vendors:
        if vendor not in VENDORS:
            raise unknown("vendor", vendor, VENDORS)
    if not vendors or len(set(vendors)) != len(vendors):
        raise UsageError(f"emoji: expected different vendors, got {list(vendors)}")
    check_between("emoji: the resolution", resolution, 8, 1024)
    root = data_root() if root is None else root
    which = "" if tuple(vendors) == VENDORS else "-" + "-".join(vendors)
    folder = root / "emoji" / f"{split}-{resolution}px-g{_GENERATION}{which}"
    if not folder.is_dir():
        _draw(folder, split, resolution, vendors, root, progress)
    kept = load_kept(folder)
    card = emoji_card(len(kept.images), resolution, split, len(kept.names))
    return ImageSet("emoji", kept.images, kept.labels, EMOJI_AXES, card)
