"""Denoising diffusion GANs measured: modes of 25 Gaussians; images beside many steps of a denoiser.

    python benchmarks/ddgan.py --points runs/ddgan-25 runs/ddgan-25-one runs/ddgan-25-flat
    python benchmarks/ddgan.py --model fashion-ddgan --peer fashion --n 2500

The first draws 10,000 samples of each run and counts modes and samples within three standard
deviations; it writes `results/ddgan-points.json` and `docs/img/ddgan-points.png`. The second draws
the same labels from both image models and scores them as `sfumato evaluate` does, seconds being
processor time of the fastest batch; it writes `results/ddgan.json`, `docs/img/ddgan.png`, and
`docs/img/ddgan-edit.png`: real pictures noised to each time of the grid and denoised again.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from rich.console import Console

import sfumato as sf
from sfumato.cli.compare import wanted
from sfumato.cli.contest import Contest, Contestant, Ours
from sfumato.cli.judging import Reference
from sfumato.console import datasets
from sfumato.console.how import SamplingOptions
from sfumato.data import PointSet, fashion_mnist, points, to_uint8
from sfumato.data.plane import modes
from sfumato.files import pictures
from sfumato.metrics import mode_coverage
from sfumato.model.load import load
from sfumato.model.sampler import Sampler
from sfumato.solve import Ancestral
from sfumato.systems.ddgan.model import ImplicitModel

sys.path.insert(0, str(Path(__file__).parent))
from written import write

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "img"
DRAWN = 10_000


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    points: runs on 25 Gaussians.  model: a DDGAN of images.  peer: the denoiser it is compared
    with.  n: images of each row.  peer_steps: of DDIM; the same number of DPM-Solver++ in brackets.
    seed: of noise and labels.  out: folder of the results.  pictures: folder of the pictures.
    """

    points: tuple[Path, ...] = ()
    model: str = ""
    peer: str = "fashion"
    n: int = 2500
    peer_steps: tuple[int, ...] = (4, 50)
    seed: int = 0
    out: Path = HERE / "results"
    pictures: Path = PICTURES


def generator_of(name: str) -> tuple[Sampler, ImplicitModel]:
    """A DDGAN by its name or folder."""
    found = load(name, Sampler)
    if not isinstance(found.description, ImplicitModel):
        raise SystemExit(f"expected a denoising diffusion GAN, but {name} is not one")
    return found, found.description


def measure_points(options: Options, console: Console) -> dict[str, Any]:
    """Coverage and quality of every run, and the picture with a panel for each."""
    centres, std = modes("25-gaussians")
    real = points("25-gaussians", 2000, seed=1)
    assert isinstance(real, PointSet)  # noqa: S101
    rows, panels = [], []
    for run in options.points:
        found, model = generator_of(str(run))
        denoiser = found.denoiser
        x = found.solve(DRAWN, seed=options.seed).x
        covered = mode_coverage(x, torch.from_numpy(centres), std=std)
        about = json.loads((run / "config.json").read_text())["config"]
        rows.append({
            "run": run.name,
            "steps": model.steps,
            "latent": denoiser.latent,
            "trained": about["train"]["steps"],
            "params": sum(p.numel() for p in denoiser.parameters()),
            "n": DRAWN,
            "found": covered.found,
            "modes": covered.modes,
            "quality": covered.quality,
            "divergence": covered.divergence,
        })  # fmt: skip
        console.print(f"{run.name}: T = {model.steps}, latent {denoiser.latent}: {covered}")
        panels.append(pictures.scatter(x[:3000].numpy(), behind=real.points, limit=1.8, size=400))
    step = panels[0].width + 2  # a line between
    wide = Image.new("RGB", (len(panels) * step - 2, panels[0].height), "silver")
    for i, panel in enumerate(panels):
        wide.paste(panel, (i * step, 0))
    pictures.save(wide, options.pictures / "ddgan-points.png")
    perfect = float(1 - np.exp(-4.5))
    return {"rows": rows, "perfect_quality": perfect, "std": std}


def measure_images(options: Options, console: Console) -> dict[str, Any]:
    """Rows of the DDGAN, and of its peer at as many evaluations and at many."""
    how = SamplingOptions(batch=50)
    theirs = load(options.peer, Sampler)
    mine, model = generator_of(options.model)
    rivals: list[tuple[Contestant, int]] = [(Ours("DDGAN", mine, how, "ancestral"), model.steps)]
    for steps in options.peer_steps:
        for solver, title in (("ddim", "DDIM"), ("dpmpp2m", "DPM-Solver++ 2M")):
            grid = "karras"
            rivals.append((Ours(title, theirs, how, solver, grid), steps))
    judge = Reference.of(model.data, datasets.DataRequest(split="test"), "auto", False)
    contest = Contest(wanted(mine, options.n, options.seed), judge, how, options.seed, close=50)
    rows = []
    for rival, steps in rivals:
        rows.append(contest.measure(rival, steps))
        row = rows[-1]
        console.print(
            f"{row['sampler']}, {row['nfe']} evaluations: {row['measure']} {row['quality']:.3f} "
            f"± {row['quality_error']:.3f}, {row['seconds'] * 1e3:.0f} ms an image"
        )
    mine_row = rows[0]
    ddim = [r for r in rows if r["sampler"] == "DDIM"][-1]
    return {
        "rows": rows,
        "quality_ratio": mine_row["quality"] / ddim["quality"],
        "seconds_ratio": ddim["seconds"] / mine_row["seconds"],
        "model": options.model,
        "peer": options.peer,
        "params": sum(p.numel() for p in mine.denoiser.parameters()),
        "peer_params": sum(p.numel() for p in theirs.denoiser.parameters()),
    }


def draw_pictures(options: Options) -> None:
    """A sheet of samples, and one of edits: a column for each time that a picture is noised to."""
    found, model = generator_of(options.model)
    denoiser, classes = found.denoiser, model.labels[0]
    x = found.sample(6 * classes, seed=options.seed, batch=6 * classes)
    sheet = pictures.sheet(to_uint8(x).numpy(), columns=classes, scale=2)
    pictures.save(sheet, options.pictures / "ddgan.png")
    index = np.array([0, 1, 3, 6, 11])
    real, labels = fashion_mnist("test").batch(index)
    rows = [real]
    for k in reversed(range(model.steps)):
        for variation in (1, 2):
            seeds = sf.generators(variation, range(len(real)))
            done = sf.edit(
                denoiser, Ancestral(), denoiser.times[k:], real, cond=labels, generator=seeds
            )
            rows.append(done.x)
    edits = torch.stack(rows, 1).flatten(0, 1)
    sheet = pictures.sheet(to_uint8(edits).numpy(), columns=len(rows), scale=2)
    pictures.save(sheet, options.pictures / "ddgan-edit.png")


def main() -> None:
    """Measure what was asked for, show, write."""
    options = tyro.cli(Options, description=__doc__)
    torch.set_num_threads(1)
    console = Console()
    if options.points:
        write(options.out / "ddgan-points.json", options.seed, measure_points(options, console))
    if options.model:
        with torch.no_grad():
            draw_pictures(options)
            write(options.out / "ddgan.json", options.seed, measure_images(options, console))


if __name__ == "__main__":
    main()
