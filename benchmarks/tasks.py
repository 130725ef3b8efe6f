"""Five tasks in lines of Python and seconds to a picture, in sfumato, diffusers and azula.

    pip install --no-deps azula einops
    python benchmarks/tasks.py

The tasks: draw from a model, learn one's own data (20 steps, which only shows the code), walk by
a midpoint solver of one's own, restore a JPEG file, draw a sentence. Each is a file of
`benchmarks/tasks/` that runs as it stands. Lines are those with code on them. Seconds are of the
whole program, imports and loading included: the least of several runs that take turns, of the
clock and of the processor. The peers come without weights, so theirs here are random, of about as
many parameters as ours, and their pictures are noise. What they have to fetch is not run: neither
library has a restorer or a text-to-image model that works without a download.
"""

from __future__ import annotations

import ast
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
TASKS, LIBRARIES = (
    ("sample", "data", "solver", "restore", "text"),
    ("sfumato", "diffusers", "azula"),
)
DOWNLOADS = {"text_diffusers"}
"""Snippets that are counted and not run, since they fetch their weights."""


@dataclass(frozen=True)
class Options:
    """What to measure.

    repeats: runs of each snippet.  threads: of PyTorch.  out: the result.
    """

    repeats: int = 3
    threads: int = 1
    out: Path = HERE / "results" / "tasks.json"


def lines(path: Path) -> int:
    """Lines with code on them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = ((n.lineno, n.end_lineno or n.lineno) for n in ast.walk(tree) if hasattr(n, "lineno"))
    return len({i for first, last in spans for i in range(first, last + 1)} - blank(path))


def blank(path: Path) -> set[int]:
    """Numbers of empty lines, which lie inside of classes too."""
    text = path.read_text(encoding="utf-8").splitlines()
    return {i for i, line in enumerate(text, 1) if not line.strip()}


def prepare(folder: Path) -> None:
    """Pictures, a bad picture, and models of the peers with random weights."""
    import numpy as np
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
    from PIL import Image

    torch.manual_seed(0)
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(64):
        y, x = np.mgrid[:28, :28] - random.uniform(8, 20, (2, 1, 1))
        disc = (255 * (x * x + y * y < random.uniform(20, 60))).astype(np.uint8)
        Image.fromarray(disc).save(folder / "pictures" / f"{i:03}.png")
    photo = HERE.parent / "src/sfumato/cli/tour/photographs/chelsea.webp"
    Image.open(photo).convert("RGB").crop((64, 32, 160, 128)).save(folder / "bad.jpg", quality=10)
    unet = UNet2DModel(
        28, 1, 1, block_out_channels=(32, 64), norm_num_groups=8,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    DDIMPipeline(unet, DDIMScheduler()).save_pretrained(folder / "model")
    source = (HERE / "tasks" / "sample_azula.py").read_text(encoding="utf-8")
    made: dict[str, Any] = {}
    exec(source[: source.index("denoiser.load_state_dict")], made)
    torch.save(made["denoiser"].state_dict(), folder / "azula.pt")


def seconds(argv: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Of a program: by the clock, and by the processor. Raises if it fails."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True)
    spent, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{argv[-1]} failed:\n{done.stderr[-2000:]}")
    return spent, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run every snippet that there is, in turns; write lines and seconds."""
    options = tyro.cli(Options, description=__doc__)
    rows = []
    for task in TASKS:
        for library in LIBRARIES:
            path = HERE / "tasks" / f"{task}_{library}.py"
            row: dict[str, Any] = {"task": task, "library": library, "lines": None}
            row |= {"seconds": None, "processor_seconds": None, "note": ""}
            if not path.exists():
                row["note"] = "has none that works without a download"
            else:
                row["lines"] = lines(path)
                if path.stem in DOWNLOADS:
                    row["note"] = "not run: fetches 4 GB of weights"
            rows.append(row)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        prepare(folder)
        for _ in range(options.repeats):
            for row in rows:
                if row["lines"] is None or row["note"]:
                    continue
                for old in ("run", "run-diffusers"):
                    subprocess.run(["rm", "-rf", old], cwd=folder, check=True)
                path = HERE / "tasks" / f"{row['task']}_{row['library']}.py"
                clock, processor = seconds([sys.executable, str(path)], folder, options.threads)
                row["seconds"] = round(min(clock, row["seconds"] or clock), 2)
                best = row["processor_seconds"] or processor
                row["processor_seconds"] = round(min(processor, best), 2)
    write(options.out, 0, rows)
    for row in rows:
        print(*(f"{k} {v}" for k, v in row.items() if v not in (None, "")), sep=", ")


if __name__ == "__main__":
    main()
