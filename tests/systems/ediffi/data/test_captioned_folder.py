"""Folders of pictures with sentences: each form, and a message for everything that is missing."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data.kept import split_of
from sfumato.data.stamps import stamp_names
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ediffi.data import captioned_folder, captioned_stamps
from sfumato.systems.ediffi.data.base import Captioned

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path: Path, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), colour).save(path)
    return path


def load(path: Path, resolution: int = 8, **options: bool) -> Captioned:
    cache = path.parent / f"cache of {path.name}"
    return captioned_folder(path, resolution, root=cache, progress=False, **options)


def colours(data: Captioned) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in image[:, 4, 4]) for image in data.images]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    save(tmp_path / "p" / "b.png", BLUE)
    save(tmp_path / "p" / "in" / "a.png", RED)
    return tmp_path / "p"


def lines(top: Path, *rows: object, name: str = "metadata.jsonl") -> None:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (top / name).write_text(text + "\n", "utf-8")


def test_a_text_beside_each_picture(top: Path) -> None:
    (top / "b.txt").write_text("\ufeffa blue square \n\n  a picture of blue\n", "utf-8")
    (top / "in" / "a.txt").write_text("ein rotes Viereck, größer\r\nred", "utf-8")
    (top / "readme.txt").write_text("not beside a picture")
    data = load(top)
    assert colours(data) == [BLUE, RED]
    assert data.captions == (("a blue square",), ("ein rotes Viereck, größer",))
    several = load(top, every_line=True)
    assert several.captions[0] == ("a blue square", "a picture of blue")
    assert several.captions[1] == ("ein rotes Viereck, größer", "red")
    assert data.card.size == "2 images, 8x8 RGB, 2 sentences"
    assert several.draw_captions([0], 3)[0] in several.captions[0]


@pytest.mark.parametrize(
    ("file", "text"), [("file_name", "text"), ("image", "caption"), ("file", "captions")]
)
def test_json_lines_under_each_name(top: Path, file: str, text: str) -> None:
    lines(
        top,
        {file: "in/a.png", text: ["red", " a red square "], "more": 3},
        "",
        {file: "./b.png", text: "blue"},
        {file: "b.png", text: "a blue square"},
        name="anything.jsonl",
    )
    data = load(top)
    assert colours(data) == [BLUE, RED]
    assert data.captions == (("blue", "a blue square"), ("red", "a red square"))


def test_metadata_is_taken_before_other_json_lines(top: Path) -> None:
    lines(top, {"image": "b.png", "text": "x"}, {"image": "in/a.png", "text": "y"})
    lines(top, "no json", name="other.jsonl")
    assert load(top).captions == (("x",), ("y",))
    (top / "metadata.jsonl").rename(top / "more.jsonl")
    with pytest.raises(UsageError, match=r"several .* more.jsonl, other.jsonl; keep one"):
        load(top)


def test_a_zip_with_one_top_folder_is_the_same(top: Path) -> None:
    lines(top, {"image": "b.png", "text": "x"}, {"image": "in/a.png", "text": "y"})
    path = top.parent / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*")):
            archive.write(file, "outer/" + file.relative_to(top).as_posix())
    data = load(path)
    assert data.captions == load(top).captions
    assert colours(data) == [BLUE, RED]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['{"image": "b.png", "text": "x"'], r"line 1: no JSON \(.*expected a line like"),
        ([{"image": "b.png", "text": "x"}, "", "[1, 2]"], r"line 3: expected an object .*\[1, 2\]"),
        ([{"image": "gone.png", "text": "x"}], "line 1: there is no picture 'gone.png'"),
        ([{"image": 3, "text": "x"}], "line 1: the name of a picture must be a string, got 3"),
        ([{"text": "x"}], "line 1: expected one of file_name, image, file, got text"),
        ([{"image": "b.png"}], "line 1: expected one of text, caption, captions, got image"),
        ([{"image": "b.png", "text": "x", "caption": "y"}], "got text, caption"),
        ([{"image": "b.png", "text": "x"}, {"image": "b.png", "text": " "}],
         "line 2: the caption of 'b.png' is empty"),
        ([{"image": "b.png", "text": []}], "line 1: the caption of 'b.png' is empty"),
        ([{"image": "b.png", "text": ["x", ""]}], "line 1: the caption of 'b.png' is empty"),
        ([{"image": "b.png", "text": None}], "'b.png' must be a string or strings, got None"),
        ([{"image": "b.png", "text": "x"}], "metadata.jsonl has no line for in/a.png"),
        (["", ""], "metadata.jsonl has no line for b.png, in/a.png"),
    ],
)  # fmt: skip
def test_bad_json_lines_are_named(top: Path, rows: list[object], said: str) -> None:
    lines(top, *rows)
    with pytest.raises(UsageError, match=said) as caught:
        load(top)
    assert str(caught.value).startswith("metadata.jsonl")


def test_bad_texts_are_named(top: Path) -> None:
    with pytest.raises(UsageError, match=r"no captions: put a text beside each \(b.txt for b.png"):
        load(top)
    (top / "b.txt").write_text("blue")
    with pytest.raises(UsageError, match=r"no text beside the picture for in/a.png$"):
        load(top)
    text = top / "in" / "a.txt"
    text.write_text(" \n\n")
    with pytest.raises(UsageError, match=r"in/a.txt is empty"):
        load(top)
    text.write_text("\nred\n")
    with pytest.raises(UsageError, match=r"in/a.txt, line 1: the caption is empty"):
        load(top)
    assert load(top, every_line=True).captions[1] == ("red",)
    text.write_bytes(b"red\n\xff\xfe\n")
    with pytest.raises(UsageError, match=r"in/a.txt, line 2: not UTF-8 text"):
        load(top)
    text.write_text("red")
    lines(top, {"image": "b.png", "text": "x"})
    with pytest.raises(UsageError, match=r"both metadata.jsonl and texts .*b.txt.*keep one"):
        load(top)


def test_many_missing_are_counted(tmp_path: Path) -> None:
    for k in range(9):
        save(tmp_path / "p" / f"{k}.png", GREEN)
    (tmp_path / "p" / "0.txt").write_text("green")
    with pytest.raises(UsageError, match=r"for 1.png, .*5.png and 3 more"):
        load(tmp_path / "p")


def test_broken_pictures_and_places_without_any(top: Path, tmp_path: Path) -> None:
    (top / "b.txt").write_text("blue")
    (top / "in" / "a.txt").write_text("red")
    (top / "in" / "a.png").write_bytes(b"no picture")
    with pytest.raises(SfumatoError, match=r"1 of 2 pictures(.|\n)*in/a.png"):
        load(top)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no pictures"):
        load(tmp_path / "empty")
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "gone")
    with pytest.raises(UsageError, match="resolution must lie in 1..4096"):
        (top / "in" / "a.png").unlink()
        load(top, 0)


def test_stamps(tmp_path: Path) -> None:
    sums = ""
    for k in range(30):
        path = save(tmp_path / "stamps" / "food" / f"thing-{k:02d}.png", (k, 0, 0))
        path.with_suffix(".txt").write_text(f"Thing {k}.\nde.utf8=Ding {k}.\n")
        for file in (path, path.with_suffix(".txt")):
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            sums += f"{digest}  food/{file.name}\n"
    (tmp_path / "stamps" / "SHA256SUMS").write_text(sums)
    data = captioned_stamps("train", 8, tmp_path, progress=False)
    assert len(data) == len(stamp_names("train", tmp_path)) > 15
    for image, group in zip(data.images, data.captions, strict=True):
        k = int(image[0, 4, 4])
        assert group == (f"Thing {k}.",)
        assert split_of(f"food/thing-{k:02d}.png") == "train"
    with pytest.raises(SfumatoError, match="sfumato data fetch stamps"):
        captioned_stamps("train", 8, tmp_path / "nothing")
    assert np.asarray(data.images).dtype == np.uint8
