"""How long it takes to begin, beside an older checkout: importing, the help, sixteen pictures.

    python benchmarks/startup.py --old PATH_OF_AN_OLDER_CHECKOUT

Both take turns on the same machine in the same environment; given are the least seconds of several
runs, by the clock and by the processor. `import sfumato` is beyond importing torch.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from written import write

HERE = Path(__file__).parent
SAMPLE = ["-m", "sfumato", "sample", "fashion", "--n", "16", "--quiet", "--force"]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import torch, sfumato": ["-c", "import torch, sfumato"],
    "sfumato --help": ["-m", "sfumato", "--help"],
    "sfumato train images --help": ["-m", "sfumato", "train", "images", "--help"],
    "sfumato fields train --help": ["-m", "sfumato", "fields", "train", "--help"],
    "sfumato private train fashion --help": [
        "-m",
        "sfumato",
        "private",
        "train",
        "fashion",
        "--help",
    ],
    "sfumato sample fashion --n 16": [*SAMPLE, "--threads", "1", "--out", "sheet.png"],
}


@dataclass(frozen=True)
class Options:
    """What to compare.

    old: an older checkout.  repeats: runs of each command.  out: the result.
    """

    old: Path
    repeats: int = 5
    out: Path = HERE / "results" / "startup.json"


def seconds(words: list[str], source: Path, folder: str) -> tuple[float, float]:
    """Of one run: by the clock, and by the processor."""
    env = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, env=env, check=True, capture_output=True)
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Take turns, print and write."""
    options = tyro.cli(Options, description=__doc__)
    sources = {"old": options.old.resolve() / "src", "new": HERE.parent / "src"}
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeats + 1):  # the first run of each fills the caches
            for name, words in COMMANDS.items():
                for side, source in sources.items():
                    runs.setdefault((name, side), []).append(seconds(words, source, folder))
    rows: list[dict[str, Any]] = []
    for (name, side), found in runs.items():
        clock, processor = (round(min(column), 3) for column in zip(*found[1:], strict=True))
        rows.append(
            {"command": name, "side": side, "seconds": clock, "processor_seconds": processor}
        )
        print(f"{name} ({side}): {clock} s, {processor} s of the processor")
    write(options.out, 0, rows)


if __name__ == "__main__":
    main()
