"""The first hour with a folder of photographs, as a terminal shows it.

    python benchmarks/first_hour.py --out benchmarks/results/first-hour.json

500 JPEG files of many sizes and shapes, crops of the wallpapers that `sfumato data fetch` brings
under the name photographs, are learned from at 64 pixels for five minutes, then Ctrl-C; the run
goes on for five more; samples are drawn, measured against the part that was held out, and the model
is written to a folder of its own. No option is given but --path, --resolution and --out. Kept are
each command, its seconds, its exit status and every line that it printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from written import write

from sfumato.data import data_root

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    """How long, and where to.

    minutes: of each training.  pictures: how many photographs.  keep: a folder for what was made;
    a temporary one if not given.  out: the result.
    """

    minutes: float = 5.0
    pictures: int = 500
    seed: int = 0
    keep: Path | None = None
    out: Path = HERE / "results" / "first-hour.json"


def photographs(folder: Path, n: int, seed: int) -> None:
    """So many crops, as a camera would name them."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    files = sorted(data_root().glob("photographs-[0-9]*/*.jpg"))
    if not files:
        raise SystemExit("no photographs are here: sfumato data fetch photographs")
    whole = []
    for file in files:
        with Image.open(file) as picture:
            picture.draft("RGB", (1600, 1600))
            picture.thumbnail((1600, 1600))
            whole.append(picture.convert("RGB"))
    for i in range(n):
        picture = whole[random.integers(len(whole))]
        height = int(random.integers(200, int(0.8 * min(picture.size))))
        width = min(int(height * random.uniform(0.8, 1.5)), picture.width)
        x, y = (
            int(random.integers(0, most - side + 1))
            for most, side in zip(picture.size, (width, height), strict=True)
        )
        crop = picture.crop((x, y, x + width, y + height))
        crop.save(folder / f"IMG_{i:04}.jpg", quality=88)


def run(words: str, folder: Path, seconds: float | None = None) -> dict[str, Any]:
    """A command in ``folder``; Ctrl-C after so many seconds."""
    began = time.perf_counter()
    env = {**os.environ, "COLUMNS": "100"}
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "sfumato", *words.split()],
            cwd=folder, stdout=printed, stderr=subprocess.STDOUT, env=env,
        )  # fmt: skip
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        printed.seek(0)
        said = [line.replace(str(folder), ".").rstrip() for line in printed]
    row = {
        "command": f"sfumato {words}",
        "seconds": round(time.perf_counter() - began, 1),
        "interrupted": seconds is not None,
        "status": process.returncode,
        "printed": [line for line in said if line],
    }
    print(f"$ {row['command']}  ({row['seconds']} s, exit status {row['status']})")
    print("\n".join(f"  {line}" for line in row["printed"]), flush=True)
    return row


def main() -> None:
    """The whole way, printed and written."""
    options = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as place:
        folder = options.keep or Path(place)
        photographs(folder / "photos", options.pictures, options.seed)
        seconds = 60 * options.minutes
        rows = [
            run("train images --path photos --resolution 64 --out run", folder, seconds),
            run("train --resume run", folder, seconds),
            run("sample run --out sheet.png", folder),
            run("evaluate run --out scores.json", folder),
            run("models run --out model", folder),
            run("sample model --out same.png", folder),
        ]
    write(options.out, options.seed, rows)


if __name__ == "__main__":
    main()
