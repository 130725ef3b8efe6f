"""The classifier folders: what training writes, and that the shipped ones are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import DataCard, ImageSet, LabelAxis, avatars, fashion_mnist
from sfumato.errors import SfumatoError
from sfumato.files import store
from sfumato.metrics.accuracy import ClassifierTraining, label_accuracy
from sfumato.metrics.classifier import load_classifier, shipped_features
from sfumato.metrics.classifiers import main, train_feature_classifier

ZOO = Path(store.__file__).parents[1] / "zoo"
QUICK = ClassifierTraining(epochs=8, batch=32, channels=8, multipliers=(1, 2))


def shades(seed: int, n: int, labelled: bool = True) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 1))
    images = rng.normal(90 + 60 * labels[:, :, None, None], 12, (n, 1, 8, 8))
    axes = (LabelAxis("shade", ("dark", "light")),) if labelled else ()
    return ImageSet(
        "shades", images.clip(0, 255).astype(np.uint8), labels if labelled else None, axes,
        DataCard("shades", "made here", "CC0", "tiny"),
    )  # fmt: skip


def test_writes_a_folder_that_says_what_it_is(tmp_path: Path) -> None:
    test = shades(1, 200)
    _, scores = train_feature_classifier(
        shades(0, 256), test, tmp_path / "c", name="shades-classifier", command="do it",
        training=QUICK,
    )  # fmt: skip
    assert scores[0].value > 95
    again = load_classifier(tmp_path / "c")
    assert label_accuracy(again, test.images, test.labels)[0].value == scores[0].value
    card = json.loads((tmp_path / "c" / "card.json").read_text())
    assert card["name"] == "shades-classifier" and card["kind"] == "classifier"
    assert card["data"] == "shades" and card["command"] == "do it" and card["seconds"] >= 0
    assert card["labels"] == {"shade": ["dark", "light"]}
    assert list(card["scores"].values()) == [round(scores[0].value, 2)]
    with pytest.raises(ValueError, match="no labels"):
        train_feature_classifier(
            shades(0, 256, labelled=False), test, tmp_path / "d", name="n", command="c"
        )


def test_recipe_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 2
    assert "expected NAME OUT" in capsys.readouterr().err
    assert main(["fashion-classifer", str(tmp_path / "x")]) == 2
    assert "'fashion-classifier'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["fashion-classifier", "avatars-classifier"])
def test_shipped_classifiers_are_as_good_as_their_cards(name: str) -> None:
    """On the first thousand real test images, within 3.5 standard errors of the card's figure."""
    features = shipped_features(name)
    folder = ZOO / name
    assert sum(f.stat().st_size for f in folder.iterdir()) < 2_000_000
    card = json.loads((folder / "card.json").read_text())
    try:
        if name == "fashion-classifier":
            test = fashion_mnist("test").subset(range(1000))
        else:
            test = avatars("test", 32, 1000, progress=False)
    except SfumatoError as error:
        pytest.skip(str(error))
    assert test.labels is not None
    scores = label_accuracy(features.classifier, test.images, test.labels)
    for score, stated in zip(scores, card["scores"].values(), strict=True):
        p = stated / 100
        error = 100 * (p * (1 - p) / 1000) ** 0.5
        assert abs(score.value - stated) < 3.5 * error + 0.3, str(score)
    assert features(test.images[:3]).shape == (3, features.dim)
