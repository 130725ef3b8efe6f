"""``sfumato private train RECIPE``: train under differential privacy, or go on with a run."""

from __future__ import annotations

from sfumato.console.again import named_run, settings
from sfumato.console.verbs import chosen, listing
from sfumato.system import recipes
from sfumato.systems.dpdm.options import preset

RECIPES = {
    "fashion": "Fashion-MNIST for two cores, about an hour",
    "digits": "handwritten digits for two cores, about half an hour",
    "images": "your own folder or zip of images",
    "fashion-paper-0.2": "Fashion-MNIST as published, epsilon 0.2 (for GPUs)",
    "fashion-paper-1": "Fashion-MNIST as published, epsilon 1 (for GPUs)",
    "fashion-paper-10": "Fashion-MNIST as published, epsilon 10 (for GPUs)",
}
"""The settings of `dpdm.options` by name, each with its line in the list."""

_EXAMPLES = """\
examples:
  sfumato private train fashion --privacy.epsilon 1 --out runs/private-1
  sfumato private train --resume runs/private-1                  go on where it stopped
  sfumato private train images --path scans/ --resolution 32 --channels 1 --privacy.delta 1e-6
  sfumato private train digits --privacy.randomness SECURE       noise from a cipher
  accelerate launch --multi_gpu --num_processes 8 -m sfumato private train fashion-paper-10
"""


def overview() -> str:
    """The text of ``sfumato private train --help``."""
    return listing(
        "private train RECIPE [options]",
        "Train with a promise to every record: (epsilon, delta)-differential privacy. A ledger\n"
        "in --out counts every noisy step before it is taken; the run stops at the budget.",
        "recipe",
        RECIPES,
        "sfumato private train RECIPE --help lists the options with their defaults.\n\n"
        + _EXAMPLES,
    )


def main(argv: list[str]) -> None:
    """Run ``sfumato private train``.

    Raises UsageError for an unknown recipe, and whatever the training raises.
    """
    if argv[:1] in (["-h"], ["--help"]):
        print(overview(), end="")
        return
    if named_run(argv) is not None:
        argv = [next(iter(RECIPES)), *argv]  # all settings are those of the run
    chosen(argv, "private recipe", RECIPES)
    command, default = f"private train {argv[0]}", preset(argv[0])
    recipe = recipes()["private"]
    config = settings(recipe, command, argv[1:], default)
    out = recipe.run(config)
    print(f"run folder: {out}; next: sfumato private export {out} --out synthetic.npz")
