"""English for captions: the name of an emoji as words, "a" or "an" or neither."""

from __future__ import annotations

import re
from typing import Final


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VOWELS_SPELT: Final = frozenset("aefhilmnorsx")  # "an F", "an X"; but "a U"
_SPELT: Final = _set(
    """
    a ab atm b cl dna dvd e f h i id l m n ng o p r s sos t tv u ufo vip vs x
    """
)
_A: Final = ("eu", "ewe", "once", "one", "uni", "use", "usu", "uten", "uku", "ure", "uri", "uvu")
_AN: Final = ("heir", "honest", "honor", "honour", "hour")
_AN_AFTER_ALL: Final = ("unim", "unin", "unid", "oner")
_AN_NUMBER: Final = re.compile(r"8|(11|18)(?!\d)")
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


def article(phrase: str) -> str:
    """The indefinite article, "a" or "an", by the sound that the phrase begins with.

    Letters that are spelt out ("an ATM", "a UFO", "an X-ray"), numbers ("an 8", "an 18th", "a
    1st") and the common exceptions ("an hour", "a unicorn", "a one-way street") are known.

    Raises:
        ValueError: no word in the phrase.
    """
    found = _WORD.search(phrase)
    if found is None:
        raise ValueError(f"expected a phrase that begins with a word, got {phrase!r}")
    word = found[0].lower()
    if word[0].isdigit():
        return "an" if _AN_NUMBER.match(word) else "a"
    if word in _SPELT:
        return "an" if word[0] in _VOWELS_SPELT else "a"
    if word.startswith(_AN):
        return "an"
    if word.startswith(_A) and not word.startswith(_AN_AFTER_ALL):
        return "a"
    return "an" if word[0] in "aeiou" else "a"


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an": "a red apple", "an owl".

    Raises:
        ValueError: no word in the phrase.
    """
    return f"{article(phrase)} {phrase}"


_CAPITAL: Final = _set(  # Iconify's names have lost capitals, apostrophes and hyphens
    """
    american americas asia africa aquarius aries australia cancer capricorn christmas claus david
    europe ferris french fuji gemini hindu japan japanese khanda latin leo libra mount mrs mx om
    ophiuchus pisces sagittarius santa scorpio scorpius shinto taurus tokyo tower virgo vulcan
    """
)
_WRITTEN: Final = {
    **{word: word.upper() for word in ("atm", "cl", "dna", "dvd", "id", "ng", "ok", "sos", "vs")},
    **{f"{who}s": f"{who}'s" for who in ("man", "men", "woman", "women")},
    "oclock": "o'clock",
}
_WHOLE: Final = {
    "a-button": "A button", "a-button-blood-type": "A button (blood type)",
    "ab-button": "AB button", "ab-button-blood-type": "AB button (blood type)",
    "b-button": "B button", "b-button-blood-type": "B button (blood type)", "e-mail": "e-mail",
    "four-leaf-clover": "four-leaf clover", "front-facing-baby-chick": "front-facing baby chick",
    "jack-o-lantern": "jack-o-lantern", "kaaba": "Kaaba", "left-facing-fist": "left-facing fist",
    "milky-way": "Milky Way", "o-button": "O button",
    "o-button-blood-type": "O button (blood type)", "p-button": "P button",
    "right-facing-fist": "right-facing fist", "snow-capped-mountain": "snow-capped mountain",
    "statue-of-liberty": "Statue of Liberty", "t-rex": "T-Rex", "t-shirt": "t-shirt",
    "tear-off-calendar": "tear-off calendar", "two-hump-camel": "two-hump camel", "x-ray": "x-ray",
    "yo-yo": "yo-yo",
}  # fmt: skip


def words_of(name: str) -> str:
    """The name of an emoji, such as "red-apple", as words: "red apple"."""
    if name in _WHOLE:
        return _WHOLE[name]
    return " ".join(
        word.capitalize() if word in _CAPITAL else _WRITTEN.get(word, word)
        for word in name.split("-")
    )


_BARE: Final = _set(  # plural, uncountable, or a name of its own
    """
    admission-tickets american-football antenna-bars bacon badminton baguette-bread ballet-shoes
    beans blueberries bookmark-tabs books bowling bread breast-feeding bricks briefs broccoli
    bubble-tea bubbles building-construction busts-in-silhouette butter camping candy canned-food
    card-index-dividers chains cherries chopsticks clapping-hands clinking-beer-mugs
    clinking-glasses clockwise-vertical-arrows construction control-knobs cooked-rice coral
    crossed-fingers crossed-flags crossed-swords curry-rice custard dango dna eyes field-hockey
    film-frames fire fireworks flower-playing-cards fog folded-hands fondue footprints
    french-fries fried-shrimp garlic ginger-root glasses gloves goggles grapes heart-hands
    horse-racing hot-springs houses ice ice-cream ice-hockey japanese-dolls jeans lacrosse
    light-rail linked-paperclips luggage lungs maracas mate meat-on-bone money-with-wings
    mount-fuji mrs-claus musical-notes mx-claus nail-polish nesting-dolls oden open-hands
    palms-up-together pancakes paw-prints peanuts people-hugging performing-arts persons-hugging
    pinched-fingers ping-pong popcorn pouring-liquid prayer-beads raising-hands revolving-hearts
    sake salt santa-claus scissors shaved-ice shopping-bags shorts skis soap socks soft-ice-cream
    spaghetti sparkles sunglasses sushi sweat-droplets tennis thread thumbs-down thumbs-up
    tokyo-tower two-hearts womans-clothes wood yarn
    """
)
_THE: Final = frozenset({"kaaba", "milky-way", "statue-of-liberty"})
_STATES: Final = _set(  # what no article can go before
    """
    cooking dashing-away dizzy foggy high-voltage hundred-points locked locked-with-key
    locked-with-pen rolling-on-the-floor-laughing star-struck unlocked zzz
    """
)
_CLOCK: Final = re.compile(r".*-(oclock|thirty)")
_SIGNS: Final = _set(  # words of names in the category "Symbols" that are things
    """
    arrow badge button check circle closet cross dash diamond emblem loop mark sign spoked square
    star symbol triangle
    """
)


def noun_phrase(name: str, category: str) -> str:
    """What an emoji's name says, as it can stand in a sentence.

    "a red apple", "grapes", "a clock showing ten o'clock"; what is neither a thing nor a person:
    "the symbol Taurus".

    Args:
        name: its name, such as "red-apple".
        category: the group of emoji it is in, such as "Food & Drink".
    """
    words = words_of(name)
    if _CLOCK.fullmatch(name):
        return f"a clock showing {words}"
    if name in _THE:
        return f"the {words}"
    if name in _BARE:
        return words
    if name in _STATES or (category == "Symbols" and _SIGNS.isdisjoint(name.split("-"))):
        return f"the symbol {words}"
    return with_article(words)
