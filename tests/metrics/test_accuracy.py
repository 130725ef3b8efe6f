"""Classifiers and accuracy scores on pictures small enough to learn in a second."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from sfumato.data import LabelAxis
from sfumato.errors import SfumatoError, UsageError
from sfumato.files import store
from sfumato.metrics.accuracy import (
    Classification,
    ClassifierTraining,
    Progress,
    accuracy_score,
    augment,
    label_accuracy,
    train_classifier,
)
from sfumato.metrics.classifier import (
    ClassifierFeatures,
    LabelledClassifier,
    load_classifier,
    save_classifier,
    shipped_features,
)
from sfumato.train import read_log

AXES = (
    LabelAxis("stripes", ("rows", "columns")),
    LabelAxis("shade", ("dark", "middle", "light")),
)
QUICK = ClassifierTraining(epochs=3, batch=32, channels=8, multipliers=(1, 2), shift=1)


def pictures(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """12x12 stripes of two directions in three shades, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.stack((rng.integers(0, 2, n), rng.integers(0, 3, n)), 1)
    wave = np.where((np.arange(12) // 2) % 2, 25, -25)
    images = np.where(labels[:, 0, None, None] == 0, wave[:, None], wave[None, :])
    images = images + 64 * (1 + labels[:, 1, None, None]) + rng.normal(0, 10, (n, 12, 12))
    return images.clip(0, 255).astype(np.uint8)[:, None], labels


@pytest.fixture(scope="module")
def classifier() -> LabelledClassifier:
    return train_classifier(*pictures(0, 600), AXES, name="stripes", training=QUICK)


def test_learns_both_axes(classifier: LabelledClassifier) -> None:
    stripes, shade = label_accuracy(classifier, *pictures(1, 400))
    assert stripes.value > 97 and shade.value > 97
    assert str(stripes).startswith("label accuracy (stripes, n=400, axis stripes) ")


def test_score_falls_with_wrong_labels_and_with_missing_variety() -> None:
    images, labels = pictures(2, 600)
    test = pictures(3, 600)
    good = accuracy_score(images, labels, *test, AXES, training=QUICK)
    assert min(score.value for score in good) > 97
    assert good[0].n == 600 and "600 real test images" in str(good[0])
    wrong = np.random.default_rng(4).permutation(labels)
    bad = accuracy_score(images, wrong, *test, AXES, training=QUICK)
    assert bad[0].value < 75 and bad[1].value < 60
    rows = labels[:, 0] == 0  # a generator that never draws columns
    poor = accuracy_score(images[rows], labels[rows], *test, AXES, training=QUICK)
    assert poor[0].value == pytest.approx(100 * (test[1][:, 0] == 0).mean(), abs=0.01)


def test_label_accuracy_counts_right(classifier: LabelledClassifier) -> None:
    images, labels = pictures(5, 50)
    truth = (classifier.predict(images).numpy() == labels).mean(0)
    scores = label_accuracy(classifier, images, labels)
    assert [s.value for s in scores] == pytest.approx(list(100 * truth))
    flipped = labels.copy()
    flipped[:, 0] = 1 - flipped[:, 0]
    assert label_accuracy(classifier, images, flipped)[0].value == pytest.approx(
        100 - scores[0].value
    )
    half = labels.copy()
    half[:25, 1] = 3  # no label on this axis
    assert label_accuracy(classifier, images, half)[1].n == 25


def test_same_seed_same_weights_and_nothing_else_moves() -> None:
    images, labels = pictures(6, 96)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    seen: list[Progress] = []
    one = train_classifier(images, labels, AXES, training=QUICK, progress=seen.append)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(8)
    floats = torch.from_numpy(images).float() / 127.5 - 1
    two = train_classifier(floats, torch.from_numpy(labels), AXES, training=QUICK)
    for key, value in one.network.state_dict().items():
        assert torch.equal(value, two.network.state_dict()[key]), key
    assert seen[-1].step == seen[-1].steps == 9


def test_a_training_leaves_a_run_and_goes_on_from_it(tmp_path: Path) -> None:
    images, labels = pictures(6, 96)
    run = tmp_path / "run"
    one = train_classifier(images, labels, AXES, training=QUICK, run=run)
    assert [line["step"] for line in read_log(run)] == [9]
    (saved,) = (run / "checkpoints").iterdir()
    assert (saved / "ema.safetensors").is_file()
    again = train_classifier(images, labels, AXES, training=QUICK, run=run)  # nothing is left to do
    for key, value in one.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key
    with pytest.raises(UsageError, match="another model: training.shift: 1 there, 0 here"):
        train_classifier(images, labels, AXES, training=replace(QUICK, shift=0), run=run)


def test_the_loss_is_the_mean_over_those_that_have_a_label() -> None:
    g = torch.Generator().manual_seed(0)
    logits = [torch.randn(6, n, generator=g) for n in (2, 3)]
    y = torch.tensor([[0, 1], [1, -100], [1, 2], [0, -100], [0, 0], [1, -100]])
    x = torch.zeros(6, 1, 4, 4)
    got = Classification(0.1).losses(lambda _: logits, (x, y)).mean()  # type: ignore[arg-type]
    want = sum(
        torch.nn.functional.cross_entropy(said, y[:, a], label_smoothing=0.1)
        for a, said in enumerate(logits)
    )
    assert float(got) == pytest.approx(float(want), rel=1e-5)
    none = torch.full_like(y, -100)
    assert float(Classification().losses(lambda _: logits, (x, none)).sum()) == 0  # type: ignore[arg-type]


def test_missing_labels_do_not_count() -> None:
    """Without any label on an axis its head is not trained; the other axis is."""
    images, labels = pictures(9, 600)
    labels[:, 1] = 3
    trained = train_classifier(images, labels, AXES, training=QUICK)
    stripes, shade = label_accuracy(trained, *pictures(1, 300))
    assert stripes.value > 97
    assert shade.value < 70


def test_augmentation_moves_and_mirrors() -> None:
    x = torch.arange(8 * 2 * 6 * 6, dtype=torch.float32).reshape(8, 2, 6, 6)
    u = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    still = augment(x, False, 0, u)
    assert torch.equal(still, x)
    mirrored = augment(x, True, 0, u)
    kinds = {
        "same" if torch.equal(a, b) else "mirrored" if torch.equal(a.flip(2), b) else "other"
        for a, b in zip(x, mirrored, strict=True)
    }
    assert kinds == {"same", "mirrored"}
    moved = augment(x, False, 1, u)
    for a, b in zip(x, moved, strict=True):
        padded = torch.nn.functional.pad(a[None], (1, 1, 1, 1), mode="replicate")[0]
        windows = [padded[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)]
        assert any(torch.equal(b, w) for w in windows)


def test_folder_round_trip(classifier: LabelledClassifier, tmp_path: Path) -> None:
    save_classifier(classifier, tmp_path / "c", {"name": "stripes"})
    again = load_classifier(tmp_path / "c")
    images, _ = pictures(10, 40)
    assert (again.name, again.axes, again.resolution) == ("stripes", AXES, 12)
    features, other = ClassifierFeatures(classifier), ClassifierFeatures(again)
    assert torch.allclose(features(images), other(images), atol=1e-5)
    assert features.name == "stripes" and features(images).shape == (40, features.dim)
    assert features.dim == 16
    assert torch.equal(again.predict(images, batch=7), classifier.predict(images))
    with pytest.raises(SfumatoError, match="exists already"):
        save_classifier(classifier, tmp_path / "c", {})


def test_damaged_and_foreign_folders_are_refused(
    classifier: LabelledClassifier, tmp_path: Path
) -> None:
    folder = save_classifier(classifier, tmp_path / "c", {"name": "stripes"})
    files = store.read_folder(folder)
    description = json.loads(files["model.json"])

    def refuse(name: str, changed: dict[str, bytes], words: str) -> None:
        store.write_folder(tmp_path / name, changed)
        with pytest.raises(SfumatoError, match=words):
            load_classifier(tmp_path / name)

    def described(**changes: object) -> dict[str, bytes]:
        return {**files, "model.json": json.dumps({**description, **changes}).encode()}

    refuse("newer", described(format_version=2), "newer")
    refuse("other", described(kind="denoiser"), "not a classifier but denoiser")
    refuse("words", {**files, "model.json": b"[]"}, "does not describe")
    refuse("config", described(config={**description["config"], "channels": 9}), "do not fit")
    refuse("field", described(config={"nonsense": 1}), "do not fit")
    weights = load(files["model.safetensors"])
    weights.pop("heads.0.bias")
    refuse("fewer", {**files, "model.safetensors": save(weights)}, "do not fit")
    refuse("none", {"card.json": b"{}"}, "no model.json")
    rng = random.Random(0)
    for _ in range(20):
        victim = folder / rng.choice(list(files))
        data = bytearray(victim.read_bytes())
        at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
        data[at] ^= bit
        victim.write_bytes(data)
        with pytest.raises(SfumatoError, match=victim.name):
            load_classifier(folder)
        data[at] ^= bit
        victim.write_bytes(data)
    load_classifier(folder)


def test_says_what_is_wrong(classifier: LabelledClassifier) -> None:
    images, labels = pictures(11, 64)
    with pytest.raises(UsageError, match=r"expected integer labels \(64, 2\)"):
        train_classifier(images, labels[:, 0], AXES)
    with pytest.raises(UsageError, match=r"labels 0\.\.1 on the axis 'stripes'"):
        train_classifier(images, labels + 2, AXES)
    with pytest.raises(UsageError, match="at least 128 images"):
        train_classifier(images, labels, AXES)
    with pytest.raises(UsageError, match="trained on images of shape"):
        classifier.predict(images[:, :, :8, :8])
    with pytest.raises(UsageError, match="no image has a label"):
        label_accuracy(classifier, images, np.full_like(labels, [[0, 3]]))
    with pytest.raises(UsageError, match="epochs >= 1"):
        ClassifierTraining(epochs=0)
    with pytest.raises(UsageError, match="'fashion-classifer'"):
        shipped_features("fashion-classifer")
    wild = ClassifierTraining(epochs=3, batch=32, rate=1e30, channels=8, multipliers=(1, 2))
    with pytest.raises(SfumatoError, match="loss is not finite .* lower learning rate"):
        train_classifier(images, labels, AXES, training=wild)
