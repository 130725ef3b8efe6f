"""What one request may ask for, checked where it arrives: each refusal is one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from sfumato.errors import UsageError


@final
@dataclass(frozen=True)
class Limits:
    """The largest of everything.

    Args:
        queue: requests that wait while one is drawn.
        n: pictures of a request.
        steps: of the first model.
        letters: of the sentence, of the negative one, and of a phrase.
        scale: of guidance, guidance by style and the strength of paint.
        pixels: of a picture that is shown.
        bytes: of such a file.
        request: bytes of a whole request; pictures travel as text, a third longer.

    Raises:
        UsageError: less than one of something.
    """

    queue: int = 16
    n: int = 8
    steps: int = 100
    letters: int = 500
    scale: float = 20.0
    pixels: int = 24_000_000
    bytes: int = 8_000_000
    request: int = 24_000_000

    def __post_init__(self) -> None:
        for name, option in (("queue", "queue"), ("n", "max-n"), ("pixels", "max-pixels")):
            if getattr(self, name) < 1:
                raise UsageError(f"--{option} must be at least 1, got {getattr(self, name)}")


def sentence(value: Any, name: str, limits: Limits) -> str:
    """A text that is not too long, without white space around it.

    Raises:
        UsageError: longer, or no text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{name}: expected a text")
    text = value.strip()
    if len(text) > limits.letters:
        raise UsageError(f"{name}: {len(text)} letters are too many; {limits.letters} are the most")
    return text


def number(value: Any, name: str, least: float, most: float) -> float:
    """A number in [least, most].

    Raises:
        UsageError: another one, or no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(f"{name}: expected {least:g} to {most:g}, got {value!r}"[:200])
    return float(value)


def whole(value: Any, name: str, least: int, most: int) -> int:
    """A whole number in [least, most].

    Raises:
        UsageError: another one, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise UsageError(f"{name}: expected a whole number, got {value!r}"[:200])
    if not least <= value <= most:
        raise UsageError(f"{name}: expected {least} to {most}, got {value:g}")
    return int(value)
