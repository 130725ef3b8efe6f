"""A hospital's labelled scans: learn from them privately, and pass on made-up ones instead.

python examples/hospital.py             the way, in half a minute on one core: 400 scans, 30 steps
python examples/hospital.py 6000 400    scans enough to learn something: about an hour

Writes hospital.png.

The scans are made up too (a chest, in half of them with a round opacity), but lie in a folder as
such folders do: names of patients in the file names, the findings in a CSV file with semicolons.
What follows are the commands that a data protection officer would want to see: what will be
promised, the training, the synthetic data with its certificate, the check of it by somebody who has
no scans, and how near it is to the scans. A private model
needs thousands of records; the short way ends in noise.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from sfumato.cli import main as sfumato
from sfumato.files import pictures

FINDINGS = ("clear", "opacity")
NAMES = ("Muster", "Sample", "Doe", "Roe", "Bloggs", "Rossi", "Dupont")


def scan(random: np.random.Generator, opaque: bool, side: int = 40) -> Image.Image:
    """A chest: two dark lungs in a grey body, with a bright round spot in one of them or not."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    width, tall, tilt = random.uniform((0.3, 0.6, -0.1), (0.38, 0.75, 0.1))
    value = np.full((side, side), 0.65)
    for middle in (-0.42, 0.42):
        lung = ((x - middle - tilt * y) / width) ** 2 + (y / tall) ** 2
        value -= 0.45 * np.clip(4 * (1 - lung), 0, 1)
    if opaque:
        at_x, at_y = random.choice((-0.42, 0.42)) + random.normal(0, 0.05), random.normal(0, 0.2)
        value += 0.6 * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * 0.16**2))
    value += random.normal(0, 0.03, value.shape)
    return Image.fromarray((value.clip(0, 1) * 255).astype(np.uint8))


def archive(folder: Path, n: int, seed: int = 0) -> None:
    """So many scans, and findings.csv."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    with open(folder / "findings.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(("file", "patient", "finding"))
        for i in range(n):
            name = f"{NAMES[i % len(NAMES)]}_{i:04}"
            scan(random, opaque=bool(i % 2)).save(folder / f"{name}.png")
            table.writerow((f"{name}.png", name, FINDINGS[i % 2]))


def run(command: str) -> None:
    """A command, as a terminal would show it."""
    print(f"\n$ sfumato {command}", flush=True)
    if status := sfumato(command.split()):
        raise SystemExit(status)


def main(n: int = 400, steps: int = 30) -> None:
    """The whole way, and what has to hold at its end."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            archive(Path("scans"), n)
            learned = n * 9 // 10  # a tenth is held out for test; the training never sees it
            batch = max(128, n // 12)
            run(f"private plan --records {learned} --batch {batch} --steps {steps} --epsilon 8")
            run(
                "private train images --path scans --labels finding --resolution 16 --channels 1 "
                "--cache decoded --delete-cache --out run --privacy.epsilon 8 "
                f"--privacy.delta 1e-4 --train.steps {steps} --train.batch {batch} --train.lr 4e-3 "
                "--train.sheet-every 0 --privacy.multiplicity 1"
            )
            run("private export run --n 200 --steps 12 --out synthetic.npz")
            run("private check synthetic.certificate.json")
            certificate = json.loads(Path("synthetic.certificate.json").read_text("utf-8"))
            with np.load("synthetic.npz") as made:
                images, labels = made["images"], made["labels"][:, 0]
            kept = [p for p in Path().rglob("*") if p.is_file() and p.parts[0] != "scans"]
            leaks = [p for p in kept for name in NAMES if name.encode() in p.read_bytes()]
            if leaks or certificate["epsilon"] > 8:
                raise SystemExit(f"what nobody may see is in {leaks}, or the promise is broken")
            run(
                "evaluate synthetic.npz --data scans --labels finding --resolution 16 "
                "--split all --out scores.json"
            )  # add --downstream for how well a classifier that learned from them reads scans
            scores = json.loads(Path("scores.json").read_text("utf-8"))["results"][0]["scores"]
        finally:
            os.chdir(here)
    rows = [images[labels == finding][:12] for finding in (0, 1)]
    pictures.save(pictures.sheet(np.concatenate(rows), columns=12), "hospital.png")
    print(f"\n{scores[0]['metric']} of made-up and real scans: {scores[0]['value']:.1f}")
    print(f"what is promised: epsilon {certificate['epsilon']:.3g}, whatever anybody else knows")
    print("wrote hospital.png: made-up scans, clear above and with an opacity below")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
