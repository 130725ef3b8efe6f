"""Why a bridge's first estimate is behind a regression: one thing changed at a time.

    python benchmarks/i2sb_ablation.py "as published=runs/i2sb-bridge" \
        "half at t = 1=runs/i2sb-bridge-at-one" "twice as long=runs/i2sb-bridge-14000"

Each model restores the pictures of `benchmarks/i2sb.py` from the same seeds, in one and in
ten evaluations. Rows are kept in `benchmarks/results/i2sb-ablation.json` as measured.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from sfumato.systems.i2sb.recipe import restoration_data

sys.path.insert(0, str(Path(__file__).parent))
from i2sb import ROOT, SETS, SHOWN, WEIGHTS, Judge, Method, all_of, pivot, problems
from written import write

from sfumato.files.cards import find
from sfumato.model.load import load_model
from sfumato.systems.i2sb.model import RestorationModel


@dataclass(frozen=True)
class Options:
    """Options of the measurement.

    models: title=folder of each.
    nfe: network evaluations for a picture.
    n: pictures.
    seed: of degradations and walks.
    shipped: the title of the one that the package comes with.
    results: the folder that is written to.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    nfe: tuple[int, ...] = (1, 10)
    n: int = 200
    seed: int = 0
    shipped: str = ""
    results: Path = ROOT / "benchmarks" / "results"


def about(judge: Judge) -> dict[str, str]:
    """What the distances are of."""
    return {"perceptual": judge.perceptual.name, "features": judge.features.name}


def main() -> None:
    """Measure and write."""
    options = tyro.cli(Options, description=__doc__)
    console, judge = Console(), Judge.make()
    path = options.results / "i2sb-ablation.json"
    kept = {}
    if path.is_file():
        kept = {r["key"]: r for r in json.loads(path.read_text())["results"]["rows"]}
    rows: list[dict[str, Any]] = []
    for one in options.models:
        title, _, folder = one.rpartition("=")
        denoiser, model = load_model(find(folder))
        if not isinstance(model, RestorationModel):
            raise SystemExit(f"{folder} is no model of restoration")
        method = Method(title, denoiser, model)
        data = restoration_data(SETS, WEIGHTS, model.shape[-1], "test")
        truth = data.batch(np.arange(options.n))[0]
        for task, name in enumerate(model.names):
            problem = problems(model, task, truth, options.seed)
            for steps in options.nfe:
                key = f"{name}/{title}/{steps}/{options.n}/{options.seed}"
                row = kept.get(key)
                if row is None:
                    x, _ = all_of(method, problem, steps, options.seed)
                    scores = judge.scores(x, truth)
                    row = {"key": key, "task": name, "method": title, "nfe": steps}
                    row |= {"n": options.n, **scores}
                    text = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k in SHOWN)
                    console.print(f"{name}, {title}, {steps}: {text}")
                rows.append(row)
                found = {"shipped": options.shipped, "rows": rows, "pivot": pivot(rows)}
                write(path, options.seed, {"n": options.n, **found, **about(judge)})


if __name__ == "__main__":
    main()
