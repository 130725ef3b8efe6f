"""Avatars: every sentence says every attribute, and nothing that is not so."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from sfumato.data.faces.choose import attributes_of
from sfumato.data.faces.styles import AVATAR_AXES
from sfumato.errors import UsageError
from sfumato.systems.ediffi.data.drawings import avatar_sentences, captioned_avatars

MOUTHS = {"smile": ("smiling", "a smile", "smiles"), "serious": ("serious",),
          "open": ("open-mouthed", "an open mouth")}  # fmt: skip


def check(sentence: str, a: dict[str, str]) -> None:
    assert f"{a['skin']} skin" in sentence
    assert f"{a['hair']} {a['hair_colour']} hair" in sentence
    assert f"on a {a['background']} background" in sentence
    assert a["style"].replace("-", " ") in sentence
    assert any(way in sentence for way in MOUTHS[a["mouth"]])
    others = [w for mouth, ways in MOUTHS.items() if mouth != a["mouth"] for w in ways]
    assert not any(way in sentence for way in others)
    for what, axis in (("glasses", "glasses"), ("facial hair", "facial_hair")):
        assert (what in sentence.replace(f"no {what}", "")) == (a[axis] != "none")


def test_all_attributes_of_every_possible_face_are_told_apart_by_every_sentence() -> None:
    seen: list[set[str]] = [set(), set(), set(), set()]
    faces = list(product(*(axis.values for axis in AVATAR_AXES)))
    for n, values in enumerate(faces):
        a = dict(zip([axis.name for axis in AVATAR_AXES], values, strict=True))
        for k, sentence in enumerate(avatar_sentences(a)):
            seen[k].add(sentence)
            if n % 7 == 0:
                check(sentence, a)
    assert [len(said) for said in seen] == [len(faces)] * 4


def test_orders_and_articles() -> None:
    a = dict(attributes_of(0, {"style": "adventurer", "glasses": "glasses", "mouth": "open",
                               "facial_hair": "some"}))  # fmt: skip
    for k in range(4):
        forms = {avatar_sentences(a, number)[k] for number in range(300)}
        assert len(forms) == 24
        for sentence in forms:
            check(sentence, a)
            assert " a adventurer" not in sentence and " a open" not in sentence
    assert avatar_sentences(a, 5) == avatar_sentences(a, 5)
    assert avatar_sentences(a, 0)[0].startswith("an adventurer drawing of an open-mouthed face")


def test_the_set(tmp_path: Path) -> None:
    pytest.importorskip("dicebear", reason="needs the extra: pip install 'sfumato[data]'")
    pytest.importorskip("resvg_py", reason="needs the extra: pip install 'sfumato[data]'")
    data = captioned_avatars("test", 16, 5, root=tmp_path, progress=False)
    assert data.images.shape == (5, 3, 16, 16)
    for i, group in enumerate(data.captions):
        for sentence in group:
            check(sentence, dict(attributes_of(100_000_000 + i)))
    assert "4 sentences each" in data.card.size
    with pytest.raises(UsageError, match="unknown split"):
        captioned_avatars("tests")  # type: ignore[arg-type]
