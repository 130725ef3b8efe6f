"""``sfumato fields evaluate``: figures of known cases, files and axes that differ."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rainfall import fill, rain
from sfumato.cli import main
from sfumato.console.report import table
from sfumato.errors import UsageError
from sfumato.metrics.score import Score
from sfumato.systems.ddo.commands.shared import fitting
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.files import write_fields
from sfumato.systems.ddo.nn.harmonic import Domain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("fields"))


@pytest.fixture(autouse=True)
def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_ZOO", str(folder))


def test_figures_and_their_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, picture = tmp_path / "scores.json", tmp_path / "report.png"
    words = ["fields", "evaluate", "tiny-rain", "--data", str(folder / "rain.npz"), "--n", "24"]
    words += ["--split", "train", "--steps", "4", "--out", str(out), "--picture", str(picture)]
    assert main([*words, "--quiet"]) == 0
    record = json.loads(out.read_text())
    assert record["command"].startswith("sfumato fields evaluate tiny-rain")
    (row,) = record["results"]
    names = [s["metric"] for s in row["scores"]]
    assert {"worst spectrum error", "one-point W1 over deviation", "two-sample p"} <= set(names)
    assert row["n"] == 24 and row["nfe"] == 4
    with Image.open(picture) as shown:
        assert shown.width > 500
    assert "worst spectrum error" in capsys.readouterr().out


def test_real_fields_against_themselves(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "same.json"
    words = ["fields", "evaluate", str(folder / "rain.npz"), "--n", "60", "--out", str(out)]
    assert main(words) == 2
    assert "say with --data" in capsys.readouterr().err
    assert main([*words, "--data", str(folder / "rain.npz"), "--split", "train"]) == 0
    scores = {s["metric"]: s["value"] for s in json.loads(out.read_text())["results"][0]["scores"]}
    assert scores["two-sample p"] > 0.2 and scores["worst spectrum error"] < 0.3


def test_axes_in_another_order_and_other_units(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = rain()
    frame = Frame(Domain.REFLECTING, x.frame.axes[::-1], (Quantity("rain", "cm"),))
    turned = FieldSet("t", np.ascontiguousarray(x.values.swapaxes(2, 3)), frame, x.card)
    write_fields(tmp_path / "turned.npz", turned)
    with pytest.warns(UserWarning, match="rain is in 'cm' in turned.npz, and in 'mm' here"):
        found = fitting(turned, x.frame, "turned.npz")
    np.testing.assert_array_equal(found.values, x.values)
    words = ["fields", "evaluate", str(folder / "rain.npz"), "--data", str(tmp_path / "turned.npz")]
    assert main(words) == 0
    assert "rain is in 'cm' in" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"line has 1 axes \(x\), expected lat, lon"):
        line = Frame(Domain.PERIODIC, (Axis("x"),), (Quantity("rain"),))
        fitting(FieldSet("l", x.values[:, :, 0], line, x.card), x.frame, "line")


def test_a_mean_far_from_0_does_not_hide_the_spectrum(tmp_path: Path) -> None:
    x = rain()
    frame = Frame(Domain.REFLECTING, x.frame.axes, (Quantity("p", "Pa"),))
    write_fields(tmp_path / "p.npz", FieldSet("p", x.values + 1e5, frame, x.card))
    write_fields(tmp_path / "q.npz", FieldSet("p", x.values[::-1] * 1.5 + 1e5, frame, x.card))
    words = ["fields", "evaluate", str(tmp_path / "q.npz"), "--data", str(tmp_path / "p.npz")]
    out = tmp_path / "s.json"
    assert main([*words, "--split", "train", "--out", str(out)]) == 0
    score = json.loads(out.read_text())["results"][0]["scores"][0]
    assert score["metric"] == "worst spectrum error" and score["value"] > 0.5
    assert "waves 0 to 0," not in score["setting"]


def test_a_p_value_has_digits_that_mean_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = rain()
    moved = FieldSet("moved", x.values + 50, x.frame, x.card)
    write_fields(tmp_path / "real.npz", x)
    write_fields(tmp_path / "moved.npz", moved)
    words = ["fields", "evaluate", str(tmp_path / "moved.npz"), "--split", "train"]
    out = tmp_path / "s.json"
    words += ["--data", str(tmp_path / "real.npz"), "--out", str(out)]
    assert main(words) == 0
    lines = {line.split(" (")[0]: line.strip() for line in capsys.readouterr().out.splitlines()}
    assert re.search(r"D = 1\) +< 1e-6$", lines["KS p of mean"])
    assert len(lines["KS p of deviation"].split()[-1]) <= 4  # 1, or 0.97
    scores = {s["metric"]: s["value"] for s in json.loads(out.read_text())["results"][0]["scores"]}
    assert 0 < scores["KS p of mean"] < 1e-6  # the file has all of it


LONG = Score(
    "worst spectrum error",
    0.55823,
    0.0123,
    400,
    "values of vorticity",
    "64x64 against 500 real, waves 1 to 14, worst at 14, floor 0.0512",
)


@pytest.mark.parametrize("columns", [30, 60, 100, 200])
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("terminal", [True, False])
def test_figures_are_never_cut(
    columns: int,
    count: int,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a terminal the names are folded to its width, in a file they are whole."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    row = {"solver": "deis", "steps": 20, "nfe": 20, "per_second": 3.214, "scores": [LONG]}
    table("runs/vorticity", [row] * count)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", s) for s in capsys.readouterr().out.splitlines()]
    text = "\n".join(lines)
    assert text.count("0.558 ± 0.012") == text.count("deis, 20 steps") == count
    assert text.count("3.214") == count and "…" not in text
    about = "(values of vorticity, n=400, 64x64 against 500 real, waves 1 to 14, worst at 14, "
    whole = f"worst spectrum error {about}floor 0.0512)"
    if terminal:
        assert max(map(len, lines)) <= max(columns, 30 + 17 * count)
        assert "".join(text.replace("0.558 ± 0.012", "").split()).endswith(whole.replace(" ", ""))
    else:
        assert whole in text


def test_coarse_grids_are_compared_in_the_waves_they_have(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fields", "evaluate", "tiny-rain", "--data", str(folder / "rain.npz"), "--n", "20"]
    words += ["--steps", "2", "--quiet", "--resolution", "6"]
    assert main(words) == 0
    assert "6x6 against 6 real 16x16" in " ".join(capsys.readouterr().out.split())
