"""Label files whose names say nothing: chosen by a column, or told of and not used."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sfumato.data import ImageSet, folder
from sfumato.errors import UsageError


def load(path: Path, **options: object) -> ImageSet:
    root = path.parent / f"cache of {path.name}"
    return folder(path, 8, root=root, progress=False, **options)  # type: ignore[arg-type]


def classes(data: ImageSet) -> list[str]:
    assert data.labels is not None
    return [data.axes[0].values[i] for i in data.labels[:, 0]]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    top = tmp_path / "scans"
    top.mkdir()
    for i in range(4):
        Image.new("L", (8, 8), 50 * i).save(top / f"{i}.png")
    rows = "".join(f"{i}.png; P{i}; {'clear' if i % 2 else 'opacity'}\n" for i in range(4))
    (top / "findings.csv").write_text("file;patient;finding\n" + rows)
    return top


def test_a_column_finds_its_table(scans: Path) -> None:
    data = load(scans, labels="finding")
    assert classes(data) == ["opacity", "clear", "opacity", "clear"]
    assert data.axes[0].name == "finding"
    assert data.summary is not None and not data.summary.left_out
    assert classes(load(scans, labels="findings.csv")) == ["P0", "P1", "P2", "P3"]


def test_a_table_that_may_say_the_labels_is_told_of(scans: Path) -> None:
    data = load(scans)
    assert data.labels is None and data.summary is not None
    said = "\n".join(data.summary.lines())
    assert "findings.csv has the columns patient, finding; --labels COLUMN makes classes" in said


def test_the_only_table_with_a_class_is_used(scans: Path) -> None:
    (scans / "breeds.tsv").write_text(
        "file\tbreed\n" + "".join(f"{i}.png\t{'pug' if i < 2 else 'boxer'}\n" for i in range(4))
    )
    assert classes(load(scans)) == ["pug", "pug", "boxer", "boxer"]
    assert classes(load(scans, labels="finding")) == ["opacity", "clear", "opacity", "clear"]


def test_two_tables_with_a_class_are_refused(scans: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (scans / name).write_text("file,label\n0.png,x\n1.png,y\n2.png,x\n3.png,y\n")
    with pytest.raises(UsageError, match=r"a\.csv and b\.csv both name the pictures"):
        load(scans)
    assert classes(load(scans, labels="b.csv")) == ["x", "y", "x", "y"]


def test_a_column_that_no_table_has(scans: Path) -> None:
    with pytest.raises(UsageError, match=r"findings\.csv has the columns patient, finding"):
        load(scans, labels="diagnosis")


def test_tables_of_something_else_are_no_matter(scans: Path) -> None:
    (scans / "findings.csv").write_text("time,value\n1,2\n")
    (scans / "notes.csv").write_bytes(b"\x00\xff\x00")
    data = load(scans)
    assert data.labels is None and data.summary is not None
    assert "columns" not in "\n".join(data.summary.lines())
    with pytest.raises(UsageError, match="there is no label file"):
        load(scans, labels="finding")
