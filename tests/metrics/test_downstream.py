"""Three classifiers learn from pictures what can be learned, and no more."""

import math

import numpy as np
import pytest
import torch

from sfumato.data import LabelAxis, data_root, fashion_mnist
from sfumato.data.mnist import DEBIAN_FOLDER
from sfumato.errors import SfumatoError, UsageError
from sfumato.metrics import DownstreamSettings, Score, downstream_accuracy
from sfumato.metrics.accuracy import Progress

SIDE = (LabelAxis("side", ("left", "right")),)
QUICK = DownstreamSettings(steps=300, batch=64, rate=3e-3)
Labelled = tuple[np.ndarray, np.ndarray]


def halves(seed: int, n: int, xor: bool, channels: int = 1) -> Labelled:
    """8x8 noise with a bright or dark left and right half: 'left', or whether the two differ."""
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 2, (2, n))
    shade = np.where(np.arange(8) < 4, left[:, None], right[:, None])[:, None, None, :]
    images = 64 + 128 * shade + rng.normal(0, 20, (n, channels, 8, 8))
    return images.clip(0, 255).astype(np.uint8), left ^ right if xor else left


def gaussians(seed: int, n: int) -> Labelled:
    """8x8 independent Gaussian pixels of mean -1/32 or 1/32 and deviation 1/4."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    means = (2 * labels[:, None, None, None] - 1) / 32
    return means + rng.normal(0, 1 / 4, (n, 1, 8, 8)), labels


BEST = 50 * (1 + math.erf(math.sqrt(1 / 2)))
"""What the best classifier of `gaussians` gets: their sum is off by one standard deviation."""


def values(scores: tuple[Score, ...]) -> list[float]:
    return [score.value for score in scores]


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_line_separates_all_three_learn(channels: int) -> None:
    train, test = halves(0, 1000, False, channels), halves(1, 600, False, channels)
    scores = downstream_accuracy(*train, *test, SIDE, settings=QUICK)
    assert min(values(scores)) > 99
    assert [s.metric for s in scores] == [
        "logistic regression accuracy",
        "MLP accuracy",
        "CNN accuracy",
    ]
    assert all(
        s.n == 1000 and s.unit == "%" and "600 real test images" in s.setting for s in scores
    )


def test_what_no_line_separates_logistic_regression_cannot_learn() -> None:
    scores = downstream_accuracy(
        *halves(2, 1500, True), *halves(3, 1000, True), SIDE, settings=QUICK
    )
    line, mlp, cnn = scores
    assert 30 < line.value < 70
    assert mlp.value > 97 and cnn.value > 97
    p = line.value / 100
    assert line.error == pytest.approx(100 * math.sqrt(p * (1 - p) / 1000))


def test_nobody_beats_the_best_possible_classifier() -> None:
    """None is above the best accuracy, and logistic regression, whose rule it is, is near it."""
    train, test = gaussians(4, 6000), gaussians(5, 6000)
    scores = downstream_accuracy(*train, *test, SIDE, settings=QUICK)
    assert scores[0].value == pytest.approx(BEST, abs=1.5)  # three standard errors
    assert all(BEST - 5 < value < BEST + 1.5 for value in values(scores))


def test_wrong_labels_teach_nothing() -> None:
    images, labels = gaussians(6, 2000)
    wrong = np.random.default_rng(7).permutation(labels)
    scores = downstream_accuracy(images, wrong, *gaussians(8, 2000), SIDE, settings=QUICK)
    # learned by heart is a random direction, which is the right one by 1/8 or so among 64
    assert all(40 < value < 60 for value in values(scores))


def test_same_seed_same_figures_and_nothing_else_moves() -> None:
    settings = DownstreamSettings(steps=20, batch=32)
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (400, 1, 9, 6)).astype(np.uint8)  # neither square nor even
    labels = (images.mean((1, 2, 3)) > 127.5).astype(np.int64)
    test = images[200:], labels[200:]
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    seen: list[Progress] = []
    one = downstream_accuracy(
        images[:200], labels[:200], *test, SIDE, settings=settings, progress=seen.append
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert seen[-1].step == seen[-1].steps == 60
    assert [p.step for p in seen] == sorted(p.step for p in seen)
    torch.manual_seed(8)
    floats = torch.from_numpy(images[:200]).float() / 127.5 - 1
    two = downstream_accuracy(
        floats, torch.from_numpy(labels[:200, None]), *test, SIDE, settings=settings
    )
    assert one == two
    other = DownstreamSettings(steps=20, batch=32, seed=1)
    assert values(downstream_accuracy(images[:200], labels[:200], *test, SIDE, settings=other)) != (
        values(one)
    )


def test_images_without_a_label_do_not_count() -> None:
    train, test = halves(9, 600, False), halves(10, 400, False)
    train[1][300:] = 2
    test[1][100:] = 2
    settings = DownstreamSettings(steps=30, batch=32)
    some = downstream_accuracy(*train, *test, SIDE, settings=settings)
    assert all(s.n == 300 and "100 real test images" in s.setting for s in some)
    few = (train[0][:300], train[1][:300]), (test[0][:100], test[1][:100])
    assert some == downstream_accuracy(*few[0], *few[1], SIDE, settings=settings)


def test_real_clothes() -> None:
    """5,000 real pictures and few steps; 60,000 and all steps are in docs/metrics.md."""
    if not any(f.is_dir() for f in (data_root() / "fashion-mnist", DEBIAN_FOLDER)):
        pytest.skip("Fashion-MNIST is not here: run 'sfumato data fetch fashion-mnist'")
    train, test = fashion_mnist("train"), fashion_mnist("test")
    axes = [LabelAxis(axis.name, axis.values) for axis in train.axes]
    assert train.labels is not None and test.labels is not None
    line, mlp, cnn = downstream_accuracy(
        train.images[:5000],
        train.labels[:5000],
        test.images[:1000],
        test.labels[:1000],
        axes,
        settings=DownstreamSettings(steps=300, batch=32, rate=2e-3),
    )
    assert line.value > 76 and mlp.value > 78 and cnn.value > 78


def test_says_what_is_wrong() -> None:
    images, labels = halves(11, 40, False)
    good = images, labels
    two = (*SIDE, LabelAxis("shade", ("dark", "light")))
    with pytest.raises(UsageError, match="exactly one label axis, got side, shade"):
        downstream_accuracy(images, np.stack((labels, labels), 1), *good, two)
    with pytest.raises(UsageError, match="exactly one label axis, got none"):
        downstream_accuracy(images, np.zeros((40, 0), np.int64), *good, ())
    with pytest.raises(
        UsageError, match="none of the 40 images to learn from has the side 'right'"
    ):
        downstream_accuracy(images, 0 * labels, *good, SIDE)
    with pytest.raises(UsageError, match=r"expected integer labels \(40, 1\)"):
        downstream_accuracy(images, labels[:30], *good, SIDE)
    with pytest.raises(UsageError, match=r"labels 0\.\.1 on the axis 'side'"):
        downstream_accuracy(*good, images, labels + 2, SIDE)
    with pytest.raises(UsageError, match="no test image has a label"):
        downstream_accuracy(*good, images, 0 * labels + 2, SIDE)
    with pytest.raises(UsageError, match=r"test images of shape \(1, 8, 8\)"):
        downstream_accuracy(*good, images[:, :, :6, :6], labels, SIDE)
    with pytest.raises(UsageError, match="at least 4x4"):
        downstream_accuracy(images[:, :, :3], labels, images[:, :, :3], labels, SIDE)
    with pytest.raises(UsageError, match="1 or 3"):
        downstream_accuracy(images[:, 0], labels, images[:, 0], labels, SIDE)
    for words in ({"steps": 0}, {"rate": 0.0}, {"dropout": 1.0}, {"channels": (8, 0)}):
        with pytest.raises(UsageError, match=f"{next(iter(words))}"):
            DownstreamSettings(**words)
    with pytest.raises(SfumatoError, match="loss is not finite .* lower learning rate"):
        downstream_accuracy(*good, *good, SIDE, settings=DownstreamSettings(steps=5, rate=1e30))
