"""``sfumato fields evaluate``: figures of known cases, files and axes that differ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rainfall import fill, rain
from sfumato.cli import main
from sfumato.cli.fields.reading import fitting
from sfumato.data.fields.base import Axis, FieldSet, Frame, Quantity
from sfumato.data.fields.files import write_fields
from sfumato.errors import UsageError
from sfumato.nn import Domain


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


def test_coarse_grids_are_compared_in_the_waves_they_have(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fields", "evaluate", "tiny-rain", "--data", str(folder / "rain.npz"), "--n", "20"]
    words += ["--steps", "2", "--quiet", "--resolution", "6"]
    assert main(words) == 0
    assert "6x6 against 6 real 16x16" in " ".join(capsys.readouterr().out.split())
