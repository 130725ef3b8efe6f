"""``sfumato models``: what is shipped, and the card of one model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from sfumato import zoo
from sfumato.console.options import Name, parse
from sfumato.files.hub import download, is_hub_id

_ABOUT = """List the shipped models, or show the card of one; fetch one from the Hugging Face hub.

examples:
  sfumato models
  sfumato models fashion
  sfumato models --json | python3 -m json.tool
  sfumato models ORG/NAME --download
"""


@final
@dataclass(frozen=True)
class ModelsConfig:
    """What to list."""

    name: Name = ""
    """A shipped or fetched model whose card is shown; all of them are listed without it."""
    json: bool = False
    """Print JSON: a list of objects, or one object where a name is given."""
    download: bool = False
    """Fetch ORG/NAME from the Hugging Face hub first."""


def main(argv: list[str]) -> None:
    """Run ``sfumato models``."""
    run(parse(ModelsConfig, "models", argv, _ABOUT))


def run(config: ModelsConfig) -> None:
    """Print the list or the card."""
    if config.download:
        download(config.name)
    if config.name:
        folder = zoo.find(config.name) if is_hub_id(config.name) else None
        card = zoo.ModelCard.read(folder) if folder else zoo.card(config.name)
        if config.json:
            print(json.dumps(describe(card, folder), indent=2))
        else:
            _show(describe(card, folder))
        return
    cards = zoo.cards()
    if config.json:
        print(json.dumps([describe(c) for c in cards], indent=2))
    else:
        _table(cards)


def describe(card: zoo.ModelCard, folder: Path | None = None) -> dict[str, Any]:
    """The card as an object for JSON, with the folder and the size of the weights in bytes."""
    folder = folder or zoo.folders()[card.name]
    return {**asdict(card), "size": _size(folder), "folder": str(folder)}


def _size(folder: Path) -> int:
    weights = folder / "model.safetensors"
    return weights.stat().st_size if weights.is_file() else 0


def _table(cards: list[zoo.ModelCard]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not cards:
        print("no models are shipped with this copy; train one: sfumato train --help")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "system", "data", "pixels", "label axes", "parameters", "size"):
        table.add_column(heading, no_wrap=True)
    for card in cards:
        table.add_row(
            card.name,
            card.system,
            card.data,
            f"{card.resolution}x{card.resolution}" if card.resolution else "-",
            str(len(card.labels)) if len(card.labels) != 1 else next(iter(card.labels)),
            f"{card.params / 1e6:.2f} M",
            f"{_size(zoo.folders()[card.name]) / 1e6:.1f} MB",
        )
    Console(width=max(100, Console().width)).print(table)
    print("\nsfumato models NAME shows a card, with licence and scores")
    print("sfumato sample NAME --out sheet.png draws from a generative one")


def _show(described: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in described.items():
        if value in ("", 0, {}, [], None):
            continue
        if name == "size":
            value = f"{value / 1e6:.1f} MB"
        elif name == "params":
            value = f"{value:,}"
        elif isinstance(value, Mapping):
            value = "\n".join(f"{k}: {_inline(v)}" for k, v in value.items())
        table.add_row(name, str(value))
    Console().print(table)


def _inline(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
