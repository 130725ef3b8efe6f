"""Every command that writes, as short as it can be: for full disks and places that refuse.

In the words, IN is what `inputs` made, OUT a path (with an ending or none), and CACHE stands before
commands that write into the folder of data sets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_TRAIN = "--train.steps 1 --train.batch 2 --train.cpu --train.quiet --out OUT"

QUICK = (
    "sample fashion --n 4 --steps 1 --out OUT.png",
    "sample fashion --n 4 --steps 1 --batch 2 --out OUT.npz",
    "sample fashion --n 4 --steps 1 --out OUT",
    "encode fashion IN/grey.npz --n 2 --steps 2 --out OUT.npz",
    "data sheet 25-gaussians --out OUT.png",
    "CACHE data sheet IN/photos --resolution 16 --out OUT.png",
    "fields data mixture --n 2 --out OUT.npz",
    "fields data mixture --n 2 --out OUT.nc",
    "fields data mixture --n 2 --out OUT.zarr",
    "trajectories fashion --n 2 --steps 12 --out OUT",
    "private export fashion-private-1 --n 2 --steps 2 --out OUT.npz",
    "private export fashion-private-1 --n 2 --steps 2 --out OUT",
    f"train points --n 300 --width 16 {_TRAIN}",
    "restore IN/photos/00.png OUT.png --task jpeg --compare",
    "restore IN/photos OUT --task jpeg",
    "degrade IN/photos/00.png OUT.png --task jpeg-10",
    "degrade IN/photos OUT --task inpaint",
)
"""Seconds each at most, once torch is imported."""

SLOWER = (
    "evaluate IN/grey.npz --data digits --features pixels --n 24 --out OUT.json",
    "CACHE data sheet avatars --n 4 --resolution 16 --out OUT.png",
    f"CACHE fields train --data vorticity --n 20 {_TRAIN}",
    "tour --seconds 1 --out OUT",
    "fields sample mixture --n 1 --resolution 16x16 --out OUT.png",
    "fields sample mixture --n 1 --resolution 16x16 --out OUT.npz",
    "fields sample mixture --n 1 --resolution 16x16 --out OUT.nc",
    "fields sample mixture --n 1 --resolution 16x16 --out OUT.h5",
    "fields sample mixture --n 1 --resolution 16x16 --out OUT.zarr",
    "fields evaluate mixture --n 20 --resolution 16x16 --out OUT.json",
    "fields evaluate mixture --n 20 --resolution 16x16 --picture OUT.png",
    "fields calibrate mixture --n 16 --out OUT",
    f"fields train --data mixture --n 20 {_TRAIN}",
    "imagine word --model scenes --n 1 --steps 1 --out OUT.png",
    "imagine word --model scenes --n 1 --steps 1 --out OUT",
    f"private train images --path IN/photos --resolution 16 {_TRAIN}",
    f"train images --path IN/photos --resolution 16 {_TRAIN}",
    f"train digits {_TRAIN}",
    f"train cld-points --n 300 {_TRAIN}",
)


def inputs(folder: Path) -> Path:
    """A few pictures, as files and as an array; returns the folder."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    np.savez(folder / "grey.npz", images=random.integers(0, 255, (24, 1, 28, 28), dtype=np.uint8))
    for i in range(2):
        pixels = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i:02}.png")
    return folder


def words(command: str, given: Path, out: Path) -> tuple[list[str], bool]:
    """The words of a command, and whether it writes into the folder of data sets."""
    cache = command.startswith("CACHE ")
    text = command.removeprefix("CACHE ")
    return [w.replace("OUT", str(out)).replace("IN/", f"{given}/") for w in text.split()], cache
