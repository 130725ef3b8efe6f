"""Several sets of captioned pictures read as one."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.data.joined import Joined, joined_card
from sfumato.systems.ediffi.data.base import Captioned, Made


def joined_captioned(*sets: Captioned, weights: Sequence[float] | None = None) -> Captioned:
    """Several sets as one, taking turns in stated proportions; nothing is copied.

    Args:
        sets: of one resolution.
        weights: how often each set has its turn, relative to the others; equally often if None.

    Returns:
        a set; the style of a picture of a set that knows none is the name of that set.

    Raises:
        ValueError: no sets, different resolutions, or not one positive weight for each set.
    """
    if not sets:
        raise ValueError("joined_captioned needs at least one set")
    chosen = [1.0] * len(sets) if weights is None else list(weights)
    images = Joined([s.images for s in sets], chosen)

    def said(i: int) -> tuple[str, ...]:
        part, place = images.origin([i])
        return sets[int(part[0])].captions[int(place[0])]

    def style(i: int) -> str:
        part, place = images.origin([i])
        one = sets[int(part[0])]
        return one.name if one.styles is None else one.styles[int(place[0])]

    card, n = joined_card(sets, chosen, images), len(images)
    return Captioned(card.name, images, Made(n, said), card, Made(n, style))
