"""The options of the recipes; nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from sfumato.errors import UsageError
from sfumato.nn import UNetConfig
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Node:
    """E^l_i: the interval [i/2^l, (i + 1)/2^l) of the quantiles of the noise levels.

    Raises:
        ValueError: no such node.
    """

    level: int
    index: int

    def __post_init__(self) -> None:
        if self.level < 0 or not 0 <= self.index < 2**self.level:
            raise ValueError(
                f"expected a node (l, i) with l >= 0 and 0 <= i < 2^l, got "
                f"({self.level}, {self.index})"
            )

    @property
    def range(self) -> tuple[float, float]:
        """The shares of the law below its ends."""
        width = 0.5**self.level
        return self.index * width, (self.index + 1) * width

    @property
    def above(self) -> Node:
        """The node that this is a half of; the whole law is its own."""
        return Node(self.level - 1, self.index // 2) if self.level else self

    @property
    def path(self) -> tuple[Node, ...]:
        """From the whole law down to this node."""
        return (*self.above.path, self) if self.level else (self,)


@final
@dataclass(frozen=True)
class DualConfig:
    """Sizes of a dual encoder, and how it is trained.

    Args:
        side, patch: of the pictures it sees, and of the squares that are its visual tokens.
        width, heads: of both transformers.
        picture_layers, text_layers: their depths.
        shared: width of the vectors that are compared.
        vocabulary: sub-words, at most.
        length: tokens of a sentence, at most.
        steps, batch, rate, decay: AdamW, with a warm-up over a twentieth and a cosine decay to 0.
        hold: train on so many of the pictures, chosen once and kept in memory; 0 for all.
        style: weight of the term of styles, where the data knows them; 0 for none.
        seed: of everything random.

    Raises:
        UsageError: a number out of range, or a size that the patch or the heads do not divide.
    """

    side: int = 64
    patch: int = 8
    width: int = 128
    heads: int = 4
    picture_layers: int = 6
    text_layers: int = 4
    shared: int = 128
    vocabulary: int = 4096
    length: int = 48
    steps: int = 2500
    batch: int = 160
    rate: float = 1e-3
    decay: float = 0.1
    hold: int = 0
    style: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("side", "patch", "width", "heads", "shared", "steps"), 1)
        least |= {"picture_layers": 1, "text_layers": 1, "hold": 0}
        least |= {"batch": 2, "vocabulary": 260, "length": 4}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UsageError(f"expected {name} >= {value}, got {getattr(self, name)}")
        others = self.decay, self.style
        if not (0 < self.rate < math.inf and all(0 <= x < math.inf for x in others)):
            raise UsageError(
                "expected a rate above 0, and a decay and a weight of styles of 0 or more, got "
                f"{self.rate}, {self.decay} and {self.style}"
            )
        if self.side % self.patch or self.width % self.heads:
            raise UsageError(
                f"expected a side that {self.patch} divides and a width that {self.heads} divides, "
                f"got {self.side} and {self.width}"
            )


SIZES = (
    "side", "patch", "width", "heads", "picture_layers", "text_layers", "shared", "vocabulary",
    "length",
)  # fmt: skip
"""Options of `DualConfig` that a dual encoder given by ``start`` has already."""


@final
@dataclass(frozen=True)
class Clip:
    """A dual encoder of pictures and sentences.

    Args:
        out: the folder it is written to, as transformers keep a CLIPModel.
        path: a folder of your own pictures with captions instead of the built-in sets.
        start: a trained dual encoder, by folder or name, whose side of pictures is trained further;
            it has its own sizes, and its text tower stays as it is.
        dual: sizes and training.
        device: cpu or cuda.
        resume: go on with the checkpoints in OUT-run, where the training keeps them and its log.
    """

    out: Path = Path("runs/clip")
    path: Path | None = None
    start: str = ""
    dual: DualConfig = field(default_factory=lambda: DualConfig(hold=60_000))
    device: str = "cpu"
    resume: bool = False

    def __post_init__(self) -> None:
        usual = DualConfig()
        given = [name for name in SIZES if getattr(self.dual, name) != getattr(usual, name)]
        if self.start and given:
            raise UsageError(
                f"--dual.{given[0].replace('_', '-')}: {self.start}, which is to go on, has its own"
            )


@final
@dataclass(frozen=True)
class Config:
    """A model that draws what a sentence says.

    Args:
        out: the run folder.
        path: a folder of pictures with captions instead of the scenes of emoji.
        resolution: side of the pictures it makes.
        low: side of the pictures it enlarges; 0 for a base model.
        n: pictures in memory; 0 for all.
        encoders: of prompts: sentence:SOURCE or picture:SOURCE, where SOURCE is minilm, a
            folder such as that of `sfumato train clip`, or a name on the hub (with --download).
        hide: for each of them, how often it is hidden on its own.
        download: ask the Hugging Face hub for encoders that are no folders.
        context: width to which all encoders are projected.
        sigma_data: root mean square of the data; 0 measures it.
        log_noise: mean of ln σ in training where sigma_data is 1/2 (its deviation is 1.2). EDM's is
            -1.2; what a sentence says is decided at more noise than that.
        start: a trained run or model to go on from: its network, encoders, sizes and law of noise,
            and not those that are given here.
        split: nodes L.I of the tree of noise levels that have experts of their own, such as 3.7 3.0
            (the eighths of most and of least noise).
        expert: which part is trained: 0, 1, ... of the split; one more is all the rest. -1 trains
            on all noise levels.
        network: sizes of the U-Net, by default for 32 pixels; its inputs, outputs, resolution and
            context follow from the rest.
        train: how to train; label_dropout is how often the whole prompt is hidden.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/imagine")
    path: Path | None = None
    resolution: int = 32
    low: int = 0
    n: int = 40_000
    encoders: tuple[str, ...] = ("sentence:minilm", "sentence:scenes-clip", "picture:scenes-clip")
    hide: tuple[float, ...] = (0.1, 0.1, 0.3)
    download: bool = False
    context: int = 96
    sigma_data: float = 0.0
    log_noise: float = -0.5
    start: Path | None = None
    split: tuple[str, ...] = ()
    expert: int = -1
    network: UNetConfig = UNetConfig(
        3, 3, channels=48, multipliers=(1, 2), blocks=(1, 2), attention=(8, 16), head_channels=48,
        resolution=32, patch=2, resample_blocks=False,
    )  # fmt: skip
    train: TrainConfig = TrainConfig(steps=15_000, batch=32, optimizer="muon", lr=1e-3, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if len(self.hide) != len(self.encoders) or not all(0 <= h <= 1 for h in self.hide):
            raise UsageError(
                f"--hide: expected a number in [0, 1] for each of the {len(self.encoders)} "
                f"encoders, got {self.hide}"
            )
        if not self.encoders:
            raise UsageError("--encoders: expected at least one, such as sentence:minilm")
        if self.n < 0:
            raise UsageError(f"--n: expected 0 (all) or more pictures, got {self.n}")
        if not self.sigma_data >= 0:
            raise UsageError(f"--sigma-data: expected 0 or more, got {self.sigma_data}")
        if not abs(self.log_noise) <= 5:
            raise UsageError(f"--log-noise: expected -5 to 5, got {self.log_noise}")
        if self.low and not 0 < self.low < self.resolution:
            raise UsageError(f"--low: expected less than {self.resolution}, got {self.low}")
        if self.expert < -1 or (self.expert < 0 and self.split):
            raise UsageError(f"--split needs --expert: 0, 1, ... of it; got {self.expert}")
        if self.expert >= 0 and (not self.split or self.start is None):
            raise UsageError("an expert needs --split, and --start: a model to go on from")
        from sfumato.loss import LogNormal
        from sfumato.systems.ediffi.recipe import part_of

        part_of(self, LogNormal())  # say now what is wrong with it

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes of the split."""
        return tuple(node_of(text) for text in self.split)


def node_of(text: str) -> Node:
    """A node from "3.7". Raises UsageError: no such node."""
    level, _, index = text.partition(".")
    try:
        return Node(int(level), int(index))
    except ValueError as error:
        raise UsageError(
            f"--split: expected nodes LEVEL.INDEX such as 3.7, got {text!r}"
        ) from error
