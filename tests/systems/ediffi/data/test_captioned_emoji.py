"""Emoji with sentences: the right ones beside the right pictures, no vendor unless asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toy_emoji import EXTRA, write_toy_emoji

pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")

from sfumato.data.emoji import VENDORS, emoji, emoji_names
from sfumato.data.packages import EMOJI
from sfumato.data.places import data_root
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ediffi.data.drawings import captioned_emoji, emoji_sentences, former_names


@pytest.fixture
def real() -> None:
    if not all((data_root() / package.key).is_dir() for package in EMOJI):
        pytest.skip("the emoji are not here: run 'sfumato data fetch emoji'")


def test_sentences_say_the_name_in_several_ways() -> None:
    assert emoji_sentences("red-apple", "Food & Drink") == (
        "a red apple",
        "a drawing of a red apple",
        "a red apple on a white background",
        "red apple, food and drink",
    )
    assert emoji_sentences("older-person", "People & Body", ("older-adult",))[4:] == (
        "an older adult",
    )


def test_sentences_go_with_their_pictures(tmp_path: Path) -> None:
    root = write_toy_emoji(tmp_path)
    names = emoji_names("train", root)
    data = captioned_emoji("train", 8, ("fluent", "noto"), root=root, progress=False)
    plain = emoji("train", 8, ("fluent", "noto"), root, progress=False)
    assert np.array_equal(data.images, plain.images)
    assert len(data) == 2 * len(names)
    assert {"grapes", "taurus", "mouse-face"} & set(names)
    for i, group in enumerate(data.captions):
        said = group[0].replace("-", " ").replace("Taurus", "taurus")
        assert said.endswith(names[i // 2].replace("-", " "))
        category = EXTRA.get(names[i // 2], "Objects").lower().replace("&", "and")
        assert group[3].endswith(f", {category}")
        assert group == data.captions[i ^ 1]  # the text does not tell who drew it
        assert len(set(group)) == len(group)
        assert not any(vendor in sentence for vendor in VENDORS for sentence in group)
    total = sum(map(len, data.captions))
    assert f"{len(data):,} train images" in data.card.size
    assert data.card.size.endswith(f"{total:,} sentences")


def test_the_style_is_said_when_asked_for(tmp_path: Path) -> None:
    root = write_toy_emoji(tmp_path)
    plain = captioned_emoji("test", 8, root=root, progress=False)
    data = captioned_emoji("test", 8, style=True, root=root, progress=False)
    for i, (group, bare) in enumerate(zip(data.captions, plain.captions, strict=True)):
        end = f" in the style of {VENDORS[i % 4]}"
        assert tuple(s.removesuffix(end).removesuffix(",") for s in group) == bare
        assert all(s.endswith(end) for s in group)
        assert group[3].endswith("," + end)


def test_other_names_are_those_that_mean_the_same_picture(tmp_path: Path) -> None:
    assert former_names(write_toy_emoji(tmp_path)) == {
        "automobile": ("motor-car",),
        "grapes": ("bunch",),
    }


def test_absent_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(SfumatoError, match="sfumato data fetch emoji"):
        captioned_emoji(root=tmp_path)
    with pytest.raises(UsageError, match="unknown vendor 'notto'"):
        captioned_emoji(vendors=("notto",), root=tmp_path)


@pytest.mark.usefixtures("real")
def test_the_real_names() -> None:
    names = former_names()
    assert names["backpack"] == ("school-backpack",)
    assert names["person"][0] == "adult"
    assert not {"star", "cricket", "water-pistol"} & {n for n, other in names.items() if other}
    data = captioned_emoji("test", 64, ("noto", "fluent"), progress=False)
    assert len(data) == 280
    place = 2 * emoji_names("test").index("alien-monster")
    assert data.captions[place][0] == data.captions[place + 1][0] == "an alien monster"
    sentences = [s for group in data.captions for s in group]
    assert not any(
        word in s for s in sentences for word in ("a a", "an u ", "  ", "-face", "oclock")
    )
    assert sum(s.startswith("the symbol") for s in sentences) < 0.1 * len(sentences)
