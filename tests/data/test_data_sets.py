"""Sets: what `batch` returns, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sfumato.data import DataCard, ImageSet, LabelAxis, PointSet, to_uint8

CARD = DataCard("toy", "made here", "none needed", "few")
AXES = (LabelAxis("kind", ("a", "b")), LabelAxis("size", ("s", "m", "l")))


def toy() -> ImageSet:
    images = np.arange(5 * 3 * 4 * 4, dtype=np.uint8).reshape(5, 3, 4, 4)
    labels = np.array([[0, 0], [1, 2], [0, 1], [1, 1], [0, 2]], np.int64)
    return ImageSet("toy", images, labels, AXES, CARD)


def test_batch_is_the_affine_map_of_the_pixels_in_the_order_asked() -> None:
    data = toy()
    x, labels = data.batch([3, 0, 3])
    assert (len(data), data.resolution, data.channels) == (5, 4, 3)
    assert x.dtype == torch.float32
    assert labels is not None
    assert labels.dtype == torch.int64
    expected = data.images[[3, 0, 3]].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)
    assert labels.tolist() == [[1, 1], [0, 0], [1, 1]]


def test_to_uint8_inverts_batch_on_every_value_and_clamps() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    x, labels = ImageSet("grey", every, None, (), CARD).batch(torch.tensor([0]))
    assert labels is None
    assert torch.equal(to_uint8(x), torch.from_numpy(every))
    assert to_uint8(torch.tensor([-1.5, 1.5, float(x[0, 0, 0, 1])])).tolist() == [0, 255, 1]


def test_batch_never_gives_a_view_of_the_data() -> None:
    data = toy()
    x, labels = data.batch(np.array([1]))
    assert labels is not None
    x.zero_()
    labels.zero_()
    assert data.images[1].any()
    assert data.labels is not None
    assert data.labels[1].tolist() == [1, 2]


@pytest.mark.parametrize("indices", [[-1], [5], [0.5], [[0, 1]], np.array([True, False])])
def test_bad_indices_are_refused(indices: object) -> None:
    with pytest.raises(ValueError, match="indices"):
        toy().batch(indices)  # type: ignore[arg-type]


def test_an_empty_batch_is_empty() -> None:
    x, labels = toy().batch([])
    assert x.shape == (0, 3, 4, 4)
    assert labels is not None
    assert labels.shape == (0, 2)


def test_subset_keeps_images_and_labels_together() -> None:
    data, part = toy(), toy().subset([4, 1])
    assert np.array_equal(part.images, data.images[[4, 1]])
    assert part.labels is not None
    assert part.labels.tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize(
    ("images", "labels", "axes", "said"),
    [
        (np.zeros((2, 3, 4, 4), np.float32), None, (), "uint8"),
        (np.zeros((2, 3, 4), np.uint8), None, (), "uint8"),
        (np.zeros((2, 3, 4, 4), np.uint8), None, AXES, "no labels"),
        (np.zeros((2, 3, 4, 4), np.uint8), np.zeros((2, 1), np.int64), AXES, "shape"),
        (np.zeros((1, 3, 4, 4), np.uint8), np.array([[0, 3]]), AXES, "'size'"),
        (np.zeros((1, 3, 4, 4), np.uint8), np.array([[-1, 0]]), AXES, "'kind'"),
    ],
)
def test_malformed_sets_are_refused(
    images: np.ndarray, labels: np.ndarray | None, axes: tuple[LabelAxis, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ImageSet("toy", images, labels, axes, CARD)


def test_point_sets_batch_like_images_and_refuse_other_types() -> None:
    data = PointSet("p", np.arange(6, dtype=np.float32).reshape(3, 2), None, (), CARD)
    x, labels = data.batch([2, 0])
    assert x.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert labels is None
    assert data.dimension == 2
    with pytest.raises(ValueError, match="float32"):
        PointSet("p", np.zeros((3, 2)), None, (), CARD)


def test_label_axes_find_values_and_refuse_doubles() -> None:
    assert AXES[1].index("l") == 2
    with pytest.raises(ValueError, match="s, m, l"):
        AXES[1].index("xl")
    with pytest.raises(ValueError, match="distinct"):
        LabelAxis("twice", ("a", "a"))
