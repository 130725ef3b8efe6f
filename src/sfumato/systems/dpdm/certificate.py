"""The certificate of a synthetic data set: what is promised, from what it follows, what is not.

A JSON file that a person can read and ``sfumato private check`` can check. It names the mechanism,
how often it was used and what that costs by two accountants; the hash of the ledger that counted;
the checksums of the files it was issued for; and what it does not cover. Its text is canonical
and carries its own digest, so a changed byte anywhere is found. That guards against accidents and
careless editing, not against someone who issues another certificate: sign the file for that.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from sfumato.errors import SfumatoError, UsageError, reason
from sfumato.model.load import SavedModel
from sfumato.systems.dpdm.accounting import Accountant, epsilon
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.train import checkpoint as ck

FORMAT = 1
PROMISE = "privacy.json"
RELATION = "two data sets are neighbours if one is the other with one record added or removed"
STATEMENT = (
    "Whatever is computed from these samples, or from the weights they were drawn from, its "
    "distribution changes by at most a factor exp(epsilon), except for a probability delta, "
    "when any one record is added to or removed from the training data."
)
UNIT = "one record: one image with its labels; a person with k records is protected k times less"


@final
@dataclass(frozen=True)
class Promise:
    """A model's ledger, and δ and accountant of what was promised."""

    ledger: Ledger
    delta: float
    accountant: Accountant

    @property
    def epsilon(self) -> float:
        """ε of every step that was counted."""
        made = self.ledger.mechanism
        return epsilon(made.noise, made.rate, self.ledger.steps, self.delta, self.accountant)


def read_promise(folder: Path) -> Promise:
    """The promise that the weights in a run's or a shipped model's folder were trained under.

    Raises:
        UsageError: they were not trained privately, or are not those of the ledger.
        SfumatoError: the ledger is missing or damaged.
    """
    found = ck.find_checkpoint(folder)
    name = PROMISE if PROMISE in found.files else ck.STATE
    state = ck.parse_json(found.files, name, found.folder) if name in found.files else {}
    if "ledger" not in state:
        raise UsageError(
            f"{folder} was not trained privately, so there is nothing to certify; "
            "train with: sfumato private train"
        )
    ledger = Ledger.read(folder / NAME)
    ledger.check_mark(state["ledger"], str(found.folder))
    if not ledger.mechanism.private:
        raise UsageError(
            f"the noise of {folder} was reproducible, so whoever knows the seed can take it off "
            "again: it is not private and gets no certificate"
        )
    promised = state["privacy"]
    return Promise(ledger, float(promised["delta"]), Accountant(promised["accountant"]))


def files_of_promise(saved: SavedModel) -> dict[str, bytes]:
    """The ledger and the promise of a private model, checked; nothing of others.

    Raises:
        UsageError, SfumatoError: the ledger is missing, or is not that of the weights.
    """
    if PROMISE in saved.files:  # a model folder
        return {name: saved.files[name] for name in (PROMISE, NAME)}
    if ck.STATE not in saved.files:
        return {}
    state = ck.parse_json(saved.files, ck.STATE, saved.folder)
    if "ledger" not in state:
        return {}
    run = saved.folder.parents[1]
    read_promise(run)  # the weights are those of the ledger, and it is whole
    promise = ck.pack_json({"ledger": state["ledger"], "privacy": state["privacy"]})
    return {PROMISE: promise, NAME: (run / NAME).read_bytes()}


def not_covered(ledger: Ledger, labels: str) -> list[str]:
    """What the promise does not cover, in sentences."""
    made = ledger.mechanism
    out = [
        "Other runs on the same data: every published model or data set has its own cost, and the "
        "costs add up. That includes runs to choose hyper-parameters, if any were made on it.",
        "Groups: facts about many people together (what the data is for) are learned, and a "
        "record that appears k times is protected k times less.",
        "Choices made by looking at the data: the classes and their names, the size of the "
        "images, how they were cleaned and cut.",
        f"The labels of the samples: {labels}. The true class frequencies are not in them.",
        "The finite precision of computer arithmetic, in which the noise is only nearly normal"
        + (" (reduced here by the secure mode)." if made.randomness == "secure" else "."),
        "What the machine that trained held outside the run's folder: memory, swap files, timing. "
        "(The folder holds nothing of the records that does not follow from noisy gradients"
        + (", but for the log, see below.)" if made.watched else ".)"),
        "Decoded copies of the records, with the names of their files, which the machine that "
        "trained may keep in its data folder.",
    ]
    if made.randomness != "secure":
        out.append(
            "An adversary who can break the generator of the noise (Philox with a 256-bit secret, "
            "which is not a cipher); train with --privacy.randomness SECURE against that."
        )
    if made.population_is_exact:
        out.append("The exact number of records, which this certificate publishes.")
    if made.watched:
        out.append(
            "The log of the training, which holds losses without noise, and that the run stopped "
            "if one was not finite: keep both secret."
        )
    return out


def make_certificate(
    promise: Promise, weights: str, export: Mapping[str, Any], labels: str
) -> dict[str, Any]:
    """The certificate of an export, without its digest.

    Args:
        promise: of the model.
        weights: digest of the weights.
        export: how the samples were drawn, and the checksums of the files.
        labels: where the samples' labels came from.
    """
    ledger = promise.ledger
    made = ledger.mechanism
    both = {
        a.value: epsilon(made.noise, made.rate, ledger.steps, promise.delta, a) for a in Accountant
    }
    return {
        "certificate": FORMAT,
        "statement": STATEMENT,
        "epsilon": both[promise.accountant.value],
        "delta": promise.delta,
        "accountant": promise.accountant.value,
        "neighbours": RELATION,
        "unit": UNIT,
        "epsilon_by": both,
        "steps": ledger.steps,
        "mechanism": {
            "name": "Poisson-sampled Gaussian mechanism (DP-SGD with noise multiplicity)",
            **asdict(made),
        },
        "ledger": {"run": ledger.run, "head": ledger.head},
        "weights": weights,
        "export": dict(export),
        "not_covered": not_covered(ledger, labels),
        "made_by": {
            name: importlib.metadata.version(name) for name in ("sfumato", "opacus", "torch")
        },
    }


def seal(certificate: Mapping[str, Any]) -> bytes:
    """The certificate's canonical text, with its own SHA-256 as last entry."""
    body = {k: v for k, v in certificate.items() if k != "sha256"}
    digest = hashlib.sha256(_text(body)).hexdigest()
    return _text({**body, "sha256": digest})


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def read_certificate(path: Path) -> dict[str, Any]:
    """Read a certificate whose text is exactly as it was issued.

    Raises:
        SfumatoError: it is not there, is none, or was changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SfumatoError(f"cannot read the certificate {path}: {reason(error)}") from error
    try:
        value = json.loads(data)
        version = value["certificate"]
        whole = seal(value) == data
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SfumatoError(f"{path} is not a certificate, or was changed") from None
    if not whole:
        raise SfumatoError(
            f"{path} was changed after it was issued: its text does not have the digest it names; "
            "get the original file"
        )
    if version != FORMAT:
        raise SfumatoError(
            f"{path} has format {version}, this sfumato reads {FORMAT}; "
            "upgrade with: pip install -U sfumato"
        )
    return dict(value)


@final
@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it holds, and what was found."""

    holds: bool
    what: str


def check_certificate(certificate: Mapping[str, Any], ledger: Ledger) -> list[Finding]:
    """Everything that must hold between a certificate and a ledger, ε derived anew.

    Raises:
        SfumatoError: entries of the certificate are missing.
    """
    try:
        return _findings(certificate, ledger)
    except (KeyError, TypeError, ValueError) as error:
        raise SfumatoError(f"the certificate lacks what can be checked: {error!r}") from error


def _findings(certificate: Mapping[str, Any], ledger: Ledger) -> list[Finding]:
    made = ledger.mechanism
    same = certificate["ledger"] == {"run": ledger.run, "head": ledger.head}
    told = {k: v for k, v in certificate["mechanism"].items() if k != "name"}
    steps, delta = certificate["steps"], float(certificate["delta"])
    accountant, claimed = Accountant(certificate["accountant"]), float(certificate["epsilon"])
    derived = epsilon(made.noise, made.rate, ledger.steps, delta, accountant)
    out = [
        Finding(same, f"the ledger is the one it names: hash {ledger.head[:16]}..."),
        Finding(steps == ledger.steps, f"steps: {steps:,} claimed, {ledger.steps:,} counted"),
        Finding(told == asdict(made), "the mechanism is the ledger's"),
        Finding(made.private, f"the noise cannot be known to others: {made.randomness}"),
        Finding(
            abs(made.rate * made.records - made.batch) < 1e-6 * made.batch,
            f"sampling rate {made.rate:.6g} = batch {made.batch:,} / records {made.records:,}",
        ),
        Finding(
            0 < delta < 1 / made.records, f"delta {delta:g} is below 1/records, {made.records:,}"
        ),
        Finding(
            derived <= claimed * (1 + 1e-6),
            f"epsilon by {accountant.value}: {claimed:.6g} claimed, {derived:.6g} derived anew",
        ),
    ]
    for name, value in certificate["epsilon_by"].items():
        anew = epsilon(made.noise, made.rate, ledger.steps, delta, Accountant(name))
        holds = anew <= float(value) * (1 + 1e-6)
        out.append(Finding(holds, f"epsilon by {name}: {value:.6g} told, {anew:.6g} derived anew"))
    return out
