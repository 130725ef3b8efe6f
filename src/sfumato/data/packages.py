"""The packages whose files sfumato uses, from the table in ``packages.toml``."""

from __future__ import annotations

import enum
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final


@final
class Client(enum.Enum):
    """The program that downloads a package."""

    APT = "apt-get"
    PIP = "pip"
    NPM = "npm"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """File name endings of this client's packages."""
        return {Client.APT: (".deb",), Client.PIP: (".whl",), Client.NPM: (".tgz",)}[self]


@final
@dataclass(frozen=True)
class Package:
    """Files inside one version of one package.

    Args:
        key: our name for it, and the name of its folder.
        client: who downloads it.
        name, version: what the client calls it.
        sha256: checksum of the package file.
        files: paths inside the package of the files wanted; their base names differ. A path with
            a "*" stands for every file that matches (the star also for "/"), kept under its path
            below the last folder before the star.
        licence: licence of those files.
        megabytes: size of the download.
        what: one phrase for lists.
    """

    key: str
    client: Client
    name: str
    version: str
    sha256: str
    files: tuple[str, ...]
    licence: str
    megabytes: float
    what: str
    options: tuple[str, ...] = ()
    """More words for the client's command, for a wheel that differs between platforms."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The base names under which the files are kept, patterns as they are."""
        return tuple(path.rpartition("/")[2] for path in self.files)


def _package(
    key: str, client: str, files: list[str], options: tuple[str, ...] = (), **rest: Any
) -> Package:
    return Package(key, Client(client), files=tuple(files), options=tuple(options), **rest)


_TABLE = {
    key: _package(key, **fields)
    for key, fields in tomllib.loads(
        Path(__file__).with_name("packages.toml").read_text("utf-8")
    ).items()
}
PACKAGES: Final = tuple(_TABLE.values())
FASHION_MNIST: Final = _TABLE["fashion-mnist"]
DIGITS: Final = _TABLE["digits"]
MOBILENET: Final = _TABLE["mobilenet"]
EMOJI: Final = tuple(package for package in PACKAGES if package.key.startswith("emoji-"))
WALLPAPERS_16: Final = _TABLE["photographs-16.04"]
WALLPAPERS_20: Final = _TABLE["photographs-20.04"]
SCIKIT_IMAGE: Final = _TABLE["photographs-test"]
STAMPS: Final = _TABLE["stamps"]
NEURALOPERATOR: Final = _TABLE["neuraloperator"]
MINILM: Final = _TABLE["minilm"]
