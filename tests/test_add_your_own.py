"""The package of docs/add-your-own.md, installed and used as a stranger would."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, SPAN, Linear, Scripted, propagate, slope

PAGE = (Path(__file__).parents[1] / "docs" / "add-your-own.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
COMMANDS = [c for kind, text in BLOCKS if kind == "console" for c in text.splitlines()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and what pip writes beside it."""
    place = tmp_path_factory.mktemp("site")
    for kind, text in BLOCKS:
        if kind == "python" and (named := re.match(r"# (mine/\w+\.py)\n", text)):
            (place / named[1]).parent.mkdir(exist_ok=True)
            (place / named[1]).write_text(text)
    (project,) = (tomllib.loads(text)["project"] for kind, text in BLOCKS if kind == "toml")
    about = place / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return place


def call(words: list[str], installed: Path, desk: Path) -> str:
    """What a command says in a process that finds the package. Fails unless it succeeds."""
    path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=desk, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_commands_of_the_page(installed: Path, tmp_path: Path) -> None:
    """One after another, as they stand; each leaves what it was told to write."""
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        words = shlex.split(command)
        said = call(words, installed, tmp_path)
        if "--out" in words:
            assert (tmp_path / words[words.index("--out") + 1]).exists()
    assert "MMD" in said  # the last one measures how far the model's points are from the rings


def test_everything_declared_is_listed(installed: Path, tmp_path: Path) -> None:
    assert "memory" in call(["sfumato", "train", "--help"], installed, tmp_path)
    assert "midpoint" in call(["sfumato", "sample", "--help"], installed, tmp_path)
    assert "SUBVP" in call(["sfumato", "train", "points", "--help"], installed, tmp_path)
    named = json.loads(call(["sfumato", "data", "--json"], installed, tmp_path))
    assert {"name": "rings", "summary": "points on three rings"} in named


def test_the_solver_is_short_and_of_its_order(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(installed)
    solver = importlib.import_module("mine.midpoint").Midpoint
    lines = (installed / "mine" / "midpoint.py").read_text().splitlines()
    assert len(lines) <= 30
    mean, cov = torch.tensor([0.7], dtype=F64), torch.tensor([[0.25]], dtype=F64)
    denoiser = Linear(PROCESSES["vp"](Scripted()), mean, cov)
    (begin, end), steps, errors = SPAN["vp"], [40, 80], []
    for n in steps:
        times = sf.times.uniform(n, begin, end)
        found = propagate(denoiser, solver(), times, denoiser.state(begin))
        goal = denoiser.state(end)
        errors.append(float(sum((a - b).norm() for a, b in zip(found, goal, strict=True))))
    assert slope(errors, steps) == pytest.approx(2, abs=0.2)


def test_the_process_has_three_methods(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    process = importlib.import_module("mine.subvp").SubVP
    public = {n for n, v in vars(process).items() if callable(v) and not n.startswith("_")}
    assert public == {"drift", "diffusion", "kernel"}
