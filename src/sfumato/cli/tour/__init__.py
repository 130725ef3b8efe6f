"""``sfumato tour``: one page of pictures of everything, drawn now from the shipped weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from sfumato.console.options import Device, DeviceName, at_least, parse

_ABOUT = """Write one self-contained HTML page: samples by several solvers, guidance, inpainting,
interpolation, the noising of an image, quality over network evaluations, and more.

Everything on it is drawn now, from the shipped weights. How much is drawn follows from how fast
this machine is, so that the page takes about as long on any: under two minutes.

examples:
  sfumato tour
  sfumato tour --out tour/ --seconds 40
"""


@final
@dataclass(frozen=True)
class TourConfig:
    """Where the page goes, and how much is drawn."""

    out: Path = Path("tour")
    """The folder of the page, index.html."""
    seconds: float = 60.0
    """About how long the networks may run in all; fewer seconds, fewer pictures."""
    seed: int = 0
    """The seed of all randomness."""
    device: Device = DeviceName.AUTO
    """Where the networks run."""
    threads: int = 0
    """CPU threads; 0 leaves the choice to PyTorch."""


def main(argv: list[str]) -> None:
    """Run ``sfumato tour``."""
    run(parse(TourConfig, "tour", argv, _ABOUT))


def run(config: TourConfig) -> Path:
    """Write the page; returns its path.

    Raises UsageError for options that make no sense, SfumatoError if the page cannot be written.
    """
    at_least("seconds", config.seconds, 1)
    at_least("threads", config.threads, 0)
    from sfumato.cli.tour.visit import visit

    return visit(config)
