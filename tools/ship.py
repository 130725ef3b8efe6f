"""Ship a trained model: its averaged weights and a card whose scores come from result files.

    python tools/ship.py runs/fashion fashion
    python tools/ship.py runs/fashion fashion --scores benchmarks/results/fashion*.json

The card's command and settings are read from the run, the training time from its log, the licence
from the data set's card, and the scores from what ``sfumato evaluate --out`` wrote. Run it once
before measuring (the measured weights are the shipped ones) and once after.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sfumato.data import Card, avatars, fashion_mnist
from sfumato.metrics.score import plus_minus
from sfumato.recipes.export import export
from sfumato.store import read_folder
from sfumato.train import checkpoint as ck

ZOO = Path(__file__).resolve().parents[1] / "src" / "sfumato" / "zoo"
PAPER = "Karras et al. 2022, arXiv 2206.00364 (process, preconditioning, law of the noise levels)"


def data_card(recipe: str) -> Card:
    """The card of the data that a recipe trains on."""
    if recipe == "fashion":
        return fashion_mnist("train").card
    return avatars("train", 32, 40_000).card


def scores(files: list[Path]) -> dict[str, str]:
    """Figures by name; the name says features, n, solver and steps."""
    found = {}
    for path in files:
        for row in json.loads(path.read_text(encoding="utf-8"))["results"]:
            how = f"{row['solver']}, {row['steps']} steps"
            for s in row["scores"]:
                about = [s["features"], f"n={s['n']}", s["setting"], how]
                name = f"{s['metric']} ({', '.join(a for a in about if a)})"
                found[name] = plus_minus(s["value"], s["error"]) + s["unit"]
    return found


def seconds(log: Path) -> float:
    """Time spent on steps, from the logged rates: batch of the step over images a second."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    batch = json.loads((log.parent / "config.json").read_text())["config"]["train"]["batch"]
    steps = [line["step"] for line in lines]
    gaps = [b - a for a, b in zip([0, *steps], steps, strict=False)]
    return sum(g * batch / line["images_per_s"] for g, line in zip(gaps, lines, strict=True))


def card(run: Path, name: str, files: list[Path]) -> dict[str, Any]:
    """What ``card.json`` will say."""
    ran = json.loads((run / "config.json").read_text(encoding="utf-8"))
    train, recipe = ran["config"]["train"], ran["recipe"]
    data = data_card(recipe)
    minutes = seconds(run / "log.jsonl") / 60
    described = ck.parse_json(ck.find_checkpoint(run).files, ck.DESCRIPTION, run)["model"]
    return {
        "name": name,
        "system": "EDM",
        "kind": "denoiser",
        "data": data.name,
        "source": PAPER,
        "licence": f"weights Apache-2.0; data {data.licence}",
        "command": f"sfumato train {recipe} --out {run}",
        "time": f"{minutes:.0f} min of training, one thread of a shared CPU",
        "resolution": described["network"]["resolution"],
        "labels": {a["name"]: list(a["values"]) for a in described["axes"]},
        "scores": scores(files),
        "sampling": {"solver": "dpmpp2m", "grid": "karras", "steps": 18},
        "note": f"{train['steps']} steps of {train['batch']} images, seed {train['seed']}; the "
        "averaged weights, kept in float16",
    }


def main() -> None:
    """Write the folder into the zoo."""
    parser = argparse.ArgumentParser(description="Ship a trained model with its card.")
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    about = card(asked.run, asked.name, asked.scores)
    with tempfile.TemporaryDirectory() as scratch:
        made = export(asked.run, Path(scratch) / asked.name, about, half=True)
        read_folder(made)
        shutil.rmtree(ZOO / asked.name, ignore_errors=True)
        shutil.copytree(made, ZOO / asked.name)
    print(f"wrote {ZOO / asked.name}")


if __name__ == "__main__":
    main()
