"""Labels in words."""

import pytest

from sfumato.console.labels import labels
from sfumato.errors import UsageError

CLASS = [("class", ("T-shirt/top", "Trouser", "Ankle boot"))]
FACE = [("style", ("lorelei", "micah")), ("glasses", ("none", "glasses")), ("age", ("1", "2"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [0, 1, 2, 0, 1]),
        ("trouser", [1, 1, 1, 1, 1]),
        ("2", [2, 2, 2, 2, 2]),
        ("class=ankleboot", [2, 2, 2, 2, 2]),
        ("tshirttop+Ankle boot", [0, 2, 0, 2, 0]),
        ("any", [3, 3, 3, 3, 3]),
        ("any+1", [3, 1, 3, 1, 3]),
    ],
)
def test_one_axis(text: str, expected: list[int]) -> None:
    assert labels(text, CLASS, 5).labels[:, 0].tolist() == expected


def test_several_axes() -> None:
    found = labels("style=micah,glasses=yes", FACE, 3, lambda axis, i: 5 + i)
    assert found.labels.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert found.words(0) == ["micah", "glasses", "2"]
    assert labels("glasses=no,age=2,any", FACE, 1).labels.tolist() == [[2, 2, 2]]
    assert labels("age=2", FACE, 1, lambda axis, i: 0).labels.tolist() == [[0, 0, 1]]


def test_values_named_by_numbers_come_before_numbers() -> None:
    assert labels("age=1", FACE, 1, lambda axis, i: 0).labels[0, 2] == 0


@pytest.mark.parametrize("text", ["3", "-1", "boot", "klass=1", "class=1,class=2"])
def test_labels_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError):
        labels(text, CLASS, 2)


def test_which_axis_must_be_said() -> None:
    with pytest.raises(UsageError, match="axis=value"):
        labels("micah", FACE, 2)
