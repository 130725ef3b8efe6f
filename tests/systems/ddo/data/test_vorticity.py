"""Stirred fluids: the law of the forces, resolution, by index, kept or made again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.data.sets import DataCard
from sfumato.errors import SfumatoError, UsageError
from sfumato.systems.ddo.data import vorticity as module
from sfumato.systems.ddo.data.base import Axis, FieldSet, Frame, Quantity
from sfumato.systems.ddo.data.cache import cached_fields
from sfumato.systems.ddo.data.navier_stokes import NavierStokes
from sfumato.systems.ddo.data.vorticity import forcing, vorticity
from sfumato.systems.ddo.nn.harmonic import Domain, resample, to_modes, wave_numbers

FORCE = (6.58170, 9.55414, 14.01942)
FIELD = (-6.3312, -3.8573, -1.1924)
CARD = DataCard("toy", "made here", "none needed", "small")


@lru_cache(maxsize=1)
def stirred() -> Tensor:
    """The first ten test fields, float64 (10, 64, 64)."""
    return module._stirred(forcing("test", range(10)), module.STEPS)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows at a sixth of the time and the steps."""
    monkeypatch.setattr(module, "TIME", 0.15)
    monkeypatch.setattr(module, "STEPS", 30)


def test_forces_are_the_gaussian_field_they_are_said_to_be() -> None:
    n = 3000
    modes = to_modes(forcing("train", range(n), 16), 2, Domain.PERIODIC)
    k = wave_numbers(16, Domain.PERIODIC)
    squared = k[:, None] ** 2 + k**2
    shape = (4 * math.pi**2 * squared + 20.0**2) ** -3.0
    shape[(squared == 0) | (squared > 25)] = 0
    power = 25.0**2 * shape / shape.sum()
    got = modes.abs().square().mean(0)
    full = power > 0
    assert float(got[~full].max()) < 1e-25
    assert int(full.sum()) == 80
    assert float((got[full] / power[full] - 1).abs().max()) < 5 / math.sqrt(n)
    assert float(modes[:, full].mean(0).abs().max() / power.max().sqrt()) < 5 / math.sqrt(n)
    assert float(modes.square().mean(0)[full].abs().max() / power.max()) < 5 / math.sqrt(n)


def test_forces_are_one_function_on_all_grids_and_by_index() -> None:
    fine = forcing("train", [3, 8], 128)
    assert torch.allclose(fine[:, ::2, ::2], forcing("train", [3, 8]), atol=1e-11)
    assert torch.allclose(resample(fine, (16, 16), Domain.PERIODIC), forcing("train", [3, 8], 16))
    assert torch.equal(forcing("train", [8], 16)[0], forcing("train", range(9), 16)[8])
    assert not torch.allclose(forcing("train", [8], 16), forcing("test", [8], 16))
    assert torch.allclose(
        forcing("train", [0], 16)[0, 0, :3], torch.tensor(FORCE).double(), atol=1e-4
    )


def test_the_grid_resolves_the_flow() -> None:
    w = stirred()
    modes = to_modes(w, 2, Domain.PERIODIC).abs().square().mean(0)
    k = wave_numbers(64, Domain.PERIODIC)
    shell = (k[:, None] ** 2 + k**2).sqrt().round()
    spectrum = [float(modes[shell == j].sum()) for j in range(22)]
    assert spectrum[21] < 1e-4 * max(spectrum)
    assert spectrum[16] > 1e-6 * max(spectrum)  # and is not merely smooth
    fine = resample(
        module._stirred(forcing("test", range(2), 128), 1200), (64, 64), Domain.PERIODIC
    )
    gap = to_modes(w[:2] - fine, 2, Domain.PERIODIC).abs().square()
    size = to_modes(fine, 2, Domain.PERIODIC).abs().square()
    for top, tolerance in ((4, 1e-3), (31, 1e-2)):
        low = torch.maximum(k.abs()[:, None], k.abs()) <= top
        error = (gap * low).sum((-2, -1)) / (size * low).sum((-2, -1))
        assert float(error.sqrt().max()) < tolerance


def test_time_steps_are_short_enough() -> None:
    w = stirred()[:2]
    fine = module._stirred(forcing("test", range(2)), 4 * module.STEPS)
    error = (w - fine).square().mean((-2, -1)).sqrt() / fine.std((-2, -1))
    assert float(error.max()) < 2e-3


def test_the_flow_is_far_from_gaussian() -> None:
    w = stirred()
    slope = w.roll(-1, -1) - w
    flatness = float(slope.pow(4).mean() / slope.square().mean() ** 2)
    assert flatness > 4.5  # a Gaussian field has 3
    assert 8 < float(w.std()) < 20


def test_a_flow_too_fast_for_the_steps_gets_twice_as_many_alone() -> None:
    f = forcing("test", range(3), 32) * torch.tensor([1.0, 0.2, 0.2])[:, None, None]
    made = module._stirred(f, 100)
    zero = torch.zeros_like(f)

    def alone(i: int, steps: int) -> Tensor:
        law = NavierStokes(module.VISCOSITY, module.TIME, steps)
        return law.solve(zero[i : i + 1], f[i : i + 1])[0]

    with pytest.raises(SfumatoError):
        alone(0, 100)
    assert torch.allclose(made[0], alone(0, 200), atol=1e-9)
    for i in (1, 2):
        assert torch.allclose(made[i], alone(i, 100), atol=1e-9)


def test_field_i_depends_on_split_and_index_alone(quick: None, tmp_path: Path) -> None:
    nine = vorticity("train", 9, root=tmp_path, progress=False)
    one = vorticity("train", 1, root=tmp_path, progress=False)
    other = vorticity("test", 1, root=tmp_path, progress=False)
    assert np.allclose(one.values[0], nine.values[0], atol=1e-5)
    assert not np.allclose(one.values[0], other.values[0], atol=1)
    f = forcing("train", [8])
    alone = NavierStokes(module.VISCOSITY, 0.15, 30).solve(torch.zeros_like(f), f)
    assert np.allclose(nine.values[8, 0], alone[0].numpy(), atol=1e-5)
    coarse = vorticity("train", 2, 32, root=tmp_path, progress=False)
    assert np.allclose(coarse.values, nine.subset([0, 1]).at((32, 32)).values, atol=1e-5)
    fine = vorticity("train", 1, 80, root=tmp_path, progress=False)
    assert fine.grid == (80, 80)
    near = fine.at((64, 64)).values
    assert np.abs(near - one.values).max() < 1e-3 * np.abs(one.values).max()
    assert nine.frame.domain is Domain.PERIODIC
    assert [q.label for q in nine.frame.quantities] == ["vorticity"]
    assert nine.card.licence == "CC0-1.0" and "viscosity 0.002" in nine.card.source


def test_finer_grids_take_more_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def still(force: Tensor, steps: int) -> Tensor:
        asked.append((force.shape[-1], steps))
        return torch.zeros_like(force)

    monkeypatch.setattr(module, "_stirred", still)
    for grid in (32, 64, 80, 128):
        vorticity("train", 1, grid, tmp_path, progress=False)
    assert asked == [(64, 600), (64, 600), (80, 750), (128, 1200)]


def test_the_first_field_stays_what_it_is() -> None:
    assert np.allclose(stirred()[0, 0, :3], FIELD, atol=2e-3)  # for good, or a new _GENERATION


def test_made_once_checked_and_all_or_nothing(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vorticity("test", 2, 16, tmp_path, progress=False)
    monkeypatch.setattr(module, "_stirred", lambda *_: 1 / 0)
    again = vorticity("test", 2, 16, tmp_path, progress=False)
    assert isinstance(again.values, np.memmap)
    assert np.array_equal(again.values, first.values) and again.frame == first.frame
    with pytest.raises(ZeroDivisionError):
        vorticity("train", 2, 16, tmp_path, progress=False)
    assert [path.name for path in (tmp_path / "vorticity").iterdir()] == ["test-2x16-g1"]
    path = tmp_path / "vorticity" / "test-2x16-g1" / "values.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(SfumatoError, match=r"values.npy does not have.*delete that folder"):
        vorticity("test", 2, 16, tmp_path, progress=False)


def test_cached_fields_come_back_with_their_frame(tmp_path: Path) -> None:
    frame = Frame(
        Domain.REFLECTING,
        (Axis("depth", -1.0, 3.0, "m"), Axis("time", 0.0, 2.0, "s")),
        (Quantity("speed", "m/s"), Quantity("salt")),
    )
    values = np.random.default_rng(0).standard_normal((3, 2, 4, 5)).astype(np.float32)

    def put(name: str, n: int = 3) -> FieldSet:
        make = lambda: (n, iter(values))  # noqa: E731
        return cached_fields(tmp_path / name, CARD, "test", frame, (4, 5), make, "toy", False)

    got = put("a")
    assert got.frame == frame and got.name == "toy" and got.parameters is None
    assert got.card == replace(CARD, size="3 test fields on 4x5 points, 2 quantities")
    assert np.array_equal(got.values, values)
    got.values[0] = 0  # stays in memory
    assert np.array_equal(put("a").values, values)
    for short in (2, 4):
        with pytest.raises(ValueError, match="zip"):
            put("c", short)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("damage", ["values.npy", "info.json", "frame", "list"])
def test_damage_is_reported(damage: str, tmp_path: Path) -> None:
    frame = Frame(Domain.PERIODIC, (Axis("x"),), (Quantity("v"),))
    values = np.zeros((2, 1, 4), np.float32)
    folder = tmp_path / "a"

    def put() -> FieldSet:
        make = lambda: (2, iter(values))  # noqa: E731
        return cached_fields(folder, CARD, "test", frame, (4,), make, "toy", False)

    put()
    info = json.loads((folder / "info.json").read_text())
    if damage == "frame":
        info["axes"][0]["colour"] = 1
        (folder / "info.json").write_text(json.dumps(info))
    elif damage == "list":
        (folder / "info.json").write_text("[]")
    else:
        (folder / damage).unlink()
    with pytest.raises(SfumatoError, match="are damaged.*delete that folder"):
        put()


def test_what_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown split"):
        vorticity("valid", 1, root=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown split"):
        forcing("valid", [0])  # type: ignore[arg-type]
    for n, grid in ((0, 64), (1, 15), (1, 513)):
        with pytest.raises(UsageError, match=r"n >= 1 and grid in 16\.\.512"):
            vorticity("train", n, grid, tmp_path)
