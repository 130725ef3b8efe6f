"""What people read: numbers in full, one picture and two pictures, and bytes that are no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.errors import UsageError
from sfumato.files.atomic import beside
from sfumato.files.words import many, number, size, valid
from sfumato.seeds import generator

NO_TEXT = os.fsdecode(b"a\xff")
"""A name that is not UTF-8, as file systems allow it."""


def test_numbers_and_nouns() -> None:
    assert [many(1, "picture"), many(2000, "picture"), many(0, "axis", "axes")] == [
        "1 picture", "2,000 pictures", "0 axes"
    ]  # fmt: skip
    assert [size(n) for n in (1, 980, 1500, 12e6, 7.12e9, 4e12)] == [
        "1 byte", "980 bytes", "1.5 kB", "12 MB", "7.1 GB", "4,000 GB"
    ]  # fmt: skip
    assert [number(x) for x in (1, 0.5, -1e11, 10**12, 1e300, float("inf"), float("nan"))] == [
        "1", "0.5", "-100,000,000,000", "1,000,000,000,000", "1e+300", "inf", "nan"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tour --seconds -1e11", "--seconds must be at least 1, got -100,000,000,000"),
        ("sample fashion --n 100000000000", "at most 10,000,000, got 100,000,000,000"),
    ],
)
def test_numbers_are_shown_in_full(
    command: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err


def test_one_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "fashion", "--n", "1", "--steps", "1", "--out", "a.png"]) == 0
    assert capsys.readouterr().out.startswith("1 image, 1 network evaluation each (")
    assert main(["trajectories", "fashion", "--n", "1", "--steps", "12", "--out", "set"]) == 0
    assert capsys.readouterr().out.startswith("1 trajectory of 12 steps, 9 states each (")


def test_sentences_that_are_no_text() -> None:
    with pytest.raises(UsageError, match=r"the sentence 'a\\udcff' is not text: expected UTF-8"):
        valid(NO_TEXT, "the sentence")
    assert valid("grün 🦊", "the sentence") == "grün 🦊"


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX")
def test_names_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / NO_TEXT
    folder.mkdir()
    for name in ("b.png", f"{NO_TEXT}.png"):
        Image.new("RGB", (64, 64), (9, 99, 199)).save(folder / name)
    out = tmp_path / f"out{NO_TEXT}"
    for words in (
        ["sample", "fashion", "--n", "2", "--steps", "1", "--out", f"{out}.npz"],
        ["sample", "fashion", "--n", "4", "--steps", "1", "--batch", "2", "--out", f"{out}.s"[:-2]],
        ["degrade", str(folder), f"{out}-d", "--task", "inpaint", "--quiet"],
        ["restore", str(folder), f"{out}-r", "--task", "jpeg", "--quiet"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert len(list(Path(f"{out}-d").iterdir())) == 4
    assert len(list(Path(f"{out}-r").iterdir())) == 2
    long = beside(tmp_path / ("é" * 126 + NO_TEXT), "parts").name
    assert len(os.fsencode(long)) <= 255 and long.startswith(".éé")
    assert beside(tmp_path / NO_TEXT, "parts").name == f".{NO_TEXT}.parts"
    assert generator(0, NO_TEXT).initial_seed() != generator(0, "a").initial_seed()
