"""Large pictures: seams, time and memory of restoring in tiles.

    python benchmarks/i2sb_tiles.py
    python benchmarks/i2sb_tiles.py --model runs/i2sb-bridge --task denoise

A photograph of 1024 x 768 pixels is restored three times with the shipped model: as usual, with
the same seed and every tile moved by half a stride, and with another seed. Where tiles leave no
seam, the first two differ by no more than the last two do. `border` is the mean step between
neighbouring pixels across the lines where tiles begin, over the mean step elsewhere; the same for
the photograph itself stands beside it.

Time and memory are those of processes of their own, one a size. Writes
`benchmarks/results/i2sb-tiles.json`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from PIL import Image
from torch import Tensor

import sfumato as sf
from sfumato.data.decode import planes
from sfumato.data.degrade import Task, posed
from sfumato.data.photographs import photograph
from sfumato.files.cards import find
from sfumato.model.load import load_model
from sfumato.systems.i2sb.model import RestorationModel
from sfumato.systems.i2sb.restorer import Restorer

sys.path.insert(0, str(Path(__file__).parent))
from written import write

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    model: a model of restoration, by name or folder.
    task: what is undone.
    photograph: one of the training photographs, the only large ones at hand.
    steps: of the walk.
    seed: of everything.
    sizes: widths of the pictures whose time and memory are measured; heights are 3/4 of them.
    child: of these, the width that this process measures; used by the command itself.
    out: the folder that is written to.
    """

    model: str = "restore"
    task: str = "jpeg"
    photograph: str = "picosdeeuropa"
    steps: int = 10
    seed: int = 0
    sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    child: int = 0
    out: Path = ROOT / "benchmarks" / "results"


def large(name: str, width: int) -> Tensor:
    """The photograph at width x 3/4 width, (3, H, W) in [-1, 1]."""
    picture = Image.fromarray(photograph(name).transpose(1, 2, 0))
    height = width * 3 // 4
    w, h = picture.size
    crop = (0, 0, min(w, h * 4 // 3), min(h, w * 3 // 4))
    small = picture.resize((width, height), Image.Resampling.LANCZOS, crop)
    return torch.from_numpy(planes(small)).float() / 127.5 - 1


def ready(options: Options, width: int) -> tuple[Tensor, Tensor, Any]:
    """The photograph, its bad copy, and what makes a restorer with shifted tiles."""
    denoiser, model = load_model(find(options.model))
    if not isinstance(model, RestorationModel):
        raise SystemExit(f"{options.model} is no model of restoration")
    (task,) = (t for t in model.tasks if t.name == options.task)
    truth = large(options.photograph, width)
    problem = posed(Task(task.name, task.degradation), truth[None], sf.generators(7, [0]))
    bad = problem.beside[0].clamp(-1, 1)[:, :: task.degradation.scale, :: task.degradation.scale]

    def restorer(shift: tuple[int, int] = (0, 0)) -> Restorer:
        return Restorer(denoiser, model).tiled(shift=shift, precision=torch.bfloat16)

    return truth, bad, restorer


def rms(a: Tensor, b: Tensor) -> float:
    """Root mean square difference in levels of 8 bits."""
    return float((127.5 * (a - b)).square().mean().sqrt())


def border(x: Tensor, side: int, overlap: int) -> float:
    """Mean step across the lines where tiles begin, over that elsewhere."""
    steps = [x.diff(dim=1).abs().mean((0, 2)), x.diff(dim=2).abs().mean((0, 1))]
    on, off = [], []
    for line in steps:
        at = torch.zeros(len(line), dtype=torch.bool)
        at[side - overlap - 1 :: side - overlap] = True
        on.append(line[at])
        off.append(line[~at])
    return float(torch.cat(on).mean() / torch.cat(off).mean())


def measure_child(options: Options) -> None:
    """Time and memory of one size, printed as JSON."""
    _, bad, restorer = ready(options, options.child)
    one = restorer()
    with torch.inference_mode():
        one(bad[:, :64, :64].contiguous(), options.task, steps=1)  # the first call is slower
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        one(bad, options.task, seeds=(options.seed,), steps=options.steps)
    spent = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    width, height = options.child, options.child * 3 // 4
    print(
        json.dumps({
            "width": width,
            "height": height,
            "seconds": spent,
            "seconds_per_megapixel": spent / (width * height / 1e6),
            "more_megabytes": (peak - before) / 1024,
            "peak_megabytes": peak / 1024,
        })
    )  # fmt: skip


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    if options.child:
        measure_child(options)
        return
    truth, bad, restorer = ready(options, 1024)
    with torch.inference_mode():
        usual, moved, other = (
            r(bad, options.task, seeds=(seed,), steps=options.steps)[0]
            for r, seed in (
                (restorer(), options.seed),
                (restorer((16, 32)), options.seed),
                (restorer(), options.seed + 1),
            )
        )
    side, overlap = 64, 16
    results: dict[str, Any] = {
        "model": options.model,
        "task": options.task,
        "steps": options.steps,
        "shifted": rms(usual, moved),
        "other_seed": rms(usual, other),
        "error": rms(usual, truth),
        "error_before": rms(bad, truth) if bad.shape == truth.shape else None,
        "border": border(usual, side, overlap),
        "border_truth": border(truth, side, overlap),
    }
    for key, value in results.items():
        print(key, value)
    rows = []
    for width in options.sizes:
        words = [sys.executable, __file__, "--child", str(width), "--model", options.model]
        words += ["--task", options.task, "--steps", str(options.steps)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1])
    write(options.out / "i2sb-tiles.json", options.seed, {**results, "rows": rows})


if __name__ == "__main__":
    main()
