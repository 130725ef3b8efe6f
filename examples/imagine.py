"""Draw a sentence, paint two of its words, and give it a style.

    sfumato data fetch minilm
    python examples/imagine.py

Draws "a fox and a blue book on sand" four times by itself, four times with the fox painted into the
left half and the book into the right one, and four times as the first of these pictures is drawn:
what differs between the rows is the wish alone, the noise is the same. Prints on which side the
picture is more orange. Writes `imagined.png`.
"""

from __future__ import annotations

import torch

from sfumato.data import to_uint8
from sfumato.files import pictures
from sfumato.files.cards import find
from sfumato.systems.ediffi.pipeline import ImageRequest, Paint, imagine, open_cascade

SAID = "a fox and a blue book on sand"

cascade = open_cascade([str(find(name)) for name in ("scenes", "scenes-64")])
left = torch.zeros(64, 64)
left[16:48, 4:28] = 1
painted = (Paint("fox", left), Paint("blue book", left.flip(1)))

plain = imagine(cascade, ImageRequest(SAID), seed=0, indices=range(4)).pictures
placed = imagine(cascade, ImageRequest(SAID, paint=painted), seed=0, indices=range(4)).pictures
styled = imagine(cascade, ImageRequest(SAID, style=plain[0]), seed=0, indices=range(4)).pictures

for name, drawn in (("plain", plain), ("painted", placed)):
    orange = (drawn[:, 0] - drawn[:, 2]).clamp_min(0)  # red without blue
    sides = orange[..., :32].mean((1, 2)) - orange[..., 32:].mean((1, 2))
    print(f"{name}: more orange on the left in {int((sides > 0).sum())} of 4 pictures")
rows = torch.cat([plain, placed, styled])
pictures.save(pictures.sheet(to_uint8(rows).numpy(), columns=4, scale=2), "imagined.png")
