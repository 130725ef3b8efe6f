"""``sfumato train RECIPE``: train a model, or go on with a run."""

from __future__ import annotations

from sfumato.console.again import named_run, read_run, settings
from sfumato.console.verbs import chosen, listing
from sfumato.errors import UsageError
from sfumato.system import RecipeEntry, recipes

_EXAMPLES = """\
examples:
  sfumato train fashion --out runs/fashion
  sfumato train --resume runs/fashion                            go on where it stopped
  sfumato train --resume runs/fashion --train.lr 1e-4 --change   go on with other settings
  sfumato train images --path photos/ --resolution 32 --out runs/photos
  sfumato train fashion --train.steps 200 --train.batch 64       a quick try
  accelerate launch --multi_gpu --num_processes 2 -m sfumato train avatars       also on CPUs
"""


def overview() -> str:
    """The text of ``sfumato train --help``."""
    return listing(
        "train RECIPE [options]",
        "Train a model. Everything needed to go on, or to do it again, is kept in --out.",
        "recipe",
        {name: recipe.summary for name, recipe in table().items()},
        "sfumato train RECIPE --help lists the options of a recipe with their defaults.\n\n"
        + _EXAMPLES,
    )


def main(argv: list[str]) -> None:
    """Run ``sfumato train``.

    Raises UsageError for an unknown recipe, and whatever the recipe raises.
    """
    if argv[:1] in (["-h"], ["--help"]):
        print(overview(), end="")
        return
    if (folder := named_run(argv)) is not None:
        recipe = read_run(folder)[0]
        if recipe.name not in table():
            raise UsageError(f"{folder} is a run of `sfumato {recipe.name} train --resume`")
        argv = [recipe.name, *argv]
    recipe = chosen(argv, "recipe", table())
    config = settings(recipe, f"train {recipe.name}", argv[1:])
    print(f"run folder: {recipe.run(config)}")


def table() -> dict[str, RecipeEntry]:
    """The recipes of this command by name; others are run by commands of their own."""
    return {name: recipe for name, recipe in recipes().items() if recipe.summary}
