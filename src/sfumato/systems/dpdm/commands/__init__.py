"""``sfumato private``: train under differential privacy, export with a certificate, check it."""

from __future__ import annotations

from enum import Enum

from sfumato.console import verbs


class PrivateVerbs(Enum):
    """What can be done, each with its line in the overview."""

    TRAIN = "train a model whose training is differentially private"
    EXPORT = "draw a labelled data set from it, with a certificate"
    CHECK = "check a certificate against its ledger and files"


def overview() -> str:
    """The text of ``sfumato private --help``."""
    about = (
        "Synthetic data with a certificate: the training adds noise so that no record of the",
        "data can be found out from the model or from what it draws.",
    )
    examples = (
        "train fashion --privacy.epsilon 10 --out runs/private",
        "export runs/private --n 10000 --out synthetic.npz",
        "check synthetic.certificate.json",
    )
    return verbs.overview("private", PrivateVerbs, about, examples)


def main(argv: list[str]) -> int:
    """Run ``sfumato private``.

    Raises UsageError for an unknown verb, and whatever the verb raises.
    """
    return verbs.run(__name__, PrivateVerbs, overview(), argv)
