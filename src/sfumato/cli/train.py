"""``sfumato train RECIPE``: train a model, or go on with a run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import Enum

import tyro

from sfumato.errors import UsageError, unknown


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe: the module with its ``Config`` and ``run(config)``, and its line in the list."""

    module: str
    summary: str


class Recipes(Enum):
    """Every recipe by its name on the command line."""

    FASHION = RecipeEntry(
        "sfumato.systems.edm.fashion", "Fashion-MNIST 28x28, class-conditional EDM"
    )
    AVATARS = RecipeEntry(
        "sfumato.systems.edm.avatars", "illustrated faces, conditional on attributes"
    )
    DIGITS = RecipeEntry(
        "sfumato.systems.edm.digits", "handwritten digits 28x28, class-conditional EDM"
    )
    POINTS = RecipeEntry(
        "sfumato.systems.edm.points", "points in the plane, under a process you choose"
    )
    CLD = RecipeEntry(
        "sfumato.systems.cld.recipe", "critically-damped Langevin diffusion, 28x28 images"
    )
    CLD_POINTS = RecipeEntry("sfumato.systems.cld.points", "the same in the plane")
    DDGAN = RecipeEntry(
        "sfumato.systems.ddgan.recipe", "a denoising diffusion GAN: few, large steps"
    )
    GENIE = RecipeEntry(
        "sfumato.systems.genie.recipe", "a derivative head for a trained model (GENIE)"
    )
    DSNO = RecipeEntry(
        "sfumato.systems.dsno.recipe", "an operator that learns whole trajectories of a model"
    )
    I2SB = RecipeEntry(
        "sfumato.systems.i2sb.recipe", "a restorer of pictures: a Schrödinger bridge (I²SB)"
    )
    CLIP = RecipeEntry("sfumato.systems.ediffi.clip", "a small CLIP of captioned pictures")
    IMAGINE = RecipeEntry("sfumato.systems.ediffi.recipe", "text to image, with experts (eDiff-I)")
    IMAGES = RecipeEntry("sfumato.systems.edm.images", "your own folder or zip of images")


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
    width = max(len(r.name) for r in Recipes) + 2
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
    if name not in table():
        raise unknown("recipe", name, table())
    recipe = importlib.import_module(table()[name].module)
    config = tyro.cli(
        recipe.Config,
        prog=f"sfumato train {name}",
        args=argv[1:],
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    print(f"run folder: {recipe.run(config)}")


def table() -> dict[str, RecipeEntry]:
    """The recipes by name."""
    return {r.name.lower().replace("_", "-"): r.value for r in Recipes}
