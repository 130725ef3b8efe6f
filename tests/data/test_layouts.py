"""How folders of pictures are arranged: the layouts of other tools, and what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import ImageSet, folder
from sfumato.data.parts import LEAST, parts_of
from sfumato.errors import SfumatoError, UsageError


def load(path: Path, **options: object) -> ImageSet:
    root = path.parent / f"cache of {path.name}"
    return folder(path, 8, root=root, progress=False, **options)  # type: ignore[arg-type]


def save(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    return path


def greys(data: ImageSet) -> list[int]:
    return [int(image[0, 0, 0]) for image in np.asarray(data.images)]


def words(data: ImageSet) -> list[str]:
    assert data.labels is not None
    return [data.axes[0].values[i] for i in data.labels[:, 0]]


def said(data: ImageSet) -> str:
    assert data.summary is not None
    return "\n".join(data.summary.lines())


def test_parts_around_class_folders(tmp_path: Path) -> None:
    top = tmp_path / "p"
    for i, name in enumerate(["train/cat", "train/dog", "val/cat", "test/dog"]):
        save(top / name / "1.png", 10 * i)
    train, test = load(top, split="train"), load(top, split="test")
    assert (greys(train), words(train)) == ([0, 10], ["cat", "dog"])
    assert (greys(test), words(test)) == ([30], ["dog"])
    assert train.axes == test.axes
    assert greys(load(top, split="validation")) == [20]
    assert len(load(top)) == 4
    assert "class folders in train/validation/test" in said(train)
    assert "the part for train (beside it 1 for validation, 1 for test)" in said(train)


def test_parts_alone_are_no_classes(tmp_path: Path) -> None:
    top = tmp_path / "p"
    save(top / "training_set" / "1.png", 1)
    save(top / "Validation" / "2.png", 2)
    (top / "README.txt").write_text("about")
    assert greys(load(top, split="train")) == [1]
    assert greys(load(top, split="test")) == [2]  # for want of a part called test
    assert load(top).labels is None
    assert words(load(top, labels="folders")) == ["Validation", "training_set"]


@pytest.mark.parametrize(
    ("names", "parts", "rest"),
    [
        (["cat/train/1", "dog/test/2"], ["train", "test"], ["cat/1", "dog/2"]),
        (["seg_train/seg_train/x/1", "seg_test/seg_test/y/2"], ["train", "test"], ["x/1", "y/2"]),
        (["train2017/1", "val2017/2"], ["train", "validation"], ["1", "2"]),
        (
            ["trainA/1", "trainB/2", "testA/3", "testB/4"],
            ["train", "train", "test", "test"],
            ["A/1", "B/2", "A/3", "B/4"],
        ),
        (["bullet_train/1", "car/2"], ["", ""], ["bullet_train/1", "car/2"]),
        (["images/train/1", "images/val/2"], ["train", "validation"], ["images/1", "images/2"]),
    ],
)
def test_how_parts_are_called(names: list[str], parts: list[str], rest: list[str]) -> None:
    assert parts_of(names) == (tuple(parts), rest)


def test_a_folder_that_may_be_a_part_or_a_class_is_refused(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        save(tmp_path / "p" / name / "1.png")
    with pytest.raises(UsageError, match="train may be a part of the data or a class, beside bus"):
        load(tmp_path / "p")
    assert words(load(tmp_path / "p", labels="folders")) == ["bus", "car", "train"]
    assert load(tmp_path / "p", labels="none").labels is None


def test_an_unlabelled_test_part_leaves_the_classes_of_the_others(tmp_path: Path) -> None:
    save(tmp_path / "p" / "train" / "cat" / "1.png")
    save(tmp_path / "p" / "train" / "dog" / "1.png")
    save(tmp_path / "p" / "test" / "1.png")
    assert words(load(tmp_path / "p", split="train")) == ["cat", "dog"]
    test = load(tmp_path / "p", split="test")
    assert test.labels is None and "1 picture without a label" in said(test)


def test_edm_and_stylegan(tmp_path: Path) -> None:
    top = tmp_path / "p"
    for i in range(4):
        save(top / f"{i // 2:05}" / f"img{i:08}.png", i)
    assert load(top).labels is None  # numbered throughout: shards
    labels = [[f"{i // 2:05}/img{i:08}.png", 9 + i % 2] for i in range(4)]
    (top / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert words(load(top)) == ["9", "10", "9", "10"]
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for file in top.rglob("*.*"):
            archive.write(file, file.relative_to(top).as_posix())
    assert words(load(tmp_path / "z.zip")) == ["9", "10", "9", "10"]
    (top / "dataset.json").write_text(json.dumps({"labels": None}))
    assert load(top).labels is None and "dataset.json has no labels" in said(load(top))
    hot = [[name, [float(label == 9), float(label == 10)]] for name, label in labels]
    (top / "dataset.json").write_text(json.dumps({"labels": hot}))
    assert words(load(top)) == ["0", "1", "0", "1"]
    soft = [[name, [0.5, 0.5]] for name, _ in labels]
    (top / "dataset.json").write_text(json.dumps({"labels": soft}))
    with pytest.raises(UsageError, match="neither a class nor a one-hot vector"):
        load(top)


def test_numbered_folders_that_may_be_classes(tmp_path: Path) -> None:
    for i in (0, 1):
        save(tmp_path / "signs" / f"{i:05}" / "00000.png", i)
    assert words(load(tmp_path / "signs")) == ["00000", "00001"]  # numbered anew: classes
    for i in range(3):
        save(tmp_path / "q" / f"{i > 0:05}" / f"{i}.png")
    with pytest.raises(UsageError, match="may be classes or only shards.*--labels folders"):
        load(tmp_path / "q")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_hugging_face_metadata(tmp_path: Path, kind: str) -> None:
    top = tmp_path / "p"
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}", "label": "ab"[i % 2]} for i in (0, 1)]
    for part in ("train", "test"):
        for i in (0, 1):
            save(top / part / f"{i}.png", i)
        if kind == "csv":
            lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        else:
            lines = [json.dumps(row) for row in rows]
        (top / part / f"metadata.{kind}").write_text("\n".join(lines))
    data = load(top, split="train")
    assert words(data) == ["a", "b"] and [axis.name for axis in data.axes] == ["label"]
    assert f"metadata.{kind} in train/test" in said(data)


def test_columns_that_may_be_labels_are_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.png")
    save(tmp_path / "p" / "b.png")
    table = tmp_path / "p" / "metadata.csv"
    table.write_text("file_name,colour,text\na.png,red,x\nb.png,blue,y\n")
    with pytest.raises(
        UsageError, match="columns colour, text, and none is clearly .*--labels col"
    ):
        load(tmp_path / "p")
    assert words(load(tmp_path / "p", labels="colour")) == ["red", "blue"]
    with pytest.raises(UsageError, match="has no column 'size', but colour, text"):
        load(tmp_path / "p", labels="size")
    table.write_text("file_name,text\na.png,x\nb.png,y\n")
    assert load(tmp_path / "p").labels is None
    assert "metadata.csv has texts but no labels" in said(load(tmp_path / "p"))


def coco(top: Path, part: str, several: bool = False) -> None:
    categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    images = [{"id": i, "file_name": f"{part}{i}.png"} for i in (0, 1)]
    notes = [{"image_id": i, "category_id": 7 + 2 * i} for i in (0, 1)]
    notes += [{"image_id": 0, "category_id": 9}] * several
    for image in images:
        save(top / f"{part}2017" / str(image["file_name"]))
    (top / "annotations").mkdir(exist_ok=True)
    found = {"images": images, "annotations": notes, "categories": categories}
    (top / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(found))
    (top / "annotations" / f"captions_{part}2017.json").write_text("{}")


def test_coco(tmp_path: Path) -> None:
    coco(tmp_path / "p", "train")
    coco(tmp_path / "p", "val")
    assert words(load(tmp_path / "p", split="train")) == ["cat", "dog"]
    assert words(load(tmp_path / "p", split="test")) == ["cat", "dog"]
    coco(tmp_path / "q", "train", several=True)
    data = load(tmp_path / "q")
    assert data.labels is None
    assert (
        "annotations/instances_train2017.json has 1 with several categories of 2 pictures"
        in said(data)
    )


def test_pictures_and_masks_are_no_classes(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        save(tmp_path / "p" / name / "1.png")
    with pytest.raises(UsageError, match="look like pictures and their masks"):
        load(tmp_path / "p")


def test_linked_folders_and_files_are_followed_without_loops(tmp_path: Path) -> None:
    save(tmp_path / "far" / "cats" / "1.png", 1)
    save(tmp_path / "far" / "dog.png", 2)
    top = tmp_path / "p"
    (top / "dog").mkdir(parents=True)
    (top / "cat").symlink_to(tmp_path / "far" / "cats")
    (top / "dog" / "1.png").symlink_to(tmp_path / "far" / "dog.png")
    (top / "dog" / "again").symlink_to(top)
    data = load(top)
    assert (greys(data), words(data)) == ([1, 2], ["cat", "dog"])
    (top / "dog" / "circle").symlink_to(top / "dog" / "circle")
    assert len(load(top)) == 2
    (top / "dog" / "2.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(SfumatoError, match=r"1 of 3 pictures(.|\n)*dog/2.png: no such file|2.png"):
        load(top)


def test_a_part_is_held_out_by_name(tmp_path: Path) -> None:
    for i in range(200):
        save(tmp_path / "p" / f"{i}.png", i)
    train, test = (load(tmp_path / "p", split=s, held_out=0.1) for s in ("train", "test"))
    assert sorted(greys(train) + greys(test)) == list(range(200))
    assert 10 <= len(test) <= 30
    (tmp_path / "p").rename(tmp_path / "q")
    save(tmp_path / "q" / "new.png", 255)
    more = load(tmp_path / "q", split="test", held_out=0.1)
    assert set(greys(test)) <= set(greys(more)) <= {*greys(test), 255}  # none moved
    assert f"(beside it {len(test)} for test: 10% are held out, by name)" in said(train)
    assert len(load(tmp_path / "q", split="train")) == 201
    few = tmp_path / "few"
    for i in range(LEAST - 1):
        save(few / f"{i}.png", i)
    assert len(load(few, split="train", held_out=0.1)) == LEAST - 1
    assert "none held out" in said(load(few, split="test", held_out=0.1))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "file, label\na.png, x y\nb.png, ü\n"),
        ("utf-8-sig", "file;label\na.png;x y\nb.png;ü\n"),
        ("utf-16", "file\tlabel\r\na.png\tx y\r\nb.png\tü\r\n"),
        ("utf-16-le", "File,Label\na.png,x y\nb.png,ü\n"),
        ("utf-8", "sep=;\nfile;label\na.png;x y\nb.png;ü\n"),
        ("utf-8", 'name,label\n.\\a.png,"x y"\n.\\b.png,ü\n'),
        ("utf-8", "id,label\na,x y\nb,ü\n"),
    ],
)
def test_tables_as_programs_write_them(tmp_path: Path, encoding: str, text: str) -> None:
    save(tmp_path / "p" / "a.png")
    save(tmp_path / "p" / "b.png")
    (tmp_path / "p" / "labels.csv").write_bytes(text.encode(encoding))
    assert words(load(tmp_path / "p")) == ["x y", "ü"]


def test_signs_in_class_names_and_backslashes_in_archives(tmp_path: Path) -> None:
    names = ["a+b", "c,d", "e=f"]
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            member = zipfile.ZipInfo()
            member.filename = f"top\\{name}\\1.png"  # as Windows' own program wrote them
            archive.writestr(member, save(tmp_path / "1.png").read_bytes())
    assert words(load(path)) == names
    for name in names:
        save(tmp_path / "p" / f"{name}.png")
    rows = "".join(f'"{name}.png","{name}"\n' for name in names)
    (tmp_path / "p" / "labels.csv").write_text("file,label\n" + rows)
    assert words(load(tmp_path / "p")) == names


def test_a_folder_is_never_called_like_a_data_set(tmp_path: Path) -> None:
    save(tmp_path / "digits" / "1.png")
    assert load(tmp_path / "digits").name == "digits/"
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        archive.write(tmp_path / "digits" / "1.png", "1.png")
    assert load(tmp_path / "digits.zip").name == "digits.zip"
