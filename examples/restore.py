"""Restore a picture by a Schrödinger bridge, and look at how sure the model is.

    python examples/restore.py

Takes a drawing that the shipped model has never seen, compresses it as a JPEG file of quality 10,
draws eight answers to what it was, and prints how near they and their mean come. Writes
`restored.png`: the bad picture, three answers, their mean, the truth.
"""

from __future__ import annotations

import torch

import sfumato as sf
from sfumato.data import avatar, to_uint8
from sfumato.data.degrade import JpegFile
from sfumato.files import pictures
from sfumato.metrics import psnr

face = torch.from_numpy(avatar(123_456_789, resolution=96).image.copy())
truth = face.float() / 127.5 - 1
bad = JpegFile((10, 10))(truth[None])[0]

answers = sf.load("restore").restore(bad, "jpeg", n=8, seed=0, steps=10)
mean = answers.mean(0)

for name, picture in (("JPEG", bad), ("an answer", answers[0]), ("mean of eight", mean)):
    print(f"{name}: {float(psnr(picture[None], truth[None])):.2f} dB")
tiles = torch.stack([bad, *answers[:3], mean, truth])
pictures.save(pictures.sheet(to_uint8(tiles).numpy(), columns=6), "restored.png")
