"""The small parts against their formulas: rate, averaged weights, losses by level, the log."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sfumato.damped import CriticallyDamped
from sfumato.errors import UsageError
from sfumato.loss import LogNormal, Uniform
from sfumato.process import Scheduled
from sfumato.schedule import EDM, VPLinear
from sfumato.train import (
    Ema,
    Levels,
    TrainConfig,
    checkpoint_folders,
    ema_decay,
    level,
    level_edges,
    read_log,
)  # fmt: skip
from sfumato.train.denoising import DiffusionDraw
from sfumato.train.report import Report, duration


def test_rate_follows_its_formula():
    config = TrainConfig(steps=1000, lr=3e-4, warmup=50)
    for n in (0, 1, 49, 50, 500, 999):
        want = 3e-4 * min(1.0, (n + 1) / 50) * (1 + math.cos(math.pi * n / 1000)) / 2
        assert config.rate(n) == pytest.approx(want, rel=1e-12)
    assert config.rate(0) == pytest.approx(3e-4 / 50)
    assert config.rate(999) < 1e-5 * 3e-4
    flat = replace(config, decay="constant", warmup=0)
    assert {flat.rate(n) for n in (0, 10, 999)} == {3e-4}


def test_one_cycle_is_pytorch_s_and_linear_falls_to_nothing():
    config = TrainConfig(steps=100, lr=4e-3, warmup=25, decay="one-cycle")
    made = torch.optim.AdamW([nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(made, 4e-3, total_steps=100, pct_start=0.25)
    for n in range(100):
        (group,) = made.param_groups
        assert config.rate(n) == pytest.approx(group["lr"], rel=1e-9)
        assert config.momentum(n) == pytest.approx(group["betas"][0], rel=1e-9)
        made.step()
        schedule.step() if n < 99 else None
    linear = TrainConfig(steps=10, lr=1.0, warmup=0, decay="linear")
    assert [linear.rate(n) for n in range(10)] == pytest.approx([1 - n / 10 for n in range(10)])


def test_the_logged_rate_is_the_one_that_was_used(toy, tmp_path):
    toy.toy_train(tmp_path / "a")
    for line in read_log(tmp_path / "a"):
        assert line["lr"] == toy.SETTINGS.rate(line["step"] - 1)


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(batch=10, ema_half_life=70, ema_ramp=0.3),
        TrainConfig(batch=10, ema_decay=0.9),
    ],
)
def test_average_equals_its_closed_form(config):
    """θ̄_n = Σ_j (1 - β_j) Π_{i>j} β_i θ_j + Π β_i θ_0."""
    torch.manual_seed(1)
    module = nn.Linear(3, 2)
    thetas = [module.weight.detach().double().clone()]
    ema = Ema(module)
    betas = [1.0]
    for n in range(1, 41):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        ema.update(module, ema_decay(config, n))
        thetas.append(module.weight.detach().double().clone())
        if config.ema_decay:
            betas.append(min(0.9, (1 + n) / (10 + n)))
        else:
            betas.append(2 ** (-10 / min(70, 0.3 * n * 10)))
    want = thetas[0] * math.prod(betas[1:])
    for j in range(1, 41):
        want = want + (1 - betas[j]) * math.prod(betas[j + 1 :]) * thetas[j]
    assert torch.allclose(ema.module.weight.double(), want, rtol=0, atol=1e-5)
    assert not ema.module.weight.requires_grad


def test_average_copies_buffers_and_stays_float32():
    module = nn.BatchNorm1d(2).to(torch.bfloat16)
    ema = Ema(module)
    module.running_mean.fill_(3.0)
    ema.update(module, 0.5)
    assert ema.module.weight.dtype is torch.float32
    assert ema.module.running_mean.tolist() == [3.0, 3.0]


def test_losses_by_level_add_up_to_the_loss(toy, tmp_path):
    toy.toy_train(tmp_path / "a", replace(toy.SETTINGS, levels=5))
    for line in read_log(tmp_path / "a"):
        pairs = list(zip(line["loss_by_level"], line["count_by_level"], strict=True))
        assert len(pairs) == 5
        images = sum(n for _, n in pairs)
        total = sum(n * loss for loss, n in pairs if n)
        assert total / images == pytest.approx(line["loss"], rel=1e-6)
    assert all(loss is None for loss, n in pairs if n == 0)


@pytest.mark.parametrize(
    ("process", "law"),
    [
        (Scheduled(EDM()), LogNormal()),
        (Scheduled(VPLinear()), Uniform()),
        (CriticallyDamped(), Uniform()),
    ],
    ids=["edm", "vp", "damped"],
)
def test_levels_are_equally_likely(process, law):
    edges = level_edges(process, law, 8)
    assert torch.equal(edges, edges.sort().values) and edges.isfinite().all()
    t = law.draw(process, 40_000, torch.Generator().manual_seed(5))
    counts = np.bincount(torch.bucketize(level(process, t), edges).numpy(), minlength=8)
    assert (abs(counts / 40_000 - 1 / 8) < 0.02).all()


def test_level_is_the_log_snr():
    t = torch.tensor([0.01, 0.3, 1.0], dtype=torch.float64)
    schedule = VPLinear()
    got = level(Scheduled(schedule), t)
    assert torch.allclose(got, schedule.log_snr(t), rtol=1e-12)


def test_levels_state_survives_json():
    process = Scheduled(VPLinear())
    levels = Levels(process, torch.tensor([-1.0, 1.0], dtype=torch.float64))
    t = process.schedule.time(torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64))
    levels.add(torch.tensor([0.1, 0.2, 0.7]), DiffusionDraw(t, None))
    other = Levels(process, levels.edges)
    other.restore(json.loads(json.dumps(levels.state())))
    assert other.report() == levels.report()
    assert levels.report()["count_by_level"] == [1, 1, 1]


def test_a_log_cut_short_by_a_kill_is_readable(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2]
    assert read_log(tmp_path / "nothing") == []


def test_durations_read_well():
    assert [duration(s) for s in (7, 65, 3900, 302_400)] == [
        "7 s", "1 min 05 s", "1 h 05 min", "3.5 days",
    ]  # fmt: skip


def test_a_slow_run_says_early_how_long_it_will_take(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sfumato.train.report.time.monotonic", lambda: clock[0])
    report = Report(tmp_path, 3, 20_000, 128, quiet=False, tensorboard=False, main=True)
    for step in range(4, 12):
        clock[0] += 25.0
        report.advance(step)
    report.close()
    first, *others = "".join(capsys.readouterr().err).splitlines()
    assert first.startswith("25 s a step: 19,996 more steps take 5.8 days; Ctrl-C stops, --resume")
    assert others == [f"step {n} of 20,000  5.8 days left" for n in (7, 10)]


def test_a_quick_run_says_nothing_of_its_length(tmp_path, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sfumato.train.report.time.monotonic", lambda: clock[0])
    report = Report(tmp_path, 0, 50, 128, quiet=False, tensorboard=False, main=True)
    for step in range(1, 51):
        clock[0] += 1.0
        report.advance(step)
    report.close()
    assert capsys.readouterr().err == ""


def test_slow_steps_have_checkpoints_by_time(toy, tmp_path, monkeypatch):
    settings = replace(toy.SETTINGS, steps=4, checkpoint_every=100, keep=10)
    toy.toy_train(tmp_path / "usual", settings)
    monkeypatch.setattr("sfumato.train.run._KEEP", 0.0)
    toy.toy_train(tmp_path / "slow", settings)
    names = [[p.name for p in checkpoint_folders(tmp_path / r)] for r in ("usual", "slow")]
    assert sorted(names[0]) == ["step-00000004"]
    assert sorted(names[1]) == [f"step-0000000{n}" for n in (1, 2, 3, 4)]
    weights = [
        (tmp_path / r / "checkpoints" / "step-00000004" / "model.safetensors").read_bytes()
        for r in ("usual", "slow")
    ]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"lr": -1.0}, {"label_dropout": 1.5}, {"ema_decay": 1.0}, {"keep": 0}],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError, match=f"train.{next(iter(wrong))}: expected"):
        TrainConfig(**wrong)
