"""``sfumato experts``: models for parts of the noise levels: plan a split, put experts together."""

from __future__ import annotations

from enum import Enum

from sfumato.console import verbs


class ExpertVerbs(Enum):
    """What can be done, each with its line in the overview."""

    PLAN = "show which noise levels the experts of a split have"
    JOIN = "make one model of the runs of experts"


def overview() -> str:
    """The text of ``sfumato experts --help``."""
    about = (
        "An ensemble of expert denoisers (eDiff-I): train one model, go on from it on parts of the",
        "noise levels, and put the parts together. It draws as fast as one of them.",
    )
    examples = (
        "plan 3.7 3.0",
        "join runs/most-noise runs/least-noise runs/rest --out models/imagine",
    )
    return verbs.overview("experts", ExpertVerbs, about, examples)


def main(argv: list[str]) -> int:
    """Run ``sfumato experts``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    return verbs.run(__name__, ExpertVerbs, overview(), argv)
