"""``sfumato models``: what is shipped, the card of one model, and a folder of one to pass on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from sfumato import zoo
from sfumato.console.options import Name, model_folder, parse
from sfumato.errors import UsageError
from sfumato.files.hub import download

_ABOUT = """List the shipped models, or show the card of one; fetch one from the Hugging Face hub;
or write the model of a run, without what only its training needs, to a folder of its own.

examples:
  sfumato models
  sfumato models fashion
  sfumato models --json | python3 -m json.tool
  sfumato models ORG/NAME --download
  sfumato models runs/faces --out faces --half            to pass on: averaged weights, a card
"""


@final
@dataclass(frozen=True)
class ModelsConfig:
    """What to list."""

    name: Name = ""
    """A shipped or fetched model, or the folder of a run; all that are shipped are listed without
    it."""
    json: bool = False
    """Print JSON: a list of objects, or one object where a name is given."""
    download: bool = False
    """Fetch ORG/NAME from the Hugging Face hub first."""
    out: Path | None = None
    """Write the model to this folder, which every command takes in place of a name."""
    half: bool = False
    """In --out, keep the weights in float16."""
    force: bool = False
    """Write over a model folder that is there."""


def main(argv: list[str]) -> None:
    """Run ``sfumato models``."""
    run(parse(ModelsConfig, "models", argv, _ABOUT))


def run(config: ModelsConfig) -> None:
    """Print the list or the card."""
    if config.download:
        download(config.name)
    if config.out is not None:
        _write(config, config.out)
        return
    if config.name:
        known = config.name in zoo.folders()
        folder = None if known else zoo.find(config.name)
        if folder is not None and not (folder / "card.json").is_file():
            raise UsageError(
                f"{config.name} is a run and has no card; --out FOLDER writes its model with one"
            )
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


def _write(config: ModelsConfig, out: Path) -> None:
    """The model on its own, in a folder of its own."""
    if not config.name:
        raise UsageError("which model? give a name or the folder of a run before --out")
    model_folder(out, force=config.force)
    from sfumato.model.load import load

    model = load(config.name)
    model.save(out, half=config.half, replace=config.force)
    kind = "float16" if config.half else "float32"
    print(f"wrote {out}: {model!r}, {_size(out) / 1e6:.1f} MB of {kind}")
    print(f'sfumato {model.description.command} {out} --help, or sfumato.load("{out}")')


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
