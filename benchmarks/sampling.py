"""Which sampler gives what quality at what cost: ours, four systems of ours, and diffusers'.

    python benchmarks/sampling.py                          # hours on one core; can be interrupted
    python benchmarks/sampling.py --models fashion --nfe 5,10 --only GENIE,Heun
    python benchmarks/sampling.py --quick                  # a check that it runs, in build/

Everything is drawn from the shipped models `fashion` and `avatars`: the same labels, the same
starting noise, the same network but for the systems that bring their own. Quality is measured as
`sfumato evaluate` does. Every sampler that can be set in several ways is first tried in all of
them, on fewer samples and at few evaluations, where settings matter most; its best is what is
compared, ours and diffusers' alike. A row that was measured for the same weights and settings is
not measured again. Results go to `benchmarks/results/sampling-MODEL.json`, the trials to
`trials-MODEL.json`, the picture to `docs/img/fast-sampling.png`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from peers import Peer, options
from rich.console import Console
from torch import Tensor

from sfumato import zoo
from sfumato.cli.compare import Rows, compete, line, plan, wanted
from sfumato.cli.contest import Contest, Contestant, Ours, Row
from sfumato.cli.judging import Reference
from sfumato.console import datasets
from sfumato.console.how import SamplingOptions
from sfumato.console.options import Integers
from sfumato.errors import MissingExtra
from sfumato.metrics import Score, extract, frechet_distance
from sfumato.model.load import load
from sfumato.model.sampler import Sampler
from sfumato.seeds import generators
from sfumato.system import solvers

sys.path.insert(0, str(Path(__file__).parent))
from written import origin

HERE = Path(__file__).parent
SYSTEMS = ("GENIE", "CLD", "DDGAN", "DSNO")
"""Systems that bring weights of their own, by their names on the cards."""
OFFERED = [s for s in solvers().values() if 1 in s.compared and not s.head]
GRIDS = ("karras", "log-snr")
IN_PHASE_SPACE = ("quadratic", "uniform")
SHOWN = 10
"""Evaluations at which all the other figures are shown."""
TRIED = (5, 10)
"""Evaluations at which settings are tried."""


@dataclass(frozen=True)
class Options:
    """Options of the comparison.

    models: shipped models.  nfe: network evaluations a sample may cost, the most urgent first.
    n: samples of each row.  trial: samples of each trial of settings.  only: samplers whose name
        holds one of these, separated by commas.  seed: of noise and labels.
    quick: few samples at few evaluations, into build/.  plot: nothing is measured, only drawn.
    """

    models: tuple[str, ...] = ("fashion", "avatars")
    nfe: Integers = (10, 5, 20, 15, 25, 50)
    n: int = 1000
    trial: int = 256
    only: str = ""
    seed: int = 0
    batch: int = 50
    quick: bool = False
    plot: bool = False
    out: Path = HERE / "results"
    picture: Path = HERE.parent / "docs" / "img" / "fast-sampling.png"


@final
class Driven(Contestant):
    """A scheduler of diffusers over our network."""

    maker = "diffusers"
    follows = True

    def __init__(self, peer: Peer, model: Sampler, how: SamplingOptions) -> None:
        self.peer, self.model, self.how = peer, model, how
        self.name, self.settings = peer.name, peer.settings

    def steps(self, budgets: Sequence[int]) -> list[int]:
        """As the scheduler counts them."""
        return sorted({self.peer.steps(b) for b in budgets})

    def draw(
        self, indices: Sequence[int], labels: NDArray[np.int64], steps: int, seed: int
    ) -> tuple[Tensor, int]:
        """The scheduler's loop, from the noise that ours starts from."""
        drawer = self.how.prepare(self.model, steps, seed)
        shape = (len(indices), *self.model.description.shape)
        x = drawer.denoiser.process.prior_sample(shape, generators(seed, indices))
        x = x.to(drawer.device)
        x0, nfe = self.peer.walk(drawer.denoiser, x, steps, drawer.cond(labels))
        return x0.float().cpu(), nfe


def samplers(name: str, how: SamplingOptions, console: Console) -> list[list[Contestant]]:
    """Every sampler of the comparison, each in all the settings that are tried."""
    model = load(name, Sampler)
    found: list[list[Contestant]] = [
        [Ours(solver.title, model, how, solver.name, grid) for grid in GRIDS] for solver in OFFERED
    ]
    data = model.description.data
    shipped = [card for card in zoo.cards() if card.data == data]
    for system in SYSTEMS:
        cards = [c for c in shipped if c.system == system and c.kind == "denoiser"]
        if not cards:
            console.print(f"{system}: no weights for {data} are shipped yet; skipped")
        for card in cards:
            theirs = load(card.name, Sampler)
            about = theirs.description
            title = system if len(cards) == 1 else f"{system} ({card.name})"
            solver = "sscs" if system == "CLD" else about.sampling.solver
            grids: tuple[str, ...] = IN_PHASE_SPACE if system == "CLD" else GRIDS
            if about.sampling.times:  # made for its own steps
                grids = ("auto",)
            found.append([Ours(title, theirs, how, solver, grid) for grid in grids])
    try:
        made = options()
        next(iter(made.values()))[0].ready(4)
        found += [[Driven(p, model, how) for p in peers] for peers in made.values()]
    except MissingExtra as error:
        console.print(f"diffusers' schedulers are skipped: {error}")
    return found


def chosen(
    groups: list[list[Contestant]], contest: Contest, out: Path, head: dict[str, Any], say: Any
) -> list[Contestant]:
    """Of each group the setting with the least mean log distance at `TRIED` evaluations."""
    plans = [plan(group, TRIED) if len(group) > 1 else [] for group in groups]
    rows = Rows(out, head, [part for todo in plans for part in todo], contest)
    best = []
    for group, todo in zip(groups, plans, strict=True):
        if not todo:
            best += group
            continue
        found = compete(contest, todo, rows, say)
        merit: dict[str, float] = {}
        for (contestant, _), row in zip(todo, found, strict=True):
            merit[contestant.settings] = merit.get(contestant.settings, 0.0) + math.log(
                max(row["quality"], 1e-9)
            )
        best.append(min(group, key=lambda c: merit[c.settings]))
    rows.write()
    return best


def floor(judge: Reference, wish: datasets.DataRequest, n: int) -> dict[str, Any]:
    """What n real training pictures score: no sampler is expected below it."""
    if judge.features is None:
        return {}
    train = datasets.load(judge.data.name, wish._replace(split="train", n=n))
    seen = extract(judge.features, train.images, batch=256)  # type: ignore[union-attr]
    score: Score = frechet_distance(judge.real, seen, features=judge.features.name)
    return score.as_dict()


def rank(row: Row) -> tuple[bool, int, str]:
    """Where a sampler stands in tables: our solvers, our systems, diffusers."""
    names = [*(solver.title for solver in OFFERED), *SYSTEMS]
    first = [i for i, name in enumerate(names) if row["sampler"].startswith(name)]
    return row["maker"] != "sfumato", first[0] if first else len(names), row["sampler"]


def pivot(rows: list[Row], nfe: Sequence[int]) -> list[Row]:
    """A line for each sampler: its distance at each budget, the best of a column in bold."""
    lines: dict[str, Row] = {}
    cells: dict[str, list[tuple[float, str]]] = {}
    for row in sorted(rows, key=rank):
        budget = min((b for b in nfe if b >= row["nfe"]), default=row["nfe"])
        name = row["sampler"]
        start = {"sampler": name, "settings": row["settings"], "maker": row["maker"], "at": {}}
        entry = lines.setdefault(name, start)
        text = f"{row['quality']:.2f}" + ("" if row["nfe"] == budget else f" (at {row['nfe']})")
        entry["at"][str(budget)] = text
        entry["gflop"] = row["flops"] / row["nfe"] / 1e9
        entry["ms"] = 1000 * row["seconds"] / row["nfe"]
        cells.setdefault(str(budget), []).append((row["quality"], name))
    for budget, column in cells.items():
        if len(column) > 1:
            at = lines[min(column)[1]]["at"]
            at[budget] = f"**{at[budget]}**"
    return list(lines.values())


def details(rows: list[Row], nfe: int) -> list[Row]:
    """The other figures at a budget of ``nfe``, and of samplers that take their own steps."""
    most: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["nfe"]):
        if row["nfe"] <= nfe:
            most[row["sampler"]] = row
    return [
        {
            **{k: v for k, v in row.items() if k != "scores"},
            "gflop": row["flops"] / 1e9,
            "ms": 1000 * row["seconds"],
        }
        for row in sorted(most.values(), key=rank)
    ]


def run(name: str, options: Options, console: Console) -> None:
    """All rows of one model."""
    how = SamplingOptions(batch=options.batch)
    groups = samplers(name, how, console)
    model = groups[0][0].model
    channels, *_, side = model.description.shape
    wish = datasets.DataRequest("test", 0, side, options.seed, channels=channels)
    judge = Reference.of(model.description.data, wish, "auto", accuracy=False)
    small = Contest(wanted(model, options.trial, options.seed), judge, how, options.seed)
    whole = Contest(wanted(model, options.n, options.seed), judge, how, options.seed, like=small)
    head = {
        **origin(options.seed),
        "model": name,
        "features": judge.features.name if judge.features else "points",
        "real": len(judge.real),
        "results": {},
    }
    words = [w.strip().lower() for w in options.only.split(",") if w.strip()]
    if words:
        groups = [g for g in groups if any(w in g[0].name.lower() for w in words)]
    trials = options.out / f"trials-{name}.json"
    best = chosen(groups, small, trials, head, lambda text: console.print(f"trial {text}"))
    path = options.out / f"sampling-{name}.json"
    rows = Rows(path, head, plan(best, options.nfe), whole)
    for row in rows.stale:
        console.print(f"{path.name}: of other weights or settings, left out: {line(row)}")
    for budget in options.nfe:
        compete(whole, plan(best, [budget]), rows, console.print)
        rows.head["results"]["table"] = pivot(rows.listed(), options.nfe)
        rows.head["results"]["details"] = details(rows.listed(), SHOWN)
        rows.write()
    rows.head["results"]["floor"] = floor(judge, wish, options.n)
    rows.head["machine"]["load"] = os.getloadavg()[0]
    rows.write()
    console.print(f"results in {path}")


def main(options: Options) -> None:
    """Measure what is missing, draw the picture."""
    console = Console(width=150, highlight=False)
    torch.set_num_threads(1)
    if options.quick:
        options = replace(
            options,
            nfe=(5,),
            n=40,
            trial=40,
            out=HERE.parent / "build",
            picture=HERE.parent / "build" / "fast-sampling.png",
        )
    if not options.plot:
        for name in options.models:
            run(name, options, console)
    from sampling_plot import draw

    found = {n: options.out / f"sampling-{n}.json" for n in options.models}
    draw({n: p for n, p in found.items() if p.exists()}, options.picture)
    console.print(f"picture in {options.picture}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))
