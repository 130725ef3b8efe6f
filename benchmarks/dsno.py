"""An operator beside its teacher: quality and time of one evaluation, and the exact Gaussian case.

    python benchmarks/dsno.py                            # the shipped fashion-dsno; half an hour
    python benchmarks/dsno.py --model runs/dsno-fashion  # a run of your own
    python benchmarks/dsno.py --quick                    # a check that it runs, in build/

The teacher is sampled by DPM-Solver++(2M) on Karras's grid; operator and teacher start from the
same noise, which neither was trained on. Quality is measured against the training images, as the
Fréchet distance in features of the classifier whose layers the operator was trained with, and as
the kernel distance in those of an ImageNet network that it has never met. Gap is the root mean
square difference, over pixels in [-1, 1], from the teacher's samples in 32 steps. Time is
processor time of one thread, the fastest batch of 50. Results go to `benchmarks/results/dsno.json`,
those on Gaussian data, whose trajectories are known in closed form, to `dsno-gaussian.json`; the
picture to `docs/img/dsno.png`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from rich.console import Console
from torch import Tensor

import sfumato as sf
from sfumato.cli.judging import Reference
from sfumato.console import datasets
from sfumato.data import to_uint8
from sfumato.files import pictures
from sfumato.metrics import extract, kernel_distance
from sfumato.seeds import generators
from sfumato.solve import DPMSolverPP
from sfumato.systems.dsno.data import scales
from sfumato.times import angular, karras, schedule_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
from written import write  # noqa: E402

from toy_trajectories import error, learn, toy  # noqa: E402

BATCH = 50
FINE = 32
"""Steps of the teacher's samples that the others are compared with."""
Draw = Callable[[Tensor, Tensor], Tensor]
"""Samples from x_1 and labels."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    model: the operator, a shipped one or a run.  teacher: the model that it was made from.
    n: samples.  n_other: those of them that are seen by the ImageNet network.
    n_path: those whose ways are compared.
    steps: of the teacher.  frames: of the operator.  seed: of noise and labels.
    gaussian: measure the Gaussian case too.  quick: few of everything, into build/.
    """

    model: str = "fashion-dsno"
    teacher: str = "fashion"
    n: int = 2000
    n_other: int = 500
    n_path: int = 200
    steps: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 16)
    frames: tuple[int, ...] = (1, 2, 4, 8)
    seed: int = 1
    gaussian: bool = True
    quick: bool = False
    out: Path = HERE / "results"
    picture: Path = HERE.parent / "docs" / "img" / "dsno.png"


def noise(shape: tuple[int, ...], process: sf.Process, options: Options) -> tuple[Tensor, Tensor]:
    """x_1 and labels of all samples; classes take turns."""
    x = process.prior_sample((options.n, *shape), generators(options.seed, range(options.n)))
    return x, (torch.arange(options.n) % 10)[:, None]


def drawn(draw: Draw, x: Tensor, cond: Tensor) -> tuple[Tensor, float]:
    """All samples, and milliseconds of one in the fastest batch."""
    parts, best = [], float("inf")
    with torch.inference_mode():
        for a in range(0, len(x), BATCH):
            began = time.process_time()
            parts.append(draw(x[a : a + BATCH], cond[a : a + BATCH]))
            best = min(best, (time.process_time() - began) / len(parts[-1]))
    return torch.cat(parts), 1e3 * best


def contestants(
    options: Options, teacher: sf.Denoiser, operator: sf.TrajectoryOperator, sigma_data: float
) -> list[tuple[dict[str, Any], Draw]]:
    """What is compared, the finest walk of the teacher first."""
    process = teacher.process

    def walk(steps: int) -> Draw:
        def draw(x: Tensor, cond: Tensor) -> Tensor:
            grid = karras(process, steps)
            return sf.sample(teacher, DPMSolverPP(), grid, x, cond=cond).x

        return draw

    def operate(frames: int) -> Draw:
        times = angular(process, frames, sigma_data)[1:]
        return lambda x, cond: operator.path(x, times, cond)[:, -1]

    found: list[tuple[dict[str, Any], Draw]] = []
    for steps in (FINE, *options.steps):
        row = {"who": "teacher", "how": f"{steps} steps", "steps": steps, "passes": steps}
        found.append((row, walk(steps)))
    for frames in options.frames:
        how = f"one evaluation, {frames} frame{'s' * (frames > 1)}"
        row = {"who": "operator", "how": how, "frames": frames, "passes": frames}
        found.append((row, operate(frames)))
    return found


def measure(options: Options, console: Console) -> dict[str, Any]:
    """Every contestant's scores and times; writes the picture too."""
    loaded, ours = sf.load(options.teacher), sf.load(options.model)
    teacher, model = loaded.denoiser, loaded.description
    operator, made = ours.denoiser, ours.description
    if not isinstance(operator, sf.TrajectoryOperator):
        raise SystemExit(f"{options.model} is not a trajectory operator")
    sigma_data = operator.backbone.sigma_data
    x, cond = noise(model.shape, teacher.process, options)
    kinds = {"auto": 1000} if options.quick else {"auto": 0, "mobilenet": 2_000}
    judges = [
        Reference.of(model.data, datasets.DataRequest(n=n), k, False) for k, n in kinds.items()
    ]
    rows, fine = [], None
    for row, draw in contestants(options, teacher, operator, sigma_data):
        images, row["milliseconds"] = drawn(draw, x, cond)
        fine = images if fine is None else fine
        row["gap"] = float((images - fine).square().mean().sqrt())
        pixels = to_uint8(images).numpy()
        scores = judges[0].scores(pixels, cond.numpy())
        row["scores"] = {s.metric: [s.value, s.error] for s in scores}
        for judge in judges[1:]:
            if judge.features is not None:
                seen = extract(judge.features, pixels[: options.n_other], batch=100)
                s = kernel_distance(judge.real, seen, features=judge.features.name)
                row["other"] = [s.value, s.error]
        rows.append(row)
        console.print(line(row))
    draw_picture(options, teacher, operator, sigma_data, x, cond)
    along = paths(options, teacher, operator, sigma_data, x, cond)
    for row in along:
        console.print(row)
    by = {row["how"]: row["milliseconds"] for row in rows}
    for row in rows:
        row["times_16"] = by.get("16 steps", float("nan")) / row["milliseconds"]
    names = [j.features.name for j in judges if j.features is not None]
    return {
        "rows": rows,
        "paths": along,
        "features": names,
        "n": options.n,
        "n_other": options.n_other,
        "params": sum(p.numel() for p in operator.parameters()),
        "temporal": sum(
            p.numel() for k, p in operator.named_parameters() if ".temporal." in k
        ),
        "operator": made.to_json(),
    }  # fmt: skip


def paths(
    options: Options,
    teacher: sf.Denoiser,
    operator: sf.TrajectoryOperator,
    sigma_data: float,
    x: Tensor,
    cond: Tensor,
) -> list[dict[str, Any]]:
    """Errors along the way, at several temporal resolutions, against a fine solution.

    Root mean square error of x̄_0(t) over pixels: at the times that training may have seen (a
    quarter of the angle apart), at those between, and at the end.
    """
    x, cond, rows = x[: options.n_path], cond[: options.n_path], []
    process, finest, parts = teacher.process, 16, 6
    times = angular(process, finest, sigma_data)
    with torch.inference_mode():
        true = torch.cat(
            [
                torch.stack(
                    sf.sample(
                        teacher, DPMSolverPP(3), refine(process, times, parts),
                        x[a : a + BATCH], cond=cond[a : a + BATCH], save_path=True,
                    ).path[parts::parts],
                    1,
                )
                for a in range(0, len(x), BATCH)
            ]
        )  # fmt: skip
        for frames in (2, 4, 8, 16):
            stride = finest // frames
            here = times[stride::stride]
            want = operator.targets(x, true[:, stride - 1 :: stride], here)
            gap = (operator.estimates(x, here, cond) - want).square().mean((0, 2, 3, 4))
            seen = torch.tensor([(k + 1) * stride % 4 == 0 for k in range(frames)])
            rows.append(
                {
                    "frames": frames,
                    "learned": float(gap[seen].mean().sqrt()),
                    "between": float(gap[~seen].mean().sqrt()) if bool((~seen).any()) else None,
                    "end": float(gap[-1].sqrt()),
                }
            )
    return rows


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    value, spread = row["scores"]["Fréchet distance"]
    other = " / {:.4f} ± {:.4f}".format(*row["other"]) if "other" in row else ""
    return (
        f"{row['who']:9s} {row['how']:26s} Fréchet {value:6.2f} ± {spread:.2f}{other}   "
        f"gap {row['gap']:.3f}   {row['milliseconds']:6.2f} ms"
    )


def draw_picture(
    options: Options,
    teacher: sf.Denoiser,
    operator: sf.TrajectoryOperator,
    sigma_data: float,
    x: Tensor,
    cond: Tensor,
) -> Path:
    """Samples beside the teacher's from the same noise; below, two trajectories by each."""
    process, columns = teacher.process, 10
    x, cond = x[:columns], cond[:columns]
    found = contestants(options, teacher, operator, sigma_data)
    keep = ["16 steps", "4 steps", "2 steps", "one evaluation, 1 frame", "one evaluation, 4 frames"]
    shown = [(f"{r['who']}, {r['how']}", d) for r, d in found if r["how"] in keep]
    with torch.inference_mode():
        tiles = torch.cat([draw(x, cond) for _, draw in shown])
        upper = pictures.sheet(
            to_uint8(tiles).numpy(), columns, scale=2, row_labels=[name for name, _ in shown]
        )
        times = angular(process, 8, sigma_data)
        scale = scales(process, times.tolist(), sigma_data).float().reshape(1, -1, 1, 1, 1)
        fine = sf.sample(
            teacher, DPMSolverPP(3), refine(process, times, 8), x[:3], cond=cond[:3],
            save_path=True,
        )  # fmt: skip
        true = torch.stack(fine.path[::8], 1) / scale
        ours = operator.path(x[:3], times, cond[:3]) / scale
    rows = torch.stack([true, ours], 1).flatten(0, 1)  # teacher and operator in turn
    lower = pictures.sheet(
        to_uint8(rows.flatten(0, 1) * sigma_data).numpy(),
        9,
        scale=2,
        row_labels=["teacher", "operator"] * 3,
    )
    wide = max(upper.width, lower.width)
    whole = Image.new("RGB", (wide, upper.height + lower.height + 12), (255, 255, 255))
    whole.paste(upper, (wide - upper.width, 0))
    whole.paste(lower, (wide - lower.width, upper.height + 12))
    return pictures.save(whole, options.picture)


def refine(process: sf.Process, times: Tensor, parts: int) -> Tensor:
    """A grid with ``parts`` steps in the place of each, equal in ln(σ/α); the last one to t = 0."""
    schedule = schedule_of(process)
    clock = process.clock(times[:-1])
    ends = torch.cat([clock[1:], torch.tensor([math.log(0.002)], dtype=torch.float64)])
    steps = torch.full_like(clock, parts)
    steps[-1] -= 1
    f = torch.arange(parts, dtype=torch.float64)[:, None] / steps
    inner = schedule.time(-2 * (clock + f * (ends - clock)).T.flatten())
    return torch.cat([times[:1], inner[1:], times[-1:]])


def gaussian(quick: bool) -> list[dict[str, Any]]:
    """Errors of operators that learned exact trajectories of Gaussian data at 4 times."""
    rows = []
    processes = {
        "EDM, σ ≤ 10": sf.Scheduled(sf.EDM(10.0)),
        "VP, linear": sf.Scheduled(sf.VPLinear()),
        "VP, cosine": sf.Scheduled(sf.VPCosine()),
        "rectified flow": sf.Scheduled(sf.RectifiedFlow()),
    }
    for name, process in processes.items():
        for start in (1.0, 0.4):
            exact = toy(process)
            operator = learn(exact, start, steps=100 if quick else 2000)
            found = {f"at_{frames}": error(operator, exact, frames) for frames in (4, 8, 16)}
            rows.append({"process": name, "start": start, **found})
    return rows


def main() -> None:
    """Measure, show, write."""
    options = tyro.cli(Options, description=__doc__)
    if options.quick:
        build = HERE.parent / "build"
        options = Options(
            options.model, options.teacher, 50, 50, 20, (1, 4), (1, 4), options.seed,
            options.gaussian, True, build, build / "dsno.png",
        )  # fmt: skip
    torch.set_num_threads(1)
    np.seterr(all="ignore")
    console = Console(width=160)
    if options.gaussian:
        rows = gaussian(options.quick)
        for row in rows:
            console.print(row)
        write(options.out / "dsno-gaussian.json", options.seed, {"rows": rows})
    write(options.out / "dsno.json", options.seed, measure(options, console))
    console.print(f"written to {options.out}")


if __name__ == "__main__":
    main()
