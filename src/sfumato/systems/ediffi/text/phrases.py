"""Which tokens of a sentence are a phrase: whole words, plurals, repeats; never a silent miss.

A tokeniser says from which character to which each of its tokens goes. A phrase is found in the
sentence word by word, without regard to case, punctuation between words, or singular and plural,
and its tokens are those whose characters overlap it: so sub-words, and tokens that begin with a
space, need no rules of their own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from sfumato.errors import UsageError

Offsets = Sequence[tuple[int, int]]
"""For each token the characters [from, to) that it stands for; (0, 0) for one that is no text."""

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_PICK = re.compile(r"^(?P<phrase>.*\S)\s*#\s*(?P<which>\d+|all)\s*$", re.DOTALL)


@final
@dataclass(frozen=True)
class Word:
    """A word of a text, the forms by which it is compared, and its characters [start, stop)."""

    forms: frozenset[str]
    start: int
    stop: int

    def __matmul__(self, other: Word) -> bool:
        """Whether both may be one word, in singular or plural."""
        return not self.forms.isdisjoint(other.forms)


def words(text: str) -> list[Word]:
    """The words of a text."""
    return [Word(forms(m.group()), *m.span()) for m in _WORD.finditer(text)]


def forms(word: str) -> frozenset[str]:
    """A word without case, and what it may be the plural or genitive of: "Berries" -> "berry"."""
    word = word.casefold().replace("’", "'").removesuffix("'s").removesuffix("'")
    found = {word}
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        found.add(word[:-1])
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        found.add(word[:-2])
    if word.endswith("ies"):
        found.add(word[:-3] + "y")
    return frozenset(f for f in found if f == word or len(f) > 2)


def spans(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where a phrase occurs in a text, from its first to its last character, left to right.

    Raises:
        UsageError: a phrase without words.
    """
    wanted = words(phrase)
    if not wanted:
        raise UsageError(f"the phrase {phrase!r} has no words")
    have = words(text)
    found, i = [], 0
    while i + len(wanted) <= len(have):
        here = have[i : i + len(wanted)]
        if all(a @ b for a, b in zip(here, wanted, strict=True)):
            found.append((here[0].start, here[-1].stop))
            i += len(wanted)
        else:
            i += 1
    return found


def tokens_of(text: str, phrase: str, offsets: Offsets) -> tuple[int, ...]:
    """The numbers of the tokens that stand for a phrase of a text.

    Args:
        text: the sentence.
        phrase: some of its words. ``phrase #2`` is the second of several occurrences, and
            ``phrase #all`` are all of them.
        offsets: of the sentence's tokens.

    Raises:
        UsageError: the phrase is not in the sentence, is in it several times and none was chosen,
            or lies where the tokens end because the sentence was cut.
    """
    chosen = _PICK.match(phrase)
    bare = chosen.group("phrase") if chosen else phrase
    which = chosen.group("which") if chosen else ""
    found = spans(text, bare)
    if not found:
        raise UsageError(_missing(text, bare))
    if which and which != "all":
        if not 1 <= int(which) <= len(found):
            times = "once" if len(found) == 1 else f"{len(found)} times"
            raise UsageError(f"{bare!r} is in {text!r} {times}; there is no #{which}")
        found = [found[int(which) - 1]]
    elif len(found) > 1 and not which:
        raise UsageError(
            f"{bare!r} is in {text!r} {len(found)} times; say which with {bare + ' #1'!r}, or "
            f"{bare + ' #all'!r}"
        )
    made = tuple(
        i
        for i, (start, stop) in enumerate(offsets)
        if any(start < last and first < stop for first, last in found)
    )
    read = max((stop for _, stop in offsets), default=0)
    if not made or any(last > read for _, last in found):
        raise UsageError(
            f"{bare!r} is beyond the {len(offsets)} tokens that are read of {text!r}; shorten the "
            "sentence, or say it earlier"
        )
    return made


def _missing(text: str, phrase: str) -> str:
    have = {text[w.start : w.stop].casefold(): w for w in words(text)}
    strange = [
        phrase[w.start : w.stop].casefold()
        for w in words(phrase)
        if not any(w @ other for other in have.values())
    ]
    near = [m for w in strange for m in difflib.get_close_matches(w, have, n=1)]
    if near:
        return f"{phrase!r} is not in {text!r}; did you mean {' or '.join(map(repr, near))}?"
    if strange:
        return f"{phrase!r} is not in {text!r}; paint words that the sentence has"
    return f"{phrase!r} is not in {text!r} as one piece, in this order"
