"""Folders that users of other tools reported as misread, each as it was."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sfumato.data import ImageSet, folder
from sfumato.errors import SfumatoError, UsageError


def load(path: Path, **options: object) -> ImageSet:
    root = path.parent / f"cache of {path.name}"
    return folder(path, 8, root=root, progress=False, **options)  # type: ignore[arg-type]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "p"


def save(path: Path, grey: int = 0, mode: str = "RGB", kind: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).convert(mode).save(path, kind)


def words(data: ImageSet, axis: int = 0) -> list[str]:
    assert data.labels is not None
    return [data.axes[axis].values[i] for i in data.labels[:, axis]]


def said(data: ImageSet) -> str:
    assert data.summary is not None
    return "\n".join(data.summary.lines())


def test_imagenet_as_it_is_unpacked(top: Path) -> None:
    """huggingface/datasets 4015: Data/CLS-LOC/train/n.../x.JPEG, a flat val, annotations."""
    data = top / "Data" / "CLS-LOC"
    for synset in ("n01440764", "n01695060"):
        save(data / "train" / synset / "ILSVRC_1.JPEG")
    save(data / "val" / "ILSVRC_2.JPEG")
    (top / "Annotations" / "val").mkdir(parents=True)
    (top / "Annotations" / "val" / "ILSVRC_2.xml").write_text("<a/>")
    assert words(load(top, split="train")) == ["n01440764", "n01695060"]
    assert len(load(top, split="test")) == 1


def test_tiny_imagenet(top: Path) -> None:
    """train/n.../images/*.JPEG beside val/images/*.JPEG: "images" is no class of the second."""
    for synset in ("n1", "n2"):
        save(top / "train" / synset / "images" / "1.JPEG")
    save(top / "val" / "images" / "val_0.JPEG")
    (top / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn1\t0\t0\t62\t62\n")
    train = load(top, split="train")
    assert words(train) == ["n1", "n2"] and train.axes[0].values == ("n1", "n2")


def test_roboflow(top: Path) -> None:
    """Parts with images/ and labels/ (YOLO), COCO's file in each part, one-hot _classes.csv."""
    for part in ("train", "valid"):
        for i in (0, 1):
            save(top / part / "images" / f"{i}.jpg")
            (top / part / "labels").mkdir(exist_ok=True)
            (top / part / "labels" / f"{i}.txt").write_text("0 .5 .5 1 1")
    (top / "data.yaml").write_text("nc: 1")
    assert load(top, split="train").labels is None
    assert "not read: 4 .txt, 1 .yaml" in said(load(top, split="train"))

    coco = top.parent / "coco"
    for part in ("train", "valid"):
        for i in (0, 1):
            save(coco / part / f"{i}.jpg")
        content = {
            "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (0, 1)],
            "annotations": [{"image_id": i, "category_id": 1 + i} for i in (0, 1)],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        (coco / part / "_annotations.coco.json").write_text(json.dumps(content))
    assert words(load(coco, split="train")) == ["cat", "dog"]

    hot = top.parent / "hot"
    save(hot / "train" / "a.jpg")
    save(hot / "train" / "b.jpg")
    (hot / "train" / "_classes.csv").write_text("filename, cat, dog\na.jpg, 0, 1\nb.jpg, 1, 0\n")
    assert words(load(hot)) == ["dog", "cat"]


def test_fastai_csv(top: Path) -> None:
    """fastai 1169: train.csv with "filenames,cats", its paths relative to train/."""
    rows = ["filenames,cats"]
    for synset, number in (("n1", 352), ("n2", 7)):
        for i in (0, 1):
            save(top / "train" / synset / f"{i}.JPEG")
            rows.append(f"{synset}/{i}.JPEG,{number}")
    (top / "train.csv").write_text("\n".join(rows))
    assert words(load(top)) == ["352", "352", "7", "7"]
    assert [axis.name for axis in load(top).axes] == ["cats"]


def test_kaggle_ids_without_endings_and_an_unlabelled_test_part(top: Path) -> None:
    for i, part in enumerate(["train", "train", "test"]):
        save(top / part / f"00{i}.jpg")
    (top / "train.csv").write_text("id,breed\n000,boxer\n001,pug\n")
    (top / "sample_submission.csv").write_text("id,boxer,pug\n002,.5,.5\n")
    assert words(load(top, split="train")) == ["boxer", "pug"]
    test = load(top, split="test")
    assert test.labels is None and len(test) == 1


def test_artbench_split_column(top: Path) -> None:
    """liaopeiyuan/artbench 2: the parts are only in a column of a table of another name."""
    rows = ["name,artist,url,label,split"]
    for i, (style, part) in enumerate(
        [("baroque", "train"), ("ukiyo", "train"), ("ukiyo", "test")]
    ):
        save(top / style / f"{i}.jpg", i)
        rows.append(f"{i}.jpg,someone,http,{style},{part}")
    (top / "ArtBench-10.csv").write_text("\n".join(rows))
    train = load(top, split="train", labels="ArtBench-10.csv")
    assert words(train) == ["baroque", "ukiyo"] and [a.name for a in train.axes] == ["label"]
    assert len(load(top, split="test", labels="ArtBench-10.csv")) == 1


def test_celeba_attributes(top: Path) -> None:
    for i in (1, 2):
        save(top / "img_align_celeba" / f"00{i}.jpg")
    table = "image_id,Smiling,Young\n001.jpg,1,-1\n002.jpg,-1,-1\n"
    (top / "list_attr_celeba.csv").write_text(table)
    data = load(top, labels="list_attr_celeba.csv")
    assert (words(data, 0), words(data, 1)) == (["1", "-1"], ["-1", "-1"])


def test_fiftyone_classification(top: Path) -> None:
    save(top / "data" / "000001.jpg")
    save(top / "data" / "000002.jpg")
    content = {"classes": ["cat", "dog"], "labels": {"000001": 1, "000002": 0}}
    (top / "labels.json").write_text(json.dumps(content))
    assert words(load(top)) == ["dog", "cat"]


def test_classes_in_the_names_of_files(top: Path) -> None:
    """fastai's pets and Kaggle's cats and dogs: great_pyrenees_12.jpg, cat.0.jpg."""
    for name in ("great_pyrenees_1", "great_pyrenees_12", "cat.0"):
        save(top / "images" / f"{name}.jpg")
    assert load(top).labels is None
    assert words(load(top, labels="names")) == ["cat", "great_pyrenees", "great_pyrenees"]


def test_mvtec_and_segmentation_are_refused(top: Path) -> None:
    for name in ("train/good", "test/good", "test/broken", "ground_truth/broken"):
        save(top / name / "000.png")
    with pytest.raises(UsageError, match="may be a part of the data or a class, beside ground_t"):
        load(top)
    for name in ("JPEGImages", "SegmentationClass"):
        save(top.parent / "voc" / name / "1.png")
    with pytest.raises(UsageError, match="pictures and their masks"):
        load(top.parent / "voc")


def test_hidden_and_empty_folders_are_no_classes(top: Path) -> None:
    """pytorch/vision 2831 and 4925, python-pillow 4807: .ipynb_checkpoints, ._x.jpg, nothing."""
    save(top / "cat" / "1.jpg")
    save(top / "dog" / "1.jpg")
    save(top / ".ipynb_checkpoints" / "1.jpg")
    (top / "cat" / "._1.jpg").write_bytes(b"\0\5\26\7Mac OS X")
    (top / "cat" / ".DS_Store").write_bytes(b"\0")
    (top / "owl").mkdir()
    (top / "owl" / "later.txt").write_text("x")
    data = load(top)
    assert data.axes[0].values == ("cat", "dog") and len(data) == 2
    assert "folders without pictures: owl" in said(data)


def test_one_folder_beside_pictures_is_no_class(top: Path) -> None:
    """huggingface/datasets 5153: data/1.jpg beside 2.jpg."""
    save(top / "data" / "1.jpg")
    save(top / "2.jpg")
    assert load(top).labels is None


def test_archives_beside_their_metadata(top: Path) -> None:
    """huggingface/datasets 7337: images.zip beside metadata.jsonl."""
    top.mkdir()
    with zipfile.ZipFile(top / "images.zip", "w") as archive:
        for name in ("a", "b"):
            buffer = io.BytesIO()
            Image.new("L", (8, 8)).save(buffer, "PNG")
            archive.writestr(f"class{name}/1.png", buffer.getvalue())
    (top / "metadata.jsonl").write_text("{}")
    with pytest.raises(UsageError, match=r"give the path of a zip file, as images\.zip"):
        load(top)
    assert words(load(top / "images.zip")) == ["classa", "classb"]  # 8419


def test_what_stands_in_the_place_of_pictures(top: Path) -> None:
    save(top / "a.jpg", 9, kind="WEBP")  # by its content, whatever it is called
    (top / "b.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (top / "c.jpg").write_text("\n<!DOCTYPE html><html>404</html>")
    with pytest.raises(SfumatoError, match=r"git lfs pull(.|\n)*c\.jpg: a web page"):
        load(top)
    with pytest.warns(UserWarning, match="2 of 3"):
        data = load(top, skip_broken=True)
    assert np.asarray(data.images)[:, 0, 0, 0].tolist() == pytest.approx([9], abs=2)


def test_grey_pictures_are_said(top: Path) -> None:
    """stylegan-xl 72, DFMGAN 22: grey pictures among others."""
    save(top / "a.png", 10, "L")
    assert "all pictures are grey: --channels 1" in said(load(top))
    save(top / "b.png", 20, "RGB")
    data = load(top, channels=1)
    assert data.images[:, 0, 0, 0].tolist() == [10, 20]
    assert "1 picture in colour made grey" in said(data)


def test_an_annotation_for_each_picture(top: Path) -> None:
    """labelme: annotations/NAME.json beside images/NAME.jpg."""
    (top / "annotations").mkdir(parents=True)
    for i in range(30):
        save(top / "images" / f"{i}.jpg")
        (top / "annotations" / f"{i}.json").write_text('{"shapes": []}')
    data = load(top)
    assert data.labels is None
    assert "30 label files such as annotations/0.json are not used" in said(data)
