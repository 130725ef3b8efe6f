"""Toy packages of emoji: every vendor draws every thing of the scenes as a plain shape."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sfumato.data.emoji import VENDORS
from sfumato.systems.ediffi.data.layout import THINGS

COLOUR = "#ff00ff"  # no ground has a colour near it
SHAPES = {
    "noto": '<circle cx="8" cy="8" r="6"/>',
    "twemoji": '<path d="M2 13h12L8 3z"/>',
    "openmoji": '<path fill-rule="evenodd" d="M1 4h14v8H1zM6 6h4v4H6z"/>',  # with a hole
    "fluent": '<path d="M5 1h4v14H5z"/>',
}
EXTRA = {"grapes": "Food & Drink", "taurus": "Symbols", "mouse-face": "Animals & Nature"}
ALIASES = {
    "noto": {"bunch": {"parent": "grapes"}, "mirrored": {"parent": "grapes", "hFlip": True}},
    "openmoji": {"motor-car": {"parent": "automobile"}, "car2": {"parent": "automobile"}},
}


def write_toy_emoji(root: Path, without: str = "") -> Path:
    """The four packages in a data folder; the icon `without` is missing from all."""
    names = [n for n in (*(thing.icon for thing in THINGS), *EXTRA) if n != without]
    categories: dict[str, list[str]] = {}
    for name in names:
        categories.setdefault(EXTRA.get(name, "Objects"), []).append(name)
    for vendor in VENDORS:
        folder = root / f"emoji-{vendor}"
        folder.mkdir(parents=True)
        body = f'<g fill="{COLOUR}">{SHAPES[vendor]}</g>'
        icons = {"icons": {name: {"body": body} for name in names}, "width": 16, "height": 16,
                 "aliases": ALIASES.get(vendor, {})}  # fmt: skip
        texts = {"icons.json": icons, "metadata.json": {"categories": categories}, "info.json": {}}
        sums = ""
        for name, found in sorted(texts.items()):
            (folder / name).write_text(json.dumps(found))
            sums += f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        (folder / "SHA256SUMS").write_text(sums)
    return root
