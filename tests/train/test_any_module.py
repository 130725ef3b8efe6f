"""A classifier, a game and an autoencoder in the one loop, killed in the middle and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import UsageError
from sfumato.train import Part, Player, TensorData, read_log
from sfumato.train.task import moved, ordered, rows

SCRIPT = Path(__file__).parent / "any_run.py"


def run(name: str, out: Path, at: int = -1) -> int:
    command = [sys.executable, str(SCRIPT), name, str(out), str(at)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode


def history(folder: Path) -> list[dict]:
    timing = ("images_per_s", "time_left_s")
    return [{k: v for k, v in line.items() if k not in timing} for line in read_log(folder)]


@pytest.mark.parametrize(
    ("name", "at", "files"),
    [
        ("classifier", 13, {"model", "ema", "optimizer"}),
        ("gan", 26, {"model", "ema", "optimizer", "judge", "judge-optimizer"}),  # two a step
        ("vq", 14, {"model", "ema", "optimizer"}),
    ],
)
def test_killed_and_resumed_it_is_the_same_to_the_bit(
    tmp_path: Path, name: str, at: int, files: set[str]
) -> None:
    assert run(name, tmp_path / "whole") == 0
    assert run(name, tmp_path / "killed", at) == -signal.SIGKILL
    there = sorted(p.name for p in (tmp_path / "killed" / "checkpoints").glob("step-*"))
    assert there[-1] == "step-00000010"
    assert run(name, tmp_path / "killed") == 0
    a, b = (tmp_path / x / "checkpoints" / "step-00000024" for x in ("whole", "killed"))
    assert {p.name: p.read_bytes() for p in a.iterdir()} == {
        p.name: p.read_bytes() for p in b.iterdir()
    }
    assert {p.stem for p in a.glob("*.safetensors")} == files
    lines = history(tmp_path / "whole")
    assert lines == history(tmp_path / "killed")
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20, 24]
    if name == "gan":
        assert all(0.3 < line["judge_loss"] < 3 for line in lines)
    else:
        assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]


def test_batches_of_any_kind_are_moved_and_cut() -> None:
    x = torch.arange(6).reshape(6, 1)
    part = Part({"x": x, "words": list("abcdef"), "none": None}, (x, x + 1), [], 3)
    cut = rows(part.batch, slice(1, 3))
    assert cut["x"].tolist() == [[1], [2]] and cut["words"] == ["b", "c"] and cut["none"] is None
    far = moved(part, torch.device("meta"))
    assert isinstance(far, Part) and far.batch["x"].is_meta and far.drawn[1].is_meta
    assert far.step == 3 and far.batch["words"] == list("abcdef")


def test_tensors_as_data() -> None:
    data = TensorData(torch.arange(5), torch.arange(5) * 2)
    a, b = data.batch(np.array([4, 1]))
    assert len(data) == 5 and a.tolist() == [4, 1] and b.tolist() == [8, 2]
    with pytest.raises(UsageError, match=r"one length, got \[2, 3\]"):
        TensorData(torch.zeros(2), torch.zeros(3))


def test_players_are_checked() -> None:
    def loss(module: torch.nn.Module, part: Part) -> Tensor:
        return torch.zeros(1)

    net = torch.nn.Linear(1, 1)
    with pytest.raises(UsageError, match="every >= 1, got 0"):
        Player(net, loss, every=0)
    with pytest.raises(UsageError, match="names of their own"):
        ordered([Player(net, loss), Player(net, loss)])
