"""A run that is stopped anywhere goes on as if it had not been."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sfumato.errors import SfumatoError, UsageError
from sfumato.train import Stopped, read_log

SCRIPT = Path(__file__).parent / "toy_run.py"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def history(run: Path) -> list[dict]:
    timing = ("images_per_s", "time_left_s")
    return [{k: v for k, v in line.items() if k not in timing} for line in read_log(run)]


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """20 SIGKILLs at random moments: the same bytes at the end, no checkpoint ever unreadable."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    steps = 160
    command = [
        sys.executable,
        SCRIPT,
        "kill",
        tmp_path / "a",
        tmp_path / "b",
        str(steps),
        "20",
        "0",
    ]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills 20" in done.stdout
    a, b = (tmp_path / x / "checkpoints" / f"step-{steps:08d}" for x in "ab")
    assert contents(a) == contents(b)
    assert len(contents(a)) == 6
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert not list((tmp_path / "b" / "checkpoints").glob(".*"))  # what kills left was swept
    print(done.stdout)


def test_resume_is_bit_for_bit(toy, tmp_path):
    """Weights, average, moments, state and log are those of a run in one go."""
    whole = toy.toy_train(tmp_path / "a")
    toy.toy_train(tmp_path / "b")
    for step in (25, 30):  # go back to step 20, in the middle of an interval of the log
        shutil.rmtree(tmp_path / "b" / "checkpoints" / f"step-{step:08d}")
    again = toy.toy_train(tmp_path / "b", resume=True)
    assert contents(whole) == contents(again)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert [line["step"] for line in history(tmp_path / "a")] == [4, 8, 12, 16, 20, 24, 28, 30]


def test_resume_passes_over_a_damaged_checkpoint(toy, tmp_path, capfd):
    whole = contents(toy.toy_train(tmp_path / "a"))
    newest = tmp_path / "a" / "checkpoints" / "step-00000030"
    (newest / "ema.safetensors").write_bytes(b"")
    last = toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, quiet=False), resume=True)
    said = capfd.readouterr().err
    assert "ema.safetensors" in said and "going on after step 25" in said
    mine = contents(last)
    for name in ("model.safetensors", "ema.safetensors", "optimizer.safetensors"):
        assert mine[name] == whole[name]
    for folder in (tmp_path / "a" / "checkpoints").iterdir():
        (folder / "state.json").write_bytes(b"{}")
    with pytest.raises(SfumatoError, match="no checkpoint .* can be read"):
        toy.toy_train(tmp_path / "a", resume=True)


def test_only_the_newest_are_kept(toy, tmp_path):
    toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, keep=2))
    assert sorted(os.listdir(tmp_path / "a" / "checkpoints")) == ["step-00000025", "step-00000030"]


def test_a_run_is_not_overwritten(toy, tmp_path):
    toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, steps=5))
    before = contents(tmp_path / "a" / "checkpoints" / "step-00000005")
    with pytest.raises(UsageError, match="already holds .* --resume"):
        toy.toy_train(tmp_path / "a")
    assert contents(tmp_path / "a" / "checkpoints" / "step-00000005") == before


def test_resume_of_nothing_starts_from_the_beginning(toy, tmp_path, capfd):
    settings = replace(toy.SETTINGS, steps=5, quiet=False)
    a = toy.toy_train(tmp_path / "a", settings, resume=True)
    assert "starting from the beginning" in capfd.readouterr().err
    assert contents(a) == contents(toy.toy_train(tmp_path / "b", settings))


def test_a_signal_saves_and_says_how_to_go_on(toy, tmp_path):
    whole = toy.toy_train(tmp_path / "a")
    data = toy.Poisoned(toy.three_points(), at=13, what="signal")
    with pytest.raises(Stopped, match=r"SIGTERM after step \d+; saved .*step-\d+; .*--resume") as e:
        toy.toy_train(tmp_path / "b", data=data)
    step = int(re.search(r"after step (\d+)", str(e.value))[1])
    assert 11 <= step <= 14 and step % toy.SETTINGS.checkpoint_every  # not just a regular one
    assert (tmp_path / "b" / "checkpoints" / f"step-{step:08d}").is_dir()
    again = toy.toy_train(tmp_path / "b", resume=True)
    assert contents(again) == contents(whole)
    assert history(tmp_path / "a") == history(tmp_path / "b")


@pytest.mark.parametrize("what", ["nan", "inf"])
def test_a_loss_that_is_not_finite_stops_the_run(toy, tmp_path, what):
    data = toy.Poisoned(toy.three_points(), at=13, what=what)
    with pytest.raises(SfumatoError) as e:
        toy.toy_train(tmp_path / "a", data=data)
    said = str(e.value)
    for part in ("step 13", f"mean loss {'nan' if what == 'nan' else ''}", "1 of 16", "log-SNR"):
        assert part in said
    assert "gradient norm" in said and "step-00000010" in said
    assert sorted(os.listdir(tmp_path / "a" / "checkpoints")) == ["step-00000005", "step-00000010"]
    again = toy.toy_train(tmp_path / "a", resume=True)  # with healthy data
    assert contents(again) == contents(toy.toy_train(tmp_path / "b"))


def test_another_model_seed_or_batch_is_refused(toy, tmp_path):
    settings = replace(toy.SETTINGS, steps=5)
    toy.toy_train(tmp_path / "a", settings)
    with pytest.raises(UsageError, match=r"another model: network.width: 16 there, 32 here"):
        toy.toy_train(tmp_path / "a", settings, resume=True, model=toy.toy_model(32))
    with pytest.raises(UsageError, match="seed 0, got 1"):
        toy.toy_train(tmp_path / "a", replace(settings, seed=1), resume=True)
    with pytest.raises(UsageError, match="batch 16, got 32"):
        toy.toy_train(tmp_path / "a", replace(settings, batch=32), resume=True)


def test_training_leaves_the_global_generator_alone(toy, tmp_path):
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, steps=2))
    assert torch.equal(torch.rand(3), want)
