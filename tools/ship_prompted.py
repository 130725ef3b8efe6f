"""Ship what draws from prompts: the dual encoder, and models that may be ensembles of experts.

    python tools/ship_prompted.py scenes-clip runs/clip
    python tools/ship_prompted.py scenes runs/imagine-high runs/imagine-low runs/imagine-rest \\
        --start runs/imagine-base --encoders runs/clip=scenes-clip
    python tools/ship_prompted.py scenes-64 runs/imagine-64 --encoders runs/clip=scenes-clip
    python tools/ship_prompted.py scenes --scores benchmarks/results/ediffi-text.json

The cards' commands, times and scores come from the runs and from result files, as in `ship.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from ship import ZOO, command, renew, seconds

from sfumato.files.store import read_folder, write_folder
from sfumato.metrics.score import plus_minus
from sfumato.model.codec import decode
from sfumato.model.export import export
from sfumato.systems.ediffi import clip
from sfumato.systems.ediffi import recipe as imagine
from sfumato.systems.ediffi.data import Scenes, scenes
from sfumato.systems.ediffi.join_experts import join, read_expert_run
from sfumato.systems.ediffi.model import PromptedModel
from sfumato.train.checkpoint import pack_json

SYSTEM, PAPER = "eDiff-I", "Balaji et al. 2022, arXiv 2211.01324"


def encoder(run: Path, name: str) -> None:
    """Copy the dual encoder with a card."""
    files = dict(read_folder(run))
    told = json.loads(files["training.json"])
    figures, every = told["scores"], [*told["before"], told]
    configs = [decode({**one["config"], "type": "Clip"}, clip.Clip) for one in every]
    commands = [command(one.out, "clip", one, clip.Clip()) for one in configs]
    minutes = [f"{one['seconds'] / 60:.0f} min on {one['threads']} thread(s)" for one in every]
    found = {
        f"right {of} of {n} ({figures['pictures']}, n={row['n']})": f"{100 * row[of]:.1f} %"
        for n, row in ((n, figures[f"of {n}"]) for n in (10, 100))
        for of in ("sentence", "picture")
    }
    if style := figures.get("style"):
        about = f"{figures['pictures']}, n={style['n']}"
        found[f"style, by a linear reading ({about})"] = f"{100 * style['style']:.1f} %"
    sizes = json.loads(files["config.json"])
    about = {
        "name": name,
        "system": "CLIP",
        "kind": "dual encoder",
        "data": told["data"]["name"],
        "source": "Radford et al. 2021, arXiv 2103.00020",
        "licence": f"weights Apache-2.0; data {told['data']['licence']}",
        "command": " ; ".join(commands),
        "time": ", then ".join(minutes) + " of a shared CPU",
        "resolution": sizes["vision_config"]["image_size"],
        "params": sum(w.numel() for w in load_tensors(files["model.safetensors"]).values()),
        "scores": found,
        "note": "a CLIPModel in the format of transformers, weights in float16; says how well a "
        "picture fits a sentence, and listens for models that draw from prompts",
    }
    files["card.json"] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    write_folder(ZOO / name, files, replace=True)


def renamed(folder: Path, names: Mapping[str, str]) -> None:
    """Let a model folder name its encoders otherwise.

    Raises SystemExit for an encoder that it does not have.
    """
    files = dict(read_folder(folder))
    told = json.loads(files["model.json"])
    told.pop("format_version")
    have = {encoder["source"] for encoder in told["model"]["encoders"]}
    if unknown := names.keys() - have:
        raise SystemExit(f"--encoders {min(unknown)}: the model has {sorted(have)}")
    for encoder in told["model"]["encoders"]:
        encoder["source"] = names.get(encoder["source"], encoder["source"])
    files["model.json"] = pack_json(told)
    write_folder(folder, files, replace=True)


def model(
    name: str, runs: Sequence[Path], before: Sequence[Path], names: Mapping[str, str], note: str
) -> None:
    """A model folder of one run, or of experts; ``before`` are the runs that they went on from."""
    trained = [read_expert_run(run) for run in dict.fromkeys((*before, *runs))]
    described: PromptedModel = trained[-1].model
    commands = [command(one.run, "imagine", one.config, imagine.Config()) for one in trained]
    minutes = [seconds(one.run / "log.jsonl") / 60 for one in trained]
    usual, data = described.sampling, scenes(Scenes("train", 64)).card
    about: dict[str, Any] = {
        "name": name,
        "system": SYSTEM,
        "kind": "prompted model",
        "data": data.name,
        "source": PAPER,
        "licence": f"weights Apache-2.0; data {data.licence}",
        "command": " ; ".join(commands),
        "time": f"{sum(minutes):.0f} min of training, one thread of a shared CPU",
        "resolution": described.network.resolution,
        "scores": {},
        "sampling": {"solver": usual.solver, "grid": usual.grid, "steps": usual.steps},
        "note": f"{sum(one.config.train.steps for one in trained)} steps of "
        f"{trained[0].config.train.batch} examples in {len(trained)} runs; the averaged weights, "
        "kept in float16" + (f"; {note}" if note else ""),
    }
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        if len(runs) > 1 or trained[-1].config.expert >= 0:
            join(runs, made, about, half=True)
        else:
            export(runs[0], made, about, half=True)
        renamed(made, names)
        shutil.rmtree(ZOO / name, ignore_errors=True)
        shutil.copytree(made, ZOO / name)


FIGURES = {
    "object": "things found",
    "attribute": "right colour",
    "ground": "right ground",
    "exact": "all right",
    "likeness": "likeness by the CLIP",
    "frechet": "Fréchet distance",
}
"""What cards call the figures of the benchmark; the first four are shares in %."""


def scores(files: Sequence[Path]) -> dict[str, str]:
    """The figures of ``benchmarks/ediffi.py text`` by name."""
    found = {}
    for path in files:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
        drew = " + ".join(results["models"])
        for row in results["rows"]:
            about = f"{drew}, n={row['n']}, guidance {row['guidance']:g}"
            for k, (key, name) in enumerate(FIGURES.items()):
                if key in row:
                    figure = plus_minus(row[key], row[f"{key}_error"])
                    found[f"{name} ({about})"] = figure + " %" * (k < 4)
    return found


def main() -> None:
    """Write the folder into the zoo."""
    parser = argparse.ArgumentParser(description="Ship what draws from prompts.")
    parser.add_argument("name")
    parser.add_argument("runs", type=Path, nargs="*", help="none: renew the scores alone")
    parser.add_argument(
        "--start", type=Path, nargs="*", default=[], help="the runs before, oldest first"
    )
    parser.add_argument("--encoders", nargs="*", default=[], metavar="SOURCE=NAME")
    parser.add_argument("--note", default="", help="more that the card should say")
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    if not asked.runs:
        renew(ZOO / asked.name, scores(asked.scores))
        return
    if (asked.runs[0] / "training.json").is_file():
        encoder(asked.runs[0], asked.name)
    else:
        names = dict(pair.split("=", 1) for pair in asked.encoders)
        model(asked.name, asked.runs, asked.start, names, asked.note)
    print(f"wrote {ZOO / asked.name}")


if __name__ == "__main__":
    main()
