"""Emoji: which things, in which split, drawn on white and kept; toy packages and the real ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

from sfumato.data.emoji import (
    CATEGORIES,
    EMOJI_AXES,
    VENDORS,
    emoji,
    emoji_names,
    render,
    svg_of_icon,
)
from sfumato.data.kept import split_of
from sfumato.data.packages import EMOJI
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError

NAMES = [f"thing-{k:02d}" for k in range(40)]
COLOURS = {"noto": "ff0000", "twemoji": "00ff00", "openmoji": "0000ff", "fluent": "000000"}


def write_packages(root: Path) -> Path:
    """Four vendors who draw filled squares of their colour; each also draws something alone."""
    for vendor in VENDORS:
        folder = root / f"emoji-{vendor}"
        folder.mkdir(parents=True)
        body = f'<path d="M0 0h16v16H0z" fill="#{COLOURS[vendor]}"/>'
        icons = {name: {"body": body} for name in [*NAMES, f"only-{vendor}"]}
        texts = {
            "icons.json": {"icons": icons, "width": 16, "height": 16},
            "metadata.json": {"categories": {"Objects": NAMES[:30], "Symbols": NAMES[30:]}},
            "info.json": {},
        }
        sums = ""
        for name, found in sorted(texts.items()):
            (folder / name).write_text(json.dumps(found))
            sums += f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        (folder / "SHA256SUMS").write_text(sums)
    return root


def test_only_what_all_draw_once_by_each_with_true_labels(tmp_path: Path) -> None:
    root = write_packages(tmp_path)
    train, test = (emoji_names(split, root) for split in ("train", "test"))  # type: ignore[arg-type]
    assert sorted([*train, *test]) == NAMES
    assert train and test and not set(train) & set(test)
    data = emoji("train", 8, root=root, progress=False)
    assert data.axes == EMOJI_AXES
    assert data.labels is not None
    assert len(data) == 4 * len(train)
    for i, (vendor, category) in enumerate(data.labels):
        name = train[i // 4]
        assert VENDORS[vendor] == VENDORS[i % 4]
        assert CATEGORIES[category] == ("Objects" if name in NAMES[:30] else "Symbols")
        colour = bytes.fromhex(COLOURS[VENDORS[vendor]])
        assert data.images[i][:, 4, 4].tobytes() == colour


def test_some_vendors_alone_show_the_same_pictures(tmp_path: Path) -> None:
    root = write_packages(tmp_path)
    everyone = emoji("test", 8, root=root, progress=False)
    two = emoji("test", 8, ("fluent", "noto"), root, progress=False)
    assert two.labels is not None and two.labels[:2, 0].tolist() == [3, 0]
    assert np.array_equal(two.images[0::2], everyone.images[3::4])
    assert np.array_equal(two.images[1::2], everyone.images[0::4])


def test_the_split_depends_on_the_name_alone_and_is_about_a_tenth() -> None:
    names = [f"name {k}" for k in range(20_000)]
    share = sum(split_of(name) == "test" for name in names) / len(names)
    assert abs(share - 0.1) < 5 * np.sqrt(0.09 / len(names))
    assert (split_of("red-apple"), split_of("alien-monster")) == ("train", "test")  # for good


def test_drawn_once_checked_and_not_needing_the_packages_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_packages(tmp_path)
    first = emoji("test", 8, root=root, progress=False)
    monkeypatch.setattr("sfumato.data.emoji.render", lambda *_: 1 / 0)
    again = emoji("test", 8, root=root, progress=False)
    assert isinstance(again.images, np.memmap)
    assert np.array_equal(again.images, first.images)
    with pytest.raises(ZeroDivisionError):  # an interrupted drawing leaves nothing
        emoji("train", 8, root=root, progress=False)
    assert [path.name for path in (root / "emoji").iterdir()] == ["test-8px-g1"]
    path = root / "emoji" / "test-8px-g1" / "images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SfumatoError, match=r"images.npy.*delete that folder"):
        emoji("test", 8, root=root, progress=False)


def test_transparent_parts_are_white_and_oblong_icons_keep_their_shape() -> None:
    body = '<path d="M0 0h16v8H0z" fill="#000" fill-opacity=".5"/>'
    icons = {"icons": {"bar": {"body": body, "height": 8}}, "width": 16}
    picture = render(svg_of_icon(icons, "bar"), 16)
    assert picture.shape == (3, 16, 16)
    assert (picture[:, :4] == 255).all() and (picture[:, 12:] == 255).all()
    assert abs(picture[:, 4:12].astype(int) - 127).max() <= 1
    moved = {"icons": {"dot": {"body": '<path d="M-4 2h4v4h-4z"/>', "left": -4, "top": 2}},
             "width": 4, "height": 4}  # fmt: skip
    assert (render(svg_of_icon(moved, "dot"), 8) == 0).all()


def test_absent_damaged_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="sfumato data fetch emoji"):
        emoji("train", root=tmp_path)
    with pytest.raises(SfumatoError, match="sfumato data fetch emoji"):
        emoji_names("train", tmp_path)
    with pytest.raises(UsageError, match="unknown vendor 'notto'; did you mean 'noto'"):
        emoji("train", vendors=("notto",))
    with pytest.raises(UsageError, match="different vendors"):
        emoji("train", vendors=("noto", "noto"))
    with pytest.raises(UsageError, match="unknown split"):
        emoji_names("validation")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resolution must lie in 8..1024"):
        emoji("train", 4)
    root = write_packages(tmp_path / "damaged")
    (root / "emoji-twemoji" / "icons.json").write_text("{}")
    with pytest.raises(SfumatoError, match="icons.json does not have the checksum"):
        emoji("train", root=root)


def test_the_real_sets() -> None:
    if not all((data_root() / package.key).is_dir() for package in EMOJI):
        pytest.skip("the emoji are not here: run 'sfumato data fetch emoji'")
    train, test = emoji_names("train"), emoji_names("test")
    assert (len(train), len(test)) == (1421, 140)
    assert not set(train) & set(test)
    data = emoji("test", 64, progress=False)
    assert data.images.shape == (560, 3, 64, 64)
    assert data.labels is not None
    assert np.bincount(data.labels[:, 0]).tolist() == [140] * 4
    assert all(len(np.unique(row)) == 1 for row in data.labels[:, 1].reshape(140, 4))
    blank = (data.images == 255).all((1, 2, 3))
    assert not blank.any()
    # a fact about the pictures: an alien monster is on white, and no two vendors draw it alike
    monsters = data.images[4 * test.index("alien-monster") :][:4]
    assert (monsters[:, :, 0, 0] == 255).all()
    assert len({monster.tobytes() for monster in monsters}) == 4
