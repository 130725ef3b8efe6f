"""The ledger of a private run: one line for every noisy step, written before the step is applied.

``ledger.jsonl`` lies beside the checkpoints. Its first line says what a step is (noise multiplier,
sampling rate, clipping norm, ...); every further line is one step. A line is on the disk before
the step's noise is drawn, so whatever a crash takes away is a step that was counted and not
taken, never the other way round. After a crash the run goes on from an older checkpoint and its
new steps are counted again, as they must be: the data was asked again.

Each line carries the hash of itself and the line before, so a changed byte anywhere is found; a
checkpoint keeps the number of lines and the hash at its time, so that it goes on only with a
ledger that contains its own past. Nothing in it depends on the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

from sfumato.errors import SfumatoError, UsageError, reason

NAME = "ledger.jsonl"
FORMAT = 1


@final
@dataclass(frozen=True)
class Mechanism:
    """What one step of a run is: everything that its cost follows from, and what it was made by.

    Args:
        noise: noise multiplier s.
        rate: sampling probability q of a record.
        clip: clipping norm C of a record's gradient.
        batch: expected batch, by which the noisy sum is divided.
        multiplicity: K, draws over which a gradient is averaged before it is clipped.
        records: public number of records, q = batch/records.
        population_is_exact: whether that is their true number.
        randomness: where the noise came from.
        private: whether nobody else can know the noise.
        watched: whether losses without noise went to the log.
        model: digest of the model's description.
    """

    noise: float
    rate: float
    clip: float
    batch: int
    multiplicity: int
    records: int
    population_is_exact: bool
    randomness: str
    private: bool
    watched: bool
    model: str


@final
class Ledger:
    """An open ledger.

    Args:
        path: its file.
        mechanism: what a step is.
        run: a random name of the run.
        hashes: the hash after each line, the header's first.
    """

    def __init__(self, path: Path, mechanism: Mechanism, run: str, hashes: list[str]) -> None:
        self.path, self.mechanism, self.run = path, mechanism, run
        self.hashes = hashes

    @property
    def steps(self) -> int:
        """Noisy steps that were begun."""
        return len(self.hashes) - 1

    @property
    def head(self) -> str:
        """The hash of the whole ledger."""
        return self.hashes[-1]

    @classmethod
    def create(cls, path: Path, mechanism: Mechanism) -> Ledger:
        """A new, empty ledger on the disk.

        Raises:
            SfumatoError: there is one already, or the disk refuses.
        """
        run = secrets.token_hex(8)
        header = {"ledger": FORMAT, "run": run, **asdict(mechanism)}
        line, head = _sealed(header, "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as out:
                out.write(line)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise SfumatoError(f"{path} cannot be begun ({reason(error)})") from error
        return cls(path, mechanism, run, [head])

    @classmethod
    def read(cls, path: Path, *, mend: bool = False) -> Ledger:
        """Read a ledger and check every line of it.

        Args:
            path: its file.
            mend: a last line that a crash cut short becomes a whole one: it was meant to be a
                step, so it counts as one. Without it, it is an error.

        Raises:
            SfumatoError: there is none, or a line was changed, lost or added.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SfumatoError(
                f"there is no readable ledger {path} ({reason(error)}): without it nobody can "
                "say what the run has cost"
            ) from error
        whole, _, torn = data.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        if not lines:
            raise SfumatoError(f"{path}: the first line is not whole")
        header, head = _opened(path, 0, lines[0], "")
        ledger = cls(path, _mechanism(path, header), str(header.get("run")), [head])
        for i, line in enumerate(lines[1:], 1):
            entry, head = _opened(path, i, line, head)
            if entry.get("n") != i:
                raise SfumatoError(f"{path}: line {i + 1} says it is step {entry.get('n')!r}")
            ledger.hashes.append(head)
        if torn and not mend:
            raise SfumatoError(f"{path}: the last line is cut short")
        if torn:
            with open(path, "r+b") as out:
                out.truncate(len(data) - len(torn))
                out.flush()
                os.fsync(out.fileno())
            ledger.append(-1)
        return ledger

    def append(self, step: int) -> None:
        """Count a step before it is applied; returns when the line is on the disk.

        ``step`` is where in the training it belongs; -1 stands for a line that was cut short.

        Raises:
            SfumatoError: the disk refuses; the step must then not be taken.
        """
        line, head = _sealed({"n": self.steps + 1, "step": step}, self.head)
        try:
            with open(self.path, "ab") as out:
                out.write(line)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise SfumatoError(
                f"{self.path} cannot be written ({reason(error)}); the step was not taken"
            ) from error
        self.hashes.append(head)

    def follow(self) -> None:
        """Count a step that another process writes down: for processes that only keep count."""
        self.hashes.append("")

    def mark(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: the run, the number of lines and the hash."""
        return {"run": self.run, "steps": self.steps, "head": self.head}

    def check_mark(self, mark: dict[str, Any], where: str) -> None:
        """Refuse weights that are not of this ledger's past.

        Raises:
            UsageError: another run's weights, or lines that they were made with are missing.
        """
        if mark.get("run") != self.run:
            raise UsageError(
                f"{where} belongs to the private run {mark.get('run')}, but {self.path} is the "
                f"ledger of {self.run}: put back the ledger that was beside these weights"
            )
        steps = int(mark["steps"])
        if steps > self.steps or self.hashes[steps] != mark["head"]:
            raise UsageError(
                f"{where} was made after {steps:,} counted steps, of which {self.path} does not "
                f"tell ({self.steps:,} there): put back the ledger that was beside these weights"
            )


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sealed(body: dict[str, Any], before: str) -> tuple[bytes, str]:
    """A line, and its hash, of everything in it and the hash of the line before."""
    head = hashlib.sha256((before + _canonical(body)).encode()).hexdigest()
    return (_canonical({**body, "hash": head}) + "\n").encode(), head


def _opened(path: Path, number: int, line: bytes, before: str) -> tuple[dict[str, Any], str]:
    try:
        body = json.loads(line)
        head = body.pop("hash")
        same = _sealed(body, before) == (line + b"\n", head)
    except (ValueError, KeyError, AttributeError, TypeError):
        same = False
    if not same:
        raise SfumatoError(
            f"{path}: line {number + 1} does not follow from the one before: it, or a line above "
            "it, was changed, added or removed; put back the original file"
        )
    return body, head


def _mechanism(path: Path, header: dict[str, Any]) -> Mechanism:
    names = {f.name for f in fields(Mechanism)}
    if header.get("ledger") != FORMAT or not names <= header.keys():
        raise SfumatoError(
            f"{path} is not a ledger of format {FORMAT}, which this sfumato reads; "
            "upgrade with: pip install -U sfumato"
        )
    return Mechanism(**{name: header[name] for name in names})
