"""The options of the recipe; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from sfumato.errors import UsageError
from sfumato.nn import UNetConfig
from sfumato.train import TrainConfig


@final
@dataclass(frozen=True)
class Config:
    """A network that undoes degradations.

    Args:
        out: the run folder.
        tasks: what it is to undo, by name (see sfumato restore --help); each is as likely.
        method: a Schrödinger bridge (I²SB), or its rivals with the same network: a conditional
            diffusion from noise, or a regression.
        sets: the data sets that take turns, of photographs, emoji, avatars and stamps.
        weights: how often each of them has its turn.
        path: a folder or zip of your own pictures instead; crops of any place and scale are taken.
        pairs: a folder or zip with pictures good/NAME and bad/NAME instead: the degradation is
            what lies between them, and the only task.
        resolution: side of the crops in pixels.
        beta_max: sets the bridge's β, which begins and ends at .1 and is ((√.1 + √beta_max)/2)² in
            the middle (.1866 for .3); more noise on the way makes samples more varied.
        deterministic: no noise on the way (OT-ODE), in training and in sampling.
        conditional: let the network see the bad picture beside the state.
        told: tell the network the task.
        hide: probability with which it is not told, so that it can do without.
        at_one: share of the bridge's examples whose time is t = 1 itself, where every walk begins;
            the others' times are uniform.
        network: sizes of the U-Net; channels, resolution and labels follow from the rest.
        train: how to train.
        resume: go on with the run in ``out``.
    """

    out: Path = Path("runs/i2sb")
    tasks: tuple[str, ...] = ("sr4x", "deblur", "jpeg", "denoise", "colourise")
    method: Literal["bridge", "diffusion", "regression"] = "bridge"
    sets: tuple[str, ...] = ("photographs", "emoji", "avatars")
    weights: tuple[float, ...] = (3.0, 1.0, 1.0)
    path: Path | None = None
    pairs: Path | None = None
    resolution: int = 64
    beta_max: float = 0.3
    deterministic: bool = False
    conditional: bool = True
    told: bool = True
    hide: float = 0.2
    at_one: float = 0.0
    network: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            3,
            3,
            channels=48,
            multipliers=(1, 2, 3),
            blocks=1,
            attention=(8,),
            head_channels=0,
            resolution=64,
            patch=2,
            resample_blocks=False,
        )
    )
    train: TrainConfig = TrainConfig(steps=8_000, batch=32, lr=7e-4, warmup=300)
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.hide <= 1:
            raise UsageError(f"expected 0 <= hide <= 1, got {self.hide}")
        if not 0 <= self.at_one <= 1:
            raise UsageError(f"expected 0 <= at_one <= 1, got {self.at_one}")
        if self.path is not None and self.pairs is not None:
            raise UsageError("--path and --pairs are two kinds of data: give one of them")
        if not self.beta_max >= 0.1:
            raise UsageError(f"expected beta_max >= 0.1, where β begins, got {self.beta_max}")
