"""The options of the recipes of pictures and of points; nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from sfumato.console.options import choice
from sfumato.data import PointName
from sfumato.errors import UsageError
from sfumato.nn import UNetConfig
from sfumato.system import processes, training_set
from sfumato.train import TrainConfig

if TYPE_CHECKING:
    from sfumato.data import ImageSet


@dataclass(frozen=True)
class ImageRecipe(ABC):
    """What the recipes of pictures have in common.

    Args:
        out: the run folder.
        sigma_data: root mean square of the data; 0 measures it.
        network: sizes of the U-Net; channels, resolution and labels follow the data.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    recipe: ClassVar[str]
    out: Path
    sigma_data: float = 0.0
    network: UNetConfig = UNetConfig(3, 3)
    train: TrainConfig = TrainConfig()
    resume: bool = False

    @abstractmethod
    def pictures(self) -> ImageSet:
        """What to learn. Raises UsageError, SfumatoError: the data is not there."""


@final
@dataclass(frozen=True)
class Fashion(ImageRecipe):
    """A class-conditional model of Fashion-MNIST.

    Args:
        root: folder of the data set's four files; the usual places when None.
    """

    recipe: ClassVar[str] = "fashion"
    out: Path = Path("runs/fashion")
    root: Path | None = None
    network: UNetConfig = UNetConfig(
        1, 1, channels=16, multipliers=(1, 2, 6), blocks=(1, 1, 2), attention=(7,),
        head_channels=0, resample_blocks=False,
    )  # fmt: skip
    train: TrainConfig = TrainConfig(steps=6_000, batch=64, lr=1e-3, warmup=200)

    def pictures(self) -> ImageSet:
        """Fashion-MNIST."""
        images: ImageSet = training_set("fashion-mnist", root=self.root)
        return images


@final
@dataclass(frozen=True)
class Digits(ImageRecipe):
    """A class-conditional model of handwritten digits.

    Args:
        root: folder of the data set's files; that of the data folder when None.
    """

    recipe: ClassVar[str] = "digits"
    out: Path = Path("runs/digits")
    root: Path | None = None
    network: UNetConfig = UNetConfig(
        1, 1, channels=16, multipliers=(1, 2, 4), blocks=(1, 2, 2), attention=(7,), dropout=0.1
    )
    train: TrainConfig = TrainConfig(steps=2_500, lr=2e-3, warmup=200, sheet_every=500)

    def pictures(self) -> ImageSet:
        """Handwritten digits."""
        images: ImageSet = training_set("digits", root=self.root)
        return images


@final
@dataclass(frozen=True)
class Avatars(ImageRecipe):
    """A model of illustrated faces, conditional on their attributes.

    Labels are hidden all together one time in ten, for guidance, and each by itself as often, so
    that a sample may be asked for by any subset of the attributes.

    Args:
        n: number of faces; they are drawn into the data folder the first time.
        resolution: side of the images in pixels; a multiple of 4 for the default network.
        root: folder of the drawn faces; the data folder when None.
        workers: processes that draw faces the first time.
    """

    recipe: ClassVar[str] = "avatars"
    out: Path = Path("runs/avatars")
    n: int = 40_000
    resolution: int = 32
    root: Path | None = None
    workers: int = 1
    network: UNetConfig = UNetConfig(
        3, 3, channels=16, multipliers=(1, 2, 6), blocks=(1, 1, 2), attention=(8,),
        head_channels=0, resolution=32, resample_blocks=False,
    )  # fmt: skip
    train: TrainConfig = TrainConfig(steps=4_000, batch=64, lr=1e-3, warmup=200, axis_dropout=0.1)

    def pictures(self) -> ImageSet:
        """Avatars."""
        images: ImageSet = training_set(
            "avatars", n=self.n, resolution=self.resolution, root=self.root, workers=self.workers
        )
        return images


@final
@dataclass(frozen=True)
class Images(ImageRecipe):
    """A model of a folder or zip of images.

    Args:
        path: the folder or zip; its part for training if it has parts.
        resolution: side of the images in pixels; even for the default network.
        channels: 3 for colour, 1 for grey.
        skip_broken: go on without images that cannot be read.
        labels: auto, none, folders (each is a class, also one called train), names (of files,
            without numbers), a label file's name, or columns of one, joined by commas.
        held_out: share of the images that is held out for test, where no folder says which.
        fit: what becomes of images that have other proportions: crop, pad or stretch.
        aspect: square; native, the proportions of most of the images; or width:height, such as
            4:3. The width is rounded to what the network can halve.
        levels: of images of 16 bits: full makes 65,535 white, used the greatest value there is.
        flip: learn every image also from left to right.
    """

    recipe: ClassVar[str] = "images"
    before: ClassVar[dict[str, float]] = {"held_out": 0.0}
    """What runs did whose ``config.json`` does not say."""
    out: Path = Path("runs/images")
    path: Path = Path()
    resolution: int = 32
    channels: Literal[1, 3] = 3
    skip_broken: bool = False
    labels: str = "auto"
    held_out: float = 0.1
    fit: Literal["crop", "pad", "stretch"] = "crop"
    aspect: str = "square"
    levels: Literal["full", "used"] = "full"
    flip: bool = False
    network: UNetConfig = UNetConfig(
        3, 3, channels=16, multipliers=(1, 2, 6), blocks=(1, 1, 2), attention=(8,),
        head_channels=0, resolution=32, resample_blocks=False, patch=2, narrow_upsampling=True,
    )  # fmt: skip
    train: TrainConfig = TrainConfig(
        steps=20_000, batch=32, optimizer="muon", warmup=100, sheet_every=500
    )

    def pictures(self) -> ImageSet:
        """The images in ``path``."""
        if self.path == Path():
            raise UsageError("which images? give the folder or zip with --path")
        from sfumato.data import folder
        from sfumato.data.aspect import width_of

        step = self.network.at(self.resolution).step
        data = folder(
            self.path, self.resolution, channels=self.channels, skip_broken=self.skip_broken,
            split="train", held_out=self.held_out, labels=self.labels, fit=self.fit,
            levels=self.levels,
            image_width=width_of(self.path, self.resolution, self.aspect, step),
        )  # fmt: skip
        return data.mirrored() if self.flip else data


@final
@dataclass(frozen=True)
class Points:
    """A model of a point set in the plane.

    Args:
        out: the run folder.
        name: name of the point set.
        n: number of points.
        kind: the process.
        width: width of the perceptron.
        blocks: residual blocks of the perceptron.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/points")
    name: PointName = PointName.SWISS_ROLL
    n: int = 20_000
    kind: Annotated[str, choice(processes(), "process")] = "EDM"
    width: int = 128
    blocks: int = 3
    train: TrainConfig = TrainConfig(
        steps=5_000, batch=256, lr=2e-3, warmup=100, log_every=100, sheet_every=1_000
    )
    resume: bool = False
