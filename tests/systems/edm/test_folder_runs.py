"""Runs on a folder of pictures: where the pictures are is known, and they are never confused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.console import datasets
from sfumato.console.again import read_run
from sfumato.data import ImageSet, folder
from sfumato.errors import UsageError
from sfumato.files.store import read_folder, write_folder
from sfumato.model.known_data import run_source, training_data
from sfumato.model.load import load, load_model
from sfumato.model.sampler import Sampler
from sfumato.nn import UNetConfig
from sfumato.system import DataRequest
from sfumato.systems.edm import images
from sfumato.train import TrainConfig

QUICK = TrainConfig(
    steps=2, batch=4, log_every=1, sheet_every=0, checkpoint_every=2, cpu=True, quiet=True,
    tensorboard=False,
)  # fmt: skip
SMALL = UNetConfig(3, 3, channels=8, multipliers=(1,), blocks=1, attention=(), head_channels=0)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> images.Images:
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i in range(80):
        place = tmp_path / "digits" / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 8), 3 * i).save(place)
    return images.Images(
        out=tmp_path / "run",
        path=Path("digits"),
        resolution=8,
        channels=1,
        labels="none",
        fit="pad",
        network=SMALL,
        train=QUICK,
    )


def pixels(data: object) -> np.ndarray:
    assert isinstance(data, ImageSet)
    return np.asarray(data.images)


def test_a_folder_called_digits_is_not_the_data_set_digits(config: images.Images) -> None:
    images.run(config)
    model = load(str(config.out), Sampler)
    assert model.description.data == "digits/"
    where, wish = datasets.of_model("", model, DataRequest("test", 0, 8, channels=1), FOLDER)
    assert where == str(Path("digits").resolve())
    assert (wish.folder["labels"], wish.folder["fit"]) == ("none", "pad")
    test = datasets.load(where, wish._replace(progress=False))
    train = config.pictures()
    assert len(train) + len(test) == 80 and 1 <= len(test) <= 20
    both = np.concatenate([pixels(train), pixels(test)])
    assert sorted(both[:, 0, 4, 4].tolist()) == [3 * i for i in range(80)]
    again = training_data(model.description, run=config.out)
    assert np.array_equal(pixels(again), pixels(train))
    assert run_source(config.out / "checkpoints" / "step-00000002") == run_source(config.out)

    shutil.move("digits", "elsewhere")
    with pytest.raises(UsageError, match=r"the run learned from .*digits, which is not there"):
        datasets.of_model("", model, DataRequest(), FOLDER)
    moved, wish = datasets.of_model("elsewhere", model, DataRequest("test", 0, 8), FOLDER)
    assert moved == "elsewhere" and wish.folder["labels"] == "auto"
    model.folder = None  # as a model that was exported
    with pytest.raises(UsageError, match="the model learned from digits/.*--data"):
        datasets.of_model("", model, DataRequest(), FOLDER)


FOLDER = datasets.FolderOptions()


def test_evaluation_finds_the_pictures_of_a_run(
    config: images.Images, capsys: pytest.CaptureFixture[str]
) -> None:
    images.run(replace(config, train=replace(QUICK, quiet=False)))
    assert "pictures, without classes; the part for train" in capsys.readouterr().err
    words = ["evaluate", "run", "--n", "20", "--steps", "2", "--features", "pixels", "--quiet"]
    assert main(words) == 2
    small = r"expected at least 20 pictures of digits/, got \d+ in its part for test; --split all"
    assert re.search(small, capsys.readouterr().err)
    assert main([*words, "--split", "all"]) == 0
    out, err = capsys.readouterr()
    assert (
        "digits: 80 pictures, without classes\n  12x8 pixels, now 8x8 grey (whole, with black"
        in err
    )
    assert "pixels 1x8x8, n=20" in out


def test_a_run_goes_on_from_another_working_folder(
    config: images.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.run(config)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    _, back = read_run(config.out)
    assert back.path == tmp_path / "digits"
    images.run(replace(back, resume=True, train=replace(QUICK, steps=3)))


def test_changed_pictures_are_noticed(config: images.Images) -> None:
    images.run(config)
    Image.new("L", (12, 8), 255).save("digits/a/new.png")
    longer = replace(config, resume=True, sigma_data=read_model_scale(config.out))
    with pytest.warns(UserWarning, match="not those that the run began with: 80 then .* 81 now"):
        images.run(replace(longer, train=replace(QUICK, steps=3)))


def read_model_scale(run: Path) -> float:
    return float(load_model(run)[1].sigma_data)  # type: ignore[attr-defined]


def test_a_run_of_an_older_version_reads_all_pictures(config: images.Images) -> None:
    old = replace(config, held_out=0.0)
    images.run(old)
    path = config.out / "config.json"
    about = json.loads(path.read_text())
    for key in ("held_out", "fit", "levels", "flip"):
        del about["config"][key]
    del about["source"]
    path.write_text(json.dumps(about))
    step = config.out / "checkpoints" / "step-00000002"
    files = read_folder(step)
    named = files["model.json"].replace(b'"digits/"', b'"digits"')
    assert named != files["model.json"]
    write_folder(step, {**files, "model.json": named}, replace=True)

    found = run_source(config.out)
    assert found is not None and (found["path"], found["held_out"]) == ("digits", 0.0)
    _, back = read_run(config.out)
    assert back.held_out == 0.0
    resumed = replace(back, resume=True, fit="pad", train=replace(QUICK, steps=3))
    images.run(resumed)
    assert load_model(config.out)[1].data == "digits/"


def test_flips_double_the_pictures(config: images.Images, tmp_path: Path) -> None:
    plain = folder(config.path, 8, fit="stretch", split="train", held_out=0.1)
    slope = np.tile(np.arange(8, dtype=np.uint8), (len(plain), 3, 8, 1))
    data = replace(plain, images=slope).mirrored()
    n = len(plain)
    x, labels = data.batch([0, n, n + 1, 1])
    assert np.array_equal(x[1], x[0].flip(-1)) and not np.array_equal(x[1], x[0])
    assert np.array_equal(x[2], x[3].flip(-1))
    assert labels is not None and plain.labels is not None
    assert labels[:, 0].tolist() == [plain.labels[i, 0] for i in (0, 0, 1, 1)]
    assert len(replace(config, flip=True).pictures()) == 2 * len(config.pictures())
