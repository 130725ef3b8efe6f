"""``sfumato private``: train under differential privacy, export with a certificate, check it."""

from __future__ import annotations

import importlib
from enum import Enum

from sfumato.errors import UsageError, unknown


class Verbs(Enum):
    """What can be done, each with its line in the overview."""

    TRAIN = "train a model whose training is differentially private"
    EXPORT = "draw a labelled data set from it, with a certificate"
    CHECK = "check a certificate against its ledger and files"


def overview() -> str:
    """The text of ``sfumato private --help``."""
    lines = [f"  {v.name.lower():<8}{v.value}" for v in Verbs]
    return "\n".join(
        [
            "usage: sfumato private VERB [options]",
            "",
            "Synthetic data with a certificate: the training adds noise so that no record of the",
            "data can be found out from the model or from what it draws.",
            "",
            "verbs:",
            *lines,
            "",
            "examples:",
            "  sfumato private train fashion --privacy.epsilon 10 --out runs/private",
            "  sfumato private export runs/private --n 10000 --out synthetic.npz",
            "  sfumato private check synthetic.certificate.json",
            "",
        ]
    )


def main(argv: list[str]) -> int:
    """Run ``sfumato private``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(overview(), end="")
        return 0 if argv else 2
    names = [v.name.lower() for v in Verbs]
    if argv[0] not in names:
        if argv[0].startswith("-"):
            raise UsageError(f"expected one of {', '.join(names)} before {argv[0]!r}")
        raise unknown("verb", argv[0], names)
    verb = importlib.import_module(f"sfumato.cli.private.{argv[0]}")
    return int(verb.main(argv[1:]) or 0)
