"""English: a and an, names as words, and what has no article."""

from __future__ import annotations

import pytest

from sfumato.systems.ediffi.data.layout import THINGS
from sfumato.systems.ediffi.data.words import article, noun_phrase, with_article, words_of

AN = """
apple|airplane|alarm clock|ant|evergreen tree|elephant|egg|index pointing up|octopus|
owl|orange heart|umbrella|umbrella on ground|hourglass|hour|honest face|heirloom|
OK hand|ATM sign|AB button|SOS button|NG button|ID button|x-ray|e-mail|8 ball|
18th birthday|11 o'clock|80 days|unamused face|upside down face|underground|
unimportant note|uninterested cat
"""
A = """
red apple|book|car|unicorn|unicycle|university|uniform|one-way street|ewe|
euro banknote|European castle|user|ukulele|UFO|utensil|once-in-a-lifetime trip|hamburger|
house|hospital|heart|hotel|VS button|P button|B button|CL button|DVD|TV|T-Rex|
t-shirt|1st place medal|10 key|2nd|7|100|yo-yo|yellow circle|jack-o-lantern|
wrapped gift|herb|180|1800s|116
"""


def listed(text: str) -> list[str]:
    return text.strip().replace("\n", "").split("|")


@pytest.mark.parametrize("phrase", listed(AN))
def test_an(phrase: str) -> None:
    assert with_article(phrase) == f"an {phrase}"


@pytest.mark.parametrize("phrase", listed(A))
def test_a(phrase: str) -> None:
    assert with_article(phrase) == f"a {phrase}"


def test_no_word_no_article() -> None:
    for nothing in ("", " ", "—"):
        with pytest.raises(ValueError, match="begins with a word"):
            article(nothing)


def test_the_things_of_scenes() -> None:
    vowels = [thing.phrase for thing in THINGS if thing.phrase.startswith("an ")]
    assert vowels == [
        "an orange circle", "an elephant", "an octopus", "an owl", "an umbrella",
        "an alarm clock", "an evergreen tree",
    ]  # fmt: skip
    assert len({thing.words for thing in THINGS}) == len({thing.icon for thing in THINGS}) == 64


@pytest.mark.parametrize(
    ("name", "category", "phrase"),
    [
        ("red-apple", "Food & Drink", "a red apple"),
        ("grapes", "Food & Drink", "grapes"),
        ("french-fries", "Food & Drink", "French fries"),
        ("ten-oclock", "Travel & Places", "a clock showing ten o'clock"),
        ("one-thirty", "Travel & Places", "a clock showing one thirty"),
        ("womans-boot", "Objects", "a woman's boot"),
        ("womans-clothes", "Objects", "woman's clothes"),
        ("mans-shoe", "Objects", "a man's shoe"),
        ("t-rex", "Animals & Nature", "a T-Rex"),
        ("two-hump-camel", "Animals & Nature", "a two-hump camel"),
        ("ewe", "Animals & Nature", "a ewe"),
        ("milky-way", "Travel & Places", "the Milky Way"),
        ("mount-fuji", "Travel & Places", "Mount Fuji"),
        ("unlocked", "Objects", "the symbol unlocked"),
        ("taurus", "Symbols", "the symbol Taurus"),
        ("no-entry", "Symbols", "the symbol no entry"),
        ("red-circle", "Symbols", "a red circle"),
        ("star-of-david", "Symbols", "a star of David"),
        ("ab-button-blood-type", "Symbols", "an AB button (blood type)"),
        ("ok-button", "Symbols", "an OK button"),
        ("keycap-8", "Symbols", "the symbol keycap 8"),
    ],
)
def test_names_in_sentences(name: str, category: str, phrase: str) -> None:
    assert noun_phrase(name, category) == phrase


def test_names_as_words() -> None:
    assert words_of("red-apple") == "red apple"
    assert words_of("jack-o-lantern") == "jack-o-lantern"
    assert words_of("mens-room") == "men's room"
    assert words_of("dna") == "DNA"
