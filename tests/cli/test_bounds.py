"""What would fill the memory or the disk is refused before it begins, with the figures."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

import sfumato as sf
from sfumato.cli import main
from sfumato.errors import UsageError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample tiny-grey --n 2 --steps 1000000000", "--steps must be at most 100,000"),
        ("sample tiny-grey --n 1000000000000", "--n must be at most 10,000,000"),
        ("sample tiny-grey --n 9000000", "a sheet of 9,000,000 samples takes 7.1 GB of memory"),
        ("sample tiny-grey --n 2 --threads 1000000000", "--threads must be at most 1,024"),
        ("sample tiny-grey --n 2 --batch 1000000000000", "--batch must be at most 1,000,000"),
        ("evaluate tiny-grey --n 1000000000000", "--n must be at most 10,000,000"),
        ("evaluate tiny-grey --steps 10,1000000000", "--steps must be at most 100,000"),
        ("fields sample mixture --n 1000000000000", "--n must be at most 10,000,000"),
        ("imagine word --steps 1000000000", "--steps must be at most 100,000"),
        ("train points --n 10000000000", "n must lie in 1..100,000,000"),
        ("train points --width 200000 --blocks 9", "the network has more than"),
        ("train digits --network.channels 1000000", "the network has more than"),
    ],
)
def test_too_much(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    assert main(words.split()) in (1, 2)
    assert message in capsys.readouterr().err and time.monotonic() - began < 60
    assert not list(tmp_path.rglob("*.png"))


def test_samples_that_the_disk_has_no_room_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 10**9, 100_000))
    assert main(["sample", "tiny-grey", "--n", "200", "--out", "much.npz"]) == 1
    said = capsys.readouterr().err
    assert "200 samples take 314 kB while being drawn, and 100 kB are free at" in said
    assert not Path("much.npz").exists()
    assert main(["sample", "tiny-grey", "--n", "20", "--steps", "1", "--out", "some.npz"]) == 0


def test_the_library_refuses_likewise() -> None:
    model = sf.load("fashion")
    with pytest.raises(UsageError, match="expected 1 to 100,000 steps, got 1,000,000,000"):
        model.sample(1, steps=10**9)
    with pytest.raises(UsageError, match="expected 1 to 100,000 steps, got 0"):
        model.sample(1, steps=0)
