"""Folders such as train, val and test: which part of a data set each picture belongs to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Final

from sfumato.errors import UsageError

PART_WORDS: Final = {
    **dict.fromkeys(("train", "training", "trainset"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "valset"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "testset"), "test"),
}
_NEUTRAL: Final = {
    "set", "data", "dataset", "image", "images", "imgs", "img", "pictures", "photos", "split",
    "folder", "samples", "part",
}  # fmt: skip
LEAST: Final = 50
"""Of fewer pictures none is held out."""


def parts_of(names: Sequence[str], refuse: bool = True) -> tuple[tuple[str, ...], list[str]]:
    """The part of each picture, "" where there are no parts, and the names without it.

    Below the folder that all lie in, parts may be the first folder (``train/cat/1.png``) or the
    second (``cat/train/1.png``), may be called ``test_set`` or ``val2017``, and stand twice
    (``seg_test/seg_test/``). With ``trainA, trainB, testA, testB`` the letters remain as folders.

    Args:
        names: relative to the top, "/" between folders.
        refuse: raise where only some folders are parts; else there are no parts.

    Raises:
        UsageError: see ``refuse``.
    """
    split = [name.split("/") for name in names]
    shared = os.path.commonprefix([path[:-1] for path in split])
    lead = next((i for i, folder in enumerate(shared) if _word(folder)[0]), len(shared))
    for depth in (lead, lead + 1):
        folders = {path[depth] if len(path) > depth + 1 else "" for path in split}
        words = {folder: _word(folder) for folder in folders}
        if all(part for part, _ in words.values()):
            others = {other for _, other in words.values()}
            pairs = {(part, other) for part, other in words.values()}
            kinds = {part for part, _ in pairs}
            if len(others) == 1:
                parts = tuple(words[path[depth]][0] for path in split)
                while all(len(p) > depth + 2 and p[depth + 1] == p[depth] for p in split):
                    split = [path[:depth] + path[depth + 1 :] for path in split]
                return parts, ["/".join(p[:depth] + p[depth + 1 :]) for p in split]
            if len(kinds) > 1 and len(pairs) == len(kinds) * len(others) and "" not in others:
                parts = tuple(words[path[depth]][0] for path in split)
                return parts, [
                    "/".join((*p[:depth], words[p[depth]][1], *p[depth + 1 :])) for p in split
                ]
        plain = sorted(folder for folder, (part, other) in words.items() if part and not other)
        if depth == lead and plain and refuse:
            rest = sorted(folders - set(plain))
            beside = ", ".join(f or "pictures" for f in rest[:4]) + (" ..." if rest[4:] else "")
            raise UsageError(
                f"the folder {plain[0]} may be a part of the data or a class, beside {beside}; "
                f"say --labels folders if it is a class, --labels none to read all pictures "
                f"without labels, or give the path of {plain[0]}"
            )
    return ("",) * len(names), list(names)


def _word(folder: str) -> tuple[str, str]:
    """The part that a folder's name says, or "", and the words that are no part."""
    tokens = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^-_ .()\sa-zA-Z\d]+", folder)
    parts = [PART_WORDS[t.lower()] for t in tokens if t.lower() in PART_WORDS]
    others = [
        t
        for t in tokens
        if t.lower() not in _NEUTRAL | PART_WORDS.keys() and not re.fullmatch(r"(19|20)\d\d", t)
    ]
    return (parts[0] if len(parts) == 1 else ""), " ".join(others)


def choose(
    parts: Sequence[str], names: Sequence[str], split: str, held_out: float
) -> tuple[list[bool], float]:
    """Which pictures are read, and the share that is held out by their names.

    Args:
        parts: of each picture, as `parts_of` gives them.
        names: of each picture; a picture belongs to the test part if the first 64 bits of the
            SHA-256 of its name are less than ``held_out``: adding pictures moves no other.
        split: "all", "train", "test" or "validation". The test part is that called so, else the
            validation part, else what is held out.
        held_out: share of the pictures; 0 holds out none. Of fewer than `LEAST` pictures none
            is, and the test part is then all of them.

    Raises:
        UsageError: there is no such part.
    """
    there = {part for part in parts if part}
    if split == "all":
        return [True] * len(parts), 0.0
    if there - {"train"}:
        wanted = "validation" if split == "test" and "test" not in there else split
        if wanted not in there:
            raise UsageError(
                f"the pictures have only the parts {', '.join(sorted(there))}, not {split}; say "
                "--split all to read all, or give the path of a part"
            )
        return [part == wanted for part in parts], 0.0
    if split == "validation":
        raise UsageError("the pictures have no part for validation; say train, test or all")
    if held_out <= 0 or len(parts) < LEAST:
        return [True] * len(parts), 0.0
    tested = [_uniform(name) < held_out for name in names]
    return [t == (split == "test") for t in tested], held_out


def _uniform(name: str) -> float:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return float(int.from_bytes(digest[:8], "big") / 2**64)
