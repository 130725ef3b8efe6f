"""``sfumato experts plan``: which noise levels the experts of a split have."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, final

import tyro

from sfumato.console.options import at_least, parse
from sfumato.errors import UsageError

_ABOUT = """Show which noise levels the experts of a split have.

The noise levels of training are drawn with ln sigma normal. Node LEVEL.INDEX is one of the
2^LEVEL parts of equal probability of that law, counted from the least noise; what no node has is
left to one more expert. The steps are those of a Karras grid (rho = 7), each asked once.

examples:
  sfumato experts plan 3.7 3.0             the eighths of most and of least noise, and the rest
  sfumato experts plan 9.511 3.0 --steps 25             the split of eDiff-I's base model
  sfumato experts plan 1.1 --model runs/imagine-base    with the law that a model was trained with
"""


@final
@dataclass(frozen=True)
class PlanConfig:
    """The split to show."""

    nodes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LEVEL.INDEX")]
    """Nodes of the tree that have experts."""
    model: str = ""
    """A model whose law of noise levels it is; the mean and the deviation otherwise."""
    mean: float = -1.2
    """Mean of ln sigma in training."""
    std: float = 1.2
    """Deviation of ln sigma in training."""
    steps: int = 25
    """Steps of the grid that are counted."""


def main(argv: list[str]) -> None:
    """Run ``sfumato experts plan``."""
    run(parse(PlanConfig, "experts plan", argv, _ABOUT))


def run(config: PlanConfig) -> None:
    """Print the table.

    Raises UsageError for nodes that there are not or that overlap.
    """
    at_least("steps", config.steps, 1)
    if not config.nodes:
        raise UsageError("expected nodes LEVEL.INDEX such as 3.7 3.0, got none")
    if not config.std > 0:
        raise UsageError(f"--std: expected more than 0, got {config.std}")
    from rich.console import Console
    from rich.table import Table

    from sfumato import zoo
    from sfumato.loss import LogNormal
    from sfumato.model.load import read_saved
    from sfumato.process import Scheduled
    from sfumato.schedule import EDM
    from sfumato.systems.ediffi.experts import Split
    from sfumato.systems.ediffi.model import PromptedModel
    from sfumato.systems.ediffi.options import node_of
    from sfumato.times import karras

    law, process = LogNormal(config.mean, config.std), Scheduled(EDM())
    if config.model:
        model = read_saved(zoo.find(config.model)).model
        if not isinstance(model, PromptedModel):
            raise UsageError(f"{config.model} draws without prompts, and experts are for prompts")
        law = model.law
    try:
        split = Split(tuple(node_of(text) for text in config.nodes))
    except ValueError as error:
        raise UsageError(str(error)) from error
    edges = (0.0, *split.route(law).edges, float("inf"))
    q = process.marginal(karras(process, config.steps)[:-1])
    levels = (q.cov[..., 0, 0].sqrt() / q.A[..., 0, 0]).tolist()
    table = Table("expert", "node", "of the law", "noise level sigma", "steps")
    for (low, high, i), (first, last) in zip(split.pieces, pairwise(edges), strict=True):
        node = config.nodes[i] if i < len(config.nodes) else "the rest"
        steps = sum(first <= level < last for level in levels)
        ranges = f"{low:.4g} to {high:.4g}", f"{first:.3g} to {last:.3g}"
        table.add_row(str(i), node, *ranges, str(steps))
    Console().print(table)
