"""Trajectory sets: right, the same however often they were interrupted, and never mistaken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.errors import SfumatoError, UsageError
from sfumato.files.store import write_folder
from sfumato.systems.dsno.data import TrajectorySet, describe
from sfumato.systems.dsno.trajectories import generate, through
from sfumato.train.checkpoint import digest
from toy_trajectories import description, make, toy

SCRIPT = Path(__file__).parents[2] / "toy_trajectories.py"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def opened(folder: Path, **options: object) -> TrajectorySet:
    denoiser = toy()
    return TrajectorySet(folder, denoiser.process, weights=digest(denoiser), **options)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    denoiser = toy()
    return make(tmp_path / "set", description(denoiser), denoiser)


@pytest.mark.parametrize(
    "process",
    [sf.Scheduled(sf.EDM(10.0)), sf.Scheduled(sf.VPCosine()), sf.Scheduled(sf.VPLinear())],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float16", 3e-3)])
def test_states_lie_on_the_exact_flow(tmp_path, process, dtype, tolerance):
    """Against the closed form, relative to the state's scale: 80 steps of order 3, and storage."""
    denoiser = toy(process)
    about = description(denoiser, n=12, steps=80, dtype=dtype)
    data = TrajectorySet(make(tmp_path / "set", about, denoiser), process)
    states, labels = data.batch(range(12))
    assert states.dtype == torch.float32 and states.shape == (12, 5, 2)
    assert labels[:, 0].tolist() == [i % 3 for i in range(12)]
    times = torch.tensor(data.times, dtype=torch.float64)
    assert times[0] == 1 and times[-1] == 0
    want = denoiser.flow(states[:, 0], times, labels)
    q = process.marginal(times)
    scale = (q.cov[:, 0, 0] + 0.8**2 * q.A[:, 0, 0].square()).sqrt().float()
    assert ((states - want) / scale[:, None]).abs().max() < tolerance
    # x_1 is the start that `sample` would use
    start = process.prior_sample((4, 2), sf.generators(3, range(8, 12)))
    assert torch.allclose(states[8:12, 0], start, rtol=tolerance, atol=tolerance)


def test_killed_and_restarted_gives_the_same_bytes(tmp_path):
    """Six SIGKILLs at random moments of the making; also of parts that are not finished."""
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    command = [sys.executable, str(SCRIPT), str(tmp_path), "6", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills 6 of" in done.stdout and "12 shards" in done.stdout
    whole = tree(tmp_path / "whole")
    assert len(whole) == 2 + 12 * 4
    assert tree(tmp_path / "killed") == whole  # nothing missing, nothing left over


def test_a_sample_depends_on_its_number_alone(tmp_path):
    """Shards of another size hold the same trajectories, up to the last digits."""
    denoiser = toy()
    about = description(denoiser)
    a = opened(make(tmp_path / "a", about, denoiser)).batch(range(40))
    b = opened(make(tmp_path / "b", replace(about, shard=23, batch=11), denoiser)).batch(range(40))
    assert torch.equal(a[1], b[1]) and torch.allclose(a[0], b[0], rtol=1e-5, atol=1e-5)
    several = replace(about, labels=(3, 5))
    rows = several.label_rows(range(1000))
    assert np.array_equal(rows[40:50], several.label_rows(range(40, 50)))
    assert [len(np.unique(rows[:, k])) for k in (0, 1)] == [3, 5]


def test_several_processes_share_the_work(made, tmp_path):
    denoiser = toy()
    about, solver = description(denoiser), sf.solve.DPMSolverPP(3)
    for index in (0, 1):
        generate(denoiser, solver, about, tmp_path / "two", share=(index, 2))
        assert len(describe(tmp_path / "two").times) == 5
        done = [p for p in (tmp_path / "two").iterdir() if p.name.startswith("shard")]
        assert len(done) == (3 if index == 0 else 6)
    assert tree(tmp_path / "two") == tree(made)


def test_a_set_can_grow(made, tmp_path):
    denoiser = toy()
    before = tree(made)
    larger = replace(description(denoiser), n=50)
    make(made, larger, denoiser)  # 40 is no multiple of 7: the last shard is made again
    assert len(opened(made)) == 50
    assert all(before[k] == v for k, v in tree(made).items() if k in before and "00005" not in k
               and not k.startswith("set"))  # fmt: skip
    assert tree(make(tmp_path / "fresh", larger, denoiser)) == tree(made)
    with pytest.raises(UsageError, match="set of 50, which can grow but not shrink to 40"):
        make(made, description(denoiser), denoiser)


def test_another_set_in_the_folder_is_refused(made, tmp_path):
    denoiser = toy()
    about = description(denoiser)
    before = tree(made)
    with pytest.raises(UsageError, match=r"another trajectory set \(seed: 3 there, 4 here\)"):
        make(made, replace(about, seed=4), denoiser)
    other = toy()
    torch.nn.init.constant_(other.mean, 0.1)
    with pytest.raises(UsageError, match=r"another trajectory set \(weights: "):
        make(made, description(other), other)
    assert tree(made) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        make(tmp_path / "file", about, denoiser)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a trajectory set"):
        make(tmp_path / "folder", about, denoiser)


def test_trajectories_of_another_model_are_refused(made):
    other = toy()
    torch.nn.init.constant_(other.mean, 0.1)
    with pytest.raises(SfumatoError, match=r"trajectories of another model: 'toy' with weights"):
        TrajectorySet(made, other.process, weights=digest(other))
    with pytest.raises(SfumatoError, match=r"follows another process: .*EDM\(sigma_max=10.0\)"):
        TrajectorySet(made, sf.Scheduled(sf.EDM(80.0)))
    assert len(TrajectorySet(made, other.process)) == 40  # asked of no model in particular


def test_an_unfinished_set_is_refused_unless_asked_for(made):
    shutil.rmtree(made / "shard-00003")
    with pytest.raises(SfumatoError, match=r"not finished: 5 of 6 shards .* it goes on"):
        opened(made)
    part = opened(made, partial=True)
    assert len(part) == 33
    states, labels = part.batch([20, 21])
    assert labels[:, 0].tolist() == [20 % 3, 28 % 3]  # the gap is left out
    assert torch.equal(states[:, 0], toy().process.prior_sample((2, 2), sf.generators(3, [20, 28])))


def test_damage_is_found(made):
    about, good = describe(made), tree(made)
    file = made / "shard-00002" / "states.npy"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SfumatoError, match=r"shard-00002: states.npy .* does not match"):
        opened(made)
    file.write_bytes(data[:-40])
    with pytest.raises(SfumatoError, match=r"shard-00002: states.npy"):
        opened(made)
    with pytest.raises(SfumatoError, match=r"shard-00002: states.npy"):
        opened(made, partial=True)
    make(made, about, toy())  # making it again mends it
    assert tree(made) == good
    file.unlink()
    with pytest.raises(SfumatoError, match="states.npy is listed in SHA256SUMS but is not there"):
        opened(made)
    make(made, about, toy())
    raw = json.loads((made / "set" / "set.json").read_text())
    (made / "set" / "set.json").write_text(json.dumps({**raw, "seed": 9}))
    with pytest.raises(SfumatoError, match="set.json .* does not match its checksum"):
        opened(made)


def test_shards_of_another_set_are_found(made, tmp_path):
    """Whole shards with good checksums, but not where they belong."""
    denoiser = toy()
    other = make(tmp_path / "other", replace(description(denoiser), seed=4), denoiser)
    shutil.rmtree(made / "shard-00001")
    shutil.copytree(other / "shard-00001", made / "shard-00001")
    with pytest.raises(SfumatoError, match="shard-00001 belongs to another trajectory set"):
        opened(made)
    shutil.rmtree(made / "shard-00001")
    shutil.copytree(made / "shard-00002", made / "shard-00001")
    with pytest.raises(SfumatoError, match="shard-00001 belongs to another trajectory set"):
        opened(made)
    short = describe(made)
    files = {p.name: p.read_bytes() for p in (made / "shard-00000").iterdir()}
    tie = json.loads(files["shard.json"])
    files["shard.json"] = json.dumps({**tie, "n": 3}).encode()
    del files["SHA256SUMS"]
    write_folder(made / "shard-00000", files, replace=True)
    assert short.indices(0) == range(7)
    with pytest.raises(SfumatoError, match="shard-00000: expected 7 trajectories, got 3"):
        opened(made)


def test_a_folder_that_is_no_set(tmp_path):
    with pytest.raises(SfumatoError, match="is not a trajectory set"):
        opened(tmp_path)
    newer = {"set.json": json.dumps({"format_version": 2}).encode()}
    write_folder(tmp_path / "new" / "set", newer)
    with pytest.raises(SfumatoError, match="format 2, this sfumato reads up to 1; upgrade"):
        opened(tmp_path / "new")
    write_folder(tmp_path / "bad" / "set", {"set.json": b'{"format_version": 1, "n": 3}'})
    with pytest.raises(SfumatoError, match="does not describe a trajectory set"):
        opened(tmp_path / "bad")


def test_only_flows_have_trajectories(tmp_path):
    denoiser = toy()
    about = description(denoiser)
    with pytest.raises(UsageError, match="follow an ODE: Ancestral draws noise"):
        generate(denoiser, sf.solve.Ancestral(), about, tmp_path / "a")
    with pytest.raises(UsageError, match=r"expected a model of .*EDM.*, got .*VPCosine"):
        make(tmp_path / "a", about, toy(sf.Scheduled(sf.VPCosine())))
    torch.nn.init.constant_(denoiser.mean, float("nan"))
    with pytest.raises(SfumatoError, match="trajectories 0 to 6 are not finite"):
        make(tmp_path / "b", about, denoiser)


@pytest.mark.parametrize("steps", [5, 9, 16, 40])
def test_a_grid_is_led_through_the_times(steps):
    process = sf.Scheduled(sf.EDM(80.0))
    times, plain = sf.times.angular(process, 4, 0.8), sf.times.karras(process, steps)
    grid, kept = through(process, plain, times)
    assert len(grid) == steps + 1 and torch.equal(grid[list(kept)], times)
    assert bool((grid.diff() < 0).all())
    ratio = (process.clock(grid[1:-1]).diff() / process.clock(plain[1:-1]).diff()).clamp(1e-9)
    assert steps < 16 or (ratio.min() > 0.3 and ratio.max() < 3)  # no step out of line
    with pytest.raises(UsageError, match="cannot pass through 3 times"):
        through(process, sf.times.karras(process, 3), times)


@pytest.mark.parametrize(
    "process",
    [sf.Scheduled(sf.EDM(80.0)), sf.Scheduled(sf.VPLinear()), sf.Scheduled(sf.RectifiedFlow())],
)
def test_angles_are_equally_spaced(process):
    t = sf.times.angular(process, 8, 0.7)
    assert t[0] == 1 and t[-1] == 0
    angles = sf.times.angle(process, t, 0.7)
    assert torch.allclose(angles.diff(), (-angles[0] / 8).expand(8), atol=1e-9)
    with pytest.raises(UsageError, match="sigma_data > 0"):
        sf.times.angular(process, 4, 0.0)


def test_values_that_do_not_fit_are_refused():
    about = description(toy())
    for wrong, said in (
        ({"n": 0}, "n: expected at least 1"),
        ({"dtype": "int8"}, "float16 or float32, got 'int8'"),
        ({"grid": (1.0, 0.5, 0.5, 0.0)}, "grid that falls"),
        ({"grid": (0.9, 0.0)}, "from 1 to 0"),
        ({"kept": (1, 2)}, "rising positions from 0"),
        ({"kept": (0, 2)}, "expected the last time, 12"),
    ):
        with pytest.raises(UsageError, match=said):
            replace(about, **wrong)
