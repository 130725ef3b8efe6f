"""Any folder of pictures with sentences: a text beside each picture, or one file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from sfumato.data.folders import folder
from sfumato.data.listing import common_folder, open_source, pictures
from sfumato.errors import UsageError
from sfumato.files.words import many
from sfumato.systems.ediffi.data.base import Captioned

CaptionsByName: TypeAlias = Mapping[str, tuple[str, ...]]

TABLE: Final = "metadata.jsonl"
_FILE_KEYS: Final = ("file_name", "image", "file")
_TEXT_KEYS: Final = ("text", "caption", "captions")
_FORM: Final = '{"file_name": "a.png", "text": "a red apple"}'


def captioned_folder(
    path: Path | str,
    resolution: int,
    *,
    every_line: bool = False,
    root: Path | None = None,
    progress: bool = True,
) -> Captioned:
    """The pictures in a folder (and those below it) or a .zip file, with their sentences.

    Either each picture has a text beside it (`a.txt` for `a.png`; UTF-8), or there is one file
    of JSON lines at the top, `metadata.jsonl` or any one `.jsonl`, with a line like
    {"file_name": "b/a.png", "text": "a red apple"} for each picture. There the picture may also
    be called "image" or "file" and the sentence "caption" or "captions"; a list of strings is
    several sentences, and so are several lines for one picture. Empty lines are nothing.

    Args:
        path: the folder or zip file.
        resolution: height and width R; see `sfumato.data.folder` for how pictures are scaled.
        every_line: each line of a text is a sentence of its own, instead of only the first.
        root, progress: as `sfumato.data.folder`.

    Returns:
        images uint8 (N, 3, R, R), in the order of their names.

    Raises:
        UsageError: as `sfumato.data.folder`; or a picture without a sentence, a sentence without
            its picture, an empty sentence, a broken line or text; every message names the file,
            and the line where there are lines. Texts and JSON lines both, or several files of
            JSON lines.
        SfumatoError: as `sfumato.data.folder`.
    """
    path = Path(path)
    source = open_source(path)
    entries = source.entries()
    names = [entry.name for entry in pictures(entries)]
    top = common_folder([entry.name for entry in entries])
    present = {entry.name for entry in entries}
    table = _table([n for n in present if n.endswith(".jsonl") and "/" not in n[len(top) :]], top)
    texts = {name: text for name in names if (text := _beside(name)) in present}
    if table and texts:
        raise UsageError(
            f"{path} has both {table} and texts beside pictures ({min(texts.values())}); keep one"
        )
    if names and not table and not texts:
        raise UsageError(
            f"{path} has pictures but no captions: put a text beside each ({_beside(names[0])} "
            f"for {names[0]}), or all into {TABLE}, in lines like {_FORM}"
        )
    captions_of: CaptionsByName = {}
    if names and table:
        captions_of = _from_table(table, source.read(table), top, set(names))
    elif names:
        captions_of = {n: _from_text(t, source.read(t), every_line) for n, t in texts.items()}
    _all_there(names, captions_of, table)
    images = folder(path, resolution, root=root, progress=progress, labels="none")
    captions = tuple(captions_of[name] for name in names)
    card = replace(
        images.card,
        size=f"{many(len(images), 'image')}, {resolution}x{resolution} RGB, "
        f"{many(sum(map(len, captions)), 'sentence')}",
    )
    return Captioned(images.name, images.images, captions, card)


def _beside(name: str) -> str:
    return name.rpartition(".")[0] + ".txt"


def _table(found: Sequence[str], top: str) -> str:
    """The name of the file of JSON lines, or ""."""
    if top + TABLE in found:
        return top + TABLE
    if len(found) > 1:
        raise UsageError(
            f"there are several files of JSON lines, {', '.join(sorted(found))}; keep one, or "
            f"call one {TABLE}"
        )
    return found[0] if found else ""


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}, line {line}: not UTF-8 text") from error


def _from_text(name: str, data: bytes, every_line: bool) -> tuple[str, ...]:
    lines = [line.strip() for line in _text(name, data).splitlines()]
    if not any(lines):
        raise UsageError(f"{name} is empty; expected a caption in its first line")
    if every_line:
        return tuple(line for line in lines if line)
    if not lines[0]:
        raise UsageError(f"{name}, line 1: the caption is empty")
    return (lines[0],)


def _from_table(name: str, data: bytes, top: str, names: set[str]) -> CaptionsByName:
    captions_of: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(_text(name, data).split("\n"), 1):
        if not line.strip():
            continue
        at = f"{name}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{at}: no JSON ({error}); expected a line like {_FORM}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{at}: expected an object like {_FORM}, got {line.strip()[:60]}")
        file = _value(row, _FILE_KEYS, at)
        if not isinstance(file, str):
            raise UsageError(f"{at}: the name of a picture must be a string, got {file!r}")
        picture = top + file.removeprefix("./")
        if picture not in names:
            raise UsageError(f"{at}: there is no picture {file!r}")
        captions_of[picture] = captions_of.get(picture, ()) + _sentences(row, file, at)
    return captions_of


def _value(row: Mapping[str, Any], keys: Sequence[str], at: str) -> Any:
    found = [key for key in keys if key in row]
    if len(found) != 1:
        raise UsageError(
            f"{at}: expected one of {', '.join(keys)}, got {', '.join(found or row) or 'nothing'}"
        )
    return row[found[0]]


def _sentences(row: Mapping[str, Any], file: str, at: str) -> tuple[str, ...]:
    value = _value(row, _TEXT_KEYS, at)
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in several):
        raise UsageError(f"{at}: the caption of {file!r} must be a string or strings, got {value}")
    stripped = tuple(text.strip() for text in several)
    if not stripped or not all(stripped):
        raise UsageError(f"{at}: the caption of {file!r} is empty")
    return stripped


def _all_there(names: Sequence[str], captions_of: CaptionsByName, table: str) -> None:
    missing = [name for name in names if name not in captions_of]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        where = f"{table} has no line" if table else "there is no text beside the picture"
        raise UsageError(f"{where} for {', '.join(missing[:5])}{more}")
