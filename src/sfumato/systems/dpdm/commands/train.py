"""``sfumato private train RECIPE``: train under differential privacy, or go on with a run."""

from __future__ import annotations

from enum import Enum

import tyro

from sfumato.errors import UsageError, unknown


class Recipes(Enum):
    """The settings of `dpdm.recipe` by name, each with its line in the list."""

    FASHION = ("fashion", "Fashion-MNIST for two cores, about an hour")
    DIGITS = ("digits", "handwritten digits for two cores, about half an hour")
    IMAGES = ("images", "your own folder or zip of images")
    PAPER_02 = ("fashion-paper-0.2", "Fashion-MNIST as published, epsilon 0.2 (for GPUs)")
    PAPER_1 = ("fashion-paper-1", "Fashion-MNIST as published, epsilon 1 (for GPUs)")
    PAPER_10 = ("fashion-paper-10", "Fashion-MNIST as published, epsilon 10 (for GPUs)")


_EXAMPLES = """\
examples:
  sfumato private train fashion --privacy.epsilon 1 --out runs/private-1
  sfumato private train fashion --privacy.epsilon 1 --out runs/private-1 --resume
  sfumato private train images --path scans/ --resolution 32 --channels 1 --privacy.delta 1e-6
  sfumato private train digits --privacy.randomness SECURE       noise from a cipher
  accelerate launch --multi_gpu --num_processes 8 -m sfumato private train fashion-paper-10
"""


def overview() -> str:
    """The text of ``sfumato private train --help``."""
    lines = [f"  {name:<20}{about}" for name, about in table().items()]
    return "\n".join(
        [
            "usage: sfumato private train RECIPE [options]",
            "",
            "Train with a promise to every record: (epsilon, delta)-differential privacy. A ledger",
            "in --out counts every noisy step before it is taken; the run stops at the budget.",
            "",
            "recipes:",
            *lines,
            "",
            "sfumato private train RECIPE --help lists the options with their defaults.",
            "",
            _EXAMPLES,
        ]
    )


def table() -> dict[str, str]:
    """What the recipes are about, by name."""
    return {r.value[0]: r.value[1] for r in Recipes}


def main(argv: list[str]) -> None:
    """Run ``sfumato private train``.

    Raises UsageError for an unknown recipe, and whatever the training raises.
    """
    names = table()
    if not argv:
        raise UsageError(f"which recipe? there are: {', '.join(names)}")
    if argv[0] in ("-h", "--help"):
        print(overview(), end="")
        return
    name = argv[0]
    if name.startswith("-"):
        raise UsageError(f"expected a recipe before {name!r}: {', '.join(names)}")
    if name not in names:
        raise unknown("private recipe", name, names)
    from sfumato.systems.dpdm import recipe as private

    config = tyro.cli(
        private.Config,
        prog=f"sfumato private train {name}",
        args=argv[1:],
        default=private.preset(name),
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    out = private.run(config)
    print(f"run folder: {out}; next: sfumato private export {out} --out synthetic.npz")
