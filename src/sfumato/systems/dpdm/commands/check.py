"""``sfumato private check``: a certificate against its ledger and the files it was issued for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import tyro

from sfumato.console.options import parse
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.store import SUMS, sums
from sfumato.files.words import many
from sfumato.systems.dpdm.commands.export import CERTIFICATE, LEDGER, by_name, listing

_ABOUT = """Check a certificate.

It and its ledger must be as they were issued, epsilon must follow from the ledger (derived anew
by two accountants), and the data files must be those it names.

Exit status 0 if everything holds, 1 if anything does not.

examples:
  sfumato private check synthetic.certificate.json
  sfumato private check synthetic/certificate.json
  sfumato private check c.json --ledger runs/private/ledger.jsonl --no-data
"""


@final
@dataclass(frozen=True)
class CheckConfig:
    """What to check."""

    certificate: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CERTIFICATE")]
    """The certificate, or the folder of an export."""
    ledger: Path | None = None
    """The ledger; by default the one beside the certificate."""
    no_data: bool = False
    """Leave out the data files, where one has only the certificate and the ledger."""


def main(argv: list[str]) -> int:
    """Run ``sfumato private check``; returns the exit status."""
    return run(parse(CheckConfig, "private check", argv, _ABOUT))


def run(config: CheckConfig) -> int:
    """Check and print; 0 if all holds.

    Raises UsageError if there is no ledger, SfumatoError for a file that was changed.
    """
    path = config.certificate
    if path.is_dir():
        path = path / CERTIFICATE
    from sfumato.systems.dpdm.certificate import check_certificate, read_certificate
    from sfumato.systems.dpdm.ledger import Ledger

    certificate = read_certificate(path)
    ledger_path = config.ledger or path.with_name(path.name.replace(CERTIFICATE, LEDGER))
    if not ledger_path.is_file():
        raise UsageError(f"there is no ledger {ledger_path}; say where it is with --ledger")
    findings = check_certificate(certificate, Ledger.read(ledger_path))
    lines = [(f.holds, f.what) for f in findings]
    if not config.no_data:
        for name, digest in certificate["export"]["files"].items():
            lines += _files(path.parent, name, digest)
    for holds, what in lines:
        print(f"  {'ok  ' if holds else 'FAIL'}  {what}")
    bad = sum(not holds for holds, _ in lines)
    if bad:
        print(f"{path}: {bad} of {len(lines)} checks failed; do not rely on it")
        return 1
    print(
        f"{path} holds: epsilon {certificate['epsilon']:.4g} at delta {certificate['delta']:g}, "
        f"{certificate['neighbours']}"
    )
    print("not covered:")
    for sentence in certificate["not_covered"]:
        print(f"  - {sentence}")
    return 0


def _files(folder: Path, name: str, digest: str) -> list[tuple[bool, str]]:
    """The named file, and what it lists if it is a list of checksums."""
    path = folder / Path(name).name
    if not path.is_file():
        raise SfumatoError(
            f"{path} is not there: put the data beside the certificate, or leave it out with "
            "--no-data"
        )
    told = path.read_bytes()
    same = by_name(sums({name: told}))[name] == digest
    out = [(same, f"{name} is the file it was issued for")]
    if same and name == SUMS:
        listed, there = by_name(told), by_name(listing(folder))
        wrong = [entry for entry, wanted in listed.items() if there.get(entry) != wanted]
        strange = [entry for entry in there if entry not in listed]
        out.append(
            (not wrong, f"{many(len(listed), 'file')} as listed" + _named(", but not ", wrong))
        )
        out.append((not strange, "no file beside them" + _named(", but ", strange)))
    return out


def _named(before: str, names: list[str]) -> str:
    return before + ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") if names else ""
