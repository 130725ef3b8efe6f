"""``sfumato evaluate``: figures for models and for pictures, and the record of them."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.cli import judging, main
from sfumato.cli.evaluate import EvaluateConfig, _usual_n
from sfumato.console import datasets
from sfumato.console.reading import Read, read_images
from sfumato.data import DataCard, ImageSet, LabelAxis
from sfumato.errors import SfumatoError, UsageError
from sfumato.metrics import DownstreamSettings, Pixels, Thumbnails, compare, downstream_accuracy
from sfumato.metrics.features import extract

CLASSES = LabelAxis("class", tuple("abcdefghij"))


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """120 real images in the place of Fashion-MNIST."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (120, 1, 28, 28)).astype(np.uint8)
    labels = random.integers(0, 10, (120, 1)).astype(np.int64)
    data = ImageSet("fashion-mnist", images, labels, (CLASSES,), DataCard("x", "x", "x", "x"))
    monkeypatch.setattr(datasets, "load", lambda name, wish: data)
    return data


def test_a_model_at_several_numbers_of_steps(
    real: ImageSet, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "tiny-grey", "--n", "30", "--steps", "1,2", "--solver", "heun"]
    words += ["--features", "pixels"]
    assert main([*words, "--seed", "5", "--out", "scores.json"]) == 0
    out = capsys.readouterr().out
    assert "heun, 1 step" in out and "heun, 2 steps" in out
    assert "Fréchet distance (pixels 1x28x28, n=30)" in out
    record = json.loads(Path("scores.json").read_text())
    assert record["command"] == "sfumato " + " ".join([*words, "--seed", "5", "--out"]) + (
        " scores.json"
    )
    assert record["seed"] == 5 and record["machine"]["torch"] and "commit" in record
    assert [row["nfe"] for row in record["results"]] == [1, 3]
    scores = {s["metric"]: s for s in record["results"][1]["scores"]}
    assert {"Fréchet distance", "kernel distance", "precision", "recall"} <= set(scores)
    assert all(s["features"] == "pixels 1x28x28" and s["n"] == 30 for s in scores.values())
    # the same figures as for the same samples drawn by `sfumato sample`
    sample = ["sample", "tiny-grey", "--n", "30", "--steps", "2", "--solver", "heun"]
    assert main([*sample, "--seed", "5", "--out", "a.npz"]) == 0
    by_hand = compare(real.images, read_images(Path("a.npz")).x, Pixels((1, 28, 28)))
    assert by_hand.scores[0].value == pytest.approx(scores["Fréchet distance"]["value"], rel=1e-4)


def test_pictures_against_data(real: ImageSet, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("same.npz", images=real.images[:60])
    assert main(["evaluate", "same.npz", "--data", "fashion-mnist", "--features", "pixels"]) == 0
    out = capsys.readouterr().out
    assert "precision" in out and "steps" not in out


def test_downstream_accuracies_of_pictures(
    real: ImageSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(downstream_accuracy, settings=DownstreamSettings(steps=40, batch=30))
    monkeypatch.setattr(judging, "downstream_accuracy", quick)
    np.savez("same.npz", images=real.images, labels=real.labels)
    words = ["--data", "fashion-mnist", "--features", "pixels", "--downstream"]
    assert main(["evaluate", "same.npz", *words, "--out", "scores.json"]) == 0
    out = capsys.readouterr().out
    scores = {
        s["metric"]: s for s in json.loads(Path("scores.json").read_text())["results"][0]["scores"]
    }
    for name in ("logistic regression accuracy", "MLP accuracy", "CNN accuracy"):
        assert f"{name} (" in out and scores[name]["n"] == 120 and scores[name]["unit"] == "%"
    assert scores["MLP accuracy"]["value"] > 90  # noise, learned by heart: it is its own test
    assert real.labels is not None
    by_hand = quick(
        real.images,
        real.labels,
        real.images,
        real.labels,
        [LabelAxis("class", CLASSES.values)],
    )
    assert [s.value for s in by_hand] == [scores[s.metric]["value"] for s in by_hand]

    # a class that no sample has, no labels at all, points, many samplers: said before any work
    np.savez("nine.npz", images=real.images, labels=np.minimum(real.labels, 8))
    assert main(["evaluate", "nine.npz", *words]) == 2
    assert "none of the 120 images to learn from has the class 'j'" in capsys.readouterr().err
    np.savez("bare.npz", images=real.images)
    assert main(["evaluate", "bare.npz", *words]) == 2
    assert "--downstream needs samples with labels" in capsys.readouterr().err
    assert main(["evaluate", "tiny-grey", *words, "--compare"]) == 2
    assert "leave out --downstream" in capsys.readouterr().err


def test_downstream_accuracies_of_a_folder_and_a_model(
    real: ImageSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(downstream_accuracy, settings=DownstreamSettings(steps=2, batch=30))
    monkeypatch.setattr(judging, "downstream_accuracy", quick)
    assert real.labels is not None
    for i, (image, label) in enumerate(zip(real.images, real.labels[:, 0], strict=True)):
        path = Path("pictures") / CLASSES.values[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    words = ["--data", "fashion-mnist", "--features", "pixels", "--downstream"]
    assert main(["evaluate", "pictures", *words]) == 0
    assert "CNN accuracy (32 and 64 channels, n=120, axis class" in capsys.readouterr().out
    assert main(["evaluate", "tiny-grey", *words, "--n", "30", "--steps", "1"]) == 0
    assert "CNN accuracy (32 and 64 channels, n=30, axis class" in capsys.readouterr().out


def test_downstream_needs_one_label_axis(
    real: ImageSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(real.labels, 2, axis=1)
    for axes, have in (
        ((CLASSES, LabelAxis("again", CLASSES.values)), "class, again"),
        ((), "none"),
    ):
        data = replace(real, axes=axes, labels=labels if axes else None)
        monkeypatch.setattr(datasets, "load", lambda name, wish, data=data: data)
        np.savez("same.npz", images=real.images, labels=labels)
        assert main(["evaluate", "same.npz", "--data", "fashion-mnist", "--downstream"]) == 2
        message = f"exactly one label axis, and fashion-mnist has {have}"
        assert message in " ".join(capsys.readouterr().err.split())


def test_points_are_measured_as_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "tiny-points", "--n", "50", "--steps", "2", "--real", "500"]) == 0
    out = capsys.readouterr().out
    assert "sliced W2 (points, n=50" in out and "MMD" in out
    assert main(["evaluate", "tiny-points", "--n", "50", "--features", "pixels"]) == 2
    assert main(["evaluate", "tiny-points", "--n", "50", "--downstream"]) == 2
    assert "--downstream needs images with labels" in capsys.readouterr().err


def test_unknown_features(real: ImageSet, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "tiny-grey", "--n", "30", "--features", "mobilnet"]) == 2
    assert "did you mean 'mobilenet'" in capsys.readouterr().err


def folder_of(path: Path, n: int, side: int, mode: str, seed: int) -> Path:
    random = np.random.default_rng(seed)
    path.mkdir()
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    for i in range(n):
        rough = random.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(rough, mode).save(path / f"{i}.png")
    return path


def test_larger_pictures_are_not_compared_by_their_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """12,288 numbers a picture would need matrices of 1.2 GB, fifteen at once."""
    monkeypatch.setattr(judging, "mobilenet_weights_path", partial(_raise, SfumatoError("none")))
    mine, real = (folder_of(tmp_path / name, 40, 64, "RGB", i) for i, name in enumerate("ab"))
    words = ["evaluate", str(mine), "--data", str(real), "--resolution", "64"]
    assert main(words) == 0
    assert "Fréchet distance (thumbnails 3x16x16, n=40)" in capsys.readouterr().out
    assert main([*words, "--features", "pixels"]) == 0  # few pictures need no such matrix
    assert "Fréchet distance (pixels 3x64x64, n=40)" in capsys.readouterr().out


def _raise(error: Exception, *_: object) -> Path:
    raise error


def test_thumbnails_are_means_of_areas() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8).div(127.5) - 1
    by_hand = x.reshape(1, 1, 4, 2, 4, 2).mean((3, 5)).flatten(1)
    torch.testing.assert_close(Thumbnails(1, 4)(x), by_hand, rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match="expected images of 3 channels, got 1"):
        Thumbnails(3)(x)


def test_what_cannot_be_compared_is_said_before_features_are_taken(
    tmp_path: Path, real: ImageSet, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(judging, "extract", partial(_raise, AssertionError("features were taken")))
    np.savez("few.npz", images=real.images[:19])
    assert main(["evaluate", "few.npz", "--data", "fashion-mnist"]) == 2
    assert "expected at least 20 samples, got 19" in capsys.readouterr().err
    images = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint8), (20_000, 3, 64, 64), (0, 0, 0, 0)
    )
    many = ImageSet("many", images, None, (), real.card)
    monkeypatch.setattr(datasets, "load", lambda name, wish: many)
    np.savez("some.npz", images=np.zeros((30, 3, 64, 64), np.uint8))
    words = ["evaluate", "some.npz", "--data", "fashion-mnist", "--features", "pixels"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "takes 18 GB" in said and "--features mobilenet or thumbnails" in said


def test_grey_arrays_are_compared_with_grey_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = folder_of(tmp_path / "grey", 30, 16, "L", 3)
    np.savez("grey.npz", images=read_images(grey, 16, 1).x)
    assert main(["evaluate", "grey.npz", "--data", str(grey), "--resolution", "16"]) == 0
    out = capsys.readouterr().out
    assert "pixels 1x16x16" in out and "precision" in out


def test_pictures_in_a_zip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = folder_of(tmp_path / "grey", 30, 16, "L", 3)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", pictures)
    words = ["--data", str(pictures), "--resolution", "16", "--split", "all", "--n", "25"]
    assert main(["evaluate", packed, *words]) == 0
    of_zip = capsys.readouterr().out
    assert main(["evaluate", str(pictures), *words]) == 0
    assert _figures(of_zip) == _figures(capsys.readouterr().out) != []
    assert "the first 25 of 30 are measured; --n takes more" in of_zip
    assert main(["evaluate", str(tmp_path / "absent.zip"), *words]) == 2
    assert "there is no" in capsys.readouterr().err


def _figures(said: str) -> list[str]:
    return [" ".join(line.split()) for line in said.splitlines() if "(pixels" in line]


@pytest.mark.parametrize("more", [[], ["--downstream"], ["--accuracy"]])
def test_a_folder_whose_test_part_is_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(judging, "downstream_accuracy", _short_downstream)
    monkeypatch.setattr(judging, "accuracy_score", lambda *a, **k: _short_downstream(*a))
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(130):
            grey = random.integers(0, 256, (8, 8)).astype(np.uint8) // (1 + (name == "a"))
            Image.fromarray(grey).save(tmp_path / "p" / name / f"{i}.png")
    made = random.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    labels = (np.arange(40) % 2)[:, None]
    np.savez("made.npz", images=made, labels=labels, label_names=["class"], values_class=["a", "b"])
    words = ["--data", str(tmp_path / "p"), "--resolution", "8", "--out", "scores.json", *more]
    assert main(["evaluate", "made.npz", *words]) == 0
    assert "the part for test" in capsys.readouterr().err
    scores = {s["metric"]: s for s in json.loads(Path("scores.json").read_text())["results"][0][
        "scores"]}  # fmt: skip
    held = datasets.load(str(tmp_path / "p"), datasets.DataRequest("test", 0, 8, channels=1,
        folder=datasets.FolderOptions().arguments()))  # fmt: skip
    by_hand = compare(np.asarray(held.images), made, Pixels((1, 8, 8)))
    assert scores["Fréchet distance"]["value"] == pytest.approx(by_hand.scores[0].value)


def _short_downstream(*parts: Any, **_: Any) -> Any:
    return downstream_accuracy(*parts, settings=DownstreamSettings(steps=2, hidden=8))


def test_what_takes_long_is_announced(
    real: ImageSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.console.progress._LONG", -1.0)
    monkeypatch.setattr(judging, "extract", partial(extract, batch=50))
    np.savez("same.npz", images=real.images)
    words = ["evaluate", "same.npz", "--data", "fashion-mnist", "--features", "pixels"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "pixels 1x28x28, real pictures: 120 take about 0 s" in said
    assert said.count("about") == 2
    assert main([*words, "--quiet"]) == 0
    assert "about" not in capsys.readouterr().err


def test_how_many_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _usual_n(EvaluateConfig("tiny-grey")) == 10_000
    assert _usual_n(EvaluateConfig("tiny-grey", data="digits")) == 10_000
    assert _usual_n(EvaluateConfig("tiny-grey", data="photographs/")) == 500
    (tmp_path / "run").mkdir()
    assert _usual_n(EvaluateConfig(str(tmp_path / "run"))) == 10_000
    source = {"path": "photographs"}
    monkeypatch.setattr("sfumato.model.known_data.run_source", lambda folder: source)
    (tmp_path / "run" / "checkpoints").mkdir()
    assert _usual_n(EvaluateConfig(str(tmp_path / "run"))) == 500


def test_labels_are_matched_by_name() -> None:
    x = np.zeros((4, 1, 2, 2), np.uint8)
    labels = np.array([[0, 1], [1, 0], [1, 2], [0, 0]])
    read = Read(x, labels, (("size", ("big", "small")), ("kind", ("bag", "hat", "cup"))))
    wanted = (("kind", ("hat", "bag")),)
    assert read.labels_on(wanted).tolist() == [[0], [1], [2], [1]]  # a cup is "no label"
    assert read.labels_on((("colour", ("red",)),)) is None
    assert Read(x).labels_on(wanted) is None
    assert Read(x, labels).labels_on((("a", ("0",)), ("b", ("0",)))).tolist() == labels.tolist()


def test_files_that_are_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "floats.npz", images=np.zeros((3, 1, 4, 4)))
    with pytest.raises(UsageError, match="uint8"):
        read_images(tmp_path / "floats.npz")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    with pytest.raises(UsageError, match="'images' or 'points', got pictures"):
        read_images(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", images=np.array([{}], dtype=object))
    with pytest.raises(SfumatoError, match="cannot read"):
        read_images(tmp_path / "pickled.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "other.npz").read_bytes()[:60])
    with pytest.raises(SfumatoError, match="cannot read"):
        read_images(tmp_path / "cut.npz")
    np.savez(tmp_path / "last.npz", images=np.zeros((3, 6, 5, 3), np.uint8))
    assert read_images(tmp_path / "last.npz").x.shape == (3, 3, 6, 5)
