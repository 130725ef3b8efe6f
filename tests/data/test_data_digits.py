"""Handwritten digits: the split, the damage, and the real package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import DIGITS, digits
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError


def write_digits(folder: Path, n: int) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (10, n, 784))
    for digit in range(10):
        values = (pixels[digit].ravel() / 255).round(3).tolist()
        (folder / f"{digit}.json").write_text(json.dumps({"data": values}))
    return pixels


def test_train_and_test_share_nothing_and_hold_everything(tmp_path: Path) -> None:
    pixels = write_digits(tmp_path, 11)
    train, test = digits("train", tmp_path), digits("test", tmp_path)
    assert (len(train), len(test)) == (90, 20)
    assert train.labels is not None
    assert test.labels is not None
    for digit in range(10):
        kept = train.images[train.labels[:, 0] == digit].reshape(-1, 784)
        held = test.images[test.labels[:, 0] == digit].reshape(-1, 784)
        assert np.array_equal(held, pixels[digit][[4, 9]])
        assert np.array_equal(kept, pixels[digit][[0, 1, 2, 3, 5, 6, 7, 8, 10]])


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="sfumato data fetch digits"):
        digits(root=tmp_path)
    write_digits(tmp_path, 5)
    (tmp_path / "3.json").write_text('{"data": [0.5')
    with pytest.raises(SfumatoError, match="3.json is damaged"):
        digits(root=tmp_path)


def test_the_real_digits_have_the_published_counts() -> None:
    if not (data_root() / DIGITS.key).is_dir():
        pytest.skip("the digits are not here: run 'sfumato data fetch digits'")
    train, test = digits("train"), digits("test")
    assert train.labels is not None
    assert test.labels is not None
    counts = np.bincount(train.labels[:, 0]) + np.bincount(test.labels[:, 0])
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    # a fact about digits: a one has the least ink
    ink = [train.images[train.labels[:, 0] == digit].mean() for digit in range(10)]
    assert int(np.argmin(ink)) == 1
