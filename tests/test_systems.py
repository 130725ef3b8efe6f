"""The tables: all that is declared is there, and every noun owes what its kind owes."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from analytic import F64, PROCESSES, SPAN, Linear, Scripted, propagate, slope
from sfumato import system
from sfumato.data import ImageSet, PointSet, packages
from sfumato.errors import SfumatoError
from sfumato.model.description import ModelDescription
from sfumato.model.plan import make_times
from sfumato.system import (
    DataEntry,
    DataRequest,
    GridEntry,
    ProcessEntry,
    RecipeEntry,
    SolverEntry,
    System,
    data_sets,
    grids,
    kinds,
    processes,
    recipes,
    resolve,
    solvers,
    systems,
)
from sfumato.systems import SYSTEMS
from sfumato.systems.genie.derivative import ExactDerivative

ROOT = Path(__file__).parents[1]


def test_every_folder_is_listed() -> None:
    folders = {p.parent.name for p in (ROOT / "src/sfumato/systems").glob("*/__init__.py")}
    assert set(SYSTEMS) == folders
    assert [s.name for s in systems()[1:]] == list(SYSTEMS)


@pytest.mark.parametrize("described", systems()[1:], ids=lambda s: s.name)
def test_what_a_system_declares_is_there(described: System) -> None:
    assert described.paper is not None and (ROOT / described.page).is_file()
    assert described.paper.arxiv in (ROOT / described.page).read_text("utf-8")
    for command in described.commands:
        assert callable(importlib.import_module(command.module).main)
    for ref in [ref.replace("*", "") for ref in described.parts]:
        assert resolve(ref) is not None
    assert not described.tab or callable(resolve(described.tab))


def test_every_kind_is_a_description() -> None:
    assert all(issubclass(resolve(kind.make), ModelDescription) for kind in kinds())


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda r: r.name)
def test_every_recipe_runs_by_its_configuration(recipe: RecipeEntry) -> None:
    assert callable(recipe.run) and recipe.config().out == Path(f"runs/{recipe.name}")


@pytest.mark.parametrize("solver", solvers().values(), ids=lambda s: s.name)
def test_every_solver_is_of_its_order(solver: SolverEntry) -> None:
    """Mean and covariance of Gaussian data go through a walk exactly: the error is the solver's."""
    name = "cld" if solver.compared == (2,) else "vp"
    mean, cov = torch.tensor([0.7], dtype=F64), torch.tensor([[0.25]], dtype=F64)
    plain = Linear(PROCESSES[name](Scripted()), mean, cov)
    begin, end = SPAN[name]
    start, goal = plain.state(begin), plain.state(end)
    denoiser: Any = plain
    if solver.wraps or solver.head:  # what `genie` needs is learned; here it is exact
        denoiser = resolve(solver.wraps)(plain) if solver.wraps else ExactDerivative(plain)
        denoiser.mean, denoiser.field = plain.mean, plain.field
    steps, errors = [60, 120], []
    for n in steps:
        made = solver.build(n)
        found = propagate(denoiser, made, sf.times.uniform(n, begin, end), start)
        errors.append(float(sum((a - b).norm() for a, b in zip(found, goal, strict=True))))
    if solver.name == "dormand-prince":  # chooses its steps itself
        assert max(errors) < 1e-4
    else:
        assert made.order - 0.25 < slope(errors, steps) < made.order + 0.95


@pytest.mark.parametrize("grid", grids().values(), ids=lambda g: g.name)
def test_every_grid_falls_from_one_to_zero(grid: GridEntry) -> None:
    times = make_times(grid.name, PROCESSES["edm"](), 7)
    assert times.shape == (8,) and times.dtype == F64
    assert times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()


@pytest.mark.parametrize("process", processes().values(), ids=lambda p: p.name)
def test_every_process_can_be_trained_under(process: ProcessEntry) -> None:
    """By a chosen few of its times: `sfumato train points --kind` does the rest in other tests."""
    assert sf.Prediction[process.prediction]
    made = resolve(process.make)()
    if isinstance(made, sf.Schedule):
        made = sf.Scheduled(made)
    t = process.times(0.5).draw(made, 100, sf.generator(0))
    assert t.shape == (100,) and (t > 0).all() and (t <= 1).all()


@pytest.mark.parametrize("data", data_sets().values(), ids=lambda d: d.name)
def test_every_data_set_loads(data: DataEntry) -> None:
    """Those whose files were not fetched are skipped, and named."""
    assert set(data.packages) <= {package.key for package in packages.PACKAGES}
    try:
        test = data.load(DataRequest("test", 3, 8 if not data.packages else 0, progress=False))
    except SfumatoError as error:
        pytest.skip(f"{data.name} is not here: {error}")
    assert isinstance(test, ImageSet | PointSet) and len(test) >= 3 and test.name == data.name
    x, _ = test.batch(range(3))
    assert x.isfinite().all() and len(x) == 3


class _Duck:
    """What a faulty package may declare instead of a System."""


def test_a_broken_package_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("absent", "no_such_package:SYSTEM", system.GROUP),
        EntryPoint("odd", f"{__name__}:_Duck", system.GROUP),
    ]
    monkeypatch.setattr(system, "_entry_points", lambda: points)
    with pytest.warns(UserWarning) as said:
        found = system.systems.__wrapped__()
    assert found == systems()
    assert ["no_such_package" in str(said[0].message), "no System" in str(said[1].message)] == [
        1,
        1,
    ]


def test_a_name_is_declared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = System("theirs", solvers=(SolverEntry("heun", "theirs:Heun", "Heun"),))
    monkeypatch.setattr(system, "systems", lambda: (*systems(), twice))
    with pytest.raises(SfumatoError, match="two systems declare the solver 'heun'; theirs does"):
        system.solvers.__wrapped__()
