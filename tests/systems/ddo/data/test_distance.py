"""Signed distances: of shapes whose distance is known, of digits, and of icons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sfumato.data.mnist import digits
from sfumato.data.packages import DIGITS, EMOJI
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ddo.data.distance import (
    _at_centres,
    _distinct,
    _silhouette,
    digits_sdf,
    icons_sdf,
    inked,
    signed_distance,
)
from sfumato.systems.ddo.nn.harmonic import Domain, coordinates

GRID = 64
FINE = 4 * GRID
with_digits = pytest.mark.skipif(
    not (data_root() / DIGITS.key).is_dir(),
    reason="the digits are not here: run 'sfumato data fetch digits'",
)
with_emoji = pytest.mark.skipif(
    not all((data_root() / package.key).is_dir() for package in EMOJI),
    reason="the emoji are not here: run 'sfumato data fetch emoji'",
)


def cells(n: int) -> np.ndarray:
    """Coordinates of the cells' centres, (2, n, n)."""
    return coordinates((n, n), Domain.REFLECTING).numpy()


def disc(x: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return np.hypot(*(x - centre[:, None, None])) - radius


def slope(d: np.ndarray) -> np.ndarray:
    """|∇d| by central differences, (..., n - 2, n - 2), of d (..., n, n) in sides of the box."""
    n = d.shape[-1]
    x = (d[..., 2:, 1:-1] - d[..., :-2, 1:-1]) * n / 2
    y = (d[..., 1:-1, 2:] - d[..., 1:-1, :-2]) * n / 2
    return np.hypot(x, y)


def test_discs_are_exact_to_a_part_of_the_spacing() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(12):
        centre, radius = rng.uniform(0.35, 0.65, 2), rng.uniform(0.05, 0.3)
        got = _at_centres(disc(cells(FINE), centre, radius)[None] < 0)[0]
        errors.append(got - disc(cells(GRID), centre, radius))
    assert np.abs(errors).max() < 0.2 / GRID
    assert np.sqrt(np.square(errors).mean()) < 0.1 / GRID
    assert abs(np.mean(errors)) < 0.08 / GRID  # no distance is half a pixel too long


def test_half_planes_of_any_direction_are_straight() -> None:
    rng = np.random.default_rng(1)
    errors = []
    for angle in [*rng.uniform(0, 2 * np.pi, 12), 0.0, np.pi / 4, np.pi / 2]:
        normal = np.array([np.cos(angle), np.sin(angle)])
        off = rng.uniform(-0.1, 0.1)

        def plane(n: int, normal: np.ndarray = normal, off: float = off) -> np.ndarray:
            return np.einsum("a,aij->ij", normal, cells(n) - 0.5) - off

        truth = plane(GRID)
        near = (np.abs(truth) < 0.1) & (np.abs(cells(GRID) - 0.5).max(0) < 0.3)
        errors.append((_at_centres(plane(FINE)[None] < 0)[0] - truth)[near])
    assert np.abs(np.concatenate(errors)).max() < 0.16 / GRID
    assert abs(np.mean([e.mean() for e in errors])) < 0.02 / GRID


def test_a_pixel_next_to_a_straight_border_is_half_a_pixel_from_it() -> None:
    mask = np.zeros((2, 3, 8), bool)
    mask[0, :, 3:] = True
    mask[1, :, :2] = True
    made = signed_distance(mask, 0.5)
    ramp = np.arange(8) + 0.5
    assert np.array_equal(made[0], np.broadcast_to((3 - ramp) / 2, (3, 8)))
    assert np.array_equal(made[1], np.broadcast_to((ramp - 2) / 2, (3, 8)))
    assert np.array_equal(signed_distance(mask[0]), 2 * made[0])
    assert np.array_equal(signed_distance(~mask), -2 * made)


def test_mirror_images_are_never_nearer() -> None:
    """What the REFLECTING frame says: the shape alone has the distances of the mirrored plane."""
    alone = disc(cells(FINE), np.array([0.1, 0.45]), 0.2) < 0
    mirrored = np.concatenate([alone[::-1], alone, alone[::-1]])
    mirrored = np.concatenate([mirrored[:, ::-1], mirrored, mirrored[:, ::-1]], axis=1)
    inner = signed_distance(mirrored, 1 / FINE)[FINE : 2 * FINE, FINE : 2 * FINE]
    outside = ~alone
    assert np.array_equal(inner[outside], signed_distance(alone, 1 / FINE)[outside])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((4, 4)), r"expected a bool mask \(..., H, W\), got float64"),
        (np.ones(4, bool), "expected a bool mask"),
        (np.stack([np.eye(4) > 0, np.ones((4, 4), bool)]), r"1 of 2 masks \(the first is number 1"),
        (np.zeros((4, 4), bool), "1 of 1 masks"),
    ],
)
def test_masks_without_a_border_are_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        signed_distance(mask)


def test_a_spacing_that_is_no_length_is_refused() -> None:
    for spacing in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="expected a spacing > 0"):
            signed_distance(np.eye(4) > 0, spacing)


def test_ink_is_found_below_the_size_of_a_pixel() -> None:
    """The outline of a disc, drawn in greys on 28x28, comes back to a tenth of a pixel."""
    centre, radius = np.array([0.47, 0.53]), 0.23
    fine = disc(cells(28 * 16), centre, radius) < 0
    grey = fine.reshape(28, 16, 28, 16).mean((1, 3))
    mask = inked(np.rint(255 * grey).astype(np.uint8)[None], FINE)[0]
    border = np.abs(disc(cells(FINE), centre, radius))[
        mask != (disc(cells(FINE), centre, radius) < 0)
    ]
    assert mask.any()
    assert (border.max() if border.size else 0.0) < 0.1 / 28
    assert mask.mean() == pytest.approx(np.pi * radius**2, rel=1e-2)


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the first 15 real digits of each class."""
    root = tmp_path_factory.mktemp("data")
    (root / "digits").mkdir()
    for digit in range(10):
        data = json.loads((data_root() / DIGITS.key / f"{digit}.json").read_bytes())["data"]
        (root / "digits" / f"{digit}.json").write_text(json.dumps({"data": data[: 15 * 784]}))
    return root


@with_digits
def test_digits_are_distances_and_give_the_digit_back(few_digits: Path) -> None:
    made = digits_sdf("train", GRID, few_digits, progress=False)
    images = digits("train", few_digits / "digits").images[:, 0]
    assert made.values.shape == (120, 1, GRID, GRID)
    assert (made.frame.domain, made.frame.quantities[0].units) == (Domain.REFLECTING, "box side")
    d = made.values[:, 0].astype(float)
    # the digit, seen on its own 28x28 pixels
    area = np.stack([_shrunk(field < 0) for field in d])
    assert np.abs(area - images / 255.0).mean() < 0.02
    assert np.mean((area > 0.5) != (images > 127)) < 0.01
    # |∇d| = 1 but on ridges
    steep = slope(d)
    assert np.median(steep) == pytest.approx(1, abs=3e-3)
    assert np.mean((steep > 0.9) & (steep < 1.05)) > 0.85
    assert steep.max() < 1.05


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """The mean of a mask over each of 28x28 pixels."""
    fine = np.kron(mask, np.ones((7, 7)))  # 448 = 28 * 16
    return fine.reshape(28, 16, 28, 16).mean((1, 3))


@with_digits
def test_digits_agree_with_the_nearest_point_of_the_outline(few_digits: Path) -> None:
    """Against another method: where the spline crosses one half, on a grid of 16 times as many."""
    made = digits_sdf("test", GRID, few_digits, progress=False)
    images = digits("test", few_digits / "digits").images[:, 0]
    points = cells(GRID).reshape(2, -1).T
    for i in range(0, len(made), 6):
        n = 16 * GRID
        mask = inked(images[i][None], n)[0]
        across = np.argwhere(mask[1:] != mask[:-1]) + [1, 0.5]
        along = np.argwhere(mask[:, 1:] != mask[:, :-1]) + [0.5, 1]
        truth = cKDTree(np.concatenate([across, along]) / n).query(points)[0]
        got = made.values[i, 0].ravel()
        assert np.abs(np.abs(got) - truth).max() < 0.3 / GRID
        assert np.sqrt(np.square(np.abs(got) - truth).mean()) < 0.1 / GRID
        inside = mask.reshape(GRID, 16, GRID, 16).mean((1, 3)).ravel() > 0.5
        sure = truth > 0.3 / GRID
        assert np.array_equal(got[sure] < 0, inside[sure])


@with_digits
def test_what_was_made_is_kept_and_checked(few_digits: Path) -> None:
    first = digits_sdf("test", 16, few_digits, progress=False)
    (folder,) = (few_digits / "digits-sdf").glob("test-16-*")
    stamp = (folder / "values.npy").stat().st_mtime_ns
    assert np.array_equal(digits_sdf("test", 16, few_digits).values, first.values)
    assert (folder / "values.npy").stat().st_mtime_ns == stamp
    assert first.card.size == "30 test fields on 16x16 points, 1 quantity"
    values = np.load(folder / "values.npy")
    np.save(folder / "values.npy", -values)
    with pytest.raises(SfumatoError, match="damaged"):
        digits_sdf("test", 16, few_digits)


@with_emoji
def test_icons_are_distances_to_their_silhouettes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.systems.ddo.data import distance

    for package in EMOJI:
        (tmp_path / package.key).symlink_to(data_root() / package.key)
    names = {"train": ("avocado", "red-apple", "anchor"), "test": ("crab",)}
    monkeypatch.setattr(distance, "emoji_names", lambda split, root: names[split])
    made = icons_sdf("train", GRID, ["noto", "twemoji"], tmp_path, progress=False)
    assert made.values.shape == (6, 1, GRID, GRID)
    d = made.values[:, 0].astype(float)
    for field, (name, vendor) in zip(d, _distinct(("noto", "twemoji"), tmp_path)["train"]):
        drawn = np.pad(_silhouette(vendor, name, 3 * GRID // 4, tmp_path), GRID // 8)
        assert np.mean((field < 0) != drawn) < 0.02
        assert np.median(slope(field)) == pytest.approx(1, abs=3e-3)
        # the icon's square is the middle three quarters of the box, so nothing touches the border
        outermost = np.concatenate([field[[0, -1]].ravel(), field[:, [0, -1]].ravel()])
        assert outermost.min() > 1 / 8 - 0.7 / GRID
    assert "Twitter" in made.card.licence
    assert "OpenMoji" not in made.card.licence
    assert icons_sdf("test", 16, root=tmp_path, progress=False).values.shape == (1, 1, 16, 16)


@with_emoji
def test_shapes_much_alike_count_once_and_training_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sfumato.systems.ddo.data import distance

    # all these faces are the same disc in noto
    names = {
        "train": ("grinning-face", "crab", "neutral-face"),
        "test": ("crying-face", "blue-square", "red-square", "slightly-smiling-face"),
    }
    monkeypatch.setattr(distance, "emoji_names", lambda split, root: names[split])
    _distinct.cache_clear()
    found = _distinct(("noto",), data_root())
    _distinct.cache_clear()
    assert found["train"] == (("grinning-face", "noto"), ("crab", "noto"))
    assert found["test"] == (("blue-square", "noto"),)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for make in (digits_sdf, icons_sdf):
        with pytest.raises(UsageError, match="unknown split"):
            make("tset")  # type: ignore[operator]
        for grid in (15, 33, 512):
            with pytest.raises(
                UsageError, match=rf"expected an even grid in 16\.\.256, got {grid}"
            ):
                make("test", grid)  # type: ignore[operator]
        with pytest.raises(SfumatoError, match="sfumato data fetch"):
            make("test", root=tmp_path)  # type: ignore[operator]
    with pytest.raises(UsageError, match="unknown vendor 'notto'; did you mean 'noto'"):
        icons_sdf(vendors=["notto"])
    for vendors in ([], ["noto", "noto"]):
        with pytest.raises(UsageError, match="expected different vendors"):
            icons_sdf(vendors=vendors)
