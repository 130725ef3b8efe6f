"""Label files beside pictures: tables (CSV, JSON lines), EDM's `dataset.json`, COCO annotations."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias, final

from sfumato.data.listing import Entry, FileSource, plain_name
from sfumato.data.parts import parts_of
from sfumato.errors import UsageError
from sfumato.files.words import many

Rows: TypeAlias = dict[str, dict[str, str]]
"""Of each file: column -> value."""

FILE_COLUMNS: Final = (
    "file", "files", "file_name", "filename", "filenames", "file name", "image", "images",
    "image_name", "image_path", "img", "path", "filepath", "file_path", "fname", "name", "id",
    "image_id",
)  # fmt: skip
CLASS_COLUMNS: Final = (
    "label", "labels", "class", "classes", "class_name", "category", "target", "species", "breed",
    "classid", "class_id", "label_id",
)  # fmt: skip
TEXT_COLUMNS: Final = (
    "text", "caption", "captions", "prompt", "description", "title", "url", "source", "license",
    "licence", "id", "image_id", "width", "height", "sha256", "author", "split",
)  # fmt: skip
TABLES: Final = (
    "labels.csv", "labels.tsv", "labels.json", "labels.jsonl", "metadata.csv", "metadata.jsonl",
    "train.csv", "_classes.csv", "dataset.json", "_annotations.coco.json", "annotations.json",
)  # fmt: skip
_IN_ANNOTATIONS: Final = re.compile(
    r"(^|/)annotations/(?!captions|person_keypoints|image_info|panoptic|stuff)[^/]*\.json$", re.I
)
_MANY: Final = 20
"""More label files than that are not one for each part or class."""
_DELIMITERS: Final = ",;\t|"


@final
@dataclass(frozen=True)
class Table:
    """What the label files of a folder say.

    Args:
        name: of the file, or of the first of several.
        rows: of each picture that is listed, column -> value.
        all: the rows, also those of files that are not there.
        notes: why there are none, if there are none.
        files: all that were read.
    """

    name: str
    rows: Rows
    all: tuple[dict[str, str], ...]
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def without(self, column: str) -> Table:
        """The table without a column."""

        def short(row: Mapping[str, str]) -> dict[str, str]:
            return {k: v for k, v in row.items() if k != column}

        rows = {name: short(row) for name, row in self.rows.items()}
        return replace(self, rows=rows, all=tuple(map(short, self.all)))


def find_table(
    source: FileSource,
    entries: Sequence[Entry],
    top: str,
    names: Sequence[str],
    parts: Sequence[str],
    asked: str = "auto",
) -> Table | None:
    """The label file at the top, or one in each folder of pictures; None if there is none.

    Args:
        source: where they are read.
        entries: all files.
        top: the folder that all lie in.
        names: of the pictures, below ``top``.
        parts: of the pictures.
        asked: the name of the file; other words are no names of files.

    Raises:
        UsageError: files that cannot be read or contradict each other.
    """
    files = [entry.name.removeprefix(top) for entry in entries]
    if plain_name(asked) in files:
        found = [plain_name(asked)]
    else:
        found = [f for f in files if _base(f).lower() in TABLES or _IN_ANNOTATIONS.search(f)]
        found = [f for f in found if any(n.startswith(_folder(f)) for n in names)]
        least = min((_folder(f).count("/") for f in found), default=0)
        found = [f for f in found if _folder(f).count("/") == least]
    notes: list[str] = []
    if len(found) > _MANY:  # one for each picture, as other programs write them
        notes.append(f"{len(found):,} label files such as {found[0]} are not used")
        found = [f for f in found if _base(f).lower() in TABLES]
    rows: Rows = {}
    everything: list[dict[str, str]] = []
    used: dict[tuple[str, str], str] = {}
    for file in found:
        content, note = _read(top + file, source.read(top + file))
        notes += [note] * bool(note)
        if not content:
            continue
        part = parts_of([f"{_base(file).rpartition('.')[0]}/x"], refuse=False)[0][0]
        part = part if part in parts else ""
        if (_folder(file), part) in used:
            raise UsageError(
                f"there are both {used[_folder(file), part]} and {file}; keep one, or say "
                f"--labels {file}"
            )
        used[_folder(file), part] = file
        below = [
            name.removeprefix(_folder(file))
            for name, of in zip(names, parts, strict=True)
            if name.startswith(_folder(file)) and (not part or of == part)
        ]
        matched = match(below, list(content), file)
        if not matched:
            raise UsageError(
                f"{file} names no picture that is there (it names {next(iter(content))}, there is "
                f"{(below or names)[0]}); --labels none reads the pictures without labels"
            )
        rows |= {_folder(file) + name: content[known] for name, known in matched.items()}
        everything += content.values()
    if len({tuple(row) for row in everything}) > 1:
        raise UsageError(f"{', '.join(used.values())} have different columns")
    if not found and not notes:
        return None
    read = tuple(used.values())
    return Table(read[0] if read else "", rows, tuple(everything), tuple(notes), read)


def _base(file: str) -> str:
    return file.rpartition("/")[2]


def _folder(file: str) -> str:
    """The folder whose pictures a label file describes, "" or ending in "/"."""
    folder = "".join(part + "/" for part in file.split("/")[:-1])
    return folder.removesuffix("annotations/") if _IN_ANNOTATIONS.search(file) else folder


def _read(name: str, data: bytes) -> tuple[Rows | None, str]:
    """The rows of any label file, or None and why there are none."""
    if name.lower().endswith(".json"):
        try:
            content = json.loads(text_of(data))
        except ValueError as error:
            raise UsageError(f"{name} cannot be read ({error}); expected JSON") from error
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            rows, why = read_coco(name, content)
            return rows or None, why
        if (
            isinstance(content, dict)
            and "labels" in content
            and isinstance(content["labels"], dict | list | None)
        ):
            found = read_dataset_json(name, content)
            return found, "" if found else f"no classes: {name} has no labels"
        if not _base(name).lower().startswith("labels."):
            return None, f"{name} is in no form that is known, and is not used"
    rows = read_rows(name, data)
    return (one_hot(rows) or rows) if _base(name).lower() == "_classes.csv" else rows, ""


def text_of(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with a byte order mark or with zeros that tell.

    Raises:
        ValueError: neither.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:200]:
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be")
    return data.decode("utf-8-sig")


def read_rows(name: str, data: bytes) -> Rows:
    """What a label file says: file -> column -> value.

    A `.csv` (or `.tsv`, `.txt`) has a header with a column `file` (or another of `FILE_COLUMNS`),
    separated by commas, semicolons, tabs or bars. A `.json` is {"a.png": "cat"},
    {"a.png": {"animal": "cat"}} or a list of objects like {"file": "a.png", "animal": "cat"};
    a `.jsonl` has such an object in each line. What is no text, number or truth is left out.

    Raises:
        UsageError: another form, files listed twice, or rows with different columns.
    """
    try:
        text = text_of(data)
        if name.lower().endswith(".json"):
            pairs = _json_pairs(json.loads(text))
        elif name.lower().endswith(".jsonl"):
            pairs = _json_pairs([json.loads(line) for line in text.splitlines() if line.strip()])
        else:
            pairs = _csv_pairs(text)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UsageError(
            f"{name} cannot be read ({error}); expected a CSV with the header 'file,label', or "
            'JSON like {"a.png": "cat"}'
        ) from error
    rows: Rows = {}
    for file, values in pairs:
        file = plain_name(file.strip())
        if file in rows:
            raise UsageError(f"{name} lists {file} twice")
        if rows and values.keys() != next(iter(rows.values())).keys():
            raise UsageError(f"{name}: {file} has other label axes than the first file")
        rows[file] = values
    if not rows:
        raise UsageError(f"{name} lists no files")
    return rows


def _csv_pairs(text: str) -> list[tuple[str, dict[str, str]]]:
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep="):  # a line of Excel's
        delimiter, text = first.strip()[4:5] or ",", rest
        first = rest.partition("\n")[0]
    else:
        delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    header = [column.strip() for column in next(reader, [])]
    file = _file_column(header)
    if len(header) < 2 or file is None:
        raise ValueError(f"the header is {','.join(header) or 'missing'}")
    pairs = []
    for row in reader:
        if not any(value.strip() for value in row):
            continue
        if len(row) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(row)} columns, not {len(header)}")
        values = {k: v.strip() for k, v in zip(header, row, strict=True)}
        pairs.append((values.pop(file), values))
    return pairs


def _file_column(header: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(header)}
    return next((lower[column] for column in FILE_COLUMNS if column in lower), None)


def _json_pairs(content: object) -> list[tuple[str, dict[str, str]]]:
    if isinstance(content, list):
        pairs = []
        for row in content:
            file = _file_column(list(row))
            if file is None:
                raise ValueError(f"no file name in {json.dumps(row)[:80]}")
            pairs.append((row[file], _scalars({k: v for k, v in row.items() if k != file})))
        return pairs
    if not isinstance(content, dict):
        raise ValueError("neither an object nor a list")
    return [
        (file, _scalars(value if isinstance(value, dict) else {"label": value}))
        for file, value in content.items()
    ]


def _scalars(values: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in values.items() if isinstance(v, str | int | float)}


def one_hot(rows: Rows) -> Rows | None:
    """Rows with one 1 among zeros in each as {"class": column}; None if they are not so."""
    numbers = [{k: v for k, v in row.items() if v in ("0", "1")} for row in rows.values()]
    first = next(iter(rows.values()))
    if len(first) < 2 or any(
        len(n) != len(first) or list(n.values()).count("1") != 1 for n in numbers
    ):
        return None
    return {
        file: {"class": next(k for k, v in row.items() if v == "1")} for file, row in rows.items()
    }


def read_dataset_json(name: str, content: Any) -> Rows | None:
    """EDM's and StyleGAN's `dataset.json`, and FiftyOne's `labels.json`; None without labels.

    The latter is {"classes": ["cat", "dog"], "labels": {"1": 0, "2": 1}}.

    Raises:
        UsageError: labels that are neither whole numbers nor one-hot vectors.
    """
    labels, classes = content["labels"], content.get("classes")
    if not labels:
        return None
    rows: Rows = {}
    for file, label in labels.items() if isinstance(labels, dict) else labels:
        if isinstance(label, list) and sorted(label, reverse=True)[:2] in ([1, 0], [1]):
            label = label.index(1)
        if not isinstance(label, int | str):
            raise UsageError(
                f"{name}: the label of {file} is neither a class nor a one-hot vector; "
                "--labels none reads the pictures without"
            )
        known = isinstance(classes, list) and isinstance(label, int) and label < len(classes)
        rows[plain_name(file)] = {"class": str(classes[label] if known else label)}
    return rows


def read_coco(name: str, content: Any) -> tuple[Rows, str]:
    """The classes of a COCO annotation file's pictures, or a sentence why they have none.

    A picture has a class if all its annotations are of one category.
    """
    try:
        categories = {c["id"]: str(c["name"]) for c in content.get("categories", [])}
        files = {image["id"]: plain_name(image["file_name"]) for image in content["images"]}
        found: dict[str, set[str]] = {file: set() for file in files.values()}
        for note in content["annotations"]:
            if note["image_id"] in files and note.get("category_id") in categories:
                found[files[note["image_id"]]].add(categories[note["category_id"]])
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{name} has images and annotations as COCO's files do, but cannot be read ({error!r})"
        ) from error
    several = sum(len(names) > 1 for names in found.values())
    none = sum(not names for names in found.values())
    if several or none:
        why = [f"{several:,} with several categories"] * bool(several)
        why += [f"{none:,} without annotation"] * bool(none)
        return (
            {},
            f"no classes: {name} has {' and '.join(why)} of {many(len(found), 'picture')}",
        )
    return {file: {"class": next(iter(names))} for file, names in found.items()}, ""


def match(names: Sequence[str], files: Sequence[str], table: str) -> dict[str, str]:
    """Which picture is which file of a table.

    Tables name pictures by their path; or without ending, without folders, or by a path of
    another machine: the first of these by which any are found.

    Args:
        names: of the pictures, relative to the table's folder.
        files: as the table names them.
        table: its name, for messages.

    Raises:
        UsageError: two pictures would be the same file of the table.
    """

    def stem(name: str) -> str:
        ending = PurePosixPath(name).suffix
        return name.removesuffix(ending) if ending else name

    def same(name: str) -> str:
        return name

    forms: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (same, same),
        (lambda n: n.partition("/")[2], same),
        (stem, same),
        (_base, same),
        (lambda n: stem(_base(n)), same),
        (_base, _base),
    )
    for ours, theirs in forms:
        wanted = {theirs(file): file for file in files}
        found = {name: wanted[ours(name)] for name in names if ours(name) in wanted}
        if not found:
            continue
        first: dict[str, str] = {}
        for name, file in found.items():
            if file in first:
                raise UsageError(
                    f"{table}: {file} may be {first[file]} or {name}; write the folders too"
                )
            first[file] = name
        return found
    return {}
