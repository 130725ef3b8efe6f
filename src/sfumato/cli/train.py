"""``sfumato train RECIPE``: train a model, or go on with a run."""

from __future__ import annotations

from typing import Any

import tyro

from sfumato.errors import UsageError
from sfumato.system import RecipeEntry, find, recipes

_EXAMPLES = """\
examples:
  sfumato train fashion --out runs/fashion
  sfumato train fashion --out runs/fashion --resume              go on where it stopped
  sfumato train images --path photos/ --resolution 32 --out runs/photos
  sfumato train fashion --train.steps 200 --train.batch 64       a quick try
  accelerate launch --multi_gpu --num_processes 2 -m sfumato train avatars       also on CPUs
"""


def overview() -> str:
    """The text of ``sfumato train --help``."""
    width = max(map(len, table())) + 2
    lines = [f"  {name:<{width}}{recipe.summary}" for name, recipe in table().items()]
    return "\n".join(
        [
            "usage: sfumato train RECIPE [options]",
            "",
            "Train a model. Everything needed to go on, or to do it again, is kept in --out.",
            "",
            "recipes:",
            *lines,
            "",
            "sfumato train RECIPE --help lists the options of a recipe with their defaults.",
            "",
            _EXAMPLES,
        ]
    )


def main(argv: list[str]) -> None:
    """Run ``sfumato train``.

    Raises UsageError for an unknown recipe, and whatever the recipe raises.
    """
    if not argv:
        raise UsageError(f"which recipe? there are: {', '.join(sorted(table()))}")
    if argv[0] in ("-h", "--help"):
        print(overview(), end="")
        return
    name = argv[0]
    if name.startswith("-"):
        raise UsageError(f"expected a recipe before {name!r}: {', '.join(sorted(table()))}")
    recipe = find("recipe", name, table())
    config: Any = tyro.cli(
        recipe.config,
        prog=f"sfumato train {name}",
        args=argv[1:],
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    print(f"run folder: {recipe.run(config)}")


def table() -> dict[str, RecipeEntry]:
    """The recipes of this command by name; others are run by commands of their own."""
    return {name: recipe for name, recipe in recipes().items() if recipe.summary}
