"""``--resume RUN``: a run goes on as it began, and what differs is named and asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfumato.cli import main
from sfumato.console.again import read_run
from sfumato.model.load import load_model
from sfumato.train import read_log

QUICK = ["--n", "300", "--width", "16", "--blocks", "1", "--train.batch", "16", "--train.cpu"]
QUICK += ["--train.sheet-every", "0", "--train.log-every", "1", "--train.quiet"]
QUICK += ["--train.no-tensorboard", "--train.lr", "5e-4", "--train.warmup", "2"]


def weights(run: Path) -> dict[str, object]:
    return {k: v.tolist() for k, v in load_model(run, ema=False)[0].state_dict().items()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "run"
    assert main(["train", "points", "--out", str(out), *QUICK, "--train.steps", "4"]) == 0
    return out


def test_what_is_not_given_is_as_the_run_has_it(run: Path, tmp_path: Path) -> None:
    """Four steps and, with only the number of steps told, six more: as ten in one go."""
    whole = tmp_path / "whole"
    constant = ["--train.decay", "constant"]
    assert main(["train", "points", "--out", str(whole), *QUICK, *constant]
                + ["--train.steps", "10"]) == 0  # fmt: skip
    half = tmp_path / "half"
    assert main(["train", "points", "--out", str(half), *QUICK, *constant]
                + ["--train.steps", "4"]) == 0  # fmt: skip
    assert main(["train", "--resume", str(half), "--train.steps", "10", "--change"]) == 0
    assert weights(half) == weights(whole)
    assert [line["lr"] for line in read_log(half)] == [line["lr"] for line in read_log(whole)]


def test_resuming_alone_changes_nothing(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    for words in (["--resume", str(run)], ["points", "--resume", str(run)],
                  ["points", "--out", str(run), "--resume"]):  # fmt: skip
        assert main(["train", *words]) == 0
        assert (run / "config.json").read_bytes() == before
    # Given again, the same values are no change; what does not matter may change.
    again = ["--resume", str(run), "--train.lr", "5e-4", "--train.keep", "3"]
    assert main(["train", *again]) == 0
    assert read_run(run)[1].train.keep == 3


def test_what_differs_is_named_and_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    words = ["train", "--resume", str(run), "--train.steps", "6", "--train.lr", "1e-3"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "train.steps: 4 there, 6 here" in said and "train.lr: 0.0005 there, 0.001 here" in said
    assert "width" not in said and "add --change" in said
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    assert main([*words, "--change"]) == 0
    about = json.loads((run / "config.json").read_text())
    assert about["config"]["train"]["steps"] == 6 and about["config"]["width"] == 16
    (older,) = about["history"]
    assert older["up_to_step"] == 4
    assert older["config"]["train"]["steps"] == 4 and older["config"]["train"]["lr"] == 5e-4
    assert main(["train", "--resume", str(run), "--train.steps", "7", "--change"]) == 0
    history = json.loads((run / "config.json").read_text())["history"]
    assert [older["up_to_step"] for older in history] == [4, 6]


def test_other_data_is_said_to_be_other_data(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "points", "--resume", str(run), "--n", "200", "--change"]) == 2
    said = capsys.readouterr().err
    assert "sigma_data" in said and "the data changed, from swiss-roll, 300 points" in said
    assert "to swiss-roll, 200 points" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits", "--resume", "RUN"], "is a run of the recipe 'points', not 'digits'"),
        (["private", "train", "--resume", "RUN"], "is a run of the recipe 'points'"),
        (["fields", "train", "--resume", "RUN"], "is a run of the recipe 'points', not 'fields'"),
        (["train", "--resume", "RUN/nowhere"], "there is no run in RUN/nowhere"),
        (["train", "--resume"], "expected one of"),
    ],
)
def test_what_cannot_go_on(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("RUN", str(run)) for word in words]) in (1, 2)
    assert message.replace("RUN", str(run)) in capsys.readouterr().err
