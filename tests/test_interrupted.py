"""Ctrl-C and SIGTERM: what is finished is kept and named, and the same command goes on from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.cli.tour import page, visit
from sfumato.console import writers
from sfumato.files.atomic import beside
from sfumato.systems.ddo import sampling
from sfumato.systems.dsno import trajectories
from sfumato.systems.ediffi import clip, pipeline
from sfumato.train import Stopped


def stopping(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, after: int = 1) -> None:
    """The ``after``-th call of a function does its work, and then somebody presses Ctrl-C."""
    true: Callable[..., Any] = getattr(where, name)
    calls = 0

    def stopped(*words: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        done = true(*words, **more)
        if calls == after:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(where, name, stopped)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("command", "out"),
    [
        ("sample fashion --n 4 --steps 1 --batch 2 --quiet", "out.npz"),
        ("imagine word --model scenes --n 2 --steps 1 --quiet", "out.npz"),
        ("fields sample mixture --n 2 --resolution 16x16 --steps 2 --quiet", "out.npz"),
    ],
)
def test_finished_batches_are_kept(
    command: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(pipeline, "BATCH", 1)
    monkeypatch.setattr(sampling, "POINTS", 256)
    (tmp_path / "whole").mkdir()
    assert main([*command.split(), "--out", str(tmp_path / "whole" / out)]) == 0
    place = tmp_path / "stopped"
    words = [*command.split(), "--out", str(place / out)]
    with monkeypatch.context() as patch:
        stopping(patch, writers.Parts, "write")
        assert main(words) == 130
    said = capsys.readouterr().err
    parts = beside(place / out, "parts")
    assert f"interrupted; finished batches are kept in {parts}; the same command goes on" in said
    assert names(place) == [parts.name] and len(list(parts.glob("*.npy"))) == 1
    with monkeypatch.context() as patch:
        stopping(patch, writers.Parts, "write", after=2)  # one is left to draw, not two
        assert main(words) == 0
    assert names(place) == names(tmp_path / "whole")
    whole, gone_on = (np.load(p / out, allow_pickle=False) for p in (tmp_path / "whole", place))
    for key in whole.files:
        assert (whole[key] == gone_on[key]).all() or key == "about"


def test_half_done_work_of_another_plan_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "POINTS", 256)
    words = [
        "fields",
        "sample",
        "mixture",
        "--n",
        "2",
        "--resolution",
        "16x16",
        "--quiet",
        "--steps",
    ]
    out = ["--out", str(tmp_path / "out.npz")]
    with monkeypatch.context() as patch:
        stopping(patch, writers.Parts, "write")
        assert main([*words, "2", *out]) == 130
    assert main([*words, "3", *out]) == 0
    assert main([*words, "3", "--out", str(tmp_path / "again.npz")]) == 0
    one, other = (np.load(tmp_path / name) for name in ("out.npz", "again.npz"))
    assert all((one[key] == other[key]).all() for key in one.files if key != "about")


def test_shards_and_pictures_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"trajectories fashion --n 4 --steps 12 --shard 2 --out {tmp_path / 'set'}".split()
    with monkeypatch.context() as patch:
        stopping(patch, trajectories, "write_shard")
        assert main(words) == 130
    said = capsys.readouterr().err
    assert f"1 of 2 shards kept in {tmp_path / 'set'}; the same command goes on" in said
    assert main(words) == 0
    given = tmp_path / "in"
    given.mkdir()
    for i in range(3):
        Image.new("RGB", (64, 64), (40 * i, 9, 9)).save(given / f"{i}.png")
    for command in ("restore", "degrade"):
        out = tmp_path / command
        words = [command, str(given), str(out), "--task", "jpeg", "--quiet"]
        with monkeypatch.context() as patch:
            stopping(patch, Image.Image, "save", after=2)
            assert main(words) == 130
        said = capsys.readouterr().err
        kept = names(out)
        assert (
            f"interrupted; {len(kept)} of 3 pictures done and kept; the same command with" in said
        )
        assert "with --skip-existing does the rest" in said
        assert main([*words, "--skip-existing"]) == 0
        assert names(out) == ["0.png", "1.png", "2.png"]


def test_the_tour_keeps_the_page_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one(section: page.Section, shown: list[Any], seconds: float) -> None:
        section.text(f"Drawn: {section.title}.")

    def two(section: page.Section, shown: list[Any], seconds: float) -> None:
        one(section, shown, seconds)
        raise KeyboardInterrupt

    scenes = tuple(visit.TourSection(draw.__name__, draw, 0.1) for draw in (one, two, one))
    monkeypatch.setattr(visit, "SCENES", scenes)
    monkeypatch.setattr(visit, "load", lambda config: ([], []))
    for name in ("index.html", "unfinished.html"):  # the second does not replace the first
        assert main(["tour", "--out", str(tmp_path)]) == 130
        said = capsys.readouterr().err
        assert f"what was drawn is in {tmp_path / name}; the same command begins again" in said
        text = (tmp_path / name).read_text()
        assert text.count("Drawn:") == 2 and "the command was interrupted here" in text
    assert names(tmp_path) == ["index.html", "unfinished.html"]


def test_sigterm_is_told_as_well(tmp_path: Path) -> None:
    words = ["sample", "fashion", "--n", "5000", "--batch", "4", "--out", str(tmp_path / "out.npz")]
    with subprocess.Popen(
        [sys.executable, "-m", "sfumato", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.npz.parts/*.npy")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    parts = tmp_path / ".out.npz.parts"
    assert said.strip().splitlines()[-1] == (
        f"sfumato: stopped by SIGTERM; finished batches are kept in {parts}; the same command "
        "goes on"
    )
    assert names(tmp_path) == [parts.name] and os.listdir(parts)


def test_a_stopped_clip_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*words: Any, **more: Any) -> None:
        raise Stopped("in the loop")

    monkeypatch.setattr(clip, "train_dual", stopped)
    monkeypatch.setattr(clip, "clip_data", lambda *words: None)
    with pytest.raises(Stopped, match="kept in .*out-run, and the same command with --resume"):
        clip.run(clip.Clip(out=tmp_path / "out"))
