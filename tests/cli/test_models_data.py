"""``sfumato models`` and ``sfumato data``."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.cli import main
from sfumato.console import datasets
from sfumato.data import PointName


def test_models_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = {m["name"]: m for m in json.loads(capsys.readouterr().out)}
    assert {"tiny-faces", "tiny-grey", "tiny-points"} <= set(listed)
    for model in listed.values():
        assert all(isinstance(model[key], str) and model[key] for key in ("name", "system", "data"))
        assert {"kind", "resolution", "labels", "params", "size", "licence", "scores"} <= set(model)
    faces = listed["tiny-faces"]
    assert faces["labels"] == {
        "style": ["lorelei", "micah", "pixel-art"],
        "glasses": ["none", "glasses"],
    }
    weights = Path(faces["folder"]) / "model.safetensors"
    assert faces["size"] == weights.stat().st_size > 0


def test_models_table_and_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "tiny-points" in capsys.readouterr().out
    assert main(["models", "tiny-faces"]) == 0
    card = capsys.readouterr().out
    assert "a score: 1.25" in card and "style: lorelei, micah, pixel-art" in card


def test_the_model_of_a_run_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--n", "64", "--width", "8", "--train.steps", "2", "--train.batch", "8"]
    assert main(["train", "points", "--out", "run", *words, "--train.quiet"]) == 0
    assert main(["models", "run"]) == 2
    assert "--out FOLDER writes its model" in capsys.readouterr().err
    assert main(["models", "run", "--out", "mine"]) == 0
    assert "wrote mine: Sampler" in capsys.readouterr().out
    ours, theirs = (sf.load(name).sample(5, seed=3, steps=4) for name in ("mine", "run"))
    assert torch.equal(ours, theirs)
    assert {p.name for p in Path("mine").iterdir()} == {
        "model.safetensors", "model.json", "card.json", "SHA256SUMS",
    }  # fmt: skip
    assert main(["models", "mine"]) == 0
    assert "swiss-roll" in capsys.readouterr().out
    before = (Path("mine") / "model.safetensors").read_bytes()
    assert main(["models", "run", "--out", "mine", "--half"]) == 2  # never over what is there
    assert (Path("mine") / "model.safetensors").read_bytes() == before
    assert main(["models", "run", "--out", "mine", "--half", "--force"]) == 0
    assert len((Path("mine") / "model.safetensors").read_bytes()) < 0.7 * len(before)
    torch.testing.assert_close(sf.load("mine").sample(5, seed=3, steps=4), ours, atol=0.02, rtol=0)
    assert main(["models", "--out", "nothing"]) == 2 and not Path("nothing").exists()


IMAGES = {"fashion-mnist", "digits", "avatars", "emoji", "photographs", "stamps"}


def test_data_list_has_every_point_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {str(name) for name in PointName} | IMAGES == names


def test_data_show_and_sheet_of_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "swiss-roll", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == "swiss-roll" and card["licence"]
    assert main(["data", "sheet", "swiss-roll", "--n", "200", "--out", "roll.png"]) == 0
    with Image.open("roll.png") as picture:
        assert len(picture.getcolors(10**6)) > 1


def test_a_folder_with_broken_images_is_refused_until_told_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.new("RGB", (9, 9), (80 * i, 0, 0)).save(pictures / f"{i}.png")
    (pictures / "broken.png").write_bytes(b"not a picture")
    command = ["data", "sheet", str(pictures), "--resolution", "8", "--out", "sheet.png"]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "broken.png" in err and "Traceback" not in err
    assert not Path("sheet.png").exists()
    assert main([*command, "--skip-broken"]) == 0
    assert Path("sheet.png").exists()


def test_train_and_test_points_differ() -> None:
    train = datasets.load("swiss-roll", datasets.DataRequest("train", 50))
    test = datasets.load("swiss-roll", datasets.DataRequest("test", 50))
    again = datasets.load("swiss-roll", datasets.DataRequest("train", 50))
    assert (train.batch(range(50))[0] == again.batch(range(50))[0]).all()
    assert not (train.batch(range(50))[0] == test.batch(range(50))[0]).any()
