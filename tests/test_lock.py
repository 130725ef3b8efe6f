"""One writer at a time, and places that cannot be written are found out before the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.errors import SfumatoError
from sfumato.files.atomic import beside, probe, whole, write
from sfumato.files.lock import OWNER, contents, held
from sfumato.train import read_log

HOLD = """import sys, time; from pathlib import Path; from sfumato.files.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_writes(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with holder(folder) as process:
        for _ in range(2):
            said = f"process {process.pid} on .* since 20"
            with pytest.raises(SfumatoError, match=said), held(folder):
                pytest.fail("two hold it")
        assert contents(folder) == []
        process.send_signal(signal.SIGKILL)  # whoever is killed lets go
    with held(folder):
        assert json.loads((folder / OWNER).read_text())["process"] == os.getpid()
    with held(folder):
        pass


def test_a_run_that_is_alive_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", "points", "--out", str(run), "--n", "300", "--width", "16", "--train.quiet"]
    words += ["--train.steps", "200000", "--train.log-every", "1", "--train.cpu"]
    words += ["--train.checkpoint-every", "20", "--train.sheet-every", "0"]
    with subprocess.Popen([sys.executable, "-m", "sfumato", *words]) as first:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints").is_dir() and time.monotonic() < deadline:
            time.sleep(0.1)
        for _ in range(3):
            assert main(["train", "--resume", str(run)]) == 1
            said = capsys.readouterr().err
            assert f"{run} is being written by process {first.pid} on " in said
        first.terminate()
        assert first.wait() == 1
    steps = [line["step"] for line in read_log(run)]
    assert steps == list(range(1, len(steps) + 1))  # no line is lost and none stands twice
    words = ["--train.steps", str(len(steps) + 3), "--change"]
    assert main(["train", "--resume", str(run), *words]) == 0


def test_an_output_that_another_process_draws_is_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "many.npz"
    sample = ["sample", "fashion", "--n", "6", "--batch", "2", "--steps", "1", "--out", str(out)]
    walks = ["trajectories", "fashion", "--n", "4", "--steps", "12", "--out", str(tmp_path / "t")]
    for words, place in ((sample, out), (walks, tmp_path / "t")):
        with holder(beside(place, "lock")) as process:
            assert main(words) == 1
            said = capsys.readouterr().err
            assert f"{place} is being written by process {process.pid} on " in said
            assert not place.exists()
            process.kill()
    assert main([*sample, "--quiet"]) == 0
    assert out.is_file() and not beside(out, "lock").exists() and not beside(out, "parts").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "fashion", "--out", "OUT.png"],
        ["sample", "fashion", "--out", "OUT.npz"],
        ["encode", "fashion", "x.npz", "--out", "OUT.npz"],
        ["evaluate", "fashion", "--data", "fashion-mnist", "--out", "OUT.json"],
        ["tour", "--out", "OUT"],
        ["data", "sheet", "digits", "--out", "OUT.png"],
        ["fields", "sample", "mixture", "--out", "OUT.nc"],
        ["fields", "data", "mixture", "--out", "OUT.npz"],
        ["fields", "evaluate", "mixture", "--out", "OUT.json"],
        ["fields", "evaluate", "mixture", "--picture", "OUT.png"],
        ["fields", "calibrate", "mixture", "--out", "OUT"],
        ["imagine", "a red circle", "--out", "OUT.png"],
        ["trajectories", "fashion", "--out", "OUT"],
        ["experts", "join", "fashion", "--out", "OUT"],
        ["private", "export", "fashion", "--out", "OUT.npz"],
        ["train", "fashion", "--out", "OUT"],
        ["private", "train", "fashion", "--out", "OUT"],
        ["fields", "train", "--out", "OUT"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_place_that_cannot_be_written_is_found_out_first(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import torch

    def work(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr(torch.nn.Module, "__init__", work)
    (tmp_path / "file").write_text("in the way")
    out = str(tmp_path / "file" / "inside")
    assert main([word.replace("OUT", out) for word in words]) == 1
    assert "cannot be written (a file stands where a folder is needed)" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a", "was")
    for path in (tmp_path / "a", tmp_path, tmp_path / "x" / "y" / "z"):
        probe(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "was"
    for path, why in (
        (tmp_path / ("n" * 256), "the name is too long"),
        (tmp_path / "a" / "b", "a file stands where a folder is needed"),
    ):
        with pytest.raises(SfumatoError, match=f"cannot be written .{why}"):
            probe(path)


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 249, "日" * 85, "short.png"])
def test_the_longest_names_can_be_written(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, "first")
    write(tmp_path / name, "second")
    with whole(tmp_path / f"{name[:-4]}.dir") as fresh:
        fresh.mkdir()
    assert (tmp_path / name).read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 2
    assert len(beside(tmp_path / name, "parts").name.encode()) <= 255
