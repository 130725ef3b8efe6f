"""Labels in words."""

import numpy as np
import pytest
import torch

from sfumato.errors import UsageError
from sfumato.model.labels import labels
from sfumato.seeds import fold

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
    found = labels("style=micah,glasses=yes", FACE, 3, 7)
    assert found.labels.tolist() == [[1, 1, fold(7, "label", "age", i) % 2] for i in range(3)]
    age = FACE[2][1][found.labels[0, 2]]
    assert found.words(0) == ["micah", "glasses", age]
    assert labels("glasses=no,age=2,any", FACE, 1).labels.tolist() == [[2, 2, 2]]
    assert labels("age=2", FACE, 1).labels.tolist() == [[0, 0, 1]]


def test_values_named_by_numbers_come_before_numbers() -> None:
    assert labels("age=1", FACE, 1).labels[0, 2] == 0


ODD = [("class", ("R+D", "a, b", "x=y", "C", "C++", "back\\slash"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("R+D", [0]),
        ("a, b", [1]),
        ("x=y", [2]),
        ("C++", [4]),
        ("class=C", [3]),
        (r"R\+D+x\=y", [0, 2]),
        (r"class=a\, b+C", [1, 3]),
        ('"R+D"', [0]),
        ('["R+D", "C++", "a, b"]', [0, 4, 1]),
        ('{"class": ["x=y", "any"]}', [2, 6]),
        ("back\\slash", [5]),
        ("r d+RD", [0, 0]),
    ],
)
def test_names_with_signs_in_them(text: str, expected: list[int]) -> None:
    assert labels(text, ODD, len(expected)).labels[:, 0].tolist() == expected
    assert labels([text], ODD, 1).labels[0, 0] == expected[0]


def test_several_axes_as_json() -> None:
    found = labels('{"style": "micah", "glasses": ["none", "any"], "age": 2}', FACE, 2)
    assert found.labels.tolist() == [[1, 0, 1], [1, 2, 1]]


def test_a_name_that_may_be_two_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'C' or 'C\+\+'"):
        labels("c", ODD, 1)


@pytest.mark.parametrize("text", ["0", "4", "-1", "01"])
def test_where_names_are_numbers_a_number_is_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="value of the label 'grade'"):
        labels(text, [("grade", ("1", "2", "3"))], 1)
    assert labels(0, [("grade", ("1", "2", "3"))], 1).labels.tolist() == [[0]]  # a place


@pytest.mark.parametrize("text", ['{"class": ', "[1"])
def test_half_a_json(text: str) -> None:
    with pytest.raises(UsageError, match="no JSON"):
        labels(text, CLASS, 1)


@pytest.mark.parametrize("text", ["3", "-1", "boot", "klass=1", "class=1,class=2"])
def test_labels_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError):
        labels(text, CLASS, 2)


def test_which_axis_must_be_said() -> None:
    with pytest.raises(UsageError, match="axis=value"):
        labels("micah", FACE, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2, [2, 2, 2]),
        ("Trouser", [1, 1, 1]),
        (["Ankle boot", "trouser", "any"], [2, 1, 3]),
        ([1], [1, 1, 1]),
        ([2, 0, 1], [2, 0, 1]),
        (np.array([[0], [1], [3]]), [0, 1, 3]),
        (torch.tensor([2, 2, 0]), [2, 2, 0]),
        (None, [0, 1, 2]),
    ],
)
def test_names_numbers_and_arrays(given: object, expected: list[int]) -> None:
    assert labels(given, CLASS, 3, 0).labels[:, 0].tolist() == expected


def test_several_axes_by_rows() -> None:
    rows = [[0, 1, 0], [1, 2, 1]]
    assert labels(np.array(rows), FACE, 2).labels.tolist() == rows
    assert labels(rows[:1], FACE, 2).labels.tolist() == [rows[0]] * 2
    named = labels(["style=micah,glasses=no,age=2", "any"], FACE, 2).labels
    assert named.tolist() == [[1, 0, 1], [2, 2, 2]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Troser", "did you mean 'Trouser'"),
        ([0, 1], "1 or 3 samples, got 2"),
        ([0, 1, 4], "has the values 0 to 2 .*got 4"),
        ([0.5, 1, 1], "whole numbers"),
        (np.zeros((3, 2), int), r"\(3, 1\).*got int64 \(3, 2\)"),
        (-1, "values 0 to 2"),
    ],
)
def test_wrong_labels_say_what_there_is(given: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        labels(given, CLASS, 3)
    with pytest.raises(UsageError, match="without labels"):
        labels(given, (), 3)
