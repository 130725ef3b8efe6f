"""Phrases in sentences: sub-words, plurals, repeats, punctuation; and what fails loudly."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import UsageError
from sfumato.systems.ediffi.text.phrases import spans, tokens_of, words

SENTENCE = "A red apple, left of two blue police-cars; the red-haired girl's Berries."


def pieces(text: str, size: int, spaced: bool = False) -> list[tuple[int, int]]:
    """Tokens of so many letters of a word at most; with the space before, as BPE has it."""
    found = [(0, 0)]  # a token that is no text
    for m in re.finditer(r"\w+|[^\w\s]", text):
        start, stop = m.span()
        for at in range(start, stop, size):
            first = at - 1 if spaced and at == start and at > 0 and text[at - 1] == " " else at
            found.append((first, min(at + size, stop)))
    return [*found, (0, 0)]


def said(text: str, phrase: str, offsets: list[tuple[int, int]]) -> str:
    return "|".join(text[slice(*offsets[i])].strip() for i in tokens_of(text, phrase, offsets))


@pytest.mark.parametrize("spaced", [False, True])
def test_sub_words_and_spaces(spaced: bool) -> None:
    offsets = pieces(SENTENCE, 3, spaced)
    assert said(SENTENCE, "red apple", offsets) == "red|app|le"
    assert said(SENTENCE, "police-car", offsets) == "pol|ice|-|car|s"
    assert said(SENTENCE, "APPLES", offsets) == "app|le"
    assert said(SENTENCE, "berry", offsets) == "Ber|rie|s"
    assert said(SENTENCE, "girl", offsets) == "gir|l|'|s"


def test_words_are_whole() -> None:
    """ "car" is not in "carpet", nor "red" in "red-haired"."""
    with pytest.raises(UsageError, match="'car' is not in"):
        tokens_of("a carpet", "car", pieces("a carpet", 3))
    assert len(spans(SENTENCE, "red")) == 1


def test_punctuation_between_words_does_not_matter_their_order_does() -> None:
    assert spans(SENTENCE, "apple left") == [(6, 17)]
    with pytest.raises(UsageError, match="'apple red' is not in .* as one piece"):
        tokens_of(SENTENCE, "apple red", pieces(SENTENCE, 9))


def test_repeats_must_be_chosen() -> None:
    text = "a cat and a dog and cats"
    offsets = pieces(text, 9)
    with pytest.raises(UsageError, match="2 times; say which with 'cat #1', or 'cat #all'"):
        tokens_of(text, "cat", offsets)
    assert said(text, "cat #1", offsets) == "cat"
    assert said(text, "cat#2", offsets) == "cats"
    assert said(text, "cat #all", offsets) == "cat|cats"
    assert said(text, "dog #1", offsets) == "dog"
    with pytest.raises(UsageError, match="there is no #3"):
        tokens_of(text, "cat #3", offsets)
    with pytest.raises(UsageError, match="'dog' is in .* once; there is no #2"):
        tokens_of(text, "dog #2", offsets)


def test_what_was_cut_off_is_not_found_silently() -> None:
    offsets = pieces(SENTENCE, 3)[:8]
    assert said(SENTENCE, "red apple", offsets) == "red|app|le"
    with pytest.raises(UsageError, match="beyond the 8 tokens"):
        tokens_of(SENTENCE, "girl", offsets)
    with pytest.raises(UsageError, match="beyond the 3 tokens"):  # half of it is read
        tokens_of(SENTENCE, "red apple", pieces(SENTENCE, 3)[:3])


def test_a_near_miss_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'apple'"):
        tokens_of(SENTENCE, "aple", pieces(SENTENCE, 3))
    with pytest.raises(UsageError, match="has no words"):
        tokens_of(SENTENCE, " ,", pieces(SENTENCE, 3))


PLURALS = (
    "bus buses, box boxes, cherry cherries, dog dogs, glass glasses, tomato tomatoes, house houses,"
    " watch watches, iris iris, tie ties, rose roses, shoe shoes"
)


@pytest.mark.parametrize("pair", PLURALS.split(", "))
def test_plurals(pair: str) -> None:
    one, many = pair.split()
    assert spans(f"the {many}", one) == [(4, 4 + len(many))]
    assert spans(f"the {one}", many) == [(4, 4 + len(one))]


@pytest.mark.parametrize("pair", ["to toes", "bass base", "glass glad", "bus bush", "as a"])
def test_other_words_are_other_words(pair: str) -> None:
    one, other = pair.split()
    assert spans(f"the {other}", one) == [] == spans(f"the {one}", other)


@given(st.lists(st.sampled_from(["red", "car", "on", "grass", "A", "big-eyed", "owl"]), min_size=1,
                max_size=9), st.data())  # fmt: skip
def test_any_run_of_words_is_found_where_it_is(sentence: list[str], data: st.DataObject) -> None:
    text = ", ".join(sentence)
    first = data.draw(st.integers(0, len(sentence) - 1))
    last = data.draw(st.integers(first, len(sentence) - 1))
    size = data.draw(st.integers(1, 4))
    phrase = " ".join(sentence[first : last + 1])
    offsets = pieces(text, size)
    there = words(text)[first].start, words(text)[last].stop
    found = spans(text, phrase)
    covered = set()
    for i in tokens_of(text, f"{phrase} #all", offsets):
        covered |= set(range(*offsets[i]))
    want = {c for a, b in found for c in range(a, b) if not text[c].isspace()}
    assert covered - {c for c in covered if text[c].isspace()} == want
    assert any(a <= there[0] < b for a, b in found)
