"""Functions as data: what is exact, what does not depend on the grid, and what it costs.

    python benchmarks/ddo.py noise
    python benchmarks/ddo.py exact
    python benchmarks/ddo.py kriging
    python benchmarks/ddo.py invariance --model runs/fields-mixture --control runs/fields-white
    python benchmarks/ddo.py vorticity --n 500
    python benchmarks/ddo.py cost
    python benchmarks/ddo.py pictures

Each part writes `benchmarks/results/ddo-PART.json`; `invariance`, `vorticity`, `cost` and
`pictures` draw `docs/img/ddo-PART.png` (or `.webp`).
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console

import sfumato as sf
from sfumato import zoo
from sfumato.files.cards import find
from sfumato.files.pictures import save
from sfumato.model.load import load_model
from sfumato.systems.ddo.data.mixture import Mixture, mixture
from sfumato.systems.ddo.data.navier_stokes import NavierStokes
from sfumato.systems.ddo.data.vorticity import STEPS, TIME, VISCOSITY, forcing
from sfumato.systems.ddo.datasets import load_fields
from sfumato.systems.ddo.metrics.compare import compare_fields
from sfumato.systems.ddo.metrics.spectra import energy_spectrum, spectrum_ratio
from sfumato.systems.ddo.model import FieldModel
from sfumato.systems.ddo.nn.harmonic import Domain, resample
from sfumato.systems.ddo.pictures import field_sheet
from sfumato.systems.ddo.sampling import FieldSolver, draw_fields, field_walk

sys.path.insert(0, str(Path(__file__).parent))
from ddo_again import decided, denoised_again
from ddo_exact import exact, kriging, noise
from ddo_mixture import responsibility
from ddo_shown import plot_cost, plot_spectra, resident
from written import write

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    part: what is measured.
    model, control: trained models, by name or folder; by default the shipped ones.
    n: fields that are drawn.
    seed: of all randomness.
    point: measure the memory of one grid in this process (used by cost).
    results, img: folders that are written to.
    """

    part: Annotated[
        Literal["noise", "exact", "kriging", "invariance", "vorticity", "cost", "pictures"],
        tyro.conf.Positional,
    ]
    model: str = ""
    control: str = ""
    n: int = 4000
    seed: int = 0
    point: int = 0
    results: Path = ROOT / "benchmarks" / "results"
    img: Path = ROOT / "docs" / "img"


def load(name: str) -> tuple[sf.Denoiser, FieldModel]:
    """A trained model of fields. Raises SystemExit for another."""
    denoiser, model = load_model(find(name))
    if not isinstance(model, FieldModel):
        raise SystemExit(f"{name} is no model of fields")
    return denoiser, model


def invariance(options: Options) -> dict[str, Any]:
    """A mixture learned at 32, drawn at 32, 64 and 128; and a control with white noise."""
    real = torch.from_numpy(mixture("test", 8000, 32).values).double()
    spectrum = energy_spectrum(real, Domain.PERIODIC)
    law, rows, spectra = Mixture(), [], {}
    held = spectrum.power[0] > 1e-4 * spectrum.power.sum()
    shells = [k for k in range(15) if bool(held[k])]  # the band that was trained
    for title, name in (("field", options.model or "mixture"), ("white", options.control)):
        if not name:
            continue
        denoiser, model = load(name)
        for n in (32, 64, 128):
            drawn = draw_fields(denoiser, model, (n, n), options.seed, range(options.n))
            x = drawn.x.double()
            mine = energy_spectrum(x, Domain.PERIODIC)
            spectra[f"{title} noise, {n} x {n}"] = mine
            ratio = spectrum_ratio(mine, spectrum, shells)
            off = (ratio.value[0] - 1).abs()
            share = responsibility(law, x[:, 0])[:, 0]
            rows.append(
                {
                    "noise": title,
                    "n": n,
                    "draws": options.n,
                    "nfe": drawn.nfe,
                    "worst": 100 * float(off.max()),
                    "worst_error": 100 * float(ratio.error[0, int(off.argmax())]),
                    "worst_wave": float(ratio.wave_numbers[int(off.argmax())]),
                    "mean": 100 * float(off.mean()),
                    "weight": float(share.mean()),
                    "weight_error": float(share.std() / options.n**0.5),
                    "deviation": float(x.std()),
                }
            )
            Console().print(rows[-1])
    plot_spectra({"real": spectrum, **spectra}, options.img / "ddo-invariance.png")
    return {"weight": law.weights[0], "deviation": float(real.std()), "rows": rows}


def vorticity(options: Options) -> dict[str, Any]:
    """Vorticity learned at 64, drawn at 64, 128 and 256, against simulations it did not see."""
    torch.set_num_threads(1)
    denoiser, model = load(options.model or "vorticity")
    real = load_fields("vorticity", "test")
    values = torch.from_numpy(real.values)
    spectra = {"real": energy_spectrum(values.double(), Domain.PERIODIC)}
    rows: list[dict[str, Any]] = []
    usual = FieldSolver(model.sampling.solver), model.sampling.steps
    drift = denoiser.drift if isinstance(denoiser, sf.Wiener) else None
    cases = [(64, usual, drift), (128, usual, drift), (256, usual, drift)]
    cases += [(64, (FieldSolver.HEUN, 24), drift)]
    cases += [(64, usual, None), (128, usual, None)] if drift else []
    for n, (solver, steps), kept in cases:
        if isinstance(denoiser, sf.Wiener):
            denoiser.drift = kept
        count = options.n if n < 256 and solver is usual[0] else options.n // 2
        how = f"{n} x {n}, {solver.value}" + (", not calibrated" if drift and not kept else "")
        walk = field_walk(solver, denoiser.process, steps)
        began = time.perf_counter()
        drawn = draw_fields(denoiser, model, (n, n), options.seed, range(count), walk)
        spent = (time.perf_counter() - began) / count
        spectra[how] = energy_spectrum(drawn.x.double(), Domain.PERIODIC)
        scores = compare_fields(
            resample(drawn.x, (64, 64), Domain.PERIODIC),
            values,
            Domain.PERIODIC,
            generator=sf.generator(options.seed, "compare"),
        )
        found = {s.metric: s.value for s in scores}
        errors = {s.metric: s.error for s in scores}
        rows.append(
            {
                "n": n,
                "draws": count,
                "solver": solver.value,
                "calibrated": kept is not None,
                "nfe": drawn.nfe,
                "seconds": spent,
                "worst": 100 * found["worst spectrum error"],
                "worst_error": 100 * (errors["worst spectrum error"] or 0),
                "w1": found["one-point W1 over deviation"],
                "two_sample": found["two-sample p"],
                "ks": {k[8:]: v for k, v in found.items() if k.startswith("KS p of ")},
            }
        )
        Console().print(rows[-1])
    for row in rows[:2]:
        n = row["n"]
        steps, count = math.ceil(STEPS * n / 64), 8 if n == 64 else 4
        force = forcing("test", range(count), n)
        began = time.perf_counter()
        NavierStokes(VISCOSITY, TIME, steps).solve(torch.zeros_like(force), force)
        row["solver_steps"] = steps
        row["solver_seconds"] = (time.perf_counter() - began) / count
    plot_spectra(spectra, options.img / "ddo-vorticity.png")
    again = denoised_again(denoiser, model, values[:64], options.seed)  # not calibrated
    levels = [decided(model, length) for length in (0.1, 0.015)]
    return {"real": len(values), "rows": rows, "again": again, "decided": levels}


def pictures(options: Options) -> dict[str, Any]:
    """The same seeds on three grids, of every shipped model in the plane."""
    drawn = []
    for card in zoo.cards():
        if card.kind != "field model":
            continue
        denoiser, model = load(card.name)
        if model.frame.dims != 2:
            continue
        names = [q.name for q in model.given]
        given = load_fields(model.data, "test").subset(range(6)).select(names)
        sides = [model.grid[0] * k // 2 for k in (1, 2, 4)]
        made = [
            draw_fields(
                denoiser, model, (n, n), options.seed, range(6), given=given if names else None
            ).x.numpy()
            for n in sides
        ]
        labels = [f"{n} x {n}" for n in sides]
        title = model.frame.quantities[0].label
        sheet = field_sheet(made, label=title, row_labels=labels, extent=model.frame.extent)
        save(sheet, options.img / f"ddo-{card.name}.webp")
        drawn.append({"model": card.name, "grids": sides})
    return {"rows": drawn}


def cost(options: Options) -> dict[str, Any]:
    """Seconds and memory of a draw at 64 to 512 points along each axis."""
    if options.point:
        return one_cost(options)
    rows = []
    for n in (64, 128, 256, 512):
        command = [sys.executable, __file__, "cost", "--model", options.model or "mixture"]
        done = subprocess.run(
            [*command, "--point", str(n)], capture_output=True, text=True, check=True
        )
        row = {k: float(v) for k, v in (w.split("=") for w in done.stdout.split())}
        rows.append({"n": n, "points": n * n, **row})
        Console().print(rows[-1])
    plot_cost(rows, options.img / "ddo-cost.png")
    return {"rows": rows}


def one_cost(options: Options) -> dict[str, Any]:
    """What one process needs for one field: printed for the process that asked."""
    torch.set_num_threads(1)
    denoiser, model = load(options.model)
    n = options.point
    draw_fields(denoiser, model, (16, 16), 0, [0])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    times = []
    for i in range(3):
        began = time.perf_counter()
        drawn = draw_fields(denoiser, model, (n, n), 0, [i])
        times.append(time.perf_counter() - began)
    more = resident("VmHWM") - before
    seconds = min(times)
    figures = {
        "nfe": drawn.nfe,
        "seconds": seconds,
        "microseconds_per_point": 1e6 * seconds / n**2,
        "megabytes": more / 1024,
        "bytes_per_point": 1024 * more / n**2,
    }
    print(" ".join(f"{k}={v}" for k, v in figures.items()))
    return {}


CLOSED = {"noise": noise, "exact": exact, "kriging": kriging}
"""Parts without a trained model."""
PARTS = {
    "invariance": invariance,
    "cost": cost,
    "vorticity": vorticity,
    "pictures": pictures,
}


def main() -> None:
    """Measure and write."""
    options = tyro.cli(Options, description=__doc__)
    with torch.no_grad():
        if options.part in CLOSED:
            results = CLOSED[options.part](options.n, options.seed)
        else:
            results = PARTS[options.part](options)
    if not options.point:
        path = options.results / f"ddo-{options.part}.json"
        write(path, options.seed, results)
        Console().print(f"wrote {path}")


if __name__ == "__main__":
    main()
