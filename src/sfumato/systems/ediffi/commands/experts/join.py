"""``sfumato experts join``: make one model of the runs of experts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import tyro

from sfumato.console.options import model_folder, parse
from sfumato.errors import UsageError

_ABOUT = """Make one model of the runs of experts.

Each run is one of "sfumato train imagine --start MODEL --split NODES --expert I". The run of the
model that they went on from may stand for experts that have no run of their own.

examples:
  sfumato experts join runs/most-noise runs/least-noise runs/rest --out models/imagine
  sfumato experts join runs/most-noise runs/imagine-base --out models/imagine --half
  sfumato imagine "a fox on snow" --model models/imagine
"""


@final
@dataclass(frozen=True)
class JoinConfig:
    """What to put together, and where to."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folders, in any order."""
    out: Path = Path("experts")
    """The model folder to make."""
    half: bool = False
    """Keep the weights in float16, half the size."""
    force: bool = False
    """Write over an older model folder."""
    quiet: bool = False
    """No report."""


def main(argv: list[str]) -> None:
    """Run ``sfumato experts join``."""
    run(parse(JoinConfig, "experts join", argv, _ABOUT))


def run(config: JoinConfig) -> None:
    """Join and write.

    Raises UsageError and SfumatoError: see `ediffi.join_experts.join`.
    """
    if not config.runs:
        raise UsageError("expected the run folders of experts, got none")
    model_folder(config.out, force=config.force)
    from sfumato.systems.ediffi.join_experts import join

    card = {"runs": [run.absolute().name for run in config.runs]}
    join(config.runs, config.out, card, half=config.half, replaces=config.force)
    if not config.quiet:
        print(f"wrote {config.out}; draw with: sfumato imagine SENTENCE --model {config.out}")
