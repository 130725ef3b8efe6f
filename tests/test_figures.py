"""The figures in the documentation are those that were measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from loading import load

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "figures.py"


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, at work in an empty repository with one file of results."""
    module = load(TOOL)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    results = {"score": 0.8125, "runs": [{"steps": 10, "fd": 1.234}, {"steps": 50}]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    return module


def test_the_documentation_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run `make docs`\n{done.stdout}{done.stderr}"


def test_a_table_takes_its_rows_from_the_file(figures: ModuleType) -> None:
    mark = "<!-- table results.json runs | Steps = steps | Distance = fd :.1f -->"
    new = figures.render(f"before\n{mark}\nold\n<!-- end -->\nafter")
    assert new.splitlines()[2:6] == [
        "| Steps | Distance |", "| --- | --- |", "| 10 | 1.2 |", "| 50 |  |",
    ]  # fmt: skip
    assert figures.render(new) == new


def test_a_value_stands_in_its_sentence(figures: ModuleType) -> None:
    new = figures.render("It reaches <!-- value results.json score :.1% -->?<!-- end -->, so.")
    assert new == "It reaches <!-- value results.json score :.1% -->81.2%<!-- end -->, so."


def test_a_value_that_was_not_measured_is_an_error(figures: ModuleType) -> None:
    with pytest.raises(KeyError, match="absent"):
        figures.render("<!-- value results.json absent -->1<!-- end -->")
    with pytest.raises(FileNotFoundError, match="nothing"):
        figures.render("<!-- value nothing.json score -->1<!-- end -->")


def test_a_table_of_many_files_names_them_and_says_when_there_is_none(figures: ModuleType) -> None:
    mark = (
        "<!-- table {} scores | Model = file | Score = name | Value = value :.1f -->\n<!-- end -->"
    )
    assert "Not measured yet" in figures.render(mark.format("zoo/*/card.json"))
    folder = figures.ROOT / "zoo" / "one"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"scores": {"distance": 2.04}}))
    new = figures.render(mark.format("zoo/*/card.json"))
    assert new.splitlines()[-2] == "| one | distance | 2.0 |"
