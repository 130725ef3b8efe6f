"""Several processes, accumulation and dropped labels: the same training, differently divided."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sfumato.errors import UsageError
from sfumato.loss import LogNormal
from sfumato.process import Scheduled
from sfumato.schedule import EDM
from sfumato.train import DiffusionTask, Draws, TrainConfig, positions, read_log

SCRIPT = Path(__file__).parent / "toy_run.py"


def furthest(a: Path, b: Path, name: str = "model.safetensors") -> float:
    left, right = load_file(a / name), load_file(b / name)
    assert left.keys() == right.keys()
    return max(float((left[k] - right[k]).abs().max()) for k in left)


@pytest.mark.slow
def test_two_processes_equal_one(toy, tmp_path):
    """Same global batch, 50 steps: the same weights to 1e-5, the same log, one checkpoint."""
    steps = 50
    toy.two_processes(SCRIPT, tmp_path / "two", steps)
    one = toy.toy_train(tmp_path / "one", replace(toy.SETTINGS, steps=steps))
    two = tmp_path / "two" / "checkpoints" / one.name
    distance = furthest(one, two)
    print(f"two processes against one after {steps} steps: {distance:.1e}")
    assert distance <= 1e-5
    assert furthest(one, two, "ema.safetensors") <= 1e-5
    start = toy.toy_model().build().state_dict()
    trained = load_file(one / "model.safetensors")
    assert max(float((start[k] - trained[k]).abs().max()) for k in start) > 0.03  # it did move
    a, b = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [x["step"] for x in a] == [x["step"] for x in b]
    assert [x["count_by_level"] for x in a] == [x["count_by_level"] for x in b]
    assert max(abs(x["loss"] - y["loss"]) for x, y in zip(a, b, strict=True)) < 1e-5


def test_accumulation_changes_nothing_but_rounding(toy, tmp_path):
    one = toy.toy_train(tmp_path / "one")
    two = toy.toy_train(tmp_path / "two", replace(toy.SETTINGS, accumulate=2))
    assert 0 <= furthest(one, two) < 1e-5


def test_bf16_computes_in_bf16_and_keeps_float32(toy, tmp_path):
    seen = set()
    denoiser = toy.toy_model().build()
    denoiser.network.second[0].register_forward_hook(lambda m, i, out: seen.add(out.dtype))
    settings = replace(toy.SETTINGS, mixed_precision="bf16")
    bf16 = toy.toy_train(tmp_path / "bf16", settings, denoiser=denoiser)
    assert seen == {torch.bfloat16}
    fp32 = toy.toy_train(tmp_path / "fp32")  # in the same process: the setting does not stick
    assert {v.dtype for v in load_file(bf16 / "model.safetensors").values()} == {torch.float32}
    assert 1e-6 < furthest(bf16, fp32) < 0.05


@pytest.mark.slow
def test_compiled_training_is_the_same_training(toy, tmp_path):
    """Compiled: the same weights but for rounding, and a checkpoint that does not know of it."""
    settings = replace(toy.SETTINGS, steps=4)
    small = toy.toy_model(8)
    eager = toy.toy_train(tmp_path / "eager", settings, model=small)
    compiled = toy.toy_train(tmp_path / "a", replace(settings, compile=True), model=small)
    assert furthest(eager, compiled) < 1e-4
    toy.toy_train(tmp_path / "a", replace(settings, steps=6), resume=True, model=small)


TASK = DiffusionTask(Scheduled(EDM()), LogNormal(), labels=(3,), label_dropout=0.1)


def draws(toy, rank=0, world=1, **settings) -> Draws:
    config = TrainConfig(**{"batch": 12, "seed": 3, **settings})
    return Draws(config, toy.three_points(), rank, world)


def test_processes_and_parts_see_what_one_sees(toy):
    """Data, times, labels and noise of a step do not depend on how it is divided."""
    for step in (0, 8):  # 8 * 12 = 96: a batch across the end of an epoch of 100
        (whole,) = draws(toy).parts(TASK, step)
        pieces = [
            p for r in range(3) for p in draws(toy, rank=r, world=3, accumulate=2).parts(TASK, step)
        ]
        assert torch.equal(torch.cat([p.x0 for p in pieces]), whole.x0)
        assert torch.equal(torch.cat([p.t for p in pieces]), whole.t)
        assert torch.equal(torch.cat([p.cond for p in pieces]), whole.cond)
        states = [g.get_state() for p in pieces for g in p.generators]
        for mine, theirs in zip(states, whole.generators, strict=True):
            assert torch.equal(mine, theirs.get_state())


def test_every_epoch_visits_every_example_once(toy):
    n = 100
    order = positions(0, 0, 3 * n, n)
    for e in range(3):
        assert sorted(order[e * n : (e + 1) * n]) == list(range(n))
    assert list(order[:n]) != list(order[n : 2 * n])
    assert list(positions(0, 150, 77, n)) == list(order[150:227])


def test_labels_are_dropped_as_often_as_asked(toy):
    d = draws(toy, batch=50_000)
    task = DiffusionTask(
        Scheduled(EDM()), LogNormal(), labels=(3,), label_dropout=0.1, axis_dropout=0.2
    )
    hidden = d.drawn(task, 0).hidden.double().mean(0)
    assert abs(float(hidden[0]) - (1 - 0.9 * 0.8)) < 0.01
    (part,) = d.parts(task, 0)
    assert abs(float((part.cond == 3).double().mean()) - 0.28) < 0.01  # 3 = no label


def test_what_does_not_divide_is_refused(toy):
    with pytest.raises(UsageError, match="among 5 processes .*multiple of 5"):
        draws(toy, world=5)
    with pytest.raises(UsageError, match="2 label axes, but the data set has 1"):
        DiffusionTask(Scheduled(EDM()), LogNormal(), labels=(3, 3)).check(toy.three_points())
    with pytest.raises(UsageError, match="accumulate"):
        TrainConfig(batch=10, accumulate=3)
