"""``sfumato evaluate --compare``: costs counted, rows measured once, errors at the door."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.cli import contest, main
from sfumato.cli.compare import Rows, compete, fitting, plan, wanted
from sfumato.cli.contest import Contest, Contestant, Ours, flops
from sfumato.cli.judging import Reference
from sfumato.console import datasets
from sfumato.console.how import SamplingOptions
from sfumato.data import DataCard, ImageSet, LabelAxis
from sfumato.errors import SfumatoError, UsageError
from sfumato.model.labels import Labelled
from sfumato.model.load import load
from sfumato.model.sampler import Sampler
from sfumato.system import SolverEntry, solvers

HOW = SamplingOptions(batch=10)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """60 real images in the place of Fashion-MNIST."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 1, 28, 28)).astype(np.uint8)
    axis = LabelAxis("class", tuple("abcdefghij"))
    labels = random.integers(0, 10, (60, 1)).astype(np.int64)
    data = ImageSet("fashion-mnist", images, labels, (axis,), DataCard("x", "x", "x", "x"))
    monkeypatch.setattr(datasets, "load", lambda name, wish: data)
    return data


@pytest.fixture
def points() -> Contest:
    """40 points, judged against 300 of the true ones."""
    model = load("tiny-points", Sampler)
    judge = Reference.of("25-gaussians", datasets.DataRequest("test", 300), "auto", accuracy=False)
    return Contest(wanted(model, 40, 0), judge, HOW, seed=0, close=8)


def ours(name: str, solver: str) -> Ours:
    return Ours(solver, load(name, Sampler), HOW, solver)


def test_operations_are_those_counted_by_hand() -> None:
    conv, linear = nn.Conv2d(2, 5, 3, padding=1), nn.Linear(5 * 6 * 6, 7)
    x = torch.zeros(1, 2, 6, 6)
    by_hand = 2 * (9 * 2 * 5 * 6 * 6) + 2 * (5 * 6 * 6 * 7)
    assert flops(lambda: linear(conv(x).flatten(1))) == by_hand
    with torch.inference_mode():  # samplers run in it
        assert flops(lambda: linear(conv(x).flatten(1))) == by_hand


def test_operations_of_a_walk_are_those_of_its_evaluations() -> None:
    model = load("tiny-grey", Sampler)
    denoiser = model.denoiser
    label = np.zeros((1, 1), np.int64)
    x = torch.zeros(1, *model.description.shape)
    once = flops(lambda: denoiser(x, 0.5, torch.zeros(1, 1, dtype=torch.int64)))
    assert once > 1e6
    for solver, evaluations in (
        ("ddim", 3),
        ("heun", 5),
        ("dpmpp3m", 4),
    ):
        contestant = ours("tiny-grey", solver)
        walked = flops(lambda c=contestant: c.draw(range(1), label, 3, 0))  # type: ignore[misc]
        assert walked == pytest.approx(evaluations * once, rel=1e-5)  # and the coefficients


OFFERED = [s for s in solvers().values() if 1 in s.compared and not s.head]


@pytest.mark.parametrize("solver", OFFERED, ids=lambda s: s.name)
@pytest.mark.parametrize("budget", [1, 2, 5, 10])
def test_no_sampler_spends_more_than_its_budget(solver: SolverEntry, budget: int) -> None:
    label, steps = np.zeros((1, 0), np.int64), solver.steps_within(budget)
    _, nfe = ours("tiny-points", solver.name).draw(range(1), label, steps, 0)
    _, more = ours("tiny-points", solver.name).draw(range(1), label, steps + 1, 0)
    assert nfe <= budget < more


@pytest.mark.parametrize("name", ["tiny-phase", "tiny-points"])
def test_every_sampler_that_is_offered_draws(name: str) -> None:
    """Among them DEIS where there is a noise level, and SSCS where there is a velocity."""
    model = load(name, Sampler)
    offered = fitting(model, HOW)
    names = {c.how.solver for c in offered if isinstance(c, Ours)}
    assert ("deis" in names) == (name == "tiny-points")
    assert ("sscs" in names) == (name == "tiny-phase")
    label = np.zeros((1, len(model.axes)), np.int64)
    for contestant in offered:
        x, nfe = contestant.draw(range(1), label, 2, 0)
        assert x.shape == (1, *model.description.shape) and x.isfinite().all() and nfe >= 2


def test_the_distance_to_the_ode_is_that_of_the_solver(points: Contest) -> None:
    """It falls with the steps, by the order, and noisy samplers have none."""
    far, near, second = (
        points.measure(ours("tiny-points", solver), steps)["rms"]
        for solver, steps in (("ddim", 8), ("ddim", 64), ("dpmpp2m", 64))
    )
    assert 0 < second < 0.3 * near and near < 0.3 * far
    assert points.measure(ours("tiny-points", "ancestral"), 4)["rms"] is None


@final
class Counting(Contestant):
    """Draws noise, and counts how often it is asked for more than one sample."""

    name = "counting"
    settings = "none"
    follows = False

    def __init__(self, mark: float = 0.0) -> None:
        self.model = load("tiny-points", Sampler)
        with torch.no_grad():
            next(self.model.denoiser.parameters()).add_(mark)
        self.calls = 0

    def steps(self, budgets: Sequence[int]) -> list[int]:
        return list(budgets)

    def draw(
        self, indices: Sequence[int], labels: NDArray[np.int64], steps: int, seed: int
    ) -> tuple[Tensor, int]:
        self.calls += len(indices) > 1
        return torch.randn(len(indices), 2), steps


def run(contest: Contest, contestant: Contestant, path: Path, steps: list[int]) -> Rows:
    todo = plan([contestant], steps)
    rows = Rows(path, {"results": {}}, todo, contest)
    compete(contest, todo, rows, lambda text: None, quiet=True)
    return rows


def test_a_row_is_measured_once(points: Contest, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    first = Counting()
    run(points, first, path, [3, 4])
    assert first.calls == 2 * 4  # batches of ten
    again = Counting()
    rows = run(points, again, path, [3, 4, 5])
    assert again.calls == 4 and len(rows.listed()) == 3
    assert [row["nfe"] for row in json.loads(path.read_text())["results"]["rows"]] == [3, 4, 5]
    other = Counting(mark=1e-3)
    rows = run(points, other, path, [3, 4, 5])
    assert other.calls == 3 * 4 and len(rows.stale) == 3 and len(rows.listed()) == 3


def test_rows_of_other_samplers_stay(points: Contest, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    run(points, Counting(), path, [3])
    rows = run(points, ours("tiny-points", "ddim"), path, [2])
    assert {row["sampler"] for row in rows.listed()} == {"counting", "ddim"}


def test_rows_that_do_not_compare_are_refused(points: Contest, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    run(points, Counting(), path, [3])
    labels = Labelled(points.labels.labels[:30])
    fewer = Contest(labels, points.judge, HOW, seed=0)
    with pytest.raises(UsageError, match="rows of 40 samples and seed 0, which do not"):
        run(fewer, Counting(), path, [3])
    path.write_text('{"results": []}')
    with pytest.raises(SfumatoError, match="holds no rows of a comparison"):
        run(points, Counting(), path, [3])


def test_the_command_compares_and_goes_on(
    real: ImageSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "FINE_STEPS", 4)
    words = ["evaluate", "tiny-grey", "--compare", "--n", "20", "--features", "pixels"]
    words += ["--out", "rows.json", "--quiet"]
    assert main([*words, "--steps", "2"]) == 0
    out = capsys.readouterr().out
    assert all(solver.title in out for solver in OFFERED) and "pixels 1x28x28" in out
    before = {r["key"]: r for r in json.loads(Path("rows.json").read_text())["results"]["rows"]}
    assert {r["nfe"] for r in before.values()} == {1, 2}  # Heun takes one step of one evaluation
    assert main([*words, "--steps", "2,3"]) == 0
    found: dict[str, Any] = json.loads(Path("rows.json").read_text())
    after = {r["key"]: r for r in found["results"]["rows"]}
    assert len(after) == 2 * len(OFFERED) and {k: after[k] for k in before} == before
    assert found["command"].endswith("--steps 2,3") and found["machine"]["torch"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--solver", "heun"], "leave out --solver heun"),
        (["--solver", "ddim", "--eta", "1"], "leave out --solver ddim"),
        (["--accuracy"], "leave out --accuracy"),
        (["--steps", "0"], "--steps must be at least 1"),
    ],
)
def test_options_that_do_not_fit(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "tiny-points", "--compare", *words]) == 2
    assert message in capsys.readouterr().err


def test_pictures_cannot_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("same.npz", images=np.zeros((30, 1, 28, 28), np.uint8))
    words = ["evaluate", "same.npz", "--data", "fashion-mnist", "--compare"]
    assert main(words) == 2
    assert "needs a model to draw from" in capsys.readouterr().err
