"""Runs that break off anywhere, and ledgers that were tampered with: never less than was done."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.dpdm.accounting import Accountant, epsilon, most_steps
from sfumato.systems.dpdm.ledger import NAME, Ledger, Mechanism
from sfumato.systems.dpdm.randomness import Randomness, RandomSource
from sfumato.train import checkpoint as ck

MADE = Mechanism(1.2, 0.01, 1.0, 10, 4, 1000, True, "fresh", True, False, "abc")


def explicit(runs, budget: float):
    """A promise whose noise is given, so that the budget says how many steps there are."""
    return replace(
        runs.PRIVACY, noise=1.5, epsilon=budget, accountant=Accountant.RDP, delta=1e-3,
        randomness=Randomness.FRESH,
    )  # fmt: skip


class Power(Exception):
    """It fails."""


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_that_breaks_off_anywhere_ends_within_its_budget(
    runs, tmp_path, monkeypatch, seed: int
) -> None:
    """Faults before and after the line, the noise, the update and the checkpoint, 25 of them."""
    privacy = explicit(runs, 4.0)
    settings = replace(runs.toy.SETTINGS, steps=400, checkpoint_every=2, log_every=10)
    most = most_steps(4.0, 1.5, 0.16, 1e-3, Accountant.RDP)
    assert 60 < most < 300
    rng = random.Random(seed)
    executed, faults, places = 0, 0, set()

    def fault(where: str) -> None:
        nonlocal faults
        if faults < 25 and rng.random() < 0.05:
            faults += 1
            places.add(where)
            raise Power

    def around(owner: type | object, name: str, count: bool = False) -> None:
        real = getattr(owner, name)

        def wrapped(*args, **kwargs):
            nonlocal executed
            fault(f"before {name}")
            executed += count
            made = real(*args, **kwargs)
            fault(f"after {name}")
            return made

        monkeypatch.setattr(owner, name, wrapped)

    around(Ledger, "append")
    around(RandomSource, "normal", count=True)
    around(torch.optim.AdamW, "step")
    around(ck, "write_checkpoint")
    out, lives = tmp_path / "run", 0
    while True:
        lives += 1
        try:
            runs.private_train(out, privacy, settings, resume=lives > 1)
            break
        except Power:
            counted = Ledger.read(out / NAME).steps
            assert executed <= counted <= most
        except UsageError as error:
            assert "budget is spent" in str(error)
            break
        assert lives < 60
    assert faults == 25 and len(places) >= 6
    ledger = Ledger.read(out / NAME)
    assert executed < ledger.steps == most
    costs = [epsilon(1.5, 0.16, n, 1e-3, Accountant.RDP) for n in (executed, most, most + 1)]
    assert costs[0] <= costs[1] <= 4.0 < costs[2]


class Blocked:
    """Points; when a batch is asked for the k-th time, the ledger turns into a folder."""

    def __init__(self, data, ledger: Path, at: int) -> None:
        self.data, self.ledger, self.at, self.calls = data, ledger, at, 0

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor | None]:
        self.calls += self.ledger.exists()
        if self.calls == self.at:
            self.ledger.rename(self.ledger.with_name("moved"))
            self.ledger.mkdir()
        return self.data.batch(indices)


def test_a_ledger_that_cannot_be_written_takes_no_step(runs, tmp_path, monkeypatch) -> None:
    """No noise is drawn, the weights stay, and the run goes on once the ledger is back."""
    drawn = []
    real = RandomSource.normal
    monkeypatch.setattr(
        RandomSource, "normal", lambda s, n, like: (drawn.append(n), real(s, n, like))[1]
    )
    out = tmp_path / "run"
    settings = replace(runs.toy.SETTINGS, checkpoint_every=1, steps=12)
    privacy = replace(explicit(runs, 50.0), physical=1000, randomness=Randomness.REPRODUCIBLE)
    data = Blocked(runs.toy.three_points(), out / NAME, 7)
    with pytest.raises(SfumatoError, match="cannot be written .*the step was not taken"):
        runs.private_train(out, privacy, settings, data=data)
    assert drawn == list(range(6))
    newest = sorted((out / "checkpoints").iterdir())[-1]
    assert newest.name == "step-00000006"
    (out / NAME).rmdir()
    (out / "moved").rename(out / NAME)
    assert Ledger.read(out / NAME).steps == 6
    again = runs.private_train(out, privacy, settings, resume=True)
    assert Ledger.read(out / NAME).steps == 12 and drawn == list(range(12))
    whole = runs.private_train(tmp_path / "whole", privacy, settings)
    a, b = (load_file(f / "model.safetensors") for f in (again, whole))
    assert all(torch.equal(a[k], b[k]) for k in a)  # as if nothing had been


def test_without_a_checkpoint_the_ledger_still_counts(runs, tmp_path) -> None:
    """Killed before its first checkpoint, a run begins anew; its first steps stay counted."""
    out = tmp_path / "run"
    settings = replace(runs.toy.SETTINGS, steps=8)
    privacy = explicit(runs, 50.0)
    runs.private_train(out, privacy, settings)
    shutil.rmtree(out / "checkpoints")
    runs.private_train(out, privacy, settings, resume=True)
    assert Ledger.read(out / NAME).steps == 16
    shutil.rmtree(out / "checkpoints")
    tight = replace(privacy, epsilon=1.001 * epsilon(1.5, 0.16, 16, 1e-3, Accountant.RDP))
    with pytest.raises(UsageError, match="budget is spent: 16 steps"):
        runs.private_train(out, tight, settings, resume=True)
    with pytest.raises(UsageError, match="already holds something"):
        runs.private_train(out, privacy, settings)
    with pytest.raises(UsageError, match="clip: 1.0 there, 0.5 here"):
        runs.private_train(out, replace(privacy, clip=0.5), settings, resume=True)
    assert Ledger.read(out / NAME).steps == 16


@pytest.mark.parametrize("left", [0, 20])
def test_a_run_killed_while_it_began_its_ledger(runs, tmp_path, left: int) -> None:
    """No step was taken, so none is lost: it begins, or says that the file may be deleted."""
    out = tmp_path / "run"
    settings = replace(runs.toy.SETTINGS, steps=4)
    runs.private_train(out, explicit(runs, 50.0), settings)
    shutil.rmtree(out / "checkpoints")
    (out / NAME).write_bytes((out / NAME).read_bytes()[:left])
    try:
        runs.private_train(out, explicit(runs, 50.0), settings, resume=True)
    except SfumatoError as error:
        assert "delete" in str(error)
    else:
        assert Ledger.read(out / NAME).steps == 4


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    made = Ledger.create(tmp_path / NAME, MADE)
    for step in range(5):
        made.append(step)
    return made


def test_every_byte_left_out_or_put_in_is_found(ledger) -> None:
    data, mark = ledger.path.read_bytes(), ledger.mark()
    for i in range(len(data) - 1):
        for changed in (data[:i] + data[i + 1 :], data[:i] + b"0" + data[i:]):
            ledger.path.write_bytes(changed)
            if changed != data:
                with pytest.raises(SfumatoError):
                    Ledger.read(ledger.path, mend=True)
    ledger.path.write_bytes(data[:-1])
    with pytest.raises(SfumatoError, match="cut short"):
        Ledger.read(ledger.path)
    ledger.path.write_bytes(data + b"\n")
    with pytest.raises(SfumatoError, match="line 7"):
        Ledger.read(ledger.path)
    ledger.path.write_bytes(data)
    Ledger.read(ledger.path).check_mark(mark, "here")


def test_a_mark_needs_every_line_of_its_past(ledger) -> None:
    """Cut to any number of whole lines; or the end rewritten by someone who can seal lines."""
    marks = []
    other = Ledger.create(ledger.path.with_name("other"), MADE)
    marks.append(other.mark())
    for step in range(5):
        other.append(step)
        marks.append(other.mark())
    lines = other.path.read_bytes().splitlines(keepends=True)
    for there in range(6):
        other.path.write_bytes(b"".join(lines[: there + 1]))
        read = Ledger.read(other.path)
        for steps, mark in enumerate(marks):
            if steps <= there:
                read.check_mark(mark, "here")
            else:
                with pytest.raises(UsageError, match=f"after {steps} counted steps"):
                    read.check_mark(mark, "here")
    other.path.write_bytes(b"".join(lines[:3]))
    forged = Ledger.read(other.path)
    for step in range(7, 13):
        forged.append(step)
    with pytest.raises(UsageError, match="does not tell"):
        forged.check_mark(marks[4], "here")
    forged.check_mark(marks[2], "here")


def test_two_writers_are_found_out(ledger) -> None:
    """Two processes that go on with one run: the second's lines do not follow."""
    first, second = Ledger.read(ledger.path), Ledger.read(ledger.path)
    first.append(5)
    second.append(5)
    with pytest.raises(SfumatoError, match="line 8 does not follow"):
        Ledger.read(ledger.path)


def test_a_sealed_line_must_say_the_number_of_its_step(ledger) -> None:
    """Lines that follow, but count wrongly: written by something else than `append`."""
    from sfumato.systems.dpdm import ledger as module

    data = ledger.path.read_bytes()
    for n in (5, 7, "6", None):
        line, _ = module._sealed({"n": n, "step": 5}, ledger.head)
        ledger.path.write_bytes(data + line)
        with pytest.raises(SfumatoError, match="line 7 says it is step"):
            Ledger.read(ledger.path)


def test_a_mended_line_follows_and_stays(ledger) -> None:
    data = ledger.path.read_bytes()
    ledger.path.write_bytes(data + b'{"n":6,"st')
    assert Ledger.read(ledger.path, mend=True).steps == 6
    again = Ledger.read(ledger.path, mend=True)
    assert again.steps == 6
    again.append(6)
    assert Ledger.read(ledger.path).steps == 7
    assert ledger.path.read_bytes().startswith(data)
    assert b'{"n":6,"step":-1,' in ledger.path.read_bytes()
