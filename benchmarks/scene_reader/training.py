r"""Trains a reader of scenes on pictures of which everything is known.

With class k_p of pixel p, and the classes and things of the whole picture, the loss is

.. math:: L = \operatorname{mean}_p CE(k_p) + w \sum_a CE(a) + w \operatorname{mean}_t BCE(t),

a over vendor and ground and t over things. Pictures are blurred and made noisy at random, so that
those of models, which are never quite sharp, can be read as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scene_reader.reading import Names, SceneReader
from scene_reader.segmenter import Segmented, Segmenter, SegmenterConfig
from sfumato.errors import UsageError
from sfumato.files.progress import Progress
from sfumato.metrics.features import pixel_values
from sfumato.nn import best_dtype
from sfumato.seeds import Generators, fold, rand, randn
from sfumato.train import Part, Player, Task, small, train


class SceneBatch(NamedTuple):
    """Pictures (B, 3, R, R) in [-1, 1], int64 pixels (B, R, R), and vendor and ground (B,)."""

    pictures: Tensor
    pixels: Tensor
    labels: tuple[Tensor, ...]


@final
@dataclass(frozen=True, eq=False)
class SceneSet:
    """N scenes and what is known of them.

    Args:
        pictures: uint8 (N, 3, R, R).
        pixels: uint8 (N, R, R): 0 for the ground, k for thing k - 1.
        vendor, ground: int64 (N,).

    Raises:
        UsageError: arrays of other shapes or types.
    """

    pictures: np.ndarray
    pixels: np.ndarray
    vendor: np.ndarray
    ground: np.ndarray

    def __post_init__(self) -> None:
        x, n = self.pictures, len(self.pictures)
        right = x.ndim == 4 and x.shape[1] == 3 and x.shape[2] == x.shape[3]
        right &= self.pixels.shape == (n, *x.shape[2:])
        right &= self.vendor.shape == self.ground.shape == (n,)
        if not right or x.dtype != np.uint8 or self.pixels.dtype != np.uint8 or not n:
            raise UsageError(
                "expected uint8 pictures (N, 3, R, R) and pixels (N, R, R), and N vendors and "
                f"grounds, got {x.dtype} {x.shape}, {self.pixels.dtype} {self.pixels.shape}, "
                f"{self.vendor.shape} and {self.ground.shape}"
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, indices: np.ndarray) -> SceneBatch:
        """The scenes at these indices."""
        pixels, vendor, ground = (
            torch.from_numpy(known[indices]).long()
            for known in (self.pixels, self.vendor, self.ground)
        )
        return SceneBatch(pixel_values(self.pictures[indices]), pixels, (vendor, ground))


@final
@dataclass(frozen=True)
class ReaderTraining:
    """How a reader is trained: AdamW, one-cycle learning rate.

    Args:
        steps, batch: pictures are drawn in random order, again and again.
        rate: highest learning rate. decay: weight decay. whole: w of the loss.
        noise: largest deviation of the noise, of values in [-1, 1]. Half of the pictures have none.
        blur: as many times at most as a picture is smoothed with [1, 2, 1] / 4; half are not.
        least: pixels of a thing from which on it is found; at 32 pixels a scene's smallest thing
            has 26 or more (of 1,000 scenes).
        channels, multipliers: of the network, see `SegmenterConfig`.
        seed: of initial weights, order and what is done to pictures.

    Raises:
        UsageError: a number out of range.
    """

    steps: int = 2000
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.02
    whole: float = 0.2
    noise: float = 0.15
    blur: int = 1
    least: int = 16
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 3)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("batch", 1), ("blur", 0), ("least", 1)):
            if getattr(self, name) < low:
                raise UsageError(f"expected {name} >= {low}, got {getattr(self, name)}")
        for name in ("rate", "decay", "whole", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"expected {name} of 0 or more, got {getattr(self, name)}")


def train_reader(
    scenes: SceneSet,
    names: Names,
    training: ReaderTraining,
    *,
    name: str = "scene reader",
    device: str = "cpu",
    run: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SceneReader:
    """A trained reader. The global random state is left as it was.

    Args:
        scenes: real ones.
        names: of the numbers in them.
        name: of the reader.
        device: where it is trained.
        run: a folder of checkpoints and a log; goes on with what is in it. None keeps none.
        progress: called every 50 steps.

    Raises:
        UsageError: numbers without a name, or fewer pictures than a batch.
        SfumatoError: the loss is no longer finite.
    """
    for what, found, n in (
        ("pixels", scenes.pixels, len(names.things) + 1),
        ("vendors", scenes.vendor, len(names.vendors)),
        ("grounds", scenes.ground, len(names.grounds)),
    ):
        if not 0 <= int(found.min()) <= int(found.max()) < n:
            raise UsageError(f"expected {what} in 0..{n - 1}, got up to {int(found.max())}")
    if len(scenes) < training.batch:
        raise UsageError(f"expected at least {training.batch} scenes, got {len(scenes)}")
    axes = (len(names.vendors), len(names.grounds))
    config = SegmenterConfig(
        3, len(names.things) + 1, axes, training.channels, training.multipliers
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(training.seed, "init"))
        network = Segmenter(config)
    settings = small(
        device, steps=training.steps, batch=training.batch, lr=training.rate,
        weight_decay=training.decay, decay="one-cycle", warmup=round(0.15 * training.steps),
        clip=1.0, seed=training.seed,
        mixed_precision="bf16" if best_dtype(device) is torch.bfloat16 else "no",
    )  # fmt: skip
    player = Player(network, _Reading(training), decay_vectors=False)
    about = {"training": asdict(training)}
    train(settings, player, scenes, run, resume=True, progress=progress, model=about)
    side = scenes.pictures.shape[-1]
    return SceneReader(network.eval(), name, names, side, training.least)


@final
class _Reading(Task):
    """The loss of the module's text, on pictures that are made worse."""

    distinct = True

    def __init__(self, training: ReaderTraining) -> None:
        self.training = training

    def prepare(self, part: Part) -> SceneBatch:
        """With the pictures made worse."""
        scenes: SceneBatch = part.batch
        worse = worsened(scenes.pictures, self.training, part.generators)
        return scenes._replace(pictures=worse)

    def losses(self, module: Segmenter, part: SceneBatch) -> Tensor:
        """(B,)."""
        return reader_loss(module(part.pictures), part.pixels, part.labels, self.training.whole)


def reader_loss(
    outputs: Segmented, pixels: Tensor, labels: tuple[Tensor, ...], whole: float
) -> Tensor:
    """The losses (B,) of the module's text: pixels int64 (B, H, W), a label (B,) for each axis."""
    there = torch.zeros(len(pixels), 1 + outputs.present.shape[1], device=pixels.device)
    there = there.scatter_(1, pixels.flatten(1), 1.0)[:, 1:]
    loss = F.cross_entropy(outputs.pixels.float(), pixels, reduction="none").flatten(1).mean(1)
    for logits, label in zip(outputs.labels, labels, strict=True):
        loss = loss + whole * F.cross_entropy(logits.float(), label, reduction="none")
    present = outputs.present.float()
    found = F.binary_cross_entropy_with_logits(present, there, reduction="none")
    return loss + whole * found.mean(1)


def worsened(x: Tensor, training: ReaderTraining, g: Generators) -> Tensor:
    """Pictures (B, 3, R, R), half of them smoothed, half of them noisy, each as much as drawn."""
    u = rand((len(x), 4), g).to(x).T[..., None, None, None]
    for _ in range(training.blur):
        amount = torch.where(u[0] < 0.5, u[1], 0.0)
        x = x + amount * (smoothed(x) - x)
    deviation = torch.where(u[2] < 0.5, training.noise * u[3], 0.0)
    return x + deviation * randn(x.shape, g, dtype=x.dtype, device=x.device)


def smoothed(x: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along both axes; edges are continued."""
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
    kernel = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])
