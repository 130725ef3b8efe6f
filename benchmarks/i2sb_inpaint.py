"""How near the shipped inpainting model comes inside the holes, by evaluations.

    python benchmarks/i2sb_inpaint.py

Brush strokes over 10 to 40 % of held-out pictures of 64 pixels are painted. PSNR in the mask counts
the pixels of the holes alone; `mean colour` fills them with the mean of what is known. Writes
`benchmarks/results/i2sb-inpaint.json`, in the form that `tools/ship.py --scores` reads.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

import sfumato as sf
from sfumato.data import mobilenet_weights_path
from sfumato.data.degrade import Problem, posed
from sfumato.files.cards import find
from sfumato.metrics import ImageNetPerceptual, restoration_scores
from sfumato.model.load import load_model
from sfumato.systems.i2sb.model import RestorationModel
from sfumato.systems.i2sb.recipe import restoration_data
from sfumato.systems.i2sb.restoring import restore

sys.path.insert(0, str(Path(__file__).parent))
from written import write

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    model: by name or folder.
    n: pictures.
    nfe: network evaluations for a picture.
    seed: of holes and walks.
    out: the file that is written.
    """

    model: str = "restore-inpaint"
    n: int = 200
    nfe: tuple[int, ...] = (1, 2, 5, 10, 20)
    seed: int = 0
    out: Path = ROOT / "benchmarks" / "results" / "i2sb-inpaint.json"


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    denoiser, model = load_model(find(options.model))
    if not isinstance(model, RestorationModel) or not model.masked:
        raise SystemExit(f"{options.model} is no model of inpainting")
    data = restoration_data(("photographs", "emoji", "avatars"), (3.0, 1.0, 1.0), 64, "test")
    truth = data.batch(np.arange(options.n))[0]
    problem = posed(model.tasks[0], truth, sf.generators(options.seed, range(options.n)))
    hole, perceptual = 1 - problem.known, ImageNetPerceptual(mobilenet_weights_path())
    counted = problem.known.sum((2, 3))
    mean = ((truth * problem.known).sum((2, 3)) / counted)[:, :, None, None].expand_as(truth)
    rows = []

    def score(made: torch.Tensor, solver: str, steps: int) -> None:
        found = restoration_scores(made, truth, perceptual, mask=hole)
        print(solver, steps, *found, sep="\n  ")
        rows.append({"solver": solver, "steps": steps, "nfe": steps, "scores": found})

    score(torch.where(hole > 0, mean, truth), "mean colour", 0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for steps in options.nfe:
            made = [
                restore(
                    denoiser,
                    model,
                    Problem(*(a[i : i + 50] for a in problem)),
                    steps,
                    sf.generators(options.seed + 1, range(i, min(i + 50, options.n))),
                ).x.float()
                for i in range(0, options.n, 50)
            ]
            score(torch.cat(made).clamp(-1, 1), "ancestral", steps)
    plain = [{**row, "scores": [s.as_dict() for s in row["scores"]]} for row in rows]
    write(options.out, options.seed, plain, settings={"n": options.n})


if __name__ == "__main__":
    main()
