"""``sfumato evaluate --compare``: every sampler that fits a model, at equal cost, side by side.

What is measured, and how, is in `sfumato.cli.contest`. A figure that was measured once for the
same weights, settings and data is not measured again: rows are kept in the file of ``--out``, so
that an interrupted comparison goes on with what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from sfumato.cli.contest import Contest, Contestant, Ours, Row
from sfumato.console.how import SamplingOptions
from sfumato.console.progress import bar
from sfumato.console.report import commit, record
from sfumato.damped import CriticallyDamped
from sfumato.errors import SfumatoError, UsageError, noting
from sfumato.files.atomic import write
from sfumato.files.cards import folders
from sfumato.files.words import many
from sfumato.model.labels import Labelled, labels
from sfumato.model.load import load
from sfumato.model.plan import fits
from sfumato.model.sampler import Sampler
from sfumato.process import Scheduled
from sfumato.system import SolverEntry, resolve, solvers

if TYPE_CHECKING:
    from sfumato.cli.evaluate import EvaluateConfig
    from sfumato.console.datasets import DataRequest

BUDGETS = (5, 10, 20)
"""Network evaluations at which samplers are compared unless told otherwise."""
CLOSE = 64
"""Samples whose distance to the solution of the ODE is taken: it varies little between samples."""


def with_head(model: Sampler, solver: SolverEntry) -> Sampler | None:
    """The model as a solver needs it: itself, or the one with a head that is shipped for it."""
    if not solver.head or isinstance(model.denoiser, resolve(solver.head)):
        return model
    head = f"{model.name}-{solver.name}"
    return load(head, Sampler) if head in folders() else None


def fitting(model: Sampler, how: SamplingOptions) -> list[Contestant]:
    """The samplers that a model can be drawn with, each with the grid that `how` asks for.

    Raises UsageError for a model that can be sampled in one way only.
    """
    usual = model.description.sampling
    if usual.times:
        raise UsageError(
            f"this model was made for its own {len(usual.times) - 1} steps of "
            f"{usual.solver} and no others, so there is nothing to compare"
        )
    found: list[Contestant] = []
    for solver in solvers().values():
        if model.process.k not in solver.compared or not fits(solver, model.process):
            continue
        if (loaded := with_head(model, solver)) is not None:
            found.append(Ours(solver.title, loaded, how, solver.name, how.grid))
    return found


def wanted(model: Sampler, n: int, seed: int) -> Labelled:
    """The labels of samples 0 .. n-1, as `sfumato evaluate` asks for them."""
    return labels("", model.axes, n, seed)


Plan = list[tuple[Contestant, int]]


@final
class Rows:
    """Measured rows in a JSON file, each under the key of what its figures depend on.

    Args:
        path: the file; None keeps nothing.
        head: what stands above the rows in the file.
        plan: what is to be measured. A row of the same sampler under another key is of old
            weights or settings and is dropped; rows of other samplers stay.
        contest: the task.

    Raises:
        SfumatoError: the file is something else.
        UsageError: the file holds rows of another n or seed, which do not compare.
    """

    def __init__(
        self, path: Path | None, head: dict[str, Any], plan: Plan, contest: Contest
    ) -> None:
        self.path, self.head = path, head
        self.rows: dict[str, Row] = {}
        self.stale: list[Row] = []
        valid = {contest.key(contestant, steps) for contestant, steps in plan}
        names = {contestant.name for contestant, _ in plan}
        for row in self._read(path) if path is not None and path.exists() else []:
            if (row["n"], row["seed"]) != (contest.n, contest.seed):
                raise UsageError(
                    f"{path} holds rows of {row['n']} samples and seed {row['seed']}, which do not "
                    f"compare with {contest.n} and {contest.seed}: choose another file or remove it"
                )
            if row["key"] in valid or row["sampler"] not in names:
                self.rows[row["key"]] = row
            else:
                self.stale.append(row)

    @staticmethod
    def _read(path: Path) -> list[Row]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["results"]["rows"]
            needed = ("key", "n", "seed", "sampler")
            return [{**{name: row[name] for name in needed}, **row} for row in found]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SfumatoError(f"{path} holds no rows of a comparison: {error!r}") from None

    def get(self, key: str) -> Row | None:
        """The row of that key, if it was measured."""
        return self.rows.get(key)

    def put(self, key: str, row: Row) -> Row:
        """Keep a row, and write the file."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.rows[key] = {**row, "key": key, "commit": commit(), "date": now}
        self.write()
        return self.rows[key]

    def listed(self) -> list[Row]:
        """All rows, the oldest first."""
        return list(self.rows.values())

    def write(self) -> None:
        """The whole file, put in place by one rename."""
        if self.path is None:
            return
        results = {**self.head.get("results", {}), "rows": self.listed()}
        text = json.dumps({**self.head, "results": results}, indent=2, ensure_ascii=False)
        write(self.path, text + "\n")


def plan(contestants: Sequence[Contestant], budgets: Sequence[int]) -> Plan:
    """Every contestant at every number of steps it is to be measured at."""
    return [(c, steps) for c in contestants for steps in c.steps(budgets)]


def compete(
    contest: Contest, plan: Plan, rows: Rows, say: Callable[[str], None], *, quiet: bool = False
) -> list[Row]:
    """The rows of a plan: those that are known, and those that are measured now."""
    found = []
    for number, (contestant, steps) in enumerate(plan, 1):
        key = contest.key(contestant, steps)
        row = rows.get(key)
        if row is None:
            title = f"{number}/{len(plan)} {contestant.name}, {many(steps, 'step')}"
            with bar(title, contest.n, quiet=quiet) as advance:
                row = rows.put(key, contest.measure(contestant, steps, advance))
            say(f"{number}/{len(plan)} {line(row)}")
        found.append(row)
    return found


def line(row: Row) -> str:
    """One row in words."""
    from sfumato.metrics.score import plus_minus

    parts = [
        f"{row['sampler']} ({row['settings']}), {many(row['nfe'], 'evaluation')}:",
        f"{row['measure']} {plus_minus(row['quality'], row['quality_error'])},",
        f"{row['seconds'] * 1000:.0f} ms and {row['flops'] / 1e9:.2f} GFLOP each",
    ]
    if row["rms"] is not None:
        parts.append(f"{row['rms']:.4f} from the ODE")
    return " ".join(parts)


def show(rows: Sequence[Row], title: str) -> None:
    """A table: a sampler a line, grouped by evaluations, the best first."""
    from rich.console import Console
    from rich.table import Table

    from sfumato.metrics.score import plus_minus

    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for head in ("sampler", "settings"):
        made.add_column(head, no_wrap=True)
    heads = ("evaluations", rows[0]["measure"], "precision", "recall", "labels", "from ODE")
    for head in (*heads, "GFLOP", "ms"):
        made.add_column(head, justify="right", no_wrap=True)

    def text(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    last = None
    for row in sorted(rows, key=lambda row: (row["nfe"], row["quality"])):
        if last is not None and row["nfe"] != last:
            made.add_section()
        last = row["nfe"]
        made.add_row(
            row["sampler"],
            row["settings"],
            str(row["nfe"]),
            plus_minus(row["quality"], row["quality_error"]),
            text(row["precision"], ".3f"),
            text(row["recall"], ".3f"),
            "" if row["accuracy"] is None else f"{row['accuracy']:.1f}%",
            text(row["rms"], ".4f"),
            f"{row['flops'] / 1e9:.2f}",
            f"{row['seconds'] * 1000:.1f}",
        )
    Console(width=max(Console().width, 170)).print(made)


def check(config: EvaluateConfig) -> None:
    """Refuse options that a comparison chooses itself, at the door.

    Raises UsageError.
    """
    usual = SamplingOptions()
    if config.drawing.solver is not usual.solver:
        raise UsageError(
            f"--compare goes through the solvers itself: leave out --solver {config.drawing.solver}"
        )
    if config.drawing.eta or config.drawing.churn:
        raise UsageError("--compare takes no --eta and no --churn: its samplers are the plain ones")
    if config.accuracy:
        raise UsageError("--compare trains no classifier for each sampler: leave out --accuracy")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--compare measures seconds, so it runs in one process: start it alone")


def run(config: EvaluateConfig, wish: DataRequest, argv: Sequence[str]) -> None:
    """Compare the samplers that fit a model, at as many evaluations as ``--steps`` says.

    Raises UsageError for a model that no sampler here fits.
    """
    from dataclasses import asdict

    from sfumato.cli.judging import Reference
    from sfumato.console import datasets

    model = load(config.name, Sampler)
    if not isinstance(model.process, Scheduled | CriticallyDamped):
        raise UsageError(f"{config.name} starts from data, not from noise: nothing to compare")
    shape = model.description.shape
    if len(shape) == 3:
        resolution = wish.resolution or shape[-1]
        wish = wish._replace(resolution=resolution, channels=shape[0])
    contestants = fitting(model, config.drawing)
    todo = plan(contestants, config.steps or BUDGETS)
    data, wish = datasets.of_model(config.data, model, wish, config.folders)
    judge = Reference.of(data, wish, config.features, accuracy=False)
    drawn = wanted(model, config.n, config.seed)
    contest = Contest(drawn, judge, config.drawing, config.seed, close=CLOSE)
    settings = json.loads(json.dumps(asdict(config), default=lambda v: str(getattr(v, "value", v))))
    top = record("evaluate", argv, config.seed, settings, [])
    rows = Rows(config.out, {**top, "results": {}}, todo, contest)
    if rows.stale:
        print(f"{config.out}: {len(rows.stale)} rows of other settings are not kept")
    kept = f"finished rows are kept in {config.out}; the same command goes on"
    with noting(lambda: kept if config.out is not None and rows.rows else ""):
        found = compete(contest, todo, rows, lambda text: None, quiet=config.quiet)
        rows.write()
    show(found, f"{config.name}: {config.n} samples, seed {config.seed}")
    features = judge.features.name if judge.features else "the points themselves"
    print(f"Distances are in {features}; seconds are of {_device()}. Lower is better for both.")
    if config.out is not None:
        print(f"wrote {config.out}")


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_initialized() else "one processor core"
