"""The ledger: a changed byte is found, a torn line counts, a lost line is missed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.dpdm.ledger import Ledger, Mechanism

MADE = Mechanism(1.2, 0.01, 1.0, 10, 4, 1000, True, "fresh", True, False, "abc")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    made = Ledger.create(tmp_path / "ledger.jsonl", MADE)
    for step in range(5):
        made.append(step)
    return made


def test_it_is_read_as_it_was_written(ledger) -> None:
    again = Ledger.read(ledger.path)
    assert (again.steps, again.head, again.run) == (5, ledger.head, ledger.run)
    assert again.mechanism == MADE
    again.append(5)
    assert Ledger.read(ledger.path).steps == 6


def test_two_runs_have_two_names(tmp_path) -> None:
    a, b = (Ledger.create(tmp_path / n, MADE) for n in "ab")
    assert a.run != b.run and a.head != b.head
    with pytest.raises(SfumatoError, match="cannot be begun"):
        Ledger.create(tmp_path / "a", MADE)


@pytest.mark.parametrize("bit", [1, 32])
def test_every_changed_byte_is_found(ledger, bit: int) -> None:
    data = ledger.path.read_bytes()
    for i in range(len(data)):
        ledger.path.write_bytes(data[:i] + bytes([data[i] ^ bit]) + data[i + 1 :])
        with pytest.raises(SfumatoError):
            Ledger.read(ledger.path)
        if i < len(data) - 1:  # without its last newline the last line is torn, and counts
            with pytest.raises(SfumatoError):
                Ledger.read(ledger.path, mend=True)


def test_lines_removed_added_or_exchanged_are_found(ledger) -> None:
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    for i in range(len(lines) - 1):
        for changed in (
            lines[:i] + lines[i + 1 :],
            lines[:i] + [lines[i]] + lines[i:],
            lines[:i] + [lines[i + 1], lines[i]] + lines[i + 2 :],
        ):
            ledger.path.write_bytes(b"".join(changed))
            with pytest.raises(SfumatoError, match="line|first"):
                Ledger.read(ledger.path)


def test_lines_cut_off_at_the_end_are_missed_by_the_weights(ledger) -> None:
    mark = ledger.mark()
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.check_mark(mark, "here")
    ledger.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(UsageError, match="after 5 counted steps"):
        Ledger.read(ledger.path).check_mark(mark, "here")
    other = Ledger.create(ledger.path.with_name("other"), MADE)
    for step in range(9):
        other.append(step)
    with pytest.raises(UsageError, match="is the ledger of"):
        other.check_mark(mark, "here")


def test_a_torn_line_counts_as_a_step(ledger) -> None:
    data = ledger.path.read_bytes()
    start = data.rindex(b"\n", 0, len(data) - 1) + 1
    for cut in range(start + 1, len(data)):
        ledger.path.write_bytes(data[:cut])
        with pytest.raises(SfumatoError, match="cut short"):
            Ledger.read(ledger.path)
        mended = Ledger.read(ledger.path, mend=True)
        assert mended.steps == 5
        assert Ledger.read(ledger.path).head == mended.head  # whole again on the disk
    ledger.path.write_bytes(data[: data.index(b"\n")])
    with pytest.raises(SfumatoError, match="first line is not whole"):
        Ledger.read(ledger.path)


def test_a_disk_that_refuses_stops_the_step(ledger, monkeypatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SfumatoError, match="the step was not taken"):
        ledger.append(5)
    assert ledger.steps == 5
    with pytest.raises(SfumatoError, match="no readable ledger"):
        Ledger.read(Path("nowhere/ledger.jsonl"))


def test_another_format_is_not_guessed_at(tmp_path) -> None:
    from sfumato.systems.dpdm import ledger as module

    path = tmp_path / "l"
    line, _ = module._sealed({"ledger": 99, "run": "x"}, "")
    path.write_bytes(line)
    with pytest.raises(SfumatoError, match="upgrade with"):
        Ledger.read(path)
    assert replace(MADE, noise=2.0) != MADE
