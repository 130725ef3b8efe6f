"""Ship a trained model: its averaged weights and a card whose scores come from result files.

    python tools/ship.py runs/fashion fashion
    python tools/ship.py runs/fashion fashion --scores benchmarks/results/fashion*.json
    python tools/ship.py fashion --scores benchmarks/results/fashion*.json    # its scores alone
    python tools/ship.py runs/fields-vorticity vorticity --calibrate 1024     # a model of fields

The card's system, command and settings are read from the run, the training time from its log, the
licence from the data set's card, and the scores from what ``sfumato evaluate --out`` wrote. Run it
once before measuring (the measured weights are the shipped ones) and once after.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sfumato.console.again import read_run
from sfumato.data import DataCard, PointName, avatars, fashion_mnist, points
from sfumato.files.store import read_folder, write_folder
from sfumato.metrics.score import Score, plus_minus
from sfumato.model.codec import encode
from sfumato.model.export import export
from sfumato.model.load import read_saved
from sfumato.system import kinds, resolve, systems
from sfumato.systems.ddo import datasets as field_data
from sfumato.systems.ddo.commands import calibrate
from sfumato.systems.dpdm import recipe as private
from sfumato.systems.dpdm.certificate import read_promise
from sfumato.systems.i2sb import recipe as i2sb

ZOO = Path(__file__).resolve().parents[1] / "src" / "sfumato" / "zoo"
RESTORATION = " + ".join(i2sb.Config().sets)
"""The data that the recipe i2sb trains on unless told otherwise."""


def data_card(data: str) -> DataCard:
    """The card of a data set. Raises SystemExit for one that no shipped model is made of."""
    if data == "fashion-mnist":
        return fashion_mnist("train").card
    if data == "avatars":
        return avatars("train", 32, 40_000).card
    if data == RESTORATION:
        usual = i2sb.Config()
        return i2sb.restoration_data(usual.sets, usual.weights, 64).card
    if data in field_data.NAMED:
        return field_data.load_fields(data).card
    if data in list(PointName):
        return points(data, 1).card
    raise SystemExit(f"which card has {data!r}? there are fashion-mnist, avatars and point sets")


def command(run: Path, recipe: str, config: Any, usual: Any) -> str:
    """The command that was run: what differs from the recipe's own settings."""
    words = [f"sfumato train {recipe} --out {run}"]
    if recipe == "fields":
        words = [f"sfumato fields train --out {run}"]
    if recipe == "private":
        usual = private.preset(config.data.value)
        words = [f"sfumato private train {config.data.value} --out {run}"]
    left_out = {"out", "resume", "train.quiet", "train.cpu", "train.tensorboard"}

    def differing(ours: dict[str, Any], theirs: dict[str, Any], path: str) -> None:
        for key, value in ours.items():
            at = f"{path}{key}"
            if value == theirs.get(key) or at in left_out:
                continue
            if isinstance(value, dict) and isinstance(theirs.get(key), dict):
                differing(value, theirs[key], at + ".")
            else:
                shown = value if isinstance(value, list) else [value]
                head, _, last = at.replace("_", "-").rpartition(".")
                if isinstance(value, bool):  # a flag
                    last, shown = last if value else f"no-{last}", []
                words.append(shlex.join([f"--{head}{'.' * bool(head)}{last}", *map(str, shown)]))

    differing(encode(config), encode(usual), "")
    return " ".join(words).replace(f"{Path.cwd()}/", "")


def scores(files: list[Path]) -> dict[str, str]:
    """Figures by name; the name says features, n, solver and steps."""
    found = {}
    for path in files:
        measured = json.loads(path.read_text(encoding="utf-8"))["results"]
        if isinstance(measured, dict):
            found |= restored(measured)
            continue
        for row in measured:
            exported = "solver" not in row
            how = path.stem if exported else f"{row['solver']}, {row['steps']} steps"
            for s in row["scores"]:
                if s["metric"].startswith("KS p"):  # many, and one test has them all
                    continue
                about = [s["features"], f"n={s['n']}", s["setting"], how]
                name = f"{s['metric']} ({', '.join(a for a in about if a)})"
                found[name] = Score(**s).figure
    return found


def restored(measured: dict[str, Any]) -> dict[str, str]:
    """The bridge's figures (or the shipped model's), at one and at ten evaluations."""
    found = {}
    for row in measured["rows"]:
        if row["method"] == measured.get("shipped", "bridge") and row["nfe"] in (1, 10):
            about = f"{row['task']}, n={row['n']}, {row['nfe']} evaluations"
            found[f"PSNR ({about})"] = f"{plus_minus(row['psnr'], row['psnr_error'])} dB"
            about = f"{measured['features']}, {about}"
            text = plus_minus(row["frechet"], row["frechet_error"])
            found[f"Fréchet distance ({about})"] = text
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
    recipe, config = read_run(run)
    told = json.loads((run / "config.json").read_text(encoding="utf-8"))["recipe"]
    model = read_saved(run).model
    system = next(s for s in systems() if recipe in s.recipes)
    data, train, usual = data_card(model.data), config.train, model.sampling
    minutes = seconds(run / "log.jsonl") / 60
    note = f"run of {train.steps} steps of {train.batch} examples, seed {train.seed}; the averaged "
    note += "weights, kept in float16"
    if told == "private":
        promise = read_promise(run)
        note = (
            f"epsilon {promise.epsilon:.3f}, delta {promise.delta:g} (records of the training set, "
            f"{promise.accountant.value}): {promise.ledger.steps} steps of {train.batch} expected "
            f"records, {config.privacy.multiplicity} draws each, noise multiplier "
            f"{promise.ledger.mechanism.noise:g}; the averaged weights, kept in float16; "
            "ledger.jsonl counts the steps"
        )
    return {
        "name": name,
        "system": system.title,
        "kind": next(k.card for k in kinds() if resolve(k.make) is type(model)),
        "data": data.name,
        "source": str(system.paper),
        "licence": f"weights Apache-2.0; data {data.licence}",
        "command": command(run, told, config, recipe.config()),
        "time": f"{minutes:.0f} min of training, one thread of a shared CPU",
        "resolution": 0 if len(model.shape) == 1 else model.shape[-1],
        "labels": {axis.name: list(axis.values) for axis in model.axes},
        "scores": scores(files),
        "sampling": {"solver": usual.solver, "grid": usual.grid, "steps": usual.steps},
        "note": note,
    }


def renew(folder: Path, found: dict[str, str]) -> None:
    """Put scores into the card of a shipped model in the place of those it had."""
    files = dict(read_folder(folder))
    about = {**json.loads(files["card.json"]), "scores": found}
    files["card.json"] = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
    write_folder(folder, files, replace=True)
    print(f"renewed the scores of {folder}")


def main() -> None:
    """Write the folder into the zoo."""
    parser = argparse.ArgumentParser(description="Ship a trained model with its card.")
    parser.add_argument("run", type=Path, nargs="?", help="none: the shipped model's own folder")
    parser.add_argument("name")
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    parser.add_argument("--note", default="", help="what else the card must say")
    parser.add_argument("--calibrate", type=int, default=0, help="fields to calibrate with")
    asked = parser.parse_args()
    if asked.run is None:
        renew(ZOO / asked.name, scores(asked.scores))
        return
    about = card(asked.run, asked.name, asked.scores)
    about["note"] += asked.note and f"; {asked.note}"
    if asked.calibrate:
        about["command"] += f" ; sfumato fields calibrate {asked.run} --n {asked.calibrate}"
    with tempfile.TemporaryDirectory() as scratch:
        made = export(asked.run, Path(scratch) / asked.name, about, half=True)
        if asked.calibrate:
            calibrate.run(calibrate.CalibrateConfig(str(made), made, asked.calibrate, force=True))
        read_folder(made)
        shutil.rmtree(ZOO / asked.name, ignore_errors=True)
        shutil.copytree(made, ZOO / asked.name)
    print(f"wrote {ZOO / asked.name}")


if __name__ == "__main__":
    main()
