"""Avatars: determinism, labels that the drawing bears out, the cache."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dicebear", reason="needs the extra: pip install 'sfumato[data]'")
pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

from dicebear import Avatar as Drawing

from sfumato.data import AVATAR_AXES, avatar, avatars
from sfumato.data.faces.cache import FIRST_INDEX
from sfumato.data.faces.choose import attributes_of, labels_of
from sfumato.data.faces.draw import _generator_style, options_of, rasterise, svg_of
from sfumato.data.faces.styles import HAIR_COLOURS, SKINS, STYLES
from sfumato.errors import MissingExtra, SfumatoError, UsageError


def draw_set(root: Path, **options: object) -> tuple[bytes, bytes]:
    data = avatars("train", 16, 23, root=root, progress=False, **options)  # type: ignore[arg-type]
    assert data.labels is not None
    return data.images.tobytes(), data.labels.tobytes()


def test_the_same_bytes_twice_in_any_order_and_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.data.faces.cache._CHUNK", 9)
    once = draw_set(tmp_path / "a")
    assert draw_set(tmp_path / "b", workers=2) == once
    backwards = {i: avatar(i, 16).image for i in reversed(range(23))}
    assert b"".join(backwards[i].tobytes() for i in range(23)) == once[0]


def test_a_stopped_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.data.faces.cache._CHUNK", 9)
    drawn: list[int] = []

    def counted(index: int, attributes: object) -> str:
        drawn.append(index)
        if index == 20 and drawn.count(20) == 1:
            raise KeyboardInterrupt
        return svg_of(index, attributes)  # type: ignore[arg-type]

    monkeypatch.setattr("sfumato.data.faces.cache.svg_of", counted)
    with pytest.raises(KeyboardInterrupt):
        draw_set(tmp_path)
    assert not list(tmp_path.glob("train-16px*n23"))
    images, _ = draw_set(tmp_path)
    assert Counter(drawn) == Counter([*range(23), 18, 19, 20])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-16px-g1-n23"]
    monkeypatch.undo()
    assert images == b"".join(avatar(i, 16).image.tobytes() for i in range(23))


def test_a_larger_set_serves_a_smaller_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = avatars("test", 16, 12, root=tmp_path, progress=False)
    monkeypatch.setattr("sfumato.data.faces.cache.svg_of", lambda *_: 1 / 0)
    small = avatars("test", 16, 5, root=tmp_path, progress=False)
    assert np.array_equal(small.images, big.images[:5])
    assert small.axes == AVATAR_AXES
    assert "CC BY 4.0" in small.card.licence


def test_train_and_test_are_different_faces(tmp_path: Path) -> None:
    train = avatars("train", 16, 40, root=tmp_path, progress=False)
    test = avatars("test", 16, 40, root=tmp_path, progress=False)
    assert FIRST_INDEX["test"] >= 40_000 + FIRST_INDEX["train"]
    assert not {i.tobytes() for i in train.images} & {i.tobytes() for i in test.images}
    assert np.array_equal(test.images[3], avatar(FIRST_INDEX["test"] + 3, 16).image)


def test_a_damaged_cache_is_noticed(tmp_path: Path) -> None:
    draw_set(tmp_path)
    (path,) = tmp_path.glob("*/images.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SfumatoError, match="images.npy.*delete that folder"):
        draw_set(tmp_path)


def test_info_records_what_was_drawn(tmp_path: Path) -> None:
    draw_set(tmp_path)
    info = json.loads((tmp_path / "train-16px-g1-n23" / "info.json").read_text())
    assert info["first_index"] == 0
    assert info["axes"]["glasses"] == ["none", "glasses"]


def test_attributes_are_uniform_and_independent() -> None:
    labels = labels_of(range(20_000))
    for axis, column in zip(AVATAR_AXES, labels.T, strict=True):
        share = np.bincount(column, minlength=len(axis.values)) / len(column)
        expected = np.full(len(axis.values), 1 / len(axis.values))
        if axis.name == "facial_hair":
            expected = np.array([0.75, 0.25])
        assert np.abs(share - expected).max() < 5 * np.sqrt(0.25 / len(column))
    one_hot = [labels[:, k : k + 1] == np.arange(len(a.values)) for k, a in enumerate(AVATAR_AXES)]
    for i, a in enumerate(one_hot):
        for b in one_hot[:i]:
            joint = (a[:, :, None] & b[:, None, :]).mean(0)
            apart = a.mean(0)[:, None] * b.mean(0)
            assert np.abs(joint - apart).max() < 5 * np.sqrt(0.25 / len(labels))


@pytest.mark.parametrize("style", list(STYLES))
def test_labels_equal_what_the_generator_says_it_drew(style: str) -> None:
    known = STYLES[style]
    for index in range(60):
        chosen = attributes_of(index, {"style": style})
        said = Drawing(_generator_style(style), options_of(index, chosen)).to_json()["options"]
        hair = said[f"{known.hair}Variant"]
        assert hair in (known.short if chosen["hair"] == "short" else known.long)
        assert said["hairColor"] == ["#" + HAIR_COLOURS[chosen["hair_colour"]]]
        assert said[f"{known.skin_colour}Color"] == ["#" + SKINS[chosen["skin"]]]
        glasses = said.get(f"{known.glasses[0]}Variant")
        assert (glasses in known.glasses[1]) == (chosen["glasses"] == "glasses")
        beard = said.get(f"{known.facial_hair[0]}Variant")
        assert (beard in known.facial_hair[1]) == (chosen["facial_hair"] == "some")
        mouth = ("smile", "serious", "open").index(chosen["mouth"])
        assert said["mouthVariant"] in known.mouths[mouth]
        assert said["eyesVariant"] in known.eyes


@pytest.mark.parametrize("style", list(STYLES))
def test_every_named_variant_exists_and_shows_one_value_only(style: str) -> None:
    known, components = STYLES[style], _generator_style(style).components()

    def variants(component: str) -> set[str]:
        return set(components[component].variants())

    assert {*known.short, *known.long} <= variants(known.hair)
    assert not {*known.short} & {*known.long}
    smile, serious, opened = map(set, known.mouths)
    assert smile | serious | opened <= variants("mouth")
    assert len(smile | serious | opened) == len(smile) + len(serious) + len(opened)
    assert {*known.glasses[1]} <= variants(known.glasses[0])
    assert {*known.facial_hair[1]} <= variants(known.facial_hair[0])
    assert {*known.eyes} <= variants("eyes")
    drawn = {component for component, _ in known.parts}
    assert {"eyes", "mouth", known.hair, known.glasses[0], known.facial_hair[0]} <= drawn
    assert drawn - set(components) <= {"nose", "eyebrows"}  # some styles draw them otherwise
    assert {*known.absent} <= set(components)


@pytest.mark.parametrize("style", list(STYLES))
@pytest.mark.parametrize(
    ("axis", "values", "least"),
    [
        ("glasses", ("none", "glasses"), 2.0),
        ("facial_hair", ("none", "some"), 1.5),
        ("mouth", ("smile", "serious"), 1.0),
        ("mouth", ("smile", "open"), 1.0),
        ("hair", ("short", "long"), 20.0),
    ],
)
def test_every_attribute_shows_at_32_pixels(
    style: str, axis: str, values: tuple[str, str], least: float
) -> None:
    """Summed over pixels and channels, as parts of full brightness."""
    for index in range(20):
        base = (
            {"style": style} if axis == "facial_hair" else {"style": style, "facial_hair": "none"}
        )
        a, b = (avatar(index, 32, change={**base, axis: value}).image for value in values)
        assert np.abs(a.astype(int) - b).sum() / 255 >= least, index


def test_a_caption_says_every_attribute() -> None:
    captions = {}
    for index in range(100):
        face = avatar(index, 8)
        chosen, said = face.attributes, face.caption
        for name in ("hair", "hair_colour", "skin", "background"):
            assert f" {chosen[name]} " in said
        assert chosen["style"].replace("-", " ") in said
        assert ("glasses" in said) == (chosen["glasses"] == "glasses")
        assert ("facial hair" in said) == (chosen["facial_hair"] == "some")
        assert " a open" not in said
        assert captions.setdefault(said, face.labels.tolist()) == face.labels.tolist()


def test_colours_in_the_picture_are_those_of_the_labels() -> None:
    for index in range(20):
        face = avatar(index, 64, change={"style": "pixel-art"})
        present = set(map(tuple, face.image.reshape(3, -1).T.tolist()))
        for table, name in ((HAIR_COLOURS, "hair_colour"), (SKINS, "skin")):
            wanted = bytes.fromhex(table[face.attributes[name]])
            assert tuple(wanted) in present


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"glases": "none"}, "glasses"),
        ({"hair_colour": "grean"}, "green"),
        ({"mouth": "x"}, "smile"),
    ],
)
def test_unknown_changes_get_the_nearest_names(change: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        avatar(0, 16, change=change)


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    for call in (
        lambda: avatar(-1),
        lambda: avatar(0, 7),
        lambda: avatars("train", 32, 0, root=tmp_path),
        lambda: avatars("train", 5000, 3, root=tmp_path),
        lambda: avatars("train", 32, 3, root=tmp_path, workers=0),
        lambda: avatars("tset", 32, 3, root=tmp_path),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(UsageError):
        rasterise("<svg/>", 0)


def test_without_the_generator_one_sentence_has_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"sfumato\[data\]"):
        avatars("train", 16, 3, root=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
