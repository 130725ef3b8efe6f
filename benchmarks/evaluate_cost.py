"""What comparing pictures costs: seconds and memory of ``sfumato evaluate``.

    python benchmarks/evaluate_cost.py --out benchmarks/results/evaluate-cost.json

Two folders of JPEG files, crops of the photographs that come with scikit-image at random places and
scales, are compared with each other by the features that ``evaluate`` chooses for them. Each
comparison is a process of its own; its memory is the most that it ever held (the resident set,
which counts pages of the decoded pictures that the system may take back). Decoding them is
included.
"""

from __future__ import annotations

import json
import os
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
from skimage import data as skimage_data
from written import write

from sfumato.data import data_root

HERE = Path(__file__).parent
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@dataclass(frozen=True)
class Options:
    """What to compare.

    n: pictures on each side.  sides: their height and width.  out: the result; what it
    holds already is not measured again.
    """

    n: tuple[int, ...] = (200, 2_000, 20_000)
    sides: tuple[int, ...] = (32, 64, 256)
    seed: int = 0
    out: Path = HERE / "results" / "evaluate-cost.json"


def make(folder: Path, n: int, side: int, seed: int) -> None:
    """So many crops as JPEG files."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    photographs = [Image.fromarray(getattr(skimage_data, name)()) for name in PHOTOGRAPHS]
    for i in range(n):
        photograph = photographs[random.integers(len(photographs))]
        size = int(random.integers(96, min(photograph.size)))
        x, y = (int(random.integers(0, length - size + 1)) for length in photograph.size)
        crop = photograph.resize(
            (side, side), Image.Resampling.BILINEAR, (x, y, x + size, y + size)
        )
        crop.save(folder / f"{i:05}.jpg", quality=85)


def cost(words: list[str], cache: Path) -> tuple[float, float, float, str]:
    """Seconds, seconds of the processor and GiB of a command, and what it printed."""
    env = {**os.environ, "SFUMATO_DATA": str(cache)}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sfumato", *words],
            env=env, stdout=output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        said = output.read()
    if status:
        raise SystemExit(f"{' '.join(words)}: {said}")
    spent = time.perf_counter() - began
    return spent, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, said


def main() -> None:
    """Measure each, print and write."""
    options = tyro.cli(Options, description=__doc__)
    rows: list[dict[str, Any]] = []
    if options.out.is_file():
        rows = json.loads(options.out.read_text("utf-8"))["results"]
    known = {(row["pictures"], row["side"]) for row in rows}
    for side in options.sides:
        wanted = [n for n in options.n if (n, side) not in known]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            (root / "cache").mkdir()
            (root / "cache" / "mobilenet").symlink_to(data_root() / "mobilenet")
            for which in (0, 1):
                make(root / "all" / str(which), max(wanted), side, options.seed + which)
            for n in wanted:
                for which in (0, 1):
                    part = root / f"{n}-{which}"
                    part.mkdir()
                    for file in sorted((root / "all" / str(which)).iterdir())[:n]:
                        (part / file.name).hardlink_to(file)
                words = ["evaluate", str(root / f"{n}-0"), "--data", str(root / f"{n}-1")]
                words += ["--split", "all", "--resolution", str(side), "--n", str(n)]
                spent, processor, gib, said = cost(words, root / "cache")
                line = next(x for x in said.splitlines() if "Fréchet distance" in x)
                rows.append(
                    {
                        "pictures": n,
                        "side": side,
                        "features": line.partition("(")[2].partition(", n=")[0],
                        "seconds": round(spent, 1),
                        "processor_seconds": round(processor, 1),
                        "gib": round(gib, 2),
                    }
                )
                print(rows[-1], flush=True)
                rows.sort(key=lambda row: (row["side"], row["pictures"]))
                write(options.out, options.seed, rows)


if __name__ == "__main__":
    main()
