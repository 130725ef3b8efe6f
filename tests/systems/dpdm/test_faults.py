"""Kills, several processes, and what the log tells: privacy holds whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sfumato.systems.dpdm.accounting import Accountant, epsilon
from sfumato.systems.dpdm.ledger import NAME, Ledger
from sfumato.train import read_log

SCRIPT = Path(__file__).parent / "private_run.py"


@pytest.mark.slow
def test_a_hundred_kills_never_undercount(tmp_path) -> None:
    """100 SIGKILLs at random moments: never fewer lines than draws of noise; and it ends."""
    pytest.importorskip("opacus", reason="the extra 'private' is not installed")
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    command = [sys.executable, str(SCRIPT), "kill", str(tmp_path / "run"), "100", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"kills (\d+) counted (\d+) executed (\d+)", done.stdout)
    kills, counted, executed = (int(n) for n in found.groups())
    print(done.stdout)
    assert kills == 100 and counted >= executed
    assert executed > 100  # the kills fell into the training, and steps were taken again
    made = Ledger.read(tmp_path / "run" / NAME).mechanism
    for accountant in Accountant:
        told = epsilon(made.noise, made.rate, counted, 1e-3, accountant)
        assert told >= epsilon(made.noise, made.rate, executed, 1e-3, accountant)


@pytest.mark.slow
def test_two_processes_equal_one(runs, tmp_path) -> None:
    """Each record in one process, the noise drawn once: the same weights, the same ledger."""
    steps = 20
    runs.toy.two_processes(SCRIPT, tmp_path / "two", steps)
    one = runs.private_train(tmp_path / "one", settings=replace(runs.toy.SETTINGS, steps=steps))
    a, b = (
        load_file(folder / "model.safetensors")
        for folder in (one, tmp_path / "two" / "checkpoints" / one.name)
    )
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 1e-5
    assert Ledger.read(tmp_path / "two" / NAME).steps == steps
    norms = [[line["grad_norm"] for line in read_log(tmp_path / x)] for x in ("one", "two")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_log_tells_nothing_of_the_data(runs, tmp_path) -> None:
    told = set()
    for watch in (False, True):
        out = tmp_path / str(watch)
        runs.private_train(out, replace(runs.PRIVACY, watch_loss=watch))
        told = {key for line in read_log(out) for key in line}
        expected = {"step", "lr", "grad_norm", "epsilon", "budget", "images_per_s", "time_left_s"}
        losses = {"loss", "loss_by_level", "count_by_level"}
        assert told == (expected | losses if watch else expected)
        assert Ledger.read(out / NAME).mechanism.watched == watch
    costs = [line["epsilon"] for line in read_log(out)]
    assert costs == sorted(costs) and 0 < costs[0] < costs[-1] <= 3.0


def test_resume_is_counted_on_top(runs, tmp_path) -> None:
    """Going back to an older checkpoint does not take back the steps that were taken after it."""
    import shutil

    settings = replace(runs.toy.SETTINGS, steps=10, checkpoint_every=5)
    privacy = replace(runs.PRIVACY, noise=2.0, epsilon=50.0)
    out = tmp_path / "run"
    runs.private_train(out, privacy, settings)
    assert Ledger.read(out / NAME).steps == 10
    shutil.rmtree(out / "checkpoints" / "step-00000010")
    runs.private_train(out, privacy, settings, resume=True)
    assert Ledger.read(out / NAME).steps == 15
    made = Ledger.read(out / NAME).mechanism
    last = read_log(out)[-1]
    assert last["step"] == 10
    assert last["epsilon"] == pytest.approx(
        epsilon(made.noise, made.rate, 15, 1e-3, Accountant.PRV)
    )
