"""A reader of scenes: which things are in a picture and where, who drew them, on what ground.

A small network of its own, trained on real scenes and independent of every model whose pictures it
reads. A thing is *found* where it is the most likely of all for at least so many pixels (`least`);
it is where these pixels are. `scene_reader.scores` compares with what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from scene_reader.segmenter import Segmented, Segmenter, SegmenterConfig
from sfumato.errors import SfumatoError, UsageError, unknown
from sfumato.metrics.features import Features, Images, pixel_values
from sfumato.metrics.folders import read_network, write_network

KIND = "scene reader"


@final
@dataclass(frozen=True)
class Names:
    """What a reader's numbers mean: things (a pixel's 1, 2, ...; its 0 is the ground), and axes.

    Raises:
        UsageError: no name, or the same one twice.
    """

    things: tuple[str, ...]
    vendors: tuple[str, ...]
    grounds: tuple[str, ...]

    def __post_init__(self) -> None:
        for what, names in asdict(self).items():
            if not names or len(set(names)) != len(names):
                raise UsageError(f"expected names of {what}, all different, got {names}")

    def thing(self, name: str) -> int:
        """The number of a thing, from 0. Raises UsageError for an unknown one."""
        if name not in self.things:
            raise unknown("thing", name, self.things)
        return self.things.index(name)

    def vendor(self, name: str) -> int:
        """The number of a vendor. Raises UsageError for an unknown one."""
        if name not in self.vendors:
            raise unknown("vendor", name, self.vendors)
        return self.vendors.index(name)

    def ground(self, name: str) -> int:
        """The number of a ground. Raises UsageError for an unknown one."""
        if name not in self.grounds:
            raise unknown("ground", name, self.grounds)
        return self.grounds.index(name)


@final
@dataclass(frozen=True, eq=False)
class SceneReading:
    """What was read in B pictures.

    Args:
        names: what the numbers mean.
        pixels: int64 (B, H, W): 0 for the ground, k for thing k - 1.
        vendor, ground: int64 (B,).
        least: pixels of a thing from which on it is found.

    Raises:
        ValueError: shapes that do not fit, or numbers without a name.
    """

    names: Names
    pixels: Tensor
    vendor: Tensor
    ground: Tensor
    least: int

    def __post_init__(self) -> None:
        p, n = self.pixels, len(self.pixels)
        if p.ndim != 3 or self.vendor.shape != (n,) or self.ground.shape != (n,):
            raise ValueError(
                "expected pixels (B, H, W) and (B,) vendors and grounds, got "
                f"{tuple(p.shape)}, {tuple(self.vendor.shape)} and {tuple(self.ground.shape)}"
            )
        for what, found, most in (
            ("pixels", p, len(self.names.things)),
            ("vendors", self.vendor, len(self.names.vendors) - 1),
            ("grounds", self.ground, len(self.names.grounds) - 1),
        ):
            if n and not 0 <= int(found.min()) <= int(found.max()) <= most:
                raise ValueError(f"expected {what} in 0..{most}, got {found.unique().tolist()}")

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def counts(self) -> Tensor:
        """Pixels of every thing, int64 (B, T)."""
        n, t = len(self), len(self.names.things) + 1
        rows = torch.arange(n)[:, None] * t
        flat = (self.pixels.flatten(1) + rows).flatten()
        return torch.bincount(flat, minlength=n * t).view(n, t)[:, 1:]

    @cached_property
    def found(self) -> Tensor:
        """Whether a thing is there, bool (B, T)."""
        return self.counts >= self.least

    def where(self, picture: int, thing: int) -> Tensor:
        """The pixels of a thing, bool (H, W); none of them if it is not found."""
        there = self.pixels[picture] == thing + 1
        return there & self.found[picture, thing]

    def centre(self, picture: int, thing: int) -> tuple[float, float] | None:
        """The mean (x, y) of a thing's pixels, pixel i being at i + 1/2; None if not found."""
        if not bool(self.found[picture, thing]):
            return None
        y, x = (self.pixels[picture] == thing + 1).nonzero(as_tuple=True)
        return float(x.double().mean()) + 0.5, float(y.double().mean()) + 0.5


@final
@dataclass(frozen=True, eq=False)
class SceneReader:
    """A trained network together with what its outputs mean.

    Attributes:
        network: in evaluation mode; classes 1 + T, axes vendor and ground.
        name: of it and of its features.
        names: of things, vendors and grounds.
        resolution: of the pictures that it reads; larger ones are lowered to it.
        least: pixels of a thing from which on it is found.

    Raises:
        ValueError: a network with other outputs than names.
    """

    network: Segmenter
    name: str
    names: Names
    resolution: int
    least: int

    def __post_init__(self) -> None:
        c = self.network.config
        want = (1 + len(self.names.things), (len(self.names.vendors), len(self.names.grounds)))
        if (c.classes, c.labels) != want:
            raise ValueError(
                f"expected a network with classes and labels {want}, got {(c.classes, c.labels)}"
            )
        if self.least < 1:
            raise ValueError(f"expected least >= 1, got {self.least}")

    def read(self, pictures: Images, batch: int = 256) -> SceneReading:
        """What is in pictures (B, 3, H, H), uint8 or float in [-1, 1].

        Raises:
            UsageError: no pictures, or of another shape.
        """
        parts = list(self._forward(pictures, batch))
        return SceneReading(
            self.names,
            torch.cat([p.pixels.argmax(1) for p in parts]),
            torch.cat([p.labels[0].argmax(1) for p in parts]),
            torch.cat([p.labels[1].argmax(1) for p in parts]),
            self.least,
        )

    def features(self, pictures: Images, batch: int = 256) -> Tensor:
        """What the heads of the whole picture see, float32 (B, F). Raises UsageError as `read`."""
        return torch.cat([p.features for p in self._forward(pictures, batch)])

    def _forward(self, pictures: Images, batch: int) -> Iterator[Segmented]:
        if not len(pictures):
            raise UsageError("expected pictures, got none")
        network = self.network.eval()
        device = network.input.weight.device
        for start in range(0, len(pictures), batch):
            x = lowered(pixel_values(pictures[start : start + batch]), self.resolution)
            with torch.no_grad():
                pixels, labels, present, features = network(x.to(device))
            axes = tuple(axis.cpu() for axis in labels)
            yield Segmented(pixels.cpu(), axes, present.cpu(), features.cpu())


def lowered(pictures: Tensor, side: int) -> Tensor:
    """Pictures (B, 3, H, H) reduced to a side by the mean over areas.

    Raises:
        UsageError: pictures that are not in colour, not square, or whose side is no multiple.
    """
    c, h, w = pictures.shape[1:]
    if c != 3 or h != w or h % side:
        raise UsageError(
            f"expected square pictures (B, 3, H, H), H a multiple of {side}, got "
            f"{tuple(pictures.shape)}"
        )
    return F.avg_pool2d(pictures, h // side) if h > side else pictures


@final
class SceneFeatures(Features):
    """What the heads of a reader see, as features for distances between sets of scenes."""

    def __init__(self, reader: SceneReader) -> None:
        self.reader = reader
        self.name = reader.name
        self.dim = reader.network.width

    def __call__(self, images: Images) -> Tensor:
        """Pictures (B, 3, H, H) -> (B, F)."""
        return self.reader.features(images)


def save_reader(
    reader: SceneReader, path: str | Path, card: Mapping[str, Any], *, replace: bool = False
) -> Path:
    """Writes its folder, atomically. Raises SfumatoError if it exists (unless ``replace``)."""
    description = {
        "name": reader.name,
        "resolution": reader.resolution,
        "least": reader.least,
        "config": asdict(reader.network.config),
        "names": asdict(reader.names),
    }
    return write_network(path, KIND, reader.network, description, card, replace=replace)


def load_reader(path: str | Path) -> SceneReader:
    """Reads a reader's folder, every checksum verified; nothing in it is executed.

    Raises:
        SfumatoError: damaged, from a newer version, or not a reader of scenes.
    """
    raw, weights = read_network(path, KIND)
    try:
        network = Segmenter(SegmenterConfig(**raw["config"]))
        names = Names(**{key: tuple(value) for key, value in raw["names"].items()})
        network.load_state_dict(load_tensors(weights))
        return SceneReader(
            network.eval(), raw["name"], names, int(raw["resolution"]), int(raw["least"])
        )
    except (
        KeyError, TypeError, ValueError, AttributeError, RuntimeError, SafetensorError
    ) as error:  # fmt: skip
        raise SfumatoError(f"{path}: weights and description do not fit: {error}") from error
