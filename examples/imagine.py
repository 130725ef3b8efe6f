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

import sfumato as sf
from sfumato.data import to_uint8
from sfumato.files import pictures

SAID = "a fox and a blue book on sand"

model = sf.load("scenes")
larger = sf.load("scenes-64")
left = torch.zeros(64, 64)
left[16:48, 4:28] = 1
painted = {"fox": left, "blue book": left.flip(1)}

plain = model.imagine(SAID, 4, seed=0, enlarge=larger)
placed = model.imagine(SAID, 4, seed=0, enlarge=larger, paint=painted)
styled = model.imagine(SAID, 4, seed=0, enlarge=larger, style=plain[0])

for name, drawn in (("plain", plain), ("painted", placed)):
    orange = (drawn[:, 0] - drawn[:, 2]).clamp_min(0)  # red without blue
    sides = orange[..., :32].mean((1, 2)) - orange[..., 32:].mean((1, 2))
    print(f"{name}: more orange on the left in {int((sides > 0).sum())} of 4 pictures")
rows = torch.cat([plain, placed, styled])
pictures.save(pictures.sheet(to_uint8(rows).numpy(), columns=4, scale=2), "imagined.png")
